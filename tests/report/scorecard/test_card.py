from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ropewalk.cli import app
from ropewalk.errors import UserError
from ropewalk.reading.nll_file import write_nll
from ropewalk.report.finetune import write_report
from ropewalk.report.options import TuningReportOptions
from ropewalk.report.scorecard import CLAIMS, PAPERS, counts, evaluate, experiments, write_scorecard
from ropewalk.rope import default_rope, methods
from ropewalk.scores import Scores, metric_name


def test_every_claim_is_whole():
    assert len(CLAIMS) >= 25
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS), "names differ"
    assert {claim.paper for claim in CLAIMS} == set(PAPERS)
    for claim in CLAIMS:
        assert claim.sentence.endswith(".")
        assert claim.scale
        assert claim.quantity
        assert claim.effect is None or claim.effect > 0


CURVE = np.linspace(0.5, 0, 63)
"""What context is worth to a model that uses it, nats by position."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study whose models were tuned: two ropes, two seeds, eight documents whose NLL lies in files.

    A rope and a regime have names that are words of the format.
    """
    folder = tmp_path_factory.mktemp("studies") / "mine"
    yarn = methods.yarn(default_rope(8, 10_000.0, 32), factor=2)
    ropes = {
        "yarn": yarn,
        "resonance-yarn": methods.resonance(yarn),
        "setting": methods.ntk(default_rope(8, 10_000.0, 32), factor=2),
    }
    rng = np.random.default_rng(0)
    document = rng.normal(0, 0.3, 8)

    def measure(name, level, **columns):
        rope = ropes[columns["rope"]]
        frames = [
            pd.DataFrame(
                {
                    "corpus": "books",
                    "document": f"d{d}",
                    "position": np.arange(1, 64, dtype=np.int32),
                    "nll": (level + document[d] + CURVE + rng.normal(0, 0.01, 63)).astype(np.float32),
                    "pass_length": np.int32(64),
                }
            )
            for d in range(8)
        ]
        place = folder / name
        place.mkdir(parents=True)
        write_nll(
            place / "nll.parquet",
            pd.concat(frames, ignore_index=True),
            {"rope": rope.to_json(), "columns": columns, "parameters": 1000},
        )
        return place

    readings = [measure(f"untuned/{name}", 3.0, model="tiny", rope=name) for name in ropes]
    levels = {"yarn": 2.0, "resonance-yarn": 2.1}
    readings += [
        measure(
            f"tuned/{name}-{seed}",
            level + seed / 1000,
            model=f"{name}-{seed}",
            tuned_from="tiny",
            rope=name,
            regime="reference",
            seed=seed,
        )
        for name, level in levels.items()
        for seed in (0, 1)
    ]
    report = folder / "reports/finetune/mine"
    options = TuningReportOptions(experiment="mine", confidence=0.95, lengths=(32, 64), reference="yarn")
    write_report(readings, options, report)
    return folder


def test_a_row_is_what_its_files_of_nll_say(found, study):
    finding = found("resonance/perplexity-below-yarn", *experiments(study))
    assert finding.verdict == "not reproduced"
    case = finding.decisive
    row = next(one for one in experiments(study)[0].scores.rows if case.key == metric_name(replace(one, over=None)))
    assert (row.quantity, row.regime, row.rope, row.against) == ("difference", "reference", "resonance-yarn", "yarn")
    length = row.length

    def by_document(name, seed):
        rows = pd.read_parquet(study / f"tuned/{name}-{seed}/nll.parquet")
        return rows[rows["position"] < length].groupby("document")["nll"].mean()

    apart = [by_document("resonance-yarn", seed) - by_document("yarn", seed) for seed in (0, 1)]
    assert case.value == pytest.approx(np.mean(apart), abs=1e-5)
    assert case.low <= case.value <= case.high
    assert found("resonance/tuning-gains", *experiments(study)).verdict == "reproduced"
    assert found("resonance/perplexity-below-ntk", *experiments(study)).verdict == "reproduced"
    assert found("resonance/perplexity-below-dynamic-ntk", *experiments(study)).verdict == "not tried"


def test_files_and_the_command(study, tmp_path):
    findings = evaluate(CLAIMS, experiments(study))
    write_scorecard(findings, tmp_path / "card", {"mine": "measured: finetune"})
    held = json.loads((tmp_path / "card/scorecard.json").read_text())
    assert sum(sum(verdicts.values()) for verdicts in held["counts"].values()) == len(held["findings"]) == len(findings)
    assert held["counts"] == counts(findings)
    numbers = Scores.read(tmp_path / "card/scores.json")
    assert numbers.one(claim="resonance/posgen-pairs").value == 9
    assert numbers.one(quantity="measured not tried").value == held["counts"]["measured"]["not tried"]
    tried = numbers.one(claim="resonance/perplexity-below-yarn", report="mine/finetune/mine")
    assert tried.low <= tried.value <= tried.high
    told = (tmp_path / "card/scorecard.md").read_text().splitlines()
    assert sum(line.startswith("| ") for line in told) == len(findings) + 2 * len(PAPERS), "a row each, under two"
    page = (tmp_path / "card/scorecard.html").read_text()
    assert "Tuned alike, Resonance YaRN has a lower perplexity" in page
    assert "rope-resonance-yarn/regime-reference/" in page, "a number names its place"
    row = next(one for one in held["findings"] if one["id"] == "resonance/perplexity-below-yarn")
    keys = {"id", "class", "verdict", "value", "low", "high", "detectable", "competence", "scale"}
    assert keys | {"n_documents", "n_seeds", "n_models"} <= set(row)
    assert (row["class"], row["study"], row["n_documents"], row["n_seeds"]) == ("measured", "mine", 8, 2)
    assert row["detectable"] > 0
    result = CliRunner().invoke(app, ["scorecard", str(study), "--json"])
    assert json.loads(result.output)["counts"] == held["counts"]
    assert "computed: " in CliRunner().invoke(app, ["scorecard", str(study)]).output


def test_a_study_that_is_missing_or_old_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no such folder; expected the results of a study"):
        experiments(tmp_path / "none")
    place = tmp_path / "old/reports/scaling/e"
    place.mkdir(parents=True)
    (place / "scores.json").write_text("{}")
    with pytest.raises(UserError, match=r"scores\.json is damaged or of another version"):
        experiments(tmp_path / "old")


def test_a_report_that_the_study_has_no_more_is_no_part_of_it(study):
    [one] = experiments(study)
    try:
        for named, left in ((["finetune/mine"], [one.file]), (["finetune/other"], [])):
            (study / "study.json").write_text(json.dumps({"config": {}, "reports": named}))
            assert [each.file for each in experiments(study)] == left
    finally:
        (study / "study.json").unlink()
