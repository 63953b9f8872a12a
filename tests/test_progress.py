from __future__ import annotations

import pytest

from ropewalk import progress
from ropewalk.progress import Progress, clock


def test_a_log_gets_lines_and_no_bar(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("work", 100, done=20) as shown:
        for _ in range(40):
            now[0] += 1
            shown.advance(note="loss 1.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "work:  30 % · step 30 of 100 · loss 1.5 · 1:10 left"
    assert len(lines) == 5
    assert lines[-1] == "work: done · 60 steps · loss 1.5 · took 0:40"


def test_an_unknown_total_is_counted(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Progress("read", None, unit="document") as shown:
        shown.advance(3)
    assert capsys.readouterr().err.startswith("read: 3 documents\nread: done · 3 documents")


def test_a_failure_is_not_called_done(capsys):
    with pytest.raises(KeyError), Progress("work", 3):
        raise KeyError
    assert "done" not in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.4, "1:01"), (3725, "1:02:05")])
def test_clock(seconds, text):
    assert clock(seconds) == text
