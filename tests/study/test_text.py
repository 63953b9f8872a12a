"""The tables of a study, printed: what there is, what each row is made of, and what stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ropewalk.study.paths import Paths
from ropewalk.study.text import study_json, study_text

FOUND = "search_small_sobol-ramp_2x_seed-0"


def words(text, id_):
    [line] = [line for line in text.splitlines() if line[3:].split("  ")[0] == id_]
    return line[3 + len(id_) :].strip()


def test_a_line_a_row_says_what_it_is_made_of(make):
    study = make(
        ropes__both=["yarn", "resonance"],
        ropes__file=[{"file": "my/rope.json"}, "resonance"],
        ropes__on=[{"found": FOUND}, {"method": "log_scaling", "length": 64}],
        ropes__listed={"method": "longrope", "long_factor": [2.0] * 16},
        readings__copying__of__0__ropes=["both", "file", "on", "listed"],
    )
    text = study_text(study, Path("nowhere"))
    assert text.startswith("study small\n")
    assert words(text, "32-10000-32/both") == "yarn(factor 4) → resonance()"
    assert words(text, "32-10000-32/file") == "file my/rope.json → resonance()"
    assert words(text, "32-10000-32/on") == f"rope 32-10000-32/{FOUND} → log_scaling(length 64)"
    assert "16 values" in words(text, "32-10000-32/listed")
    assert words(text, f"32-10000-32/{FOUND}") == f"found by {FOUND}"
    assert words(text, "tuned_small_yarn_long_seed-1").startswith("small tuned with 32-10000-32/yarn: steps 6, ")
    assert "seed 1" in words(text, "tuned_small_yarn_long_seed-1")
    assert words(text, "small").startswith("pre-trained: hidden_size 32, layers 1, heads 1")
    assert words(text, FOUND) == "on small: factor 2, sampler sobol, budget 6, documents 2, retrieval copy"
    reading = words(text, "facts_tuned_small_yarn_long_seed-0_none")
    assert reading.startswith(
        "needle of tuned_small_yarn_long_seed-0 with 32-10000-32/none: lengths [48, 96], tasks [digits]"
    )
    assert words(text, "perplexity/text") == "3 readings"
    assert words(text, "search/search") == f"{len(study.reports['search/search'].readings)} readings, 4 searches"
    assert not re.search(r"[({]'|None|True|False|\(\)[^ \n]", text), "Python shows through"


def test_fetched_models_say_where_they_come_from(make):
    study = make(
        models__big={"source": "hub:a/big", "revision": "abc"},
        readings__copying__of=[{"models": ["big"]}],
    )
    text = study_text(study, Path("nowhere"))
    assert words(text, "big") == "fetched from hub:a/big at abc"
    assert words(text, "big/own") == "as big has it"


def test_what_stands_is_marked(make, tmp_path):
    study = make()
    paths = Paths(f"{tmp_path}/small")
    for row in (study.models["small"], study.ropes["32-10000-32/yarn"]):
        Path(paths.of(row)).parent.mkdir(parents=True, exist_ok=True)
        Path(paths.of(row)).touch()
    text = study_text(study, tmp_path)
    marked = {line[3:].split("  ")[0] for line in text.splitlines() if line.startswith(" * ")}
    assert marked == {"small", "32-10000-32/yarn"}
    assert f"ropes: {len(study.ropes)}, 1 of them stand" in text
    assert f"readings: {len(study.readings)}, 0 of them stand" in text
    rows = json.loads(study_json(study, tmp_path))
    standing = [row["id"] for table in rows.values() if isinstance(table, list) for row in table if row["stands"]]
    assert sorted(standing) == ["32-10000-32/yarn", "small"]


def test_the_tables_as_json_hold_every_row_with_its_columns(make):
    study = make()
    tables = json.loads(study_json(study, Path("results")))
    assert tables.pop("name") == "small"
    for name, rows in tables.items():
        assert [row["id"] for row in rows] == list(getattr(study, name))
    [row] = [row for row in tables["readings"] if row["id"] == "facts_tuned_small_yarn_long_seed-0_none"]
    assert row["path"] == "results/small/readings/facts_tuned_small_yarn_long_seed-0_none"
    assert row["options"]["lengths"] == [48, 96]
    assert row["columns"] == {
        "model": "tuned_small_yarn_long_seed-0",
        "base_model": "small",
        "tuned_from": "small",
        "tuned_rope": "yarn",
        "experiment": "tuned",
        "regime": "long",
        "seed": 0,
        "reading": row["id"],
        "rope": "none",
    }
