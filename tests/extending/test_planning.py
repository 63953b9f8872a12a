from __future__ import annotations

import pytest

from ropewalk.errors import UserError
from ropewalk.extending.planning import ENOUGH, GRID, JUDGED, TRIALS, plan, seconds


@pytest.mark.parametrize(("text", "wanted"), [("20min", 1200), ("90s", 90), ("1.5h", 5400), (" 3 m ", 180)])
def test_times_are_read(text, wanted):
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["20", "fast", "0s", "-3min", "1d"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UserError, match="expected a time"):
        seconds(text)


def test_a_time_that_is_too_short_for_one_document_is_refused():
    with pytest.raises(UserError, match=r"0:59: one document takes about 0:15 with each of 4 ropes; .* least 3:00"):
        plan(15, 59, ropes=4, documents=20, choosing=4, searches=True)
    assert plan(15, 60, ropes=4, documents=20, choosing=4, searches=True).documents == 1


def test_documents_to_report_on_come_before_searches():
    choosing = 6
    grid, search = (choosing * (tried + JUDGED + 4) for tried in (GRID, TRIALS))
    few = plan(1, 5 * ENOUGH + grid - 1, ropes=4, documents=1000, choosing=choosing, searches=True)
    assert not few.tuned
    assert few.documents == (5 * ENOUGH + grid - 1) // 4
    some = plan(1, 5 * ENOUGH + grid, ropes=4, documents=1000, choosing=choosing, searches=True)
    assert (some.tuned, some.searched, some.documents) == (True, False, ENOUGH)
    more = plan(1, 6 * ENOUGH + grid + search, ropes=4, documents=1000, choosing=choosing, searches=True)
    assert (more.tuned, more.searched, more.documents) == (True, True, ENOUGH)
    for one in (few, some, more):
        assert one.seconds <= 6 * ENOUGH + grid + search


def test_no_more_is_planned_than_there_is():
    found = plan(1, 1e6, ropes=4, documents=7, choosing=0, searches=False)
    assert (found.documents, found.tuned, found.seconds) == (7, False, 28)
    assert plan(1, 1e6, ropes=4, documents=7, choosing=0, searches=False, spent=20).seconds == 8
