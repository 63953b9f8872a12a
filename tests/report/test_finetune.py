from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.intervals import crossed
from ropewalk.reading.nll_file import write_nll
from ropewalk.report import finetune_figures
from ropewalk.report.finetune import Tuned, compare, document_means, write_report
from ropewalk.report.options import TuningReportOptions
from ropewalk.rope import apply, default_rope
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
    Tuned("long", "yarn", "fresh", 0): rows(1.5),
    Tuned("long", "yarn", "fresh", 1): rows(1.52),
    Tuned("long", "other", "fresh", 0): rows(1.4),
    Tuned("long", "other", "fresh", 1): rows(1.43),
}
BEFORE = {"yarn": {"fresh": rows(2.0)}, "other": {"fresh": rows(2.1)}}


def test_differences_are_paired_over_documents_and_over_seeds():
    table = compare(document_means(BEFORE, AFTER, [32, 64]), "yarn", 0.95)
    row = table[(table["regime"] == "long") & (table["rope"] == "other") & (table["corpus"] == "all")].iloc[0]
    assert row["documents"] == 16
    assert row["seeds"] == 2
    assert row["difference"] == pytest.approx((1.4 - 1.5 + 1.43 - 1.52) / 2, abs=1e-6)
    # Documents differ from each other, but not in this: the pairing takes all of that away. What is left is Student's t
    # over two seeds: -0.10 and -0.09, with t(0.975, 1) = 12.706.
    half = 12.706 * abs(0.1 - 0.09) / 2
    assert row["difference_low"] == pytest.approx(-0.095 - half, abs=1e-4)
    assert row["difference_high"] == pytest.approx(-0.095 + half, abs=1e-4)
    assert row["over"] == "documents and seeds"
    assert row["difference_better"] == "yes"
    assert row["gain"] == pytest.approx(1.415 - 2.1, abs=1e-6)
    assert row["gain_better"] == "yes"
    assert row["nll"] == pytest.approx(1.415 + 0.3 * 3.5 / 8, abs=1e-6)


def test_seeds_that_disagree_leave_it_open():
    after = {**AFTER, Tuned("long", "other", "fresh", 1): rows(1.51)}
    table = compare(document_means(BEFORE, after, [64]), "yarn", 0.95)
    row = table[(table["rope"] == "other") & (table["regime"] == "long")].iloc[0]
    assert row["difference"] < 0
    assert row["difference_better"] == "open", "over documents alone it would be decided"


def test_models_are_pooled_and_widen_the_interval():
    more = {key._replace(base="fresher"): table.assign(nll=table["nll"] + 1) for key, table in AFTER.items()}
    worse = Tuned("long", "other", "fresher", 0)
    more[worse] = more[worse].assign(nll=more[worse]["nll"] + 0.2)
    before = {rope: own | {"fresher": own["fresh"].assign(nll=own["fresh"]["nll"] + 1)} for rope, own in BEFORE.items()}
    table = compare(document_means(before, AFTER | more, [64]), "yarn", 0.95)
    row = table[(table["regime"] == "long") & (table["rope"] == "other") & (table["corpus"] == "all")].iloc[0]
    assert (row["models"], row["trainings"], row["seeds"]) == (2, 4, 2)
    assert row["over"] == "documents, seeds and models"
    # Paired within a model: that one is a nat worse in everything says nothing.
    means = np.array([[-0.095], [0.005]]) + np.zeros((2, 16))
    theirs = crossed(means)
    assert (row["difference"], row["difference_low"]) == (
        pytest.approx(theirs.mean, abs=1e-6),
        pytest.approx(theirs.low, abs=1e-4),
    )


def test_unlike_measurements_are_refused():
    with pytest.raises(UserError, match="long/other was measured on other documents"):
        compare(
            document_means(
                {"yarn": {"fresh": rows(2.0)}},
                {**AFTER, Tuned("long", "other", "fresh", 0): rows(1.4, documents=7)},
                [64],
            ),
            "yarn",
            0.95,
        )
    lacking = {key: value for key, value in AFTER.items() if key != ("long", "other", "fresh", 1)}
    with pytest.raises(UserError, match=r"long: 'other' has seeds \[0\]; 'yarn' has \[0, 1\]"):
        compare(document_means({"yarn": {"fresh": rows(2.0)}}, lacking, [64]), "yarn", 0.95)


OPTIONS = TuningReportOptions(experiment="mine", confidence=0.95, lengths=(16, 32, 64), reference="yarn")
ORIGINAL = default_rope(32, 1e4, 32)
ROPES = {"yarn": apply(ORIGINAL, "yarn", factor=4.0), "other": ORIGINAL, "third": ORIGINAL}
UNTUNED = {"yarn": rows(2.0), "other": rows(2.1), "third": rows(2.5)}


