"""What a person sees of a workflow, from the records that Snakemake makes."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from ropewalk.progress import QUIET
from ropewalk.watching import Course, Running, Watch, ends

SETTINGS = {"stdout": False, "nocolor": True, "dryrun": False, "verbose": False, "debug_dag": False}


@pytest.fixture
def watch(monkeypatch):
    """A display without a terminal, and what it prints."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv(QUIET, "")
    made = Watch()
    made.open(SimpleNamespace(**SETTINGS))
    yield made, sys.stderr
    made.close()


def record(level=logging.INFO, message="", **extra):
    made = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    made.__dict__.update(extra)
    return made


def begin(job, rule="read", log=None):
    words = f"read the model {job}"
    return record(event="job_info", jobid=job, rule_name=rule, rule_msg=words, log=[str(log)] if log else [])


def test_time_is_that_of_each_rule_and_of_as_many_jobs_beside_each_other():
    course = Course(0.0, planned=Counter(read=4, rope=10))
    assert course.left(0.0) is None
    for job, rule, seconds in ((1, "read", 20.0), (2, "read", 40.0), (3, "rope", 1.0)):
        course.running[job] = Running(rule, "", None, 0.0)
        course.finish(job, seconds)
    # 61 seconds of jobs in 30.5 seconds: two beside each other. Two readings of 30 and nine ropes of 1 are left.
    assert course.left(30.5) == pytest.approx((2 * 30 + 9 * 1) / 2)
    # One that runs for ten seconds: 71 of 40.5.
    course.running[4] = Running("read", "", None, 30.5)
    assert course.left(40.5) == pytest.approx((30 + 20 + 9) / (71 / 40.5))
    assert course.line(40.5).startswith("3 of 14 jobs done · 0:40 gone, about 0:3")


def test_a_job_knows_best_how_long_it_takes(tmp_path):
    log = tmp_path / "log"
    log.write_text("tuning:   4 % · step 34 of 900 · loss 3.102 · 1:48:48 left\n")
    course = Course(0.0, planned=Counter(tune=1, rope=1))
    course.running[1] = Running("rope", "", None, 0.0)
    course.finish(1, 1.0)
    course.running[2] = Running("tune", "", log, 1.0)
    assert course.left(10.0) == 3600 + 48 * 60 + 48
    log.write_text("tuning: done · 900 steps\n")
    assert course.left(11.0) > 0, "a log is not read at every look"
    assert course.left(13.0) == 0.0


def test_what_is_not_known_yet_is_not_promised(tmp_path):
    """Two hundred ropes say nothing of trainings; one training that says what it needs speaks for the others."""
    log = tmp_path / "log"
    log.write_text("tuning: 25 parameters are trained\n")
    course = Course(0.0, planned=Counter(rope=3, tune=5, summary=1))
    course.running[1] = Running("rope", "", None, 0.0)
    course.finish(1, 1.0)
    course.running[2] = Running("tune", "", log, 1.0)
    assert course.line(2.0).endswith(", more than 0:03 left")
    log.write_text("tuning:  50 % · step 5 of 10 · 0:10 left\n")
    # One rope was made in two jobs' time: 10 of this training, 4 of 14, two ropes and a summary of a second each.
    assert course.line(5.0).endswith(", about 1:09 left")


def test_a_job_that_fails_is_told_with_the_end_of_its_log(watch, tmp_path):
    log = tmp_path / "job.log"
    log.write_text("".join(f"line {k}\n" for k in range(100)) + "ropewalk: the corpus is empty.\n\n")
    shown, said = watch
    shown.emit(record(event="run_info", stats={"read": 2, "total": 2}))
    shown.emit(begin(7, log=log))
    shown.emit(record(logging.ERROR, event="job_error", jobid=7, rule_name="read", log=[str(log)]))
    text = said.getvalue()
    assert "2 jobs" in text
    assert f"FAILED: read the model 7\n  its log, {log}, ends with\n  | line 86\n" in text
    assert text.endswith("  | ropewalk: the corpus is empty.\n")


def test_the_end_is_told_and_noise_is_not(watch):
    shown, said = watch
    shown.emit(record(message="Select jobs to execute..."))
    shown.emit(record(message="Provided cores: 2", quietness="host"))
    shown.emit(record(event="run_info", stats={"read": 1, "total": 1}))
    shown.emit(begin(1))
    shown.emit(record(event="job_finished", job_id=1))
    shown.emit(record(message="Nothing to be done (all requested files are present and up to date)."))
    shown.emit(record(logging.WARNING, message="A warning."))
    assert said.getvalue().splitlines() == [
        "1 jobs",
        "1 of 1 jobs done · 0:00 gone",
        "Nothing to be done (all requested files are present and up to date).",
        "A warning.",
    ]


def test_commands_are_shown_where_they_are_asked_for(watch):
    """With -p; without it Snakemake's own filter keeps them back."""
    shown, said = watch
    shown.emit(record(event="shellcmd", cmd="\n        ropewalk read nll\n"))
    assert "ropewalk read nll" in said.getvalue()


def test_a_log_is_read_from_its_end(tmp_path):
    log = tmp_path / "log"
    assert ends(log, 3) == []
    assert ends(None, 3) == []
    log.write_text("x" * 10_000 + "\n" + "a\rb\n\nc\n")
    assert ends(log, 3) == ["a", "b", "c"]


WORKFLOW = """
rule all:
    input: "b"
rule first:
    output: "a"
    log: "logs/a"
    message: "make the first"
    shell: "ropewalk track --experiment e --name n --root records --log {log} -- python -c 'print(12345)' && touch a"
rule second:
    input: "a"
    output: "b"
    log: "logs/b"
    message: "make the second"
    shell: "echo it is broken > {log}; exit 3"
"""


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_snakemake_finds_it_and_jobs_speak_to_their_logs(tmp_path, arguments):
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "ropewalk", *arguments]
    folder = os.path.dirname(sys.executable)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "MLFLOW_TRACKING_URI": f"file:{tmp_path}/m"}
    done = subprocess.run(command, cwd=tmp_path, stdout=-1, stderr=-2, text=True, env=environment)
    if arguments:
        assert done.returncode == 0
        assert "This was a dry-run" in done.stdout
        assert "make the first" in done.stdout
        return
    assert done.returncode == 1
    assert "3 jobs" in done.stdout
    assert "FAILED: make the second" in done.stdout
    assert "  | it is broken" in done.stdout
    assert "12345" in (tmp_path / "logs/a").read_text()
    assert "12345" not in done.stdout
    assert "CalledProcessError" not in done.stdout
    assert "Select jobs" not in done.stdout
