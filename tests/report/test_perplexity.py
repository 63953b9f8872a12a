from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ropewalk.errors import UserError
from ropewalk.reading.nll_file import read_nll, write_nll
from ropewalk.report import figures
from ropewalk.report.options import PerplexityReportOptions
from ropewalk.report.perplexity import write_report
from ropewalk.rope import default_rope
from ropewalk.rope.bases import dynamic_ntk
from ropewalk.rope.pairs import p_rope
from ropewalk.rope.ramps import yarn
from ropewalk.scores import Scores

LENGTHS = [32, 64, 128]
OPTIONS = PerplexityReportOptions(experiment="mine", confidence=0.95, lengths=tuple(LENGTHS), reference="yarn")


@pytest.fixture
def readings(tmp_path):
    original = default_rope(32, 10000.0, 32)
    ropes = {
        "none": original,
        "yarn": yarn(original, factor=4.0),
        "dynamic": dynamic_ntk(original, factor=2.0),
        "p-rope": p_rope(original, p=0.5),
    }
    folders = []
    for i, (name, rope) in enumerate(ropes.items()):
        frames = [
            pd.DataFrame(
                {
                    "corpus": "text",
                    "document": f"d{d}",
                    "position": np.arange(1, n, dtype=np.int32),
                    "nll": np.float32(2 + 0.1 * i + 0.05 * d) + np.arange(1, n, dtype=np.float32) / 500,
                    "pass_length": np.int32(n),
                }
            )
            for d in range(3)
            for n in ([128] if rope.static else LENGTHS)
        ]
        folders.append(tmp_path / "readings" / name)
        header = {"columns": {"model": "m", "rope": name}, "rope": rope.to_json()}
        write_nll(folders[-1] / "nll.parquet", pd.concat(frames), header)
    return folders


def test_all_figures_and_tables_are_written(readings, tmp_path):
    training = tmp_path / "metrics.jsonl"
    training.write_text(
        "".join(json.dumps({"step": s, "loss": 5 / s, "learning_rate": 0.1}) + "\n" for s in range(10, 100, 10))
    )
    out = tmp_path / "report"
    write_report(readings, OPTIONS, out, training=training)
    for name in ("nll_by_position", "nll_by_rope", "perplexity", "ropes", "training"):
        with Image.open(out / f"{name}.png") as image:
            assert min(image.size) > 300
            pixels = np.asarray(image.convert("L"))
            assert 0.005 < (pixels < 200).mean() < 0.9, f"{name} looks empty or full"
    table = pd.read_csv(out / "perplexity.csv")
    assert list(table["rope"].unique()) == [folder.name for folder in readings]
    scores = Scores.read(out / "scores.json")
    nats = 2.05 + np.mean(np.arange(1, 32)) / 500
    [row] = scores.select(quantity="perplexity", rope="none", corpus="text", length=32)
    assert row.value == pytest.approx(np.exp(nats), rel=1e-4)
    assert {row.against for row in scores.select(quantity="difference")} == {"yarn"}
    about = {"stage": "perplexity", "experiment": "mine", "confidence": 0.95, "train_length": 32, "reference": "yarn"}
    assert scores.setting == about
    assert "—" not in (out / "perplexity.html").read_text()
    write_report(readings, OPTIONS, tmp_path / "bare")
    assert not (tmp_path / "bare/training.png").exists()


def test_a_rope_that_changes_is_not_read_at_a_length_that_it_was_not_measured_at(readings, tmp_path, monkeypatch):
    drawn = {}
    for name in ("draw_perplexity_heatmap", "draw_position_curves"):
        own = getattr(figures, name)
        monkeypatch.setattr(
            figures, name, lambda first, *rest, n=name, draw=own: drawn.update({n: first}) or draw(first, *rest)
        )
    out = tmp_path / "report"
    write_report(readings, replace(OPTIONS, lengths=(32, 48, 128)), out)
    table = pd.read_csv(out / "perplexity.csv")
    at = {rope: part["length"].unique().tolist() for rope, part in table.groupby("rope")}
    assert at == {"none": [32, 48, 128], "yarn": [32, 48, 128], "p-rope": [32, 48, 128], "dynamic": [32, 128]}
    scores = Scores.read(out / "scores.json")
    assert {row.rope for row in scores.select(length=48)} == {"none", "yarn", "p-rope"}
    heatmap = drawn["draw_perplexity_heatmap"]
    assert list(heatmap.index) == ["none", "yarn", "dynamic", "p-rope"]
    assert heatmap.isna().to_numpy().sum() == 1
    assert np.isnan(heatmap.loc["dynamic", 48])
    curve = drawn["draw_position_curves"]["dynamic"]
    assert curve["stop"].tolist() == [32, 128]
    page = (out / "perplexity.html").read_text()
    [row] = [line for line in re.findall("<tr>.*?</tr>", page, re.DOTALL) if "<td>dynamic" in line]
    cells = [cell.partition("<br>")[0] for cell in re.findall("<td[^>]*>(.*?)</td>", row, re.DOTALL)]
    assert cells[2] == "—"
    assert [float(cells[i]) for i in (1, 3)] == [
        pytest.approx(value, abs=0.005) for value in heatmap.loc["dynamic", [32, 128]]
    ]
    # The others have the numbers that they have without it.
    write_report(
        [folder for folder in readings if folder.name != "dynamic"], replace(OPTIONS, lengths=(32, 48, 128)), out
    )
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "perplexity.csv"), table[table["rope"] != "dynamic"].reset_index(drop=True)
    )


