from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from ropewalk.report.scaling import scores, write_report
from ropewalk.report.scaling_page import sweep_html
from ropewalk.rope.theory import wall
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.sweep import read_sweep
from ropewalk.scores import Scores

OPTIONS = SweepOptions(experiment="mine", confidence=0.95, thresholds=(0.5, 2.0), perplexity_ratio=1.1)


def of(folders):
    """The readings of cells."""
    return [folder / kind for folder in folders for kind in ("nll", "copying")]


def read(folders, options=OPTIONS):
    return read_sweep(of(folders), options)


@pytest.fixture
def cells(make_cell):
    at_wall = {base: wall(64, 1e4, 128, base) for base in (1e4, 1e5, 1e6)}
    cells = [make_cell(base, limit) for base, limit in at_wall.items()]
    cells += [make_cell(1e6, 1.5 * at_wall[1e6], seed=1), make_cell(20, 600, copied=0), make_cell(41, 500)]
    cells += [make_cell(20, 600, height=0.6, log_scaled=True, copied=0), make_cell(1e6, 730, tune_length=256)]
    return cells


def test_everything_is_written(cells, tmp_path):
    out = tmp_path / "report"
    write_report(of(cells), OPTIONS, out)
    for name in ("limits", "nll_by_position", "degradation", "ladder", "copying"):
        with Image.open(out / f"{name}.png") as image:
            assert min(image.size) > 300
    page = html.unescape((out / "scaling.html").read_text())
    for words in (
        "1 pre-trained model (model; 558,208\nweights)",
        "All cells count.",
        "By the rule of 0.5 nats, <b>the best predictor of the walls</b> misses them least, whichever base is left "
        "out: discrete (by a factor of 1.0",
        "Surely worse, whichever base is left out: ",
        # By the rule on perplexity walls are late.
        "100,000 1.00 [1.00, 1.00], beyond, 1.1",
        "10,000 1.16 [1.16, 1.16], beyond, 1.29 [1.28, 1.29]: undecided",
        "<td>0.344</td>",
        "the worst base in the second half of the texts is",
        "by the law it is the critical base, 10,000",
        "Among small bases the law wants a slower decay for a smaller base",
        "Perplexity and retrieval <b>part</b>. Copying surely ends before perplexity breaks for base 20 (0 to 32)",
        "Log-scaled attention changes the NLL of base 20 by",
        "Tuning base 1,000,000 at 256 tokens instead of 128 moves its limit by a factor of 1.01",
    ):
        assert words in page, words
    table = pd.read_csv(out / "limits.csv")
    assert len(table) == 8 * 3
    runs = sorted(path.name for path in (out / "runs").iterdir())
    assert runs[0] == "model_base-1000000_length-128_steps-300_seed-0"
    params = json.loads((out / "runs" / runs[0] / "params.json").read_text())
    assert params["new_base"] == 1e6
    own = Scores.read(out / "runs" / runs[0] / "scores.json")
    assert own.one(quantity="limit", rule="0.5 nats").value == pytest.approx(726, abs=2)
    assert own.one(quantity="predicted_limit", law="discrete").value == pytest.approx(725.57, abs=0.01)


def test_scores_hold_every_statistic(cells):
    found = scores(read(cells))
    assert found.setting["rules"] == ("0.5 nats", "2 nats", "perplexity × 1.1")
    assert (found.setting["models"], found.setting["parameters"], found.setting["longest"]) == (1, 558_208, 2048)
    error = {row.law: row.value for row in found.select(quantity="error", rule="0.5 nats")}
    assert error["discrete"] < error["continuous"]
    slope = {"quantity": "predicted_slope", "law": "discrete", "tune_length": 128, "rule": "0.5 nats"}
    assert found.one(**slope).value == pytest.approx(22 / 64)
    limit = found.one(quantity="limit", base=1e6, tune_length=128, rule="0.5 nats")
    assert (limit.over, limit.n_seeds, limit.n_models, limit.n_documents) == ("documents and seeds", 2, 1, 12)
    assert limit.freedom == pytest.approx(1)
    assert limit.value == pytest.approx(726 * 1.5**0.5, rel=0.01)
    never = found.one(quantity="limit", base=1e6, tune_length=128, rule="2 nats")
    assert (never.value, never.censored, never.high) == (None, True, None)
    moved = found.one(quantity="predicted_limit_ratio", base=1e6, tune_length=256, against_length=128, rule="0.5 nats")
    assert moved.value == 1
    assert found.one(quantity="lost_length", base=20, log_scaled=None).value == 32
    assert found.one(quantity="log_scaling_difference", base=20, start=1024, stop=2048).high < 0
    against_original = {row.base for row in found.select(quantity="far_degradation_less_original")}
    assert 1e6 in against_original
    assert 10_000 not in against_original, "not against itself"
    assert found.one(quantity="far_degradation_less_smaller", base=41).against_base == 20
    assert found.one(quantity="limit_over_smaller", base=41, rule="0.5 nats").value == pytest.approx(501 / 601)


