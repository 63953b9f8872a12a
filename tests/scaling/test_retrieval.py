from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.scaling.cells import read_cells
from ropewalk.scaling.measured import Options, measure
from ropewalk.scaling.retrieval import copy_distance, retrieval_table

OPTIONS = Options(thresholds=(0.5,), smoothing=1)


def test_copying_ends_where_accuracy_falls_below_one_half(make_cell):
    folders = [make_cell(1e6, 700, copied=64), make_cell(20, 300, copied=0), make_cell(1e5, 300, copied=999)]
    table = retrieval_table(measure(read_cells(folders), OPTIONS)).set_index("new_base")
    assert table.loc[20.0, "limit"] == 0
    assert table.loc[1e5, "limit"] == math.inf
    # Half way, in the logarithm, between gaps 64 and 128; twice as many tokens are read.
    assert table.loc[1e6, "limit"] == pytest.approx(2 * 64 * math.sqrt(2))


def test_seeds_share_their_strings_and_have_an_interval_of_their_own(make_cell):
    folders = [make_cell(1e6, 700, copied=copied, seed=seed) for seed, copied in enumerate((32, 64, 64))]
    # String by string, the seeds agree: half of the strings are copied at gap 128.
    for folder in folders:
        rows = pd.read_csv(folder / "copying.csv")
        rows.loc[rows["gap"] == 64, "accuracy"] = [1.0] * 4 + [0.4] * 4
        rows.to_csv(folder / "copying.csv", index=False)
    [row] = retrieval_table(measure(read_cells(folders), OPTIONS)).to_dict("records")
    [one] = retrieval_table(measure(read_cells(folders[:1]), OPTIONS)).to_dict("records")
    assert row["high"] - row["low"] == pytest.approx(one["high"] - one["low"], rel=0.2), (
        "three seeds are not 24 strings"
    )
    assert math.isnan(one["seeds_low"])
    assert row["seeds_low"] == pytest.approx(row["limit"]), "all seeds end at one place"
    changed = pd.read_csv(folders[2] / "copying.csv")
    changed[changed["gap"] != 16].to_csv(folders[2] / "copying.csv", index=False)
    with pytest.raises(UserError, match="the seeds were tested on different gaps"):
        retrieval_table(measure(read_cells(folders), OPTIONS))


def test_the_interval_over_seeds_is_that_of_student(make_cell):
    folders = [make_cell(1e6, 700, copied=copied, seed=seed) for seed, copied in enumerate((16, 32, 64))]
    [row] = retrieval_table(measure(read_cells(folders), OPTIONS)).to_dict("records")
    own = np.log([2 * gap * math.sqrt(2) for gap in (16, 32, 64)])
    assert row["seeds_high"] == pytest.approx(
        math.exp(own.mean() + 4.302653 * own.std(ddof=1) / math.sqrt(3)), rel=1e-4
    )


def test_copy_distance_reads_the_first_fall():
    assert copy_distance([16, 32, 64], [1.0, 0.75, 0.25]) == pytest.approx(32 * math.sqrt(2))
    assert copy_distance([16, 32, 64], [0.4, 1.0, 1.0]) == 0
    assert copy_distance([16, 32], [1.0, 0.5]) == math.inf
