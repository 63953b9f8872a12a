from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ropewalk.report.options import PredictionOptions
from ropewalk.report.prediction_text import prediction_text
from ropewalk.report.predictions import (
    draw_laws,
    draw_prediction,
    predictions_table,
    write_predictions,
)
from ropewalk.rope.prediction import Setting, predict

LLAMA2 = Setting(128, 10_000.0, 4096, 16_384, 1e6)


def test_the_text_says_what_the_laws_say():
    text = prediction_text(predict(LLAMA2, 131_072))
    for words in (
        "critical dimension   92 of 128",
        "46 pairs turned fully, the last in 4,080 of 4,096 tokens; the next needs 4,712",
        "critical base        71,738",
        "10,430 / 5,215 / 2,608 as printed",
        "regime               hard wall",
        "predicted limit      129,027 tokens (31.5 × pre-training)",
        "base for 131,072 tokens",
        "note: ",
    ):
        assert words in text
    assert "warning: " not in text


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (500.0, "soft: a slow decay without a wall (below threshold 3 of 3)"),
        (6000.0, "soft: a slow decay without a wall (below threshold 1 of 3)"),
        (20_000.0, "middle: sound as far as it was tuned"),
    ],
)
def test_regimes_in_words(base, words):
    assert words in prediction_text(predict(Setting(128, 10_000.0, 4096, 16_384, base)))


def test_a_model_without_a_wall_is_drawn_and_described_too(tmp_path):
    covered = Setting(64, 100.0, 4096, 4096, 1e6)
    assert "there is no other" in prediction_text(predict(covered))
    assert "none: the law names no limit here" in prediction_text(predict(covered))
    assert "hard wall by its base, but no wall" in prediction_text(predict(covered))
    assert "frequency band       none: at base 100 even the slowest pair" in prediction_text(predict(covered))
    uncovered = Setting(64, 1e4, 7, 7, 1e4)
    assert "critical dimension" in prediction_text(predict(uncovered))
    for setting in (LLAMA2, covered, uncovered):
        draw_prediction(setting, tmp_path / "p.png", 131_072)
        with Image.open(tmp_path / "p.png") as image:
            assert min(image.size) > 500


def test_the_table_of_llama2(tmp_path):
    settings = [Setting(128, 10_000.0, 4096, 4096, float(base)) for base in (500, 20_000, 600_000, 1_000_000)]
    table = predictions_table([*settings, LLAMA2])
    assert table["discrete"].tolist()[1:] == pytest.approx([7754, 89_377, 129_027, 129_027], abs=1)
    assert pd.isna(table["discrete"].iloc[0])
    assert table["critical_base"].tolist()[-1] == pytest.approx(71_738.44, abs=0.01)
    bases, lengths = (500.0, 2e4, 6e5, 1e6, 1e6), (*[4096] * 4, 16_384)
    options = PredictionOptions(head_dim=128, base=1e4, length=4096, bases=bases, tune_lengths=lengths)
    write_predictions(options, tmp_path / "out")
    page = (tmp_path / "out/predictions.html").read_text()
    assert "critical dimension 92" in page
    assert "<td>129,027</td>" in page
    assert "2,608, 1,304, 651.9 as printed, 2,954, 1,461, 722.5 for the slowest pair that there is" in page
    assert "<summary>500, tuned at 4,096 tokens</summary><ul><li>For small bases the law names no limit" in page
    written = pd.read_csv(tmp_path / "out/predictions.csv")
    assert written["discrete"].to_numpy() == pytest.approx(table["discrete"].to_numpy(float), rel=1e-5, nan_ok=True)
    assert list(zip(written["new_base"], written["tune_length"], strict=True)) == list(zip(bases, lengths, strict=True))
    with Image.open(tmp_path / "out/predictions.png") as image:
        assert image.width > 1.8 * image.height, "a panel for each tuning length"


def test_the_page_says_how_far_was_looked_and_shows_warnings(tmp_path):
    options = PredictionOptions(head_dim=128, base=1e4, length=4096, bases=(1e12,), tune_lengths=(4096,))
    write_predictions(options, tmp_path / "out")
    page = (tmp_path / "out/predictions.html").read_text()
    assert "<td>&gt; 4,194,304</td>" in page or "<td>> 4,194,304</td>" in page
    assert "<details open><summary>1,000,000,000,000, tuned at 4,096 tokens</summary><ul><li><b>warning</b>" in page


def drawn(setting: Setting, low: float, high: float, **options) -> Axes:
    axes = Figure().subplots()
    draw_laws(axes, setting, low, high, **options)
    return axes


def spans(axes: Axes) -> list[tuple[float, float]]:
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]


def test_regimes_are_shaded_where_they_rule():
    first = 2 * 4096 / math.pi
    plain = drawn(Setting(128, 1e4, 4096, 4096, 1e4), 100, 1e6)
    assert spans(plain) == [pytest.approx((100, first)), pytest.approx((first, 1e4)), pytest.approx((1e4, 1e6))]
    # Of a model with a small base, every larger one is tuned beyond the critical base: no middle is left.
    small = drawn(Setting(128, 500.0, 4096, 4096, 500.0), 100, 1e6)
    assert spans(small) == [pytest.approx((100, 500)), pytest.approx((500, 1e6))]
    assert not any(line.get_linewidth() == 2.2 for line in small.lines)


def test_similarity_is_drawn_in_points_where_it_is():
    setting = Setting(64, 1e4, 128, 128, 1e4)
    for copied, times in ((False, 1), (True, 2)):
        axes = drawn(setting, 10, 1e6, most=4500, copied=copied)
        [line] = [line for line in axes.lines if str(line.get_label()).startswith("similarity")]
        assert line.get_linestyle() == "None"
        for base, length in zip(*line.get_data(), strict=True):
            if math.isfinite(length):
                frequencies = base ** (-np.arange(32) / 32)
                assert (
                    np.cos(length / times * frequencies).sum() < 0 <= np.cos((length / times - 1) * frequencies).sum()
                )
