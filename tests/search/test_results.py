"""Readings of found ropes and of those to beat, compared; and the report of them."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.models.binding import read_rope
from ropewalk.models.loading import load_config
from ropewalk.report.search import write_report
from ropewalk.rope import Rope, methods
from ropewalk.scores import Scores
from ropewalk.search.options import ProbeOptions, SearchReportOptions
from ropewalk.search.probe import probe
from ropewalk.search.results import read_comparison, standings, transfer


def columns(rope, method, factor=4.0, search=None, seed=None):
    return {"reading": f"r-{rope}", "model": "dull", "rope": rope, "method": method, "factor": factor} | {
        "search": search,
        "seed": seed,
    }


@pytest.fixture(scope="module")
def readings(source, corpus, searches, tmp_path_factory):
    root, table = tmp_path_factory.mktemp("readings"), read_rope(load_config(source))
    ropes = [(table, columns("plain", "none", None))]
    ropes += [(methods.apply(table, name, factor=4), columns(f"{name}_4x", name)) for name in ("ntk", "yarn", "pi")]
    for folder in searches:
        best = json.loads((folder / "best.json").read_text())["options"]
        named = columns(folder.name, f"{best['sampler']}/{best['space']}", 4.0, folder.name, best["seed"])
        ropes.append((Rope.load(folder / "rope.json"), named))
    options = ProbeOptions(factors=[2.0, 4.0], retrieval="none")
    for rope, named in ropes:
        probe(source, rope, {"text": corpus}, options, columns=named, folder=root / named["rope"])
    return [root / named["rope"] for _, named in ropes]


def test_a_comparison_reads_the_objective_on_unseen_documents(readings, searches):
    compared = read_comparison(readings, searches)
    assert (compared.factors, compared.lengths) == ([4.0], [2.0, 4.0])
    assert set(compared.methods(4.0, found=False)) == {"ntk", "yarn", "pi"}
    table = standings(compared, 4.0, 0.95).set_index("method")
    assert table.loc["yarn", "objective"] == 0
    assert table.loc["gp/ramp", "seeds"] == 2
    # The objective by hand: without answers, half of nothing and all of the tail, no more than 1.5 above.
    yarn, gp = (compared.measured[compared.measured["rope"] == name] for name in ("yarn_4x", "gp-ramp-4x-seed-0"))
    paired = gp[gp["at"] == 4].set_index("document")["tail"] - yarn[yarn["at"] == 4].set_index("document")["tail"]
    [first] = [one for one in compared.methods(4.0, found=True)["gp/ramp"] if one.seed == 0]
    assert compared.values([first], 4.0, "yarn_4x").mean() == pytest.approx(paired.clip(upper=1.5).mean())
    searched = set(json.loads((searches[0] / "best.json").read_text())["documents"])
    assert not searched & {f"text/{document}" for document in gp["document"]}
    assert set(transfer(compared, 0.95)["against"]) <= {"none", "ntk_4x", "yarn_4x", "pi_4x"}


def test_another_reference_moves_the_zero(readings, searches):
    against = standings(read_comparison(readings, searches, reference="pi"), 4.0, 0.95).set_index("method")
    assert against.loc["pi", "objective"] == 0
    assert against.loc["yarn", "objective"] != 0


def test_the_report_has_every_table_and_figure(readings, searches, tmp_path):
    write_report(searches, readings, SearchReportOptions(experiment="search", confidence=0.9), tmp_path / "report")
    page = (tmp_path / "report/search.html").read_text()
    for words in ("ORoPE-style", "At 4 times the training length", "scan/groups", "90 %", "2 seeds", "found for 4x"):
        assert words in page
    for name in ("convergence", "optimum", "plane", "price", "importances"):
        assert (tmp_path / f"report/{name}.png").stat().st_size > 10_000
    scores = Scores.read(tmp_path / "report/scores.json")
    rivals = pd.read_csv(tmp_path / "report/rivals.csv").set_index("method")
    difference = scores.one(quantity="tested_difference", method="scan/groups", against="first method")
    assert difference.value == pytest.approx(
        rivals.loc["scan/groups", "tested"] - rivals.loc["gp/ramp", "tested"], abs=1e-5
    )
    [moved] = scores.select(quantity="difference", method="gp/ramp", at=2.0)
    assert moved.low < 2


def changed(folder, target, file="reading.json", **changes):
    """A copy whose file says something else; keys below the first are joined by dots."""
    shutil.copytree(folder, target)
    content = json.loads((target / file).read_text())
    for keys, value in changes.items():
        *outer, last = keys.split(".")
        place = content
        for key in outer:
            place = place[key]
        place[last] = value
    (target / file).write_text(json.dumps(content))
    return target


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "other"}, "are readings of different models; expected the same"),
        ({"options.seed": 7}, "are readings of different seed; expected the same"),
        ({"answers.retrieval": "copy"}, "are readings of different answers; expected the same"),
        ({"options.factors": [2.0]}, "are readings of different factors; expected the same"),
        ({"columns.rope": "ntk_4x"}, "two readings are of ntk_4x"),
        ({"columns.method": "ntk"}, "2 readings are of ntk at 4x; expected one of each method made by hand"),
        ({"columns.method": "mine"}, "no reading is of yarn at 4x; expected"),
    ],
)
def test_readings_that_do_not_belong_together(readings, searches, tmp_path, changes, said):
    yarn = changed(readings[2], tmp_path / "yarn", **changes)
    with pytest.raises(UserError, match=said):
        read_comparison([*readings[:2], yarn, *readings[3:]], searches)


def test_readings_of_other_documents(readings, searches, tmp_path):
    shutil.copytree(readings[2], tmp_path / "yarn")
    pd.read_parquet(readings[2] / "measured.parquet")[:-1].to_parquet(tmp_path / "yarn/measured.parquet")
    with pytest.raises(UserError, match="are readings of different documents"):
        read_comparison([readings[0], tmp_path / "yarn"], searches)


def test_searches_that_have_no_part_in_readings(readings, searches, tmp_path):
    with pytest.raises(UserError, match="expected what a search found"):
        read_comparison(readings, [tmp_path])
    with pytest.raises(UserError, match="expected some of both"):
        read_comparison(readings, [])
    with pytest.raises(UserError, match="none of the readings is of the rope of pre-training"):
        read_comparison(readings[1:], searches)
    with pytest.raises(UserError, match="no reading is of the rope that it found"):
        write_report(
            searches, readings[:-1], SearchReportOptions(experiment="search", confidence=0.95), tmp_path / "report"
        )
    assert not (tmp_path / "report").exists()
    for changes, said in (
        ({"columns.search": "other"}, "no reading is of the rope that it found; read it again"),
        ({"weights": "other"}, "searched on another model than"),
        ({"answers.retrieval": "copy"}, "has the answers copy, the readings have none; expected the same"),
    ):
        other = changed(searches[0], tmp_path / said[:10], "best.json", **changes)
        with pytest.raises(UserError, match=said):
            read_comparison(readings, [other])
