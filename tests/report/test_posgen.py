from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from ropewalk.errors import UserError
from ropewalk.options import plain
from ropewalk.posgen.options import PosGenOptions
from ropewalk.posgen.results import summary
from ropewalk.report.options import ReportOptions
from ropewalk.report.posgen import (
    ScoredTask,
    accuracy_table,
    counterpart,
    feature_gaps,
    gap_correlation,
    seed_accuracies,
    write_report,
)
from ropewalk.report.scorecard import evaluate
from ropewalk.report.scorecard.claim import Experiment
from ropewalk.report.scorecard.resonance_posgen import CLAIMS
from ropewalk.rope import default_rope
from ropewalk.rope.methods import apply
from ropewalk.scores import Scores

ORIGINAL = default_rope(64, 10000.0, 64)
YARN = {"factor": 4.0, "alpha": 1.0, "beta": 2.0, "mixing": "wavelength"}
ROPES = {
    "rope": ("rope", apply(ORIGINAL, "default")),
    "resonance": ("resonance", apply(ORIGINAL, "resonance")),
    "yarn": ("yarn", apply(ORIGINAL, "yarn_written", **YARN)),
    "resonance-yarn": ("resonance-yarn", apply(apply(ORIGINAL, "yarn_written", **YARN), "resonance")),
    "yarn-swapped": ("rope", apply(ORIGINAL, "yarn_written", **YARN)),
    "resonance-yarn-swapped": ("resonance", apply(apply(ORIGINAL, "yarn_written", **YARN), "resonance")),
    "resonance-swapped": ("rope", apply(ORIGINAL, "resonance")),
    "pi": ("rope", apply(ORIGINAL, "pi", factor=4.0)),
}
SEEDS = [1, 2, 3, 4, 5]
OPTIONS = ReportOptions(experiment="mine", confidence=0.95)


def scored(folder, kind: str, level: float, ropes=ROPES, unable=()):
    """A folder of `posgen score` with made-up accuracies: 0.97 in training, then level + rope / 50 + seed / 100.

    Models of `unable` (rope of training and seed) reach 0.9 in training, and nothing beyond it.
    """
    folder.mkdir(parents=True)
    about = {
        "training": {
            "kind": kind,
            "options": plain(PosGenOptions(hidden_size=8, steps=5, batch_size=2, seeds=tuple(SEEDS))),
            "data": {"test_in_train": 0},
        },
        "ropes": {name: {"weights": weights, "rope": rope.to_json()} for name, (weights, rope) in ropes.items()},
        "brief": ["pi"],
    }
    (folder / "scoring.json").write_text(json.dumps(about))
    position = np.arange(4, 256)
    frames, lines = [], []
    noise = np.random.default_rng(0)
    for i, name in enumerate(ropes):
        for seed in SEEDS:
            able = (ropes[name][0], seed) not in unable
            beyond = able * (level + i / 50 + seed / 100 + noise.normal(0, 0.002))
            accuracy = np.where(position < 64, 0.97 if able else 0.9, beyond)
            written = np.where(position < 64, np.nan, beyond / 2) if name != "pi" else np.nan
            row = {"rope": name, "weights": ropes[name][0], "seed": seed, "position": position}
            frames.append(pd.DataFrame({**row, "accuracy": accuracy, "loss": 1.0, "generated_accuracy": written}))
    for step in (10, 20):
        losses = {f"{name}/{seed}/validation_loss": 1 / step + seed for name in ropes if name != "pi" for seed in SEEDS}
        lines.append(json.dumps({"step": step, "time": 0.0, **losses}))
    table = pd.concat(frames, ignore_index=True)
    table.to_parquet(folder / "accuracy.parquet")
    (folder / "validation.jsonl").write_text("\n".join(lines))
    summary(table, 64).write(folder / "scores.json")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    kinds = {"chain-of-thought": 0.4, "recursive": 0.3, "semi-recursive": 0.1}
    return [scored(folder / kind, kind, level) for kind, level in kinds.items()]


