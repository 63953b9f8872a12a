from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ropewalk.cli import app
from ropewalk.errors import UserError
from ropewalk.reading.nll_file import write_nll
from ropewalk.report.finetune import Tuned, write_report
from ropewalk.report.scorecard import CLAIMS, PAPERS, counts, evaluate, experiments, write_scorecard
from ropewalk.report.scorecard.claim import ANY, Claim, Evidence, Experiment, Finding, above, below, between, equal
from ropewalk.rope import default_rope, methods

BY_ID = {claim.id: claim for claim in CLAIMS}


def found(name, experiment=None):
    """The only finding on a claim."""
    (finding,) = evaluate([BY_ID[name]], [experiment] if experiment else [])
    return finding


def experiment(stage, scores):
    return Experiment("study", stage, "e", f"{stage}/e/report/scores.json", scores)


def test_every_claim_is_whole():
    assert len(CLAIMS) >= 25
    assert len(BY_ID) == len(CLAIMS), "names differ"
    assert {claim.paper for claim in CLAIMS} == set(PAPERS)
    for claim in CLAIMS:
        assert claim.sentence.endswith(".")
        assert claim.scale
        assert claim.quantity


@pytest.mark.parametrize(
    ("region", "bounds", "verdict"),
    [
        (above(0), (0.1, 0.2), "reproduced"),
        (above(0), (-0.1, 0.2), "undecided"),
        (above(0), (-0.2, -0.1), "not reproduced"),
        (above(0), (0.0, 0.0), "not reproduced"),
        (below(0), (-0.2, -0.1), "reproduced"),
        (between(0.75, 1.25), (0.75, 1.25), "reproduced"),
        (between(0.75, 1.25), (1.2, 1.3), "undecided"),
        (between(0.75, 1.25), (1.26, 1.3), "not reproduced"),
        (between(0.75, 1.25), (1.2, math.inf), "undecided"),
        (between(0.75, 1.25), (math.nan, math.nan), "undecided"),
        (equal(92), (92, 92), "reproduced"),
    ],
)
def test_the_verdict_is_where_the_whole_interval_lies(region, bounds, verdict):
    claim = Claim("resonance/x", "", "X.", "", region, ANY, None, list)
    middle = sum(bounds) / 2
    assert Finding(claim, None, (Evidence(middle, *bounds),)).verdict == verdict


def test_a_claim_about_several_cases_needs_them_all_and_shows_the_one_that_decides():
    claim = Claim("resonance/x", "", "X.", "", below(0), ANY, None, list)
    good, open_, bad = Evidence(-1, -2, -0.5, "a"), Evidence(-0.1, -0.3, 0.1, "b"), Evidence(0.2, 0.1, 0.3, "c")
    assert Finding(claim, None, (good, good)).verdict == "reproduced"
    assert (Finding(claim, None, (good, open_)).verdict, Finding(claim, None, (good, open_)).decisive) == (
        "undecided",
        open_,
    )
    assert Finding(claim, None, (good, open_, bad)).decisive is bad
    assert Finding(claim, None, (good, open_, bad)).verdict == "not reproduced"
    assert Finding(claim, None, ()).verdict == "not tried"


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        # Figures of the papers, and closed forms worked out apart from this code.
        ("resonance/most-pairs", 46 / 64, "reproduced"),
        ("resonance/no-common-period", 7.058, "reproduced"),
        ("resonance/posgen-pairs", 9, "not reproduced"),
        ("resonance/splits-differ", 1.0, "not reproduced"),
        ("resonance/zero-gap", 0.0, "reproduced"),
        ("resonance/gap-without", 0.642, "reproduced"),
        ("resonance/gap-of-yarn", 3.330 - 3.846, "reproduced"),
        ("scaling-laws/critical-dimension", 92, "reproduced"),
        ("scaling-laws/code-llama", 970_497, "reproduced"),
        ("scaling-laws/million-base", 129_027, "reproduced"),
        ("scaling-laws/fixed-point", 4711.7 / 4096, "not reproduced"),
        ("scaling-laws/updated-dimension", 134, "not reproduced"),
        ("scaling-laws/covered-angles", (2 * 4096 / math.pi) ** (1 / 64), "not reproduced"),
        ("resonance/table-2-7b-32k", 1.00, "undecided"),
        ("resonance/table-2-7b-4k", 0.97, "undecided"),
        ("resonance/table-2-13b-16k", 0.17, "undecided"),
        ("resonance/table-2-13b-4k", 0.81, "undecided"),
    ],
)
def test_what_is_computed_agrees_with_the_papers_and_with_closed_forms(name, value, verdict):
    finding = found(name)
    assert finding.verdict == verdict
    assert finding.decisive.value == pytest.approx(value, abs=0.01, rel=2e-3)


