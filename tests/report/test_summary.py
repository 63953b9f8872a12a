from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ropewalk.report.summary import SECTIONS, write_summary
from ropewalk.scores import Scores, bare_rows, number_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(tmp_path):
    """A study of which one stage is there."""
    folder = tmp_path / "mine"
    report = folder / "reports/search/e"
    report.mkdir(parents=True)
    about = {"stage": "search", "experiment": "e", "confidence": 0.95, "train_length": 128, "documents": 18}
    searched = {"method": "gp/ramp", "factor": 4.0, "n_seeds": 2, "n_documents": 18, "confidence": 0.95}
    over = {"documents and seeds": (-0.7, -0.3)}
    rows = number_rows("difference", -0.5, intervals=over, against="best hand-made", **searched)
    Scores(about, tuple(rows)).write(report / "scores.json")
    Image.new("RGB", (40, 20), "white").save(report / "convergence.png")
    model = folder / "models/fresh"
    model.mkdir(parents=True)
    training = bare_rows({"parameters": 558208, "tokens": 5_324_800})
    Scores({"stage": "training"}, training).write(model / "scores.json")
    (model / "training.json").write_text(json.dumps({"shape": {"length": 128}}))
    tuned = folder / "models/tuned"
    tuned.mkdir()
    Scores({"stage": "training"}, bare_rows({"parameters": 7.0, "tokens": 9.0})).write(tuned / "scores.json")
    (tuned / "training.json").write_text(json.dumps({"rope": {}}))
    (report / "search.html").write_text("")
    (report / "notes.txt").write_text("")
    return folder


def test_the_page_shows_what_is_there_and_stands_alone(study):
    write_summary([study], study / "report.html")
    page = (study / "report.html").read_text()
    assert "fresh: a model of 558,208 weights, trained from nothing on 5,324,800 tokens in texts of 128." in page
    assert "tuned: a model" not in page
    assert "Does a searched rope beat hand-made ones?" in page
    assert "-0.5 [-0.7, -0.3], gp/ramp, 4x" in page
    assert "reports/scaling/" not in page, "a stage that did not run has no section"
    assert len(re.findall("src='data:image/png;base64,", page)) == 1
    assert not re.findall(r"(?:src|href)=['\"]?https?:", page), "it works offline"
    assert "href='reports/search/e/search.html'" in page
    assert "href='scorecard/scorecard.html'" in page


def test_the_answer_stands_before_the_figure_and_how_sure_after_it(study):
    write_summary([study], study / "report.html")
    page = (study / "report.html").read_text()
    answer, figure, sure = (
        page.index(part) for part in ("<p class=answer>", "data:image/png", "How sure, and at which")
    )
    assert answer < figure < sure
    said = page[answer:figure]
    assert "<span class='v reproduced'>reproduced</span>" in said
    assert "<b>-0.5 [-0.7, -0.3], gp/ramp, 4x" in said


def test_what_decides_nothing_says_so(study):
    scores = study / "reports/search/e/scores.json"
    scores.write_text(scores.read_text().replace("-0.3", "0.3"))
    write_summary([study], study / "report.html")
    page = (study / "report.html").read_text()
    assert "Nothing is decided here: at this scale" in page
    assert "<span class='v reproduced'>reproduced</span> " not in page


def test_what_no_paper_claims_anything_of_stands_after_what_was_found(study):
    report = study / "reports/perplexity/reading"
    report.mkdir(parents=True)
    Scores({"stage": "perplexity", "experiment": "reading"}, ()).write(report / "scores.json")
    Image.new("RGB", (40, 20), "white").save(report / "nll_by_position.png")
    write_summary([study], study / "report.html")
    page = (study / "report.html").read_text()
    titles = re.findall(r"<h2>([^<]*\?)", page)
    assert titles == ["Does a searched rope beat hand-made ones?", "How far does the model read, with each rope?"]
    assert len(re.findall("data:image/png;base64,", page)) == 2
    _, _, rest = page.partition(titles[1])
    assert "No paper claims anything that this decides." in rest
    assert "Nothing is decided" not in page


def test_the_page_says_how_long_each_part_took_and_where_a_model_came_from(study):
    write_summary([study], study / "report.html")
    assert "How long it took" not in (study / "report.html").read_text()
    (study / "models/theirs").mkdir()
    (study / "models/theirs/source.json").write_text(json.dumps({"kind": "hub", "name": "a/b", "revision": None}))
    write_summary([study], study / "report.html", {"mine": "fetch models  2:05  1 job"})
    page = (study / "report.html").read_text()
    assert "<pre>fetch models  2:05  1 job</pre>" in page
    assert " theirs: hub:a/b." in page


def test_of_several_studies_that_of_a_real_model_stands_first_and_each_is_named(study, tmp_path):
    real = tmp_path / "real"
    shutil.copytree(study, real)
    (real / "models/theirs").mkdir()
    (real / "models/theirs/source.json").write_text(json.dumps({"kind": "hub", "name": "a/b", "revision": None}))
    write_summary([study, real], tmp_path / "both.html", {"mine": "3:00", "real": ""})
    page = (tmp_path / "both.html").read_text()
    title = "Does a searched rope beat hand-made ones?"
    assert re.findall(f"<h2>{re.escape(title)} <small>([^<]*)</small>", page) == ["real · e", "mine · e"]
    assert "Ropewalk: real, mine" in page
    for name in ("real", "mine"):
        assert f"href='{name}/reports/search/e/search.html'" in page
        assert f"<a href='{name}/scorecard/scorecard.html'>The scorecard of {name}</a>" in page
        assert f"<h3>{name}/search/e</h3>" in page
    assert page.count("<pre>3:00</pre>") == 1
    assert page.index("theirs: hub:a/b.") < page.index("fresh: a model")


def test_every_file_of_a_report_is_listed_with_what_it_shows(study):
    write_summary([study], study / "report.html")
    page = (study / "report.html").read_text()
    _, _, files = page.partition("<h2 id=files>")
    assert "<h3>search/e</h3>" in files
    listed = re.findall("<li><a href='([^']*)'>([^<]*)</a>(: )?", files)
    assert listed == [
        ("reports/search/e/search.html", "search.html", ": "),
        ("reports/search/e/convergence.png", "convergence.png", ": "),
    ]
    assert "Best objective so far, in nats against" in files


def test_every_section_names_a_command_of_this_workflow():
    for section in SECTIONS:
        words = r"uv run snakemake --cores all (?:--resources gpu=1 )?(\w+ )?--configfile (config/[\w-]+\.yaml)"
        target = re.fullmatch(words, section.larger)
        assert target is not None
        assert target[1] in (None, f"{section.stage} ")
        assert (ROOT / target[2]).is_file()
        assert section.alt
