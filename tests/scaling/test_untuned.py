from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.reading.nll_file import write_nll
from ropewalk.report.scaling import scores, write_report
from ropewalk.rope import apply, default_rope
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.sweep import read_sweep

OPTIONS = SweepOptions(experiment="mine", confidence=0.95, thresholds=(0.5,))
OWN = default_rope(64, 1e4, 128)
CRITICAL = 11
POSITION = np.arange(1, 2048, dtype=np.int32)


@pytest.fixture
def make_untuned(tmp_path):
    """A reading of an untuned model: 2 nats a token and ``beyond`` more beyond 128 tokens, and ``early`` before 64."""

    def make(rope, beyond, *, model="model", early=0.5, passes=(2048,), name="own", documents=12):
        frames = []
        for length in passes:
            for d in range(documents):
                at = POSITION[length > POSITION]
                window = 2 + early * (at < 64)
                nll = window + beyond * (1 + 0.1 * d / documents) * (at >= 128)
                columns = {"position": at, "nll": nll.astype(np.float32), "pass_length": np.int32(length)}
                columns |= {"window_nll": window.astype(np.float32)} if name == "own" else {}
                frames.append(pd.DataFrame({"corpus": "text", "document": f"d{d}", **columns}))
        folder = tmp_path / f"untuned/{model}-{name}"
        about = {"columns": {"model": model, "rope": name}, "model": f"folder:models/{model}", "rope": rope.to_json()}
        write_nll(folder / "nll.parquet", pd.concat(frames), {**about, "options": {"window": 128}, "training": {}})
        return folder

    return make


def divided(which, by=16.0):
    return apply(OWN, "longrope", long_factor=[by if one else 1.0 for one in which])


def read(*folders):
    return read_sweep([folder / "nll" if (folder / "nll").is_dir() else folder for folder in folders], OPTIONS)


def test_a_model_that_context_is_worth_nothing_to_does_not_count(make_cell, make_untuned):
    cells = [make_cell(1e6, 700), make_cell(1e6, 300, model="idle")]
    untuned = [make_untuned(OWN, 2.0), make_untuned(OWN, 2.0, model="idle", early=0.05)]
    sweep = read(*cells, *untuned)
    # Of 127 tokens 63 lie in the first half.
    assert sweep.competence == pytest.approx({"model": 0.5, "idle": 0.05}, abs=0.01)
    assert [one.cell.run.model for one in sweep.counted] == ["model"]
    found = scores(sweep)
    assert found.one(quantity="competence", model="idle").value < found.setting["competence_needed"] == 0.1
    alone = read(cells[1], untuned[1])
    assert len(alone.counted) == 1, "shown where there is no other"


def test_every_base_is_held_against_dynamic_ntk(make_cell, make_untuned):
    dynamic = make_untuned(apply(OWN, "dynamic_ntk", factor=2.0), 0.4, name="dynamic", early=0, passes=(128, 256, 2048))
    table = read(make_cell(1e6, 700), dynamic).dynamic
    assert [(one.key.new_base, one.length) for one in table] == [(1e6, 256), (1e6, 2048)], "only beyond pre-training"
    # Within its wall the tuned base costs nothing more, and beyond it a nat.
    assert table[0].difference.value == pytest.approx(-0.4 * 1.046 * 128 / 255, abs=0.01)
    assert table[1].difference.value == pytest.approx((1347 - 0.4 * 1920) * 1.046 / 2047, abs=0.01)


@pytest.fixture
def pairs(make_untuned):
    """A model whose pairs from 11 on fail: those before it matter nothing, and divided they cost a little."""
    which = {f"from-{k}": [i >= k for i in range(32)] for k in (0, 5, CRITICAL, 20)}
    which["before"] = [i < CRITICAL for i in range(32)]
    which["toggled-20-32"] = [CRITICAL <= i < 20 for i in range(32)]
    which["toggled-5-11"] = [i >= 5 for i in range(32)]
    cost = {"from-0": 0.6, "from-5": 0.4, "from-11": 0.2, "from-20": 1.5, "before": 2.4, "toggled-20-32": 0.7}

    def make(model):
        own = make_untuned(OWN, 2.0, model=model)
        others = [
            make_untuned(divided(which[name]), value, model=model, name=name, early=0.5) for name, value in cost.items()
        ]
        return [own, *others]

    return make


def test_which_pairs_fail_is_told_by_dividing_them(make_cell, pairs, tmp_path):
    folders = [make_cell(1e6, 700), *pairs("model"), make_cell(1e6, 700, model="other"), *pairs("other")]
    cause = read(*folders).cause
    assert (cause.critical, cause.divisor) == (CRITICAL, 16)
    # Of 2 nats 0.2 are left where those from 11 on are divided, and 2.4 where the others are.
    assert (cause.beyond, cause.within) == pytest.approx((0.9, -0.2), abs=1e-3)
    assert cause.mended.value == pytest.approx(1.1, abs=1e-3)
    assert (cause.mended.over, cause.mended.n_models) == ("documents, seeds and models", 2)
    found = {(one.what, one.start, one.stop): one.cost.value for one in cause.pairs}
    assert found["from", 32, 32] == pytest.approx(2 * 1.046, abs=0.01)
    assert found["toggled", 20, 32] == pytest.approx(0.5 * 1.046, abs=0.01)
    assert found["toggled", 5, 11] == pytest.approx(0.2 * 1.046, abs=0.01), "all from 5 on is those besides, too"
    assert ("before", 0, 11) in found
    write_report(
        [folder / "nll" if (folder / "nll").is_dir() else folder for folder in folders], OPTIONS, tmp_path / "r"
    )
    assert (tmp_path / "r/pairs.png").is_file()
    assert "mends 90 % of what" in (tmp_path / "r/scaling.html").read_text()
    rows = json.loads((tmp_path / "r/scores.json").read_text())["rows"]
    assert next(row for row in rows if row["quantity"] == "mended_share")["n_models"] == 2


def test_readings_of_other_ropes_texts_and_tables_are_refused(make_cell, make_untuned):
    cell = make_cell(1e6, 700)
    with pytest.raises(UserError, match="yarn; expected the rope of pre-training, dynamic_ntk or longrope"):
        read(cell, make_untuned(apply(OWN, "yarn", factor=4.0), 1.0))
    with pytest.raises(UserError, match="read on other texts than model_base-1000000"):
        read(cell, make_untuned(OWN, 1.0, documents=7))
    with pytest.raises(UserError, match="the rotary table is not that of the tuned models"):
        read(cell, make_untuned(default_rope(64, 2e4, 128), 1.0))