def test_the_sampling_error_of_a_published_average_is_about_one_and_a_half_points():
    case = found("resonance/table-2-7b-32k").decisive
    assert (case.high - case.value) / 1.96 / math.sqrt(2) == pytest.approx(1.5, abs=0.15)


def posgen_scores(resonance, **setting):
    plain = {"by_seed": [0.30, 0.35, 0.28, 0.33, 0.31]}
    noise = (0, 1e-3, -1e-3, 0, 0)
    other = {"by_seed": [a + resonance + b for a, b in zip(plain["by_seed"], noise, strict=True)]}
    tasks = {"chain-of-thought": {"rope": {"ood_accuracy": plain}, "resonance": {"ood_accuracy": other}}}
    about = {"layers": 2, "hidden_size": 64, "steps": 300, "batch_size": 24, "modulus": 7}
    about |= {"train_length": 32, "test_length": 128, "seeds": 5} | setting
    ropes = {
        "rope": {"recipe": "default", "swapped": False},
        "resonance": {"recipe": "resonance", "swapped": False},
    }
    return {"setting": about, "ropes": ropes, **tasks}


@pytest.mark.parametrize(("gain", "verdict"), [(0.05, "reproduced"), (-0.05, "not reproduced"), (0.0, "undecided")])
def test_ropes_of_posgen_are_paired_by_seed(gain, verdict):
    finding = found("resonance/posgen-chain-of-thought", experiment("posgen", posgen_scores(gain)))
    assert finding.verdict == verdict
    assert finding.decisive.value == pytest.approx(100 * gain, abs=0.05)
    assert "2 layers of width 64" in finding.experiment.scale


def test_cells_of_table_1_are_tried_at_the_scale_of_the_paper_only():
    name = "resonance/table-1-resonance-rope-chain-of-thought"
    assert found(name, experiment("posgen", posgen_scores(0.43))).verdict == "not tried"
    paper = {"hidden_size": 512, "modulus": 17, "train_length": 64, "test_length": 256, "steps": 11_850}
    finding = found(name, experiment("posgen", posgen_scores(0.44, **paper)))
    assert finding.verdict == "reproduced", "75.25 %, within ten points"


def scaling_scores(limit=400.0, decay=0.1):
    base = {"regime": "hard wall", "new_base": 1e5, "tune_length": 128.0, "log_scaling": 0.0, "predicted": 329.0}
    slope = {"original": 0.0, "bases": 3.0, "tune_length": 128.0, "value": 0.36, "discrete": 0.344}
    slope |= {"low": 0.33, "high": 0.39, "documents_low": 0.35, "documents_high": 0.37}
    small = {"new_base": 40.0, "smaller": 20.0, "difference": decay}
    small |= {"difference_low": decay - 0.02, "difference_high": decay + 0.02}
    return {
        "setting": {"rotary_dim": 64, "train_length": 128, "longest": 2048, "documents": 12},
        "bases": {"b": base | {"limit": limit, "widest_low": limit - 20, "widest_high": limit + 20}},
        "slopes": {"s": slope},
        "small_bases": {"b": small},
        "against_original": {},
        "tuning": {},
        "log_scaling": {},
    }


