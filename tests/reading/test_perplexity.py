from __future__ import annotations

import math
import re
import sys

import numpy as np
import pandas as pd
import pytest

from ropewalk import cli
from ropewalk.errors import UserError
from ropewalk.reading.nll_file import write_nll
from ropewalk.reading.perplexity import (
    ALL,
    curve_edges,
    document_nll,
    lengths_read,
    perplexity_table,
    position_bins,
    position_curve,
)
from ropewalk.rope import apply, default_rope


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


def test_a_rope_that_changes_with_the_length_has_numbers_only_where_it_was_read():
    once, often = measured(), measured(passes=[16, 64])
    table = perplexity_table({"static": once, "dynamic": often}, [16, 32, 64], reference="static")
    found = table[table["corpus"] == ALL].set_index(["rope", "length"])
    assert list(found.index) == [("static", 16), ("dynamic", 16), ("static", 32), ("static", 64), ("dynamic", 64)]
    assert found.loc[("dynamic", 64), "difference"] == 0
    alone = perplexity_table({"static": once}, [32]).set_index("corpus").loc[ALL]
    assert all(found.loc[("static", 32), name] == alone[name] for name in ("nll", "nll_low", "nll_high"))


def test_a_rope_of_one_pass_that_is_known_to_change_is_read_there_alone():
    ropes = {"static": measured(), "dynamic": measured()}
    table = perplexity_table(ropes, [32, 64], dynamic=["dynamic"])
    assert table.loc[table["rope"] == "dynamic", "length"].unique().tolist() == [64]
    assert table.loc[table["rope"] == "static", "length"].unique().tolist() == [32, 64]
    assert lengths_read(ropes["dynamic"], [32, 64], static=False) == [64]
    assert lengths_read(ropes["dynamic"], [32, 64], static=True) == [32, 64]


def test_where_the_reference_was_not_read_nothing_is_compared():
    table = perplexity_table(
        {"static": measured(shift=0.05), "dynamic": measured(passes=[16, 64])}, [32, 64], reference="dynamic"
    )
    found = table[table["corpus"] == ALL].set_index(["rope", "length"])
    assert math.isnan(found.loc[("static", 32), "difference"])
    assert found.loc[("static", 64), "difference"] == pytest.approx(0.05)


def test_lengths_at_which_nothing_was_read_and_beyond_all_passes_are_refused():
    often = measured(passes=[16, 64])
    with pytest.raises(UserError, match="no rope was read at 20, 32 tokens; one that changes with the length"):
        perplexity_table({"dynamic": often}, [20, 32])
    with pytest.raises(UserError, match="length 65: the longest measured pass has 64 tokens"):
        perplexity_table({"dynamic": often}, [16, 65])


def test_the_command_knows_from_the_header_whether_a_rope_changes(tmp_path, monkeypatch, capsys):
    original = default_rope(8, 1e4, 16)
    for name, rope in {"static": original, "dynamic": apply(original, "dynamic_ntk", factor=2.0)}.items():
        write_nll(tmp_path / name / "nll.parquet", measured(), {"rope": rope.to_json()})
    files = [str(tmp_path / name / "nll.parquet") for name in ("static", "dynamic")]

    def run(*more):
        monkeypatch.setattr(sys, "argv", ["ropewalk", "perplexity", *files, "--lengths", "32,64", *more])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code

    run()
    printed = capsys.readouterr().out
    assert len(re.findall(r"^static +\d+\.\d\d +\d+\.\d\d$", printed, re.MULTILINE)) == 3
    assert len(re.findall(r"^dynamic +— +\d+\.\d\d$", printed, re.MULTILINE)) == 3
    run("-o", str(tmp_path / "table.csv"))
    table = pd.read_csv(tmp_path / "table.csv")
    assert table.loc[table["rope"] == "dynamic", "length"].unique().tolist() == [64]


def test_curves_of_a_rope_that_changes_have_edges_where_it_was_read():
    often = measured(passes=[16, 64])
    assert curve_edges(often, [16, 32, 64], static=False) == [1, 16, 64]
    assert curve_edges(often, [64], static=False) == [1, 64]
    assert curve_edges(often, [32], static=False) == [1, 16, 64], "its passes, where no reported length was read"
    assert curve_edges(measured(), [32, 64], static=True) == position_bins([32, 64], static=True)


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
