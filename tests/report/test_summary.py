from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from ropewalk.report.summary import SECTIONS, write_summary
from ropewalk.scores import Scores, bare_rows, number_rows


@pytest.fixture
def study(tmp_path):
    """A study of which one stage is there."""
    folder = tmp_path / "mine"
    report = folder / "reports/search/e"
    report.mkdir(parents=True)
    about = {"stage": "search", "experiment": "e", "confidence": 0.95, "train_length": 128, "documents": 18}
    searched, none = {"method": "gp/ramp", "factor": 4.0, "n_seeds": 1}, {"method": "none", "factor": 4.0}
    rows = [
        *number_rows("objective", -1.0, intervals={"documents": (-1.2, -0.8)}, **searched),
        *number_rows("difference", -0.5, intervals={"documents": (-0.7, -0.3)}, **searched),
        *number_rows("objective", 1.0, intervals={"documents": (0.9, 1.1)}, **none),
    ]
    Scores(about, tuple(rows)).write(report / "scores.json")
    Image.new("RGB", (40, 20), "white").save(report / "convergence.png")
    (folder / "model").mkdir()
    training = bare_rows({"parameters": 558208, "tokens": 5_324_800})
    Scores({"stage": "training"}, training).write(folder / "model/scores.json")
    (folder / "model/config.json").write_text(json.dumps({"max_position_embeddings": 128}))
    return folder


def test_the_page_shows_what_is_there_and_stands_alone(study):
    write_summary(study, study / "report.html", "tables.html")
    page = (study / "report.html").read_text()
    assert "558,208 weights" in page
    assert "Does a searched rope beat hand-made ones?" in page
    assert "-0.5 [-0.7, -0.3], gp/ramp" in page
    assert "reports/scaling/" not in page, "a stage that did not run has no section"
    assert len(re.findall("src='data:image/png;base64,", page)) == 1
    assert not re.findall(r"(?:src|href)=['\"]?https?:", page), "it works offline"
    assert "href='reports/search/e/search.html'" in page
    assert "href='tables.html'" in page


def test_every_section_names_a_command_of_this_workflow():
    for section in SECTIONS:
        assert section.larger.startswith("uv run snakemake --cores all")
        assert section.alt
