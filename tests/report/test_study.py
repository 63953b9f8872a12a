from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ropewalk.report.study import write_report

from ropewalk.errors import UserError
from ropewalk.reading.nll_file import write_nll
from ropewalk.rope import default_rope
from ropewalk.rope.methods import dynamic_ntk, p_rope, yarn
from ropewalk.scores import Scores

LENGTHS = [32, 64, 128]


@pytest.fixture
def evaluations(tmp_path):
    original = default_rope(32, 10000.0, 32)
    ropes = {
        "none": original,
        "yarn": yarn(original, factor=4.0),
        "dynamic": dynamic_ntk(original, factor=2.0),
        "p-rope": p_rope(original, p=0.5),
    }
    folders = {}
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
        folders[name] = tmp_path / "evaluations" / name
        folders[name].mkdir(parents=True)
        write_nll(folders[name] / "nll.parquet", pd.concat(frames), {"rope": rope.to_json()})
        copying = pd.DataFrame({"gap": [8, 8, 64, 64], "accuracy": [1.0, 0.8, 0.1, 0.2]})
        copying.to_csv(folders[name] / "copying.csv", index=False)
    return folders


def test_all_figures_and_tables_are_written(evaluations, tmp_path):
    training = tmp_path / "metrics.jsonl"
    training.write_text(
        "".join(json.dumps({"step": s, "loss": 5 / s, "learning_rate": 0.1}) + "\n" for s in range(10, 100, 10))
    )
    out = tmp_path / "report"
    write_report(evaluations, training=training, lengths=LENGTHS, reference="yarn", confidence=0.95, folder=out)
    for name in ("nll_by_position", "nll_by_rope", "perplexity", "ropes", "copying", "training"):
        with Image.open(out / f"{name}.png") as image:
            assert min(image.size) > 300
            pixels = np.asarray(image.convert("L"))
            assert 0.005 < (pixels < 200).mean() < 0.9, f"{name} looks empty or full"
    table = pd.read_csv(out / "perplexity.csv")
    assert set(table["rope"]) == set(evaluations)
    scores = Scores.read(out / "scores.json")
    nats = 2.05 + np.mean(np.arange(1, 32)) / 500
    [row] = scores.select(quantity="perplexity", rope="none", corpus="text", length=32)
    assert row.value == pytest.approx(np.exp(nats), rel=1e-4)
    assert {row.against for row in scores.select(quantity="difference")} == {"yarn"}
    copying = pd.read_csv(out / "copying.csv", index_col="rope")
    assert copying.loc["yarn", "8"] == pytest.approx(0.9)


def test_a_damaged_measurement_leaves_the_earlier_report(evaluations, tmp_path):
    out = tmp_path / "report"
    settings = {"training": None, "lengths": LENGTHS, "reference": "yarn", "confidence": 0.95, "folder": out}
    write_report(evaluations, **settings)
    before = (out / "scores.json").read_bytes()
    (evaluations["yarn"] / "nll.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"yarn/nll\.parquet is damaged"):
        write_report(evaluations, **settings)
    assert (out / "scores.json").read_bytes() == before
