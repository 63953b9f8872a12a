from __future__ import annotations

import math

import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.scaling.cells import read_cells
from ropewalk.scaling.measured import measure
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.retrieval import bracket, retrieval_table

OPTIONS = SweepOptions(experiment="mine", confidence=0.95, thresholds=(0.5,))


def read(folders):
    return read_cells([folder / kind for folder in folders for kind in ("nll", "copying")])


def test_copying_ends_where_accuracy_falls_below_one_half(make_cell):
    folders = [make_cell(1e6, 700, copied=64), make_cell(20, 300, copied=0), make_cell(1e5, 300, copied=999)]
    table = retrieval_table(measure(read(folders), OPTIONS)).set_index("new_base")
    # Between which gaps it falls, and no more, was measured; twice as many tokens are read.
    assert table.loc[20.0, ["copied", "lost"]].tolist() == [0, 32]
    assert table.loc[1e5, ["copied", "lost"]].tolist() == [256, math.inf]
    assert table.loc[1e6, ["copied", "lost", "low", "high"]].tolist() == [128, 256, 128, 256]


def test_runs_share_their_strings_and_are_counted(make_cell):
    folders = [make_cell(1e6, 700, copied=copied, seed=seed) for seed, copied in enumerate((32, 64, 64))]
    # String by string, the seeds agree: half of the strings are copied at gap 128.
    for folder in folders:
        rows = pd.read_csv(folder / "copying/copying.csv")
        rows.loc[rows["gap"] == 64, "accuracy"] = [1.0] * 4 + [0.4] * 4
        rows.to_csv(folder / "copying/copying.csv", index=False)
    [row] = retrieval_table(measure(read(folders), OPTIONS)).to_dict("records")
    [one] = retrieval_table(measure(read(folders[:1]), OPTIONS)).to_dict("records")
    assert (row["copied"], row["lost"]) == (128, 256)
    assert (row["seeds"], one["seeds"], row["models"]) == (3, 1, 1)
    changed = pd.read_csv(folders[2] / "copying/copying.csv")
    changed[changed["gap"] != 16].to_csv(folders[2] / "copying/copying.csv", index=False)
    with pytest.raises(UserError, match="tested on different gaps"):
        retrieval_table(measure(read(folders), OPTIONS))


def test_an_interval_covers_the_brackets_of_single_runs(make_cell):
    folders = [make_cell(1e6, 700, copied=copied, model=f"m{i}") for i, copied in enumerate((16, 32, 64))]
    [row] = retrieval_table(measure(read(folders), OPTIONS)).to_dict("records")
    # Two of three still copy at gap 32.
    assert (row["copied"], row["lost"]) == (64, 128)
    assert (row["low"], row["high"]) == (32, 256)
    assert row["models"] == 3


def test_an_interval_reaches_from_bracket_to_bracket(make_cell):
    folder = make_cell(1e6, 700)
    rows = pd.read_csv(folder / "copying/copying.csv")
    # By a hair above one half at gap 32, and scattered: resamples fall before it as often as not.
    rows.loc[rows["gap"] == 32, "accuracy"] = [1.0] * 4 + [0.01] * 4
    rows.to_csv(folder / "copying/copying.csv", index=False)
    [row] = retrieval_table(measure(read([folder]), OPTIONS)).to_dict("records")
    assert (row["copied"], row["lost"], row["low"], row["high"]) == (128, 256, 32, 256)


def test_a_bracket_is_of_the_first_fall():
    assert bracket([16, 32, 64, 128], [1.0, 0.75, 0.25, 1.0]) == (32, 64)
    assert bracket([16, 32, 64], [0.4, 1.0, 1.0]) == (0, 16)
    assert bracket([16, 32], [1.0, 0.5]) == (32, math.inf)