def test_a_heatmap_has_a_dash_where_a_rope_was_not_read(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    table = pd.DataFrame({32: [8.0, 9.0], 64: [10.0, np.nan]}, index=["none", "dynamic"])
    figures.draw_perplexity_heatmap(table, 32, tmp_path / "none.png")
    axes = drawn[0].axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts if not text.get_text().strip().isalpha()}
    assert cells == {(0, 0): "8.00", (1, 0): "10.00", (0, 1): "9.00", (1, 1): "—"}
    [image] = axes.images
    assert image.norm.vmin == pytest.approx(np.log(8)), "the others have the colours that they have without it"
    assert np.isfinite(image.norm.vmax)


def test_a_rope_that_changes_and_was_read_at_the_end_alone_has_no_other_number(readings, tmp_path):
    rows, about = read_nll(readings[2] / "nll.parquet")
    write_nll(readings[2] / "nll.parquet", rows[rows["pass_length"] == 128], about)
    write_report(readings, OPTIONS, tmp_path / "report")
    table = pd.read_csv(tmp_path / "report/perplexity.csv")
    assert table.loc[table["rope"] == "dynamic", "length"].unique().tolist() == [128]
    write_report(readings, replace(OPTIONS, lengths=(32, 64)), tmp_path / "report")
    table = pd.read_csv(tmp_path / "report/perplexity.csv")
    assert "dynamic" not in set(table["rope"])
    with pytest.raises(UserError, match="no rope was read at 64 tokens"):
        write_report(readings[2:3], replace(OPTIONS, lengths=(64,), reference="dynamic"), tmp_path / "none")


def test_a_static_rope_is_reported_at_any_length_up_to_where_it_was_read(readings, tmp_path):
    write_report(readings[:2], replace(OPTIONS, lengths=(100,)), tmp_path / "report")
    scores = Scores.read(tmp_path / "report/scores.json")
    nats = 2.05 + np.mean(np.arange(1, 100)) / 500
    assert scores.one(quantity="nll", rope="none", corpus="text", length=100).value == pytest.approx(nats, rel=1e-5)
    with pytest.raises(UserError, match="length 129: the longest measured pass has 128 tokens"):
        write_report(readings[:2], replace(OPTIONS, lengths=(129,)), tmp_path / "further")


def test_a_damaged_measurement_leaves_the_earlier_report(readings, tmp_path):
    out = tmp_path / "report"
    write_report(readings, OPTIONS, out)
    before = (out / "scores.json").read_bytes()
    (readings[1] / "nll.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"yarn/nll\.parquet is damaged"):
        write_report(readings, OPTIONS, out)
    assert (out / "scores.json").read_bytes() == before


def test_several_models_are_compared_within_each_and_over_all(tmp_path):
    """Models differ by far more than ropes do; a rope that is always 0.1 nats better is surely so."""
    original = default_rope(32, 10000.0, 32)
    folders = []
    for model, level in (("one", 0.0), ("two", 1.0), ("three", 3.0)):
        for rope, better in (("yarn", 0.0), ("best", -0.1)):
            frames = [
                pd.DataFrame(
                    {
                        "corpus": "text",
                        "document": f"d{d}",
                        "position": np.arange(1, 128, dtype=np.int32),
                        "nll": np.float32(level + better + 0.05 * d + 0.001 * level * d),
                        "pass_length": np.int32(128),
                    }
                )
                for d in range(8)
            ]
            folders.append(tmp_path / f"{model}-{rope}")
            columns = {"model": model, "base_model": model, "rope": rope}
            write_nll(folders[-1] / "nll.parquet", pd.concat(frames), {"columns": columns, "rope": original.to_json()})
    write_report(folders, replace(OPTIONS, reference="one_yarn"), tmp_path / "out")
    scores = Scores.read(tmp_path / "out/scores.json")
    row = scores.one(quantity="difference", rope="best", length=128)
    assert row.value == pytest.approx(-0.1, abs=1e-6)
    assert row.high < 0
    assert (row.against, row.over, row.n_models) == ("yarn", "documents, seeds and models", 3)
    assert scores.one(quantity="nll", rope="best", length=128).value == pytest.approx(
        4 / 3 - 0.1 + 0.175 + 0.0046667, abs=1e-4
    )
    assert "over 3 models" in (tmp_path / "out/perplexity.html").read_text()
    # One that was not read with every rope leaves nothing to compare over models.
    write_report(folders[:-1], replace(OPTIONS, reference="one_yarn"), tmp_path / "fewer")
    assert Scores.read(tmp_path / "fewer/scores.json").one(quantity="nll", rope="best", length=128) is None