def test_a_report_is_written_whole(folders, tmp_path):
    write_report(folders, OPTIONS, tmp_path / "report")
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {
        *("accuracy.csv", "accuracy.html", "accuracy.png", "feature_gap.csv", "feature_gap.html"),
        *("positions.png", "validation.png", "scores.json"),
    }
    for picture in ("accuracy.png", "positions.png", "validation.png"):
        width, height = Image.open(tmp_path / "report" / picture).size
        assert width > 600
        assert height > 300
    page = (tmp_path / "report/accuracy.html").read_text()
    assert page.index("Recursive") < page.index("Chain of thought") < page.index("Semi-recursive")
    assert "95.93" in page, "the published table stands beside"
    assert "in models trained with resonance" in page
    scores = Scores.read(tmp_path / "report/scores.json")
    own = {"task": "recursive", "quantity": "ood_accuracy"}
    assert scores.one(**own, rope="rope", seed=None).value == pytest.approx(0.33, abs=0.01)
    assert scores.one(**own, rope="rope", seed=3).value == pytest.approx(0.33, abs=0.01)
    gain = scores.one(task="recursive", quantity="ood_accuracy_difference", rope="yarn", against="rope")
    assert (gain.value, gain.over) == (pytest.approx(0.04, abs=0.01), "seeds")


def test_means_deviations_and_paired_intervals(folders):
    task = ScoredTask.open(folders[1])
    table = accuracy_table([task], confidence=0.9).set_index(["rope", "quantity"])
    rows = task.rows[task.rows["position"] >= 64]
    means = {name: rows[rows["rope"] == name].groupby("seed")["accuracy"].mean() for name in ROPES}
    row = table.loc[("resonance-yarn", "ood_accuracy")]
    assert row["mean"] == pytest.approx(means["resonance-yarn"].mean())
    assert row["sd"] == pytest.approx(means["resonance-yarn"].std())
    paired = stats.ttest_rel(means["resonance-yarn"], means["yarn"]).confidence_interval(0.9)
    assert (row["models"], row["seeds"], row["pairs"]) == (5, 5, 5)
    assert (row["low"], row["high"]) == pytest.approx((paired.low, paired.high))
    assert (row["against"], row["better"]) == ("yarn", "yes")
    assert table.loc[("resonance-yarn", "id_accuracy"), "better"] == "open", "no difference at all decides nothing"
    assert row["chance"] == pytest.approx(stats.ttest_rel(means["resonance-yarn"], means["yarn"]).pvalue)
    assert table.loc[("yarn", "id_accuracy"), "mean"] == pytest.approx(0.97)
    assert table.loc[("yarn", "ood_less_id"), "mean"] == pytest.approx(means["yarn"].mean() - 0.97)
    assert table.loc[("yarn", "generated_ood_accuracy"), "mean"] == pytest.approx(means["yarn"].mean() / 2)
    assert ("pi", "generated_ood_accuracy") not in table.index


def test_a_model_that_has_not_learned_its_task_does_not_count(tmp_path):
    unable = {("rope", 2), *(("yarn", seed) for seed in SEEDS), *(("resonance-yarn", seed) for seed in SEEDS[1:])}
    task = ScoredTask.open(scored(tmp_path / "recursive", "recursive", 0.3, unable=unable))
    table = accuracy_table([task]).set_index(["rope", "quantity"])
    ood = table.xs("ood_accuracy", level="quantity")
    assert ood["seeds"].to_dict() == {
        "rope": 4,
        "resonance": 5,
        "yarn": 0,
        "resonance-yarn": 1,
        "yarn-swapped": 4,
        "resonance-yarn-swapped": 5,
        "resonance-swapped": 4,
        "pi": 4,
    }
    assert ood.loc["rope", "mean"] == pytest.approx(0.3 + np.mean([1, 3, 4, 5]) / 100, abs=0.003)
    assert ood.loc["resonance", "difference"] == pytest.approx(0.02, abs=0.003), (
        "over the four seeds of which both count"
    )
    assert ood.loc["resonance", "pairs"] == 4
    assert ood.loc["yarn", "mean"] == 0, "of all models, since none counts"
    assert ood.loc[["yarn", "resonance-yarn"], "better"].isna().all()
    write_report([tmp_path / "recursive"], OPTIONS, tmp_path / "report")
    page = (tmp_path / "report/accuracy.html").read_text()
    assert "recursive: 4 of 5 with rope, 5 of 5 with resonance, 0 of 5 with yarn, 1 of 5 with resonance-yarn" in page
    assert "(4 of 5)" in page
    scores = Scores.read(tmp_path / "report/scores.json")
    assert scores.one(quantity="competence", task="recursive", rope="yarn-swapped", seed=2).value == pytest.approx(0.9)
    assert scores.setting["competence_needed"] == 0.95


