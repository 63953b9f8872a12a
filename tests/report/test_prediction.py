from __future__ import annotations

import pandas as pd
import pytest
from PIL import Image

from ropewalk.report.prediction import draw_prediction, prediction_text, predictions_table, write_predictions
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
    write_predictions([*settings, LLAMA2], tmp_path / "out")
    page = (tmp_path / "out/predictions.html").read_text()
    assert "critical dimension 92" in page
    assert "<td>129,027</td>" in page
    assert len(pd.read_csv(tmp_path / "out/predictions.csv")) == 5
