from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import chain

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
from ropewalk.report.scorecard.claim import ANY, Claim, Evidence, Experiment, Finding, above, below, between, equal
from ropewalk.rope import default_rope, methods
from ropewalk.scores import Score, Scores, metric_name, number_rows, table_rows

BY_ID = {claim.id: claim for claim in CLAIMS}


def found(name, experiment=None):
    """The only finding on a claim."""
    (finding,) = evaluate([BY_ID[name]], [experiment] if experiment else [])
    return finding


def experiment(stage, setting, *rows):
    """An experiment from its setting and from iterables of rows."""
    about = {"stage": stage, "experiment": "e", "confidence": 0.95} | setting
    return Experiment("study", f"reports/{stage}/e/scores.json", Scores(about, tuple(chain.from_iterable(rows))))


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


def posgen(resonance, name="resonance", **setting):
    """Two ropes on one task, of which Resonance is that much better; ``name`` is what it is called."""
    plain, noise = [0.30, 0.35, 0.28, 0.33, 0.31], [0, 1e-3, -1e-3, 0, 0]
    values = {"rope": plain, name: [a + resonance + b for a, b in zip(plain, noise, strict=True)]}
    rows = [
        Score(quantity="ood_accuracy", value=value, task="chain-of-thought", rope=rope, seed=seed)
        for rope, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]
    about = {"layers": 2, "hidden_size": 64, "steps": 300, "batch_size": 24, "modulus": 7}
    about |= {"train_length": 32, "test_length": 128, "seeds": 5} | setting
    recipes = {"rope": "default", name: "resonance"}
    about["ropes"] = [{"rope": rope, "recipe": recipe, "swapped": False} for rope, recipe in recipes.items()]
    return experiment("posgen", about, rows)


@pytest.mark.parametrize(("gain", "verdict"), [(0.05, "reproduced"), (-0.05, "not reproduced"), (0.0, "undecided")])
def test_ropes_of_posgen_are_paired_by_seed(gain, verdict):
    finding = found("resonance/posgen-chain-of-thought", posgen(gain))
    assert finding.verdict == verdict
    assert finding.decisive.value == pytest.approx(100 * gain, abs=0.05)
    assert "2 layers of width 64" in finding.experiment.scale


def test_cells_of_table_1_are_tried_at_the_scale_of_the_paper_only():
    name = "resonance/table-1-resonance-rope-chain-of-thought"
    assert found(name, posgen(0.43)).verdict == "not tried"
    paper = {"hidden_size": 512, "modulus": 17, "train_length": 64, "test_length": 256, "steps": 11_850}
    finding = found(name, posgen(0.44, **paper))
    assert finding.verdict == "reproduced", "75.25 %, within ten points"


def test_an_interval_has_the_confidence_of_its_experiment():
    wide, narrow = (
        found("resonance/posgen-chain-of-thought", posgen(0.05, confidence=confidence)).decisive
        for confidence in (0.95, 0.5)
    )
    # Student's t of four degrees of freedom.
    assert (wide.high - wide.value) / (narrow.high - narrow.value) == pytest.approx(2.7764 / 0.7407, rel=1e-3)


def scaling(limit=400.0, decay=0.1, documents=12, ends=None):
    """A wall, a slope and two small bases."""
    base = {"base": 1e5, "tune_length": 128, "steps": 300, "regime": "hard wall"}
    line = {"tune_length": 128, "steps": 300, "n_bases": 3}
    small = {"base": 40.0, "against_base": 20.0, "tune_length": 128, "steps": 300}
    return experiment(
        "scaling",
        {"rotary_dim": 64, "train_length": 128, "longest": 2048, "documents": documents},
        number_rows("limit", limit, intervals={"documents": ends or (limit - 20, limit + 20)}, **base),
        number_rows("predicted_limit", 329.0, law="discrete", **base),
        number_rows("slope", 0.36, intervals={"bases": (0.33, 0.39), "documents": (0.35, 0.37)}, **line),
        number_rows("predicted_slope", 0.344, law="discrete", **line),
        number_rows(
            "far_degradation_less_smaller", decay, intervals={"documents": (decay - 0.02, decay + 0.02)}, **small
        ),
    )


