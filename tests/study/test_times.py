from __future__ import annotations

import json

from ropewalk.study.times import recorded_times, stage_times, times_text


def test_times_are_summed_by_what_jobs_do(make, tmp_path):
    study = make()
    tuned = [row for row in study.models.values() if row.columns.get("experiment") == "tuned"]
    trained = next(row for row in study.models.values() if row.kind == "pretrain")
    for row, seconds in ((trained, 4000.0), (tuned[0], 59.6), (tuned[1], 30.0)):
        file = tmp_path / "models" / f"{row.id}.tsv"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t1.0\n")
    times = stage_times(study, tmp_path)
    assert times == {"pre-train models": [4000.0], "tune tuned": [59.6, 30.0]}
    lines = times_text(times).splitlines()
    assert lines[0].split() == ["pre-train", "models", "1:06:40", "1", "job"]
    assert lines[1].split() == ["tune", "tuned", "1:30", "2", "jobs"]
    assert lines[2].split() == ["together", "1:08:10"]


def test_a_task_of_two_jobs_has_a_folder_of_files(make, tmp_path):
    study = make()
    task = next(iter(study.posgen))
    folder = tmp_path / "posgen" / task
    folder.mkdir(parents=True)
    for name, seconds in (("train", 10.0), ("score", 2.5)):
        (folder / f"{name}.tsv").write_text(f"s\tcpu_time\n{seconds}\t1.0\n")
    (times,) = stage_times(study, tmp_path).values()
    assert sorted(times) == [2.5, 10.0]


def test_times_are_read_from_what_a_study_left_behind(tmp_path):
    assert recorded_times(tmp_path) == ""
    config = {"models": {"theirs": {"source": "folder:somewhere"}}}
    (tmp_path / "study.json").write_text(json.dumps({"config": config, "reports": []}))
    assert recorded_times(tmp_path) == ""
    (tmp_path / "benchmarks/models").mkdir(parents=True)
    (tmp_path / "benchmarks/models/theirs.tsv").write_text("s\th:m:s\n125.2\t0:02:05\n")
    assert recorded_times(tmp_path).splitlines()[0].split() == ["fetch", "models", "2:05", "1", "job"]