@pytest.fixture
def readings(tmp_path):
    """Readings as a study has them: of a model as it was with three ropes, and tuned with two."""

    def write(name, table, **columns):
        header = {"columns": columns, "rope": ROPES[columns["rope"]].to_json(), "parameters": 558_208}
        write_nll(tmp_path / "readings" / name / "nll.parquet", table, header)
        return tmp_path / "readings" / name

    folders = [write(rope, table, model="fresh", rope=rope) for rope, table in UNTUNED.items()]
    for (regime, rope, _, seed), table in AFTER.items():
        name = f"{regime}-{rope}-{seed}"
        columns = {"rope": rope, "tuned_rope": rope, "tuned_from": "fresh", "regime": regime, "seed": seed}
        folders.append(write(name, table, model=name, **columns))
    return folders


def test_the_report_is_written_whole(readings, tmp_path):
    write_report(readings, OPTIONS, tmp_path / "out")
    scores = Scores.read(tmp_path / "out/scores.json")
    [pair] = scores.by_interval(quantity="difference", regime="long", rope="other", length=64)
    assert set(pair) == {"documents and seeds"}
    row = pair["documents and seeds"]
    assert row.value == pytest.approx(-0.095, abs=1e-5)
    assert (row.against, row.n_documents, row.n_seeds, row.n_models) == ("yarn", 16, 2, 1)
    assert row.freedom == pytest.approx(1, abs=1e-3), "documents do not differ in this, two seeds do"
    assert scores.one(quantity="competence", regime="long").value == pytest.approx(0, abs=1e-6), "a flat curve"
    assert scores.setting["parameters"] == 558_208
    assert {row.quantity for row in scores.select(regime=None, rope="third")} == {"nll", "perplexity"}
    about = {name: scores.setting[name] for name in ("stage", "experiment", "train_length", "target_length", "seeds")}
    assert about == {"stage": "finetune", "experiment": "mine", "train_length": 32, "target_length": 128, "seeds": 2}
    assert [one["rope"] for one in scores.setting["ropes"]] == ["yarn", "other", "third"]
    page = (tmp_path / "out/finetune.html").read_text()
    assert "class=better" in page
    assert "Law" in page
    assert "—" not in page
    for name in ("before_after.png", "differences.png", "perplexity.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 100


def test_one_rope_alone_has_no_figure_of_differences(readings, tmp_path):
    alone = [folder for folder in readings if "other" not in folder.name]
    write_report(alone, OPTIONS, tmp_path / "out")
    assert (tmp_path / "out/before_after.png").is_file()
    assert not (tmp_path / "out/differences.png").exists()


def test_the_reference_is_the_one_that_is_asked_for(readings, tmp_path):
    write_report(readings, replace(OPTIONS, reference="other"), tmp_path / "out")
    scores = Scores.read(tmp_path / "out/scores.json")
    assert {(row.rope, row.against) for row in scores.select(quantity="difference")} == {("yarn", "other")}
    assert scores.setting["target_length"] == 32


def test_a_rope_that_changes_has_no_number_where_it_was_not_read(readings, tmp_path, monkeypatch):
    drawn, draw = [], finetune_figures.draw_before_after
    monkeypatch.setattr(finetune_figures, "draw_before_after", lambda *told: drawn.append(told[0]) or draw(*told))
    header = {"columns": {"model": "fresh", "rope": "third"}, "parameters": 558_208}
    passes = pd.concat([rows(2.5, length=16), rows(2.5, length=64)])
    header["rope"] = apply(ORIGINAL, "dynamic_ntk", factor=2.0).to_json()
    write_nll(readings[2] / "nll.parquet", passes, header)
    write_report(readings, OPTIONS, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/perplexity.csv", keep_default_na=False)
    lengths = {rope: part["length"].unique().tolist() for rope, part in table.groupby("rope")}
    assert lengths == {"yarn": [16, 32, 64], "other": [16, 32, 64], "third": [16, 64]}
    page = (tmp_path / "out/finetune.html").read_text()
    assert page.count("<td>—</td>") == 3, "of all corpora and of two"
    against = Scores.read(tmp_path / "out/scores.json").select(quantity="difference_from_untuned", against="third")
    assert {row.length for row in against} == {16, 64}
    [curves] = drawn
    assert curves["", "third"]["stop"].tolist() == [16, 64]
    # Read at the end alone, it has a number there alone.
    write_nll(readings[2] / "nll.parquet", rows(2.5), header)
    write_report(readings, OPTIONS, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/perplexity.csv")
    assert table.loc[table["rope"] == "third", "length"].unique().tolist() == [64]