def test_walls_slopes_and_small_bases():
    scores = experiment("scaling", scaling_scores(350.0))
    assert found("scaling-laws/walls", scores).decisive.value == pytest.approx(350 / 329)
    assert found("scaling-laws/walls", scores).verdict == "reproduced"
    assert found("scaling-laws/walls", experiment("scaling", scaling_scores(600.0))).verdict == "not reproduced"
    assert found("scaling-laws/slope", scores).verdict == "reproduced"
    assert found("scaling-laws/smaller-is-flatter", scores).verdict == "reproduced"
    assert found("scaling-laws/smaller-is-flatter", experiment("scaling", scaling_scores(decay=-0.1))).verdict == (
        "not reproduced"
    )
    assert found("scaling-laws/wall-stays", scores).verdict == "not tried"
    few = scaling_scores()
    few["setting"]["documents"] = 5
    assert found("scaling-laws/walls", experiment("scaling", few)).verdict == "undecided"


def test_a_wall_that_was_never_met_is_beyond_the_law():
    scores = scaling_scores()
    del scores["bases"]["b"]["limit"], scores["bases"]["b"]["widest_high"]
    scores["bases"]["b"]["widest_low"] = 2000.0
    finding = found("scaling-laws/walls", experiment("scaling", scores))
    assert finding.verdict == "not reproduced"
    assert math.isinf(finding.decisive.value)


def test_what_was_found_against_what_is_made_by_hand():
    row = {"found": 1.0, "objective": -1.0, "objective_low": -1.2, "objective_high": -0.8}
    best = row | {"difference": -0.5, "difference_low": -0.7, "difference_high": -0.3}
    none = {"found": 0.0, "objective": 1.0, "objective_low": 0.9, "objective_high": 1.1}
    ranks = {"standings": {"gp/ramp": best, "sobol/ramp": row, "none": none}}
    scores = experiment("search", {"setting": {"train_length": 128, "documents": 18}, "4x": ranks})
    assert found("orope/beats-hand-made-4x", scores).verdict == "reproduced"
    assert found("orope/beats-hand-made-8x", scores).verdict == "not tried"
    apart = found("orope/reads-longer", scores).decisive
    assert (apart.low, apart.high) == (pytest.approx(-2.3), pytest.approx(-1.7))


def leval_scores(**setting):
    pair = {"difference": 3.0, "difference_low": 1.0, "difference_high": 5.0}
    subject = {"average": {"strict": 40.0}}
    return {
        "setting": {"pocket": False, "train_length": 4096, "tasks": 6} | setting,
        "subjects": {
            "yarn": {"recipe": "yarn", "tuned_at": 4096},
            "res": {"recipe": "yarn+resonance", "tuned_at": 4096},
            "plain": {"recipe": "yarn", "tuned_at": None},
        },
        "averages": {"res_less_yarn": pair},
        "yarn": subject,
        "res": subject,
        "plain": subject,
    }


