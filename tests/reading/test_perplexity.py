from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.reading.perplexity import (
    ALL,
    document_nll,
    perplexity_table,
    position_bins,
    position_curve,
)


def measured(shift: float = 0.0, documents: int = 6, length: int = 64, seed: int = 0, passes=None) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for d in range(documents):
        level = 2 + rng.normal(0, 0.5)
        for n in passes or [length]:
            values = level + shift + 0.01 * np.arange(1, n)
            frames.append(
                pd.DataFrame(
                    {
                        "corpus": "even" if d % 2 == 0 else "odd",
                        "document": f"d{d}",
                        "position": np.arange(1, n),
                        "nll": values,
                        "pass_length": n,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def test_perplexity_is_the_exponential_of_the_mean_over_the_first_tokens():
    rows = measured()
    table = perplexity_table({"a": rows}, [16, 64]).set_index(["corpus", "length"])
    first = rows[rows["position"] < 16]["nll"].mean()
    assert table.loc[(ALL, 16), "perplexity"] == pytest.approx(math.exp(first))
    odd = rows[(rows["position"] < 64) & (rows["corpus"] == "odd")]["nll"].mean()
    assert table.loc[("odd", 64), "perplexity"] == pytest.approx(math.exp(odd))
    assert table.loc[(ALL, 64), "documents"] == 6


def test_pairing_takes_the_documents_out_of_the_difference():
    table = perplexity_table({"a": measured(), "b": measured(shift=0.05)}, [64], reference="a")
    row = table[(table["rope"] == "b") & (table["corpus"] == ALL)].iloc[0]
    assert row["nll_high"] - row["nll_low"] > 0.2, "documents differ much"
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((0.05, 0.05))
    assert row["better"] == "no"


def test_a_difference_that_may_be_zero_is_left_open():
    a, b = measured(), measured()
    noise = np.random.default_rng(0).normal(0, 0.2, 6)
    b["nll"] += b["document"].map({f"d{i}": noise[i] - noise.mean() for i in range(6)})
    table = perplexity_table({"a": a, "b": b}, [64], reference="a")
    assert table[(table["rope"] == "b") & (table["corpus"] == ALL)]["better"].item() == "open"


def test_only_the_same_documents_are_compared():
    with pytest.raises(UserError, match="rope 'b' was measured on other documents than 'a'"):
        perplexity_table({"a": measured(), "b": measured(documents=5)}, [64], reference="a")
    with pytest.raises(UserError, match="reference rope 'c' was not measured; measured: a"):
        perplexity_table({"a": measured()}, [64], reference="c")


def test_a_length_that_was_not_measured_is_refused():
    with pytest.raises(UserError, match="length 65: the longest measured pass has 64 tokens"):
        document_nll(measured(), 65)


def test_each_length_is_read_from_the_shortest_pass_that_covers_it():
    rows = measured(passes=[16, 64])
    rows.loc[rows["pass_length"] == 16, "nll"] += 1
    assert document_nll(rows, 16).mean() > document_nll(rows, 17).mean() + 0.9


def test_position_bins_tile_the_text():
    edges = position_bins([128, 2048], static=True)
    assert (edges[0], edges[-1]) == (1, 2048)
    assert {16, 32, 1024} <= set(edges)
    assert position_bins([128, 2048], static=False) == [1, 128, 2048]
    curve = position_curve(measured(), position_bins([64], static=True))
    assert (curve["stop"].to_numpy()[:-1] == curve["start"].to_numpy()[1:]).all()
    middle = measured()
    last = curve.iloc[-1]
    inside = middle[(middle["position"] >= last["start"]) & (middle["position"] < last["stop"])]
    assert last["nll"] == pytest.approx(inside["nll"].mean())