def test_where_no_model_has_learned_its_task_nothing_is_compared(tmp_path):
    unable = {(rope, seed) for rope in ROPES for seed in SEEDS}
    folder = scored(tmp_path / "recursive", "recursive", 0.3, unable=unable)
    write_report([folder], OPTIONS, tmp_path / "report")
    scores = Scores.read(tmp_path / "report/scores.json")
    assert not scores.select(quantity="ood_accuracy_difference")
    assert scores.one(quantity="id_accuracy", rope="rope", seed=None).value == pytest.approx(0.9), "the mean of all"
    assert scores.one(quantity="id_accuracy", rope="rope", seed=None).n_seeds == 0
    found = evaluate(CLAIMS, [Experiment("study", "reports/posgen/mine/scores.json", scores)])
    verdicts = {one.verdict for one in found if one.experiment is not None}
    assert verdicts == {"no verdict"}


def test_comparisons_of_a_page_are_corrected_together(tmp_path):
    """Holm by hand on p values that scipy gives: the smallest against 5 % over their number, and so on."""
    task = ScoredTask.open(scored(tmp_path / "recursive", "recursive", 0.3))
    table = accuracy_table([task]).query("quantity == 'generated_ood_accuracy'").dropna(subset="chance")
    values = seed_accuracies(task, "generated_ood_accuracy")
    pairs = zip(table["rope"], table["against"], strict=True)
    chances = [stats.ttest_rel(values[one], values[other]).pvalue for one, other in pairs]
    assert table["chance"].to_list() == pytest.approx(chances)
    order = np.argsort(chances)
    falls = np.cumprod([chances[k] <= 0.05 / (len(chances) - i) for i, k in enumerate(order)]).astype(bool)
    expected = {table["rope"].iloc[k]: fall for k, fall in zip(order, falls, strict=True)}
    assert dict(zip(table["rope"], table["better"] != "open", strict=True)) == expected


def test_the_gap_and_the_accuracy_are_ranked_within_each_seed(folders):
    task = ScoredTask.open(folders[0])
    # With this one rope seed 3 loses what it learned within the training length.
    lost = [replace(row, value=0.5) if (row.quantity, row.rope, row.seed) == ("id_accuracy", "pi", 3) else row
            for row in task.scores.rows]  # fmt: skip
    task = replace(task, scores=replace(task.scores, rows=tuple(lost)))
    gaps, accuracy = feature_gaps(task)["sum over them"], seed_accuracies(task, "ood_accuracy")
    each = []
    for seed in SEEDS:
        names = [name for name in ROPES if (name, seed) != ("pi", 3)]
        each.append(stats.spearmanr(gaps[names], accuracy.loc[seed, names]).statistic)
    found = gap_correlation(task, feature_gaps(task))
    assert found.mean == pytest.approx(np.mean(each))
    assert found.count == 5


def test_resonance_is_compared_with_the_same_rope_without_it(folders):
    task = ScoredTask.open(folders[0])
    partners = {name: counterpart(task, name) for name in ROPES}
    assert partners == {
        "rope": None,
        "resonance": "rope",
        "yarn": "rope",
        "resonance-yarn": "yarn",
        "yarn-swapped": "rope",
        "resonance-yarn-swapped": "yarn-swapped",
        "resonance-swapped": "rope",
        "pi": "rope",
    }


