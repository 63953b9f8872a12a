from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from ropewalk.report.summary import SECTIONS, write_summary


@pytest.fixture
def study(tmp_path):
    """A study of which one stage is there."""
    folder = tmp_path / "mine"
    report = folder / "search/e/report"
    report.mkdir(parents=True)
    row = {"found": 1.0, "objective": -1.0, "objective_low": -1.2, "objective_high": -0.8}
    row |= {"difference": -0.5, "difference_low": -0.7, "difference_high": -0.3}
    none = {"found": 0.0, "objective": 1.0, "objective_low": 0.9, "objective_high": 1.1}
    scores = {
        "setting": {"train_length": 128, "documents": 18},
        "4x": {"standings": {"gp/ramp": row, "none": none}},
    }
    (report / "scores.json").write_text(json.dumps(scores))
    Image.new("RGB", (40, 20), "white").save(report / "convergence.png")
    (folder / "model").mkdir()
    (folder / "model/scores.json").write_text(json.dumps({"parameters": 558208, "tokens": 5_324_800}))
    (folder / "model/config.json").write_text(json.dumps({"max_position_embeddings": 128}))
    return folder


def test_the_page_shows_what_is_there_and_stands_alone(study):
    write_summary(study, study / "report.html", "tables.html")
    page = (study / "report.html").read_text()
    assert "558,208 weights" in page
    assert "Does a searched rope beat hand-made ones?" in page
    assert "-0.5 [-0.7, -0.3], gp/ramp" in page
    assert "scaling/" not in page, "a stage that did not run has no section"
    assert len(re.findall("src='data:image/png;base64,", page)) == 1
    assert not re.findall(r"(?:src|href)=['\"]?https?:", page), "it works offline"
    assert "href='search/e/report/search.html'" in page
    assert "href='tables.html'" in page


def test_every_section_names_a_command_of_this_workflow():
    for section in SECTIONS:
        assert section.larger.startswith("uv run snakemake --cores all")
        assert section.alt
