from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.reading.nll_file import write_nll
from ropewalk.report.finetune import Tuned, compare, document_means, write_report
from ropewalk.rope import default_rope
from ropewalk.scores import Scores


def rows(level, *, spread=0.0, seed=0, documents=8, length=64):
    rng = np.random.default_rng(seed)
    frames = []
    for corpus in ("books", "law"):
        for d in range(documents):
            nll = level + 0.3 * d / documents + spread * rng.normal() + np.zeros(length - 1)
            frames.append(
                pd.DataFrame(
                    {
                        "corpus": corpus,
                        "document": f"{corpus}{d}",
                        "position": np.arange(1, length, dtype=np.int32),
                        "nll": nll.astype(np.float32),
                        "pass_length": np.int32(length),
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


AFTER = {
    ("long", "yarn", 0): rows(1.5),
    ("long", "yarn", 1): rows(1.52),
    ("long", "other", 0): rows(1.4),
    ("long", "other", 1): rows(1.43),
}


def test_differences_are_paired_over_documents_and_over_seeds():
    table = compare(document_means({"yarn": rows(2.0), "other": rows(2.1)}, AFTER, [32, 64]), "yarn", 0.95)
    row = table[(table["regime"] == "long") & (table["rope"] == "other") & (table["corpus"] == "all")].iloc[0]
    assert row["documents"] == 16
    assert row["seeds"] == 2
    assert row["difference"] == pytest.approx((1.4 - 1.5 + 1.43 - 1.52) / 2, abs=1e-6)
    # Documents differ from each other, but not in this: the pairing takes all of that away.
    assert row["difference_high"] - row["difference_low"] < 1e-6
    # Student's t over two seeds: -0.10 and -0.09, with t(0.975, 1) = 12.706.
    half = 12.706 * abs(0.1 - 0.09) / 2
    assert row["difference_seeds_low"] == pytest.approx(-0.095 - half, abs=1e-4)
    assert row["difference_better"] == "yes"
    assert row["gain"] == pytest.approx(1.415 - 2.1, abs=1e-6)
    assert row["gain_better"] == "yes"
    assert row["nll"] == pytest.approx(1.415 + 0.3 * 3.5 / 8, abs=1e-6)


def test_seeds_that_disagree_leave_it_open():
    after = {**AFTER, ("long", "other", 1): rows(1.51)}
    table = compare(document_means({"yarn": rows(2.0), "other": rows(2.1)}, after, [64]), "yarn", 0.95)
    row = table[(table["rope"] == "other") & (table["regime"] == "long")].iloc[0]
    assert row["difference_high"] < 0, "over documents alone it would be decided"
    assert row["difference_better"] == "open"


def test_unlike_measurements_are_refused():
    with pytest.raises(UserError, match="long/other was measured on other documents"):
        compare(
            document_means({"yarn": rows(2.0)}, {**AFTER, ("long", "other", 0): rows(1.4, documents=7)}, [64]),
            "yarn",
            0.95,
        )
    lacking = {key: value for key, value in AFTER.items() if key != ("long", "other", 1)}
    with pytest.raises(UserError, match=r"long: 'other' has seeds \[0\]; 'yarn' has \[0, 1\]"):
        compare(document_means({"yarn": rows(2.0)}, lacking, [64]), "yarn", 0.95)
    with pytest.raises(UserError, match="--tuned 'yarn=x': expected ROPE/REGIME/seed-N=FOLDER"):
        Tuned.parse("yarn=x")


def test_the_report_is_written_whole(tmp_path):
    about = {"rope": default_rope(32, 1e4, 32).to_json()}
    untuned = {"yarn": rows(2.0), "other": rows(2.1), "third": rows(2.5)}
    for name, table in untuned.items():
        write_nll(tmp_path / name / "nll.parquet", table, about)
    for (regime, rope, seed), table in AFTER.items():
        write_nll(tmp_path / f"{regime}-{rope}-{seed}" / "nll.parquet", table, about)
    tuned = [Tuned(rope, regime, seed, tmp_path / f"{regime}-{rope}-{seed}") for regime, rope, seed in AFTER]
    write_report(
        {name: tmp_path / name for name in untuned},
        tuned,
        lengths=[16, 32, 64],
        confidence=0.95,
        folder=tmp_path / "out",
    )
    scores = Scores.read(tmp_path / "out/scores.json")
    [pair] = scores.by_interval(quantity="difference", regime="long", rope="other", length=64)
    assert set(pair) == {"documents", "seeds"}
    assert pair["seeds"].value == pytest.approx(-0.095, abs=1e-5)
    assert pair["seeds"].against == "yarn"
    assert {row.quantity for row in scores.select(regime=None, rope="third")} == {"nll", "perplexity"}
    page = (tmp_path / "out/finetune.html").read_text()
    assert "class=better" in page
    assert "Law" in page
    for name in ("before_after.png", "differences.png", "perplexity.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 100