def test_walls_slopes_and_small_bases():
    scores = scaling(350.0)
    assert found("scaling-laws/walls", scores).decisive.value == pytest.approx(350 / 329)
    assert found("scaling-laws/walls", scores).verdict == "reproduced"
    assert found("scaling-laws/walls", scaling(600.0)).verdict == "not reproduced"
    assert found("scaling-laws/slope", scores).verdict == "reproduced"
    assert found("scaling-laws/smaller-is-flatter", scores).verdict == "reproduced"
    assert found("scaling-laws/smaller-is-flatter", scaling(decay=-0.1)).verdict == "not reproduced"
    assert found("scaling-laws/wall-stays", scores).verdict == "not tried"
    assert found("scaling-laws/walls", scaling(600.0, documents=5)).verdict == "undecided"


def test_a_wall_that_was_never_met_is_beyond_the_law():
    finding = found("scaling-laws/walls", scaling(math.inf, ends=(2000.0, math.inf)))
    assert finding.verdict == "not reproduced"
    assert math.isinf(finding.decisive.value)


def test_what_was_found_against_what_is_made_by_hand():
    own = {"objective": -1.0, "objective_low": -1.2, "objective_high": -0.8}
    own |= {"difference": -0.5, "difference_low": -0.7, "difference_high": -0.3}
    none = {"objective": 1.0, "objective_low": 0.9, "objective_high": 1.1}
    over = {"over": "documents", "confidence": 0.95, "factor": 4.0}
    scores = experiment(
        "search",
        {"train_length": 128, "documents": 18},
        table_rows(own, "objective", "difference", method="gp/ramp", n_seeds=2, **over),
        table_rows(own, "objective", method="sobol/ramp", n_seeds=2, **over),
        table_rows(none, "objective", method="none", **over),
    )
    assert found("orope/beats-hand-made-4x", scores).verdict == "reproduced"
    assert found("orope/beats-hand-made-8x", scores).verdict == "not tried"
    apart = found("orope/reads-longer", scores).decisive
    assert (apart.low, apart.high) == (pytest.approx(-2.3), pytest.approx(-1.7))


def leval(average=40.0, **setting):
    """Two tuned models and one that is not."""
    models = {"yarn": ("yarn", 4096), "res": ("yarn+resonance", 4096), "plain": ("yarn", None)}
    about = {"pocket": False, "train_length": 4096, "tasks": 6} | setting
    about["models"] = [{"model": name, "recipe": recipe, "tuned_at": at} for name, (recipe, at) in models.items()]
    names = {"task": "average", "scoring": "parity", "model": "res", "against": "yarn"}
    strict = [Score(quantity="score", value=average, task="average", scoring="strict", model=name) for name in models]
    return experiment(
        "leval", about, strict, number_rows("difference", 3.0, intervals={"documents": (1.0, 5.0)}, **names)
    )


def test_leval_counts_only_where_a_model_can_answer_its_questions():
    finding = found("resonance/leval-above-yarn", leval())
    assert (finding.verdict, finding.decisive.where) == ("reproduced", "res less yarn")
    assert found("resonance/leval-above-yarn", leval(pocket=True)).verdict == "not tried"
    assert found("resonance/leval-above-yarn", leval(average=0.0)).verdict == "not tried"


def test_names_that_people_give_are_no_keys():
    finding = found("resonance/posgen-chain-of-thought", posgen(0.05, name="setting"))
    assert (finding.verdict, finding.decisive.where) == ("reproduced", "setting less rope")


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
                    "nll": (level + document[d] + rng.normal(0, 0.01, 63)).astype(np.float32),
                    "pass_length": np.int32(64),
                }
            )
            for d in range(8)
        ]
        place = folder / name
        place.mkdir(parents=True)
        write_nll(
            place / "nll.parquet", pd.concat(frames, ignore_index=True), {"rope": rope.to_json(), "columns": columns}
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


def test_a_row_is_what_its_files_of_nll_say(study):
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
    assert sum(held["counts"].values()) == len(held["findings"]) == len(findings)
    assert held["counts"] == counts(findings)
    numbers = Scores.read(tmp_path / "card/scores.json")
    assert numbers.one(claim="resonance/posgen-pairs").value == 9
    assert numbers.one(quantity="not tried").value == held["counts"]["not tried"]
    tried = numbers.one(claim="resonance/perplexity-below-yarn", report="mine/finetune/mine")
    assert tried.low <= tried.value <= tried.high
    page = (tmp_path / "card/scorecard.html").read_text()
    assert "Tuned alike, Resonance YaRN has a lower perplexity" in page
    assert "rope-resonance-yarn/regime-reference/" in page, "a number names its place"
    result = CliRunner().invoke(app, ["scorecard", str(study), "--json"])
    assert json.loads(result.output)["counts"] == held["counts"]
    assert "claims:" in CliRunner().invoke(app, ["scorecard", str(study)]).output


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
