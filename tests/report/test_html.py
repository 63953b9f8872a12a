from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from importlib.resources import files

import jinja2
import pandas as pd
import pytest

from ropewalk.report.finetune import tuning_html
from ropewalk.report.html import bounds_text, interval_text, perplexity_number, render
from ropewalk.report.scorecard.page import card_html
from ropewalk.report.tables import perplexity_html

EVIL = 'a<b>&"c'
ESCAPED = "a&lt;b&gt;&amp;&#34;c"


def test_templates_are_part_of_the_package():
    names = {path.name for path in files("ropewalk.report").joinpath("templates").iterdir()}
    assert {"base.j2", "macros.j2", "scaling.j2", "summary.j2"} <= names


def test_no_template_trusts_a_value():
    for path in files("ropewalk.report").joinpath("templates").iterdir():
        assert not re.search(r"\|\s*safe|autoescape", path.read_text()), path.name


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'corpora' is undefined"):
        render("perplexity", "X", confidence=0.95, reference="x", models=1)


def test_cells_are_laid_out_and_escaped():
    rows = [[(f"{EVIL}\n{EVIL}\n\n3", "yes"), ("1", "no"), ("2", "open"), EVIL, "\n4"]]
    options = pd.Series({"train_length": 2, "test_length": 4})
    page = render("posgen_gap", EVIL, options=options, correlations=[], confidence=0.95, head=[EVIL, 1024], rows=rows)
    assert f"<title>{ESCAPED}</title>" in page
    assert f"<h1>{ESCAPED}</h1>" in page
    assert f"<th>{ESCAPED}</th><th>1,024</th>" in page
    assert (
        f"<td class=better>{ESCAPED}<br><small>{ESCAPED}</small><br><small>3</small></td>"
        f"<td class=worse>1</td><td>2</td><td>{ESCAPED}</td><td><small>4</small></td>"
    ) in page.replace("\n", "")


def test_numbers_are_text():
    row = {"x": 1.0, "x_low": 0.5, "x_high": math.inf, "low": math.nan, "high": math.nan, "none": math.nan}
    assert interval_text(row, "x", ".1f") == "1.0 [0.5, ∞]"
    assert bounds_text(row, "", ".1f") == interval_text(row, "none") == interval_text(row, "missing") == ""
    assert (perplexity_number(99.994), perplexity_number(12345.6)) == ("99.99", "12,346")


class Words(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.tags = "", []

    def handle_data(self, data):
        self.words += data

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


def parsed(page):
    found = Words()
    found.feed(page)
    return found


NUMBERS = {"documents": 8, "length": 32, "perplexity": 2.0, "perplexity_low": 1.5, "perplexity_high": 2.5}
APART = {"difference": -0.5, "difference_low": -0.7, "difference_high": -0.3}


def test_names_of_ropes_and_corpora_are_text():
    rows = [{"rope": EVIL, **NUMBERS}, {"rope": "y", **NUMBERS, **APART, "better": "yes"}]
    found = parsed(perplexity_html(pd.DataFrame(rows).assign(corpus=EVIL), EVIL, 0.95))
    assert found.tags.count("b") == 1, "the reference is bold, and no name makes a tag"
    assert f"{EVIL.capitalize()} 8 documents" in found.words
    assert f"paired difference from {EVIL} in nats" in found.words
    assert f"{EVIL} (reference)" in found.words
    assert "2.00[1.50, 2.50]-0.500 [-0.700, -0.300]" in found.words


def test_names_of_regimes_are_text():
    gain = {f"gain{end}": -1.0 for end in ("", "_low", "_high")} | {"gain_better": "yes"}
    apart = {**APART, "difference_better": "open"}
    rows = [
        {"regime": "", "rope": "y", **NUMBERS, "trainings": 0},
        {"regime": EVIL, "rope": "y", **NUMBERS, "trainings": 1, **gain},
        {"regime": EVIL, "rope": EVIL, **NUMBERS, "trainings": 1, **gain, **apart},
    ]
    table = pd.DataFrame(rows).assign(corpus="all", models=1, over="documents and seeds")
    page = tuning_html(table, {EVIL: 0.05}, "y", 0.95)
    found = parsed(page)
    assert found.tags.count("b") == 1, "that of the reference"
    assert page.count("class=better") == 2
    assert f"y {EVIL}" in found.words
    assert "y untuned" in found.words
    assert f"{EVIL} {EVIL}-0.500[-0.700, -0.300]" in found.words.replace("\n", "")
    assert f"models tuned {EVIL}, not enough to judge ropes by them" in found.words


def test_what_the_scorecard_was_told_is_text():
    page = card_html([], {"paper": EVIL}, {"measured": {"not tried": 2}}, {EVIL: EVIL})
    found = parsed(page)
    assert f"{EVIL}: {EVIL}" in found.words
    assert found.words.count(EVIL) == 3
    assert "<span class='v not-tried'>2 not tried</span>" in page