def test_several_models_are_one_report(make_cell):
    walls = {"a": 700, "b": 720, "c": 740}
    cells = [make_cell(1e6, wall, model=model, seed=seed) for model, wall in walls.items() for seed in (0, 1)]
    found = scores(read(cells))
    limit = found.one(quantity="limit", base=1e6, rule="0.5 nats")
    assert (limit.over, limit.n_models, limit.n_seeds) == ("documents, seeds and models", 3, 2)
    assert len(found.select(quantity="tuning_loss")) == 6


def test_a_cell_that_tuning_broke_is_shown_and_does_not_count(make_cell):
    # Seed 1 loses half a nat already within the tuning length.
    cells = [make_cell(1e6, 700), make_cell(1e6, 10, seed=1, height=0.5), make_cell(1e5, 329)]
    sweep = read(cells)
    assert [one.cell.run.seed for one in sweep.counted] == [0, 0]
    page = html.unescape(sweep_html(sweep))
    assert "<b>Left out, 1 of 3 cells</b>" in page
    assert "model_base-1000000_length-128_steps-300_seed-1 (+0.48)" in page
    found = scores(sweep)
    assert (found.setting["cells"], found.setting["left_out"]) == (3, 1)
    assert found.one(quantity="limit", base=1e6, rule="0.5 nats").n_seeds == 1
    assert found.one(quantity="tuning_loss", base=1e6, seed=1).value == pytest.approx(0.48, abs=0.01)


def test_a_wall_that_is_far_from_the_law_is_said_to_be(make_cell, tmp_path):
    write_report(
        of([make_cell(1e5, 329), make_cell(1e6, 1400)]), replace(OPTIONS, thresholds=(0.5,)), tmp_path / "report"
    )
    page = (tmp_path / "report/scaling.html").read_text()
    assert re.search(r"1,000,000 1.93 \[1.93, 1.93\], 2.\d\d \[[^]]*\]: <b>not close</b>", page)


@pytest.mark.parametrize(
    ("heights", "words"),
    [
        ((0.5, 1.0), r"41 less 20 \+0.523 \[\+0.5\d\d, \+0.5\d\d\], holds"),
        ((1.0, 0.5), r"41 less 20 -0.523 \[-0.5\d\d, -0.5\d\d\], <b>does not hold</b>"),
        ((1.0, 1.0), r"41 less 20 [+-]0.000 \[[+-]0.000, [+-]0.000\], is undecided"),
    ],
)
def test_small_bases_are_ordered_only_where_an_interval_says_so(make_cell, heights, words):
    cells = [
        make_cell(20, 500, height=heights[0]),
        make_cell(41, 500, height=heights[1]),
        make_cell(1e4, 140, height=2),
    ]
    page = sweep_html(read(cells))
    assert re.search(words, page)
    assert "the worst base in the second half of the texts is 10,000, by +1." in page


def test_predictors_that_cannot_be_told_apart_are_named_together(make_cell):
    three = {base: wall(64, 1e4, 128, base, reading="last covered pair") for base in (1e5, 3e5, 1e6)}
    page = sweep_html(read([make_cell(base, limit) for base, limit in three.items()]))
    assert "<b>the best predictor of the walls</b> misses them least, whichever base is left out: last covered" in page
    one = sweep_html(read([make_cell(2e6, wall(64, 1e4, 128, 2e6))]))
    assert "<b>no single predictor of the walls is best</b>: discrete" in one
    assert re.search(r"continuous \(by a factor of 1.2\d\), behind at one base, which is too few", one)
    few = sweep_html(read([make_cell(1e6, 700, documents=3, seed=1)]))
    assert "<b>no single predictor of the walls is best</b>: discrete" in few, "three documents decide nothing"
    assert re.search("1,000,000 0.97, beyond, 1.0.: undecided", few)


def test_a_bound_that_fits_best_leaves_no_empty_list(make_cell):
    page = sweep_html(read([make_cell(1e5, 1e9), make_cell(1e6, 1e9)]))
    assert "similarity" in page
    assert re.search(r"</b>: (discrete|frequency band) \(by a factor of \d", page)


def test_copying_that_outlasts_perplexity_is_said_to(make_cell):
    cells = [make_cell(1e6, 100, copied=128), make_cell(1e5, 120, copied=64)]
    page = sweep_html(read(cells, replace(OPTIONS, tuning_loss=1.0)))
    assert "Perplexity surely breaks first for base 100,000 (128 to 256); 1,000,000 (beyond 256)" in page


@pytest.mark.parametrize(("limit", "said"), [(150, "leave it open"), (260, "surely ends before")])
def test_copying_is_judged_by_the_gaps_that_were_tested(make_cell, limit, said):
    # All strings are copied at 64 tokens and none at 128: copying ends between texts of 128 and 256 tokens.
    page = sweep_html(read([make_cell(1e5, limit)]))
    assert re.search(f"{said}[^.]* for base 100,000 \\(128 to 256\\)", page)


def test_a_sweep_of_small_bases_alone_has_a_page_too(make_cell, tmp_path):
    write_report(of([make_cell(20, 300), make_cell(41, 1e9)]), OPTIONS, tmp_path / "report")
    page = (tmp_path / "report/scaling.html").read_text()
    assert "beyond the longest text" in page
    assert "predictor of the walls" not in page