def test_leval_counts_only_where_a_model_can_answer_its_questions():
    finding = found("resonance/leval-above-yarn", experiment("leval", leval_scores()))
    assert (finding.verdict, finding.decisive.where) == ("reproduced", "res less yarn")
    assert found("resonance/leval-above-yarn", experiment("leval", leval_scores(pocket=True))).verdict == "not tried"
    unable = leval_scores() | {"yarn": {"average": {"strict": 0.0}}, "res": {"average": {"strict": 0.0}}}
    assert found("resonance/leval-above-yarn", experiment("leval", unable)).verdict == "not tried"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study whose models were tuned: two ropes, two seeds, eight documents whose NLL lies in files."""
    folder = tmp_path_factory.mktemp("studies") / "mine"
    yarn = methods.yarn(default_rope(8, 10_000.0, 32), factor=2)
    ropes = {
        "yarn": yarn,
        "resonance-yarn": methods.resonance(yarn),
        "ntk": methods.ntk(default_rope(8, 10_000.0, 32), factor=2),
    }
    rng = np.random.default_rng(0)
    document = rng.normal(0, 0.3, 8)

    def measure(name, rope, level):
        frames = [
            pd.DataFrame(
                {
                    "corpus": "books",
                    "document": f"d{d}",
                    "position": np.arange(1, 64, dtype=np.int32),
                    "nll": (level + document[d] + rng.normal(0, 0.01, 63)).astype(np.float32),
                    "pass_length": np.int32(64),
                }
            )
            for d in range(8)
        ]
        place = folder / name
        place.mkdir(parents=True)
        write_nll(place / "nll.parquet", pd.concat(frames, ignore_index=True), {"rope": rope.to_json()})
        return place

    untuned = {name: measure(f"untuned/{name}", rope, 3.0) for name, rope in ropes.items()}
    levels = {"yarn": 2.0, "resonance-yarn": 2.1}
    tuned = [
        Tuned(name, "long", seed, measure(f"tuned/{name}-{seed}", ropes[name], level + seed / 1000))
        for name, level in levels.items()
        for seed in (0, 1)
    ]
    report = folder / "finetune/mine/report"
    write_report(untuned, tuned, lengths=[32, 64], confidence=0.95, folder=report)
    return folder


def test_a_row_is_what_its_files_of_nll_say(study):
    finding = found("resonance/perplexity-below-yarn", *experiments(study))
    assert finding.verdict == "not reproduced"
    case = finding.decisive
    length = int(case.key.split("/")[2])

    def by_document(name, seed):
        rows = pd.read_parquet(study / f"tuned/{name}-{seed}/nll.parquet")
        return rows[rows["position"] < length].groupby("document")["nll"].mean()

    apart = [by_document("resonance-yarn", seed) - by_document("yarn", seed) for seed in (0, 1)]
    assert case.value == pytest.approx(np.mean(apart), abs=1e-5)
    assert case.low <= case.value <= case.high
    assert case.key == f"long/resonance-yarn/{length}/difference"
    assert found("resonance/tuning-gains", *experiments(study)).verdict == "reproduced"
    assert found("resonance/perplexity-below-ntk", *experiments(study)).verdict == "reproduced"
    assert found("resonance/perplexity-below-dynamic-ntk", *experiments(study)).verdict == "not tried"


def test_files_and_the_command(study, tmp_path):
    findings = evaluate(CLAIMS, experiments(study))
    write_scorecard(findings, tmp_path / "card", {"mine": "measured: finetune"})
    held = json.loads((tmp_path / "card/scorecard.json").read_text())
    assert sum(held["counts"].values()) == len(held["findings"]) == len(findings)
    assert held["counts"] == counts(findings)
    numbers = json.loads((tmp_path / "card/scores.json").read_text())
    assert numbers["resonance/posgen-pairs"] == {"value": 9, "low": 9, "high": 9}
    page = (tmp_path / "card/scorecard.html").read_text()
    assert "Tuned alike, Resonance YaRN has a lower perplexity" in page
    assert "long/resonance-yarn/" in page, "a number names its place"
    result = CliRunner().invoke(app, ["scorecard", str(study), "--json"])
    assert json.loads(result.output)["counts"] == held["counts"]
    assert "claims:" in CliRunner().invoke(app, ["scorecard", str(study)]).output


def test_a_study_that_is_missing_or_old_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no such folder; expected the results of a study"):
        experiments(tmp_path / "none")
    place = tmp_path / "old/scaling/e/report"
    place.mkdir(parents=True)
    (place / "scores.json").write_text("{}")
    with pytest.raises(UserError, match=r"scores\.json has no `setting`; it is of an older version"):
        experiments(tmp_path / "old")
