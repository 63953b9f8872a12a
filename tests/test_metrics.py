from __future__ import annotations

from ropewalk.metrics import MetricsFile, read_metrics, write_metrics


def test_a_resumed_writer_drops_the_steps_it_writes_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path) as sink:
        for step in (10, 20, 30):
            sink(step, {"loss": float(step)})
    with path.open("a") as file:
        file.write('{"step": 40, "lo')  # torn by a kill
    with MetricsFile(path) as sink:
        sink.resume(20)
        sink(30, {"loss": 3.0})
    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [(10, 10.0), (20, 20.0), (30, 3.0)]


def test_a_writer_that_starts_anew_keeps_nothing(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for first in (10, 20):
        with MetricsFile(path) as sink:
            sink.resume(0)
            sink(first, {"loss": 1.0})
    assert [line["step"] for line in read_metrics(path)] == [20]


def test_finished_metrics_are_written_at_once(tmp_path):
    write_metrics(tmp_path / "m.jsonl", {1: {"a": 0.5}, 2: {"a": 0.25, "b": 1.0}})
    assert [line["a"] for line in read_metrics(tmp_path / "m.jsonl")] == [0.5, 0.25]
    assert list(read_metrics(tmp_path / "none.jsonl")) == []
