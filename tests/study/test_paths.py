"""Every row has a place of its own below the results of its study."""

from __future__ import annotations

from itertools import permutations
from pathlib import PurePosixPath

from ropewalk.study.paths import Paths

TABLES = ("corpora", "ropes", "models", "readings", "searches", "posgen", "reports")


def test_each_row_has_a_place_that_no_other_has_or_lies_in(make):
    """The output of a job is written whole, so that no other may lie below it."""
    study, paths = make(), Paths("results/small")
    places = [PurePosixPath(paths.of(row)) for table in TABLES for row in getattr(study, table).values()]
    assert len(places) > 60
    assert len(set(places)) == len(places)
    assert all(place.parts[:2] == ("results", "small") for place in places)
    assert not [pair for pair in permutations(places, 2) if pair[0] in pair[1].parents]


def test_places_follow_the_table_and_the_id(make):
    study, paths = make(), Paths("r")
    assert paths.of(study.ropes["32-10000-32/yarn"]) == "r/ropes/32-10000-32/yarn.json"
    assert paths.of(study.corpora["byte/books"]) == "r/corpora/byte/books"
    assert paths.of(study.models["small"]) == "r/models/small"
    assert paths.of(study.readings["text_small_yarn"]) == "r/readings/text_small_yarn"
    found = "search_small_sobol-ramp_2x_seed-0"
    assert paths.of(study.searches[found]) == f"r/searches/{found}"
    assert paths.of(study.posgen["posgen/recursive"]) == "r/posgen/posgen/recursive/scores"
    assert paths.of(study.reports["perplexity/text"]) == "r/reports/perplexity/text"