def test_feature_gaps_are_those_of_the_paper_for_its_geometry(folders):
    gaps = feature_gaps(ScoredTask.open(folders[0]))
    assert gaps.loc["rope", "pre-critical pairs"] == 9
    assert gaps.loc["rope", "sum over them"] == pytest.approx(0.642, abs=5e-4)
    assert gaps.loc["resonance", "sum over them"] == pytest.approx(0, abs=1e-9)
    first = [0.0708, 0.0796, 0.0752, 0.1276, 0.1093, 0.0076, 0.0596, 0.0625, 0.0496, 0.758, 1.261]
    assert gaps.loc["rope", [f"pair {i}" for i in range(11)]].tolist() == pytest.approx(first, abs=5e-4)
    nine = [f"pair {i}" for i in range(9)]
    assert gaps.loc["yarn", nine].sum() == pytest.approx(3.846, abs=5e-3)
    assert gaps.loc["resonance-yarn", nine].sum() == pytest.approx(3.330, abs=5e-3)


def test_a_swapped_rope_is_held_against_the_turns_of_training(folders):
    """Scaled by four, position 4 n stands where n stood: multiples of four were seen, and the others are near."""
    gaps = feature_gaps(ScoredTask.open(folders[0]))
    slowest = ORIGINAL.inv_freq[-1]
    # The last position 255 lies 3/4 of a token beyond the last one in training, 63.
    assert gaps.loc["pi", "pair 31"] == pytest.approx(2 * np.sin(0.75 * slowest / 2), rel=1e-6)
    assert gaps.loc["rope", "pair 31"] == pytest.approx(2 * np.sin(192 * slowest / 2), rel=1e-6)


def test_partners_have_the_same_table(tmp_path):
    longer = default_rope(64, 10000.0, 257)
    ropes = {
        "rope": ("rope", apply(ORIGINAL, "default")),
        "yarn-64": ("rope", apply(ORIGINAL, "yarn", factor=4.0)),
        "yarn-257": ("rope", apply(longer, "yarn", factor=4.0)),
        "resonance-257": ("rope", apply(apply(longer, "yarn", factor=4.0), "resonance")),
    }
    task = ScoredTask.open(scored(tmp_path / "recursive", "recursive", 0.3, ropes))
    assert counterpart(task, "resonance-257") == "yarn-257"


def test_a_rope_without_a_validation_curve_is_left_out_of_that_figure_alone(tmp_path):
    folder = scored(tmp_path / "recursive", "recursive", 0.3)
    lines = [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if not key.startswith("yarn-swapped/")} for line in lines]
    (folder / "validation.jsonl").write_text("\n".join(map(json.dumps, kept)))
    write_report([folder], OPTIONS, tmp_path / "report")
    assert (tmp_path / "report/validation.png").is_file()
    (folder / "validation.jsonl").unlink()
    with pytest.raises(UserError, match=r"validation.jsonl is missing or holds no validation loss"):
        write_report([folder], OPTIONS, tmp_path / "again")


def test_what_does_not_fit_together_is_named(folders, tmp_path):
    with pytest.raises(UserError, match="a task comes twice"):
        write_report([folders[0], folders[0]], OPTIONS, tmp_path / "report")
    fewer = {name: rope for name, rope in ROPES.items() if name != "yarn-swapped"}
    other = scored(tmp_path / "other", "recursive", 0.3, fewer)
    with pytest.raises(UserError, match="'chain-of-thought' was scored with other ropes than 'recursive'"):
        write_report([folders[0], other], OPTIONS, tmp_path / "report")
    (other / "accuracy.parquet").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"accuracy.parquet is missing or damaged"):
        write_report([other], OPTIONS, tmp_path / "report")
    assert not (tmp_path / "report").exists()
