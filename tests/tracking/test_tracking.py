"""Jobs are recorded whatever happens to them, and every record arrives in MLflow once."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ropewalk.errors import UserError
from ropewalk.scores import Scores, bare_rows
from ropewalk.tracking import COPY_UP_TO, Delivery, Job, deliver, delivery, pending, records, run_tracked, tracking_uri
from ropewalk.tracking import store as store_module

WRAPPER = """
import os, sys
from pathlib import Path
from ropewalk.tracking import COPY_UP_TO, Job, run_tracked
folder, at_once, *command = sys.argv[1:]
job = Job("race/nll", "nll/" + Path(folder).name, Path(folder), log=Path(folder, "job.log"))
sys.exit(run_tracked(job, command, patience=0 if at_once == "yes" else 3600))
"""
POINTS = "".join(f'{{"step": {step}, "loss": {3 - step / 10}, "time": {1.7e9 + step}}}\n' for step in range(5))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One SQLite store for this file: to create its tables takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")
        for name, value in store_module._ENVIRONMENT.items():
            patch.setenv(name, value)
        yield tracking_uri()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def job(tmp_path: Path, **changes: Any) -> Job:
    """A job of an experiment of its own."""
    return Job(**{"experiment": f"{tmp_path.name}/nll", "name": "nll/it's", "folder": tmp_path / "records", **changes})


def runs(folder: Path, condition: str = "") -> list[Any]:
    """The runs of a test, newest first."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri())
    experiment = client.get_experiment_by_name(f"{folder.name}/nll")
    return list(client.search_runs([experiment.experiment_id], condition)) if experiment else []


def history(run: Any, name: str) -> list[tuple[int, float, int]]:
    from mlflow import MlflowClient

    points = MlflowClient(tracking_uri()).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value, point.timestamp) for point in points)


def artifacts(run: Any, folder: str | None = None) -> list[str]:
    from mlflow import MlflowClient

    return [entry.path for entry in MlflowClient(tracking_uri()).list_artifacts(run.info.run_id, folder)]


def record_of(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "records").glob("record-*.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def is_running(group: str) -> bool:
    """Whether a process group has a process that is not a zombie."""
    table = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(line.split()[0] == group and "Z" not in line for line in table.splitlines())


def test_a_job_arrives_whole(store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.log").write_text("an earlier attempt\n")
    (tmp_path / "metrics.jsonl").write_text(POINTS)  # of an attempt that was killed; the job goes on with it
    code = f"""
import json, os, pathlib, sys
os.chdir({str(tmp_path)!r})
print("out"); sys.stdout.flush(); os.write(2, b"err \\xff\\n")
open("metrics.jsonl", "a").write('{{"step": 5, "los\\n{{"step": 5, "loss": 9.5, "note": "x", "time": 1.8e9}}')
rows = [{{"quantity": "b c", "value": 1, "low": 0.5, "rope": "a"}}, {{"quantity": "d?", "value": 2.5}}]
json.dump({{"setting": {{"stage": "x"}}, "rows": rows}}, open("s.json", "w"))
pathlib.Path("figures").mkdir(); pathlib.Path("figures/f.txt").write_text("f")
"""
    tracked = job(
        tmp_path,
        params={"model": {"rope": "yarn", "factor": 4, "long": "x" * 7000}, "none": None, "many": list(range(3))},
        tags={"rule": "nll"},
        metrics_file=tmp_path / "metrics.jsonl",
        score_files=(tmp_path / "s.json",),
        artifacts=(tmp_path / "s.json", tmp_path / "figures", tmp_path / "missing.txt"),
        log=tmp_path / "job.log",
    )
    assert run_tracked(tracked, python(code), patience=0) == 0
    assert (tmp_path / "job.log").read_bytes() == b"out\nerr \xff\n"
    told = capfd.readouterr().err
    assert told.startswith("out\nerr")
    assert "missing.txt" in told
    assert len(told.splitlines()) == 3, "MLflow is to be quiet"

    (run,) = runs(tmp_path, "tags.current = 'true'")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "nll/it's"
    params = run.data.params
    assert (params.pop("model.long"), params) == (
        "x" * 6000,
        {"model.rope": "yarn", "model.factor": "4", "none": "null", "many": "[0, 1, 2]"},
    )
    assert run.data.tags["rule"] == "nll"
    assert run.data.tags["ropewalk.command"].startswith(sys.executable)
    assert len(run.data.tags["ropewalk.config"]) == 64
    assert run.data.metrics == {"rope-a/b c": 1, "rope-a/b c_low": 0.5, "d:3f:": 2.5, "loss": 9.5}
    assert [point[0] for point in history(run, "loss")] == [0, 1, 2, 3, 4, 5]
    assert history(run, "loss")[5] == (5, 9.5, 1_800_000_000_000)
    assert sorted(artifacts(run)) == ["figures", "log", "s.json"]
    assert artifacts(run, "figures") == ["figures/f.txt"]
    assert artifacts(run, "log") == ["log/job.log"]
    assert str(Path(store.removeprefix("sqlite:///")).parent / "mlartifacts") in run.info.artifact_uri
    assert record_of(tmp_path)["run_id"] == run.info.run_id
    assert pending(tmp_path) == 0


def test_a_rerun_supersedes(store: str, tmp_path: Path) -> None:
    assert run_tracked(job(tmp_path), python("import sys; sys.exit(3)"), patience=0) == 3
    assert run_tracked(job(tmp_path), ["true"], patience=0) == 0
    new, old = runs(tmp_path)
    assert (new.info.status, new.data.tags["current"]) == ("FINISHED", "true")
    assert (old.info.status, old.data.tags["current"]) == ("FAILED", "false")
    assert old.data.tags["superseded_by"] == new.info.run_id
    assert old.data.tags["ropewalk.exit"] == "3"
    assert record_of(tmp_path)["run_id"] == new.info.run_id, "the older record is deleted"


def parts_of(tmp_path: Path, *names: str) -> Path:
    """A folder with parts that are to be runs of their own."""
    folder = tmp_path / f"parts-{'-'.join(names)}"
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "params.json").write_text(json.dumps({"seed": len(name), "rope": {"name": name}}))
        (folder / name / "metrics.jsonl").write_text(POINTS)
        Scores({"stage": "x"}, bare_rows({"accuracy": 0.5})).write(folder / name / "scores.json")
    return folder


def test_parts_of_a_job_are_runs_below_its_run(store: str, tmp_path: Path) -> None:
    root = tmp_path / "records"
    assert run_tracked(job(tmp_path, runs=parts_of(tmp_path, "a", "bb")), python("pass")) == 0
    assert pending(root) == 1, "the parts wait for the run of the whole"
    assert deliver(root) == Delivery(3, 0)
    whole, *rest = sorted(runs(tmp_path), key=lambda run: run.info.run_name)
    assert [run.info.run_name for run in rest] == ["nll/it's/a", "nll/it's/bb"]
    for run in rest:
        assert run.data.tags["mlflow.parentRunId"] == whole.info.run_id
        assert run.data.metrics["accuracy"] == 0.5
        assert run.info.status == "FINISHED"
        assert [step for step, _, _ in history(run, "loss")] == [0, 1, 2, 3, 4]
    assert rest[1].data.params == {"seed": "2", "rope.name": "bb"}
    # Another attempt has other parts; those of the first are not current any more.
    assert run_tracked(job(tmp_path, runs=parts_of(tmp_path, "bb", "ccc")), python("pass")) == 0
    assert deliver(root) == Delivery(3, 0)
    current = runs(tmp_path, "tags.current = 'true'")
    assert sorted(run.info.run_name for run in current) == ["nll/it's", "nll/it's/bb", "nll/it's/ccc"]


def test_parts_of_an_older_attempt_that_arrive_late_are_not_current(store: str, tmp_path: Path) -> None:
    root = tmp_path / "records"
    assert run_tracked(job(tmp_path, runs=parts_of(tmp_path, "a")), python("pass")) == 0
    waiting = tmp_path / "elsewhere"
    root.rename(waiting)
    assert run_tracked(job(tmp_path, runs=parts_of(tmp_path, "bb")), python("pass")) == 0
    assert deliver(root) == Delivery(2, 0)
    assert deliver(waiting) == Delivery(2, 0)
    assert len(runs(tmp_path)) == 4
    current = runs(tmp_path, "tags.current = 'true'")
    assert sorted(run.info.run_name for run in current) == ["nll/it's", "nll/it's/bb"]


def test_parts_without_parameters_are_told_and_fail_nothing(
    store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (parts := parts_of(tmp_path, "a")).joinpath("a/params.json").unlink()
    assert run_tracked(job(tmp_path, runs=parts), python("pass")) == 0
    assert "the parts of nll/it's have no runs" in capfd.readouterr().err
    assert deliver(tmp_path / "records") == Delivery(1, 0)


def test_a_failed_job_has_no_parts(store: str, tmp_path: Path) -> None:
    assert run_tracked(job(tmp_path, runs=parts_of(tmp_path, "a")), python("raise SystemExit(3)")) == 3
    assert pending(tmp_path / "records") == 1


def test_late_records_stay_older(store: str, tmp_path: Path) -> None:
    """Records are delivered in any order; the run that started last is the current one."""
    (tmp_path / "metrics.jsonl").write_text(POINTS)
    tracked = job(tmp_path, metrics_file=tmp_path / "metrics.jsonl")
    run_tracked(tracked, ["false"], patience=3600)
    (first,) = (tmp_path / "records").glob("record-*")
    aside = first.rename(tmp_path / first.name)
    run_tracked(tracked, ["true"], patience=0)
    aside.rename(first)
    assert deliver(tmp_path) == Delivery(1, 0)
    new, old = runs(tmp_path)
    assert (new.info.status, new.data.tags["current"], len(history(new, "loss"))) == ("FINISHED", "true", 5)
    assert (old.info.status, old.data.tags["current"]) == ("FAILED", "false")
    assert old.data.metrics == {}, "the files belong to the newer attempt"


def test_records_of_a_deleted_experiment_hold_no_others(
    store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_tracked(job(tmp_path), ["true"], patience=0)
    for number in range(3):
        waiting = tmp_path / "records" / f"old-{number}"
        run_tracked(job(tmp_path, name=f"old-{number}", folder=waiting), ["true"], patience=3600)
    other = {"experiment": f"{tmp_path.name}/other", "folder": tmp_path / "records" / "z"}
    run_tracked(job(tmp_path, **other), ["true"], patience=3600)
    from mlflow import MlflowClient

    MlflowClient(store).delete_experiment(runs(tmp_path)[0].info.experiment_id)
    capfd.readouterr()
    assert deliver(tmp_path) == Delivery(1, 3)
    told = capfd.readouterr().err
    assert "refuses the record" in told
    assert "and 2 more" in told
    assert "deleted" in told
    assert "not reachable" not in told


def test_the_files_of_an_earlier_attempt_are_not_those_of_a_failed_one(store: str, tmp_path: Path) -> None:
    Scores({"stage": "x"}, bare_rows({"a": 1})).write(tmp_path / "s.json")
    tracked = job(tmp_path, score_files=(tmp_path / "s.json",), artifacts=(tmp_path / "s.json",))
    assert run_tracked(tracked, ["false"], patience=0) == 1
    (run,) = runs(tmp_path)
    assert (run.info.status, run.data.metrics, artifacts(run)) == ("FAILED", {}, [])


def test_a_large_file_is_told_and_not_copied(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COPY_UP_TO, "100")
    model = tmp_path / "model"
    (model / "parts").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "parts/weights.bin").write_bytes(b"w" * 101)
    (model / "parts/small.bin").write_bytes(b"w" * 100)
    assert run_tracked(job(tmp_path, artifacts=(model,)), ["true"], patience=0) == 0
    (run,) = runs(tmp_path)
    assert sorted(artifacts(run, "model")) == ["model/config.json", "model/parts"]
    assert sorted(artifacts(run, "model/parts")) == ["model/parts/small.bin", "model/parts/weights.bin.reference.json"]
    told = run.data.tags["reference.weights.bin"]
    digest = hashlib.sha256(b"w" * 101).hexdigest()
    assert told == f"{model / 'parts/weights.bin'} (101 bytes, sha256 {digest})"


def test_files_wait_while_a_gpu_of_a_cluster_is_held(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "result.txt").write_text("result")
    older = job(tmp_path, name="older", folder=tmp_path / "all/older", artifacts=(tmp_path / "result.txt",))
    assert run_tracked(older, ["true"], patience=3600) == 0
    mine = job(tmp_path, folder=tmp_path / "all/mine", artifacts=(tmp_path / "result.txt",))
    monkeypatch.setenv("SLURM_JOB_GPUS", "0")
    assert run_tracked(mine, ["true"], root=tmp_path / "all", patience=0) == 0
    (run,) = runs(tmp_path)
    assert (run.info.status, artifacts(run)) == ("FINISHED", [])
    assert pending(tmp_path / "all") == 2
    monkeypatch.delenv("SLURM_JOB_GPUS")
    assert deliver(tmp_path / "all").waiting == 0
    assert [artifacts(one) for one in runs(tmp_path)] == [["result.txt"]] * 2


def test_a_mistake_is_not_made_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mistake = python(
        f"import sys; open({str(tmp_path / 'ran')!r}, 'a').write('.'); print('what is wrong'); sys.exit(2)"
    )
    tracked = job(tmp_path, log=tmp_path / "job.log")
    assert run_tracked(tracked, mistake) == 2
    (tmp_path / "job.log").unlink()  # as Snakemake does before another attempt
    assert run_tracked(tracked, mistake, attempt=2) == 2
    said = "what is wrong\nropewalk: nll/it's is not tried again: another attempt would end so too.\n"
    assert (tmp_path / "job.log").read_text() == said
    assert (tmp_path / "ran").read_text() == "."
    assert run_tracked(tracked, mistake, attempt=1) == 2, "a person who starts anew may have mended it"
    assert (tmp_path / "ran").read_text() == ".."
    assert run_tracked(tracked, ["false"], attempt=1) == 1
    assert run_tracked(tracked, mistake, attempt=2) == 2, "what a mistake did not end is tried again"
    assert (tmp_path / "ran").read_text() == "..."


def test_metrics_arrive_while_the_job_runs(
    store: str, wait_for, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "BEAT", 0.2)
    metrics, go = tmp_path / "metrics.jsonl", tmp_path / "go"
    metrics.write_text('{"step": 0, "loss": 99}\n')  # stale: the job starts it anew
    code = f"""
import os, sys, time
with open({str(metrics)!r}, "w") as file:
    file.write({POINTS!r} + '{{"step": 5, '); file.flush()
    for _ in range(300):
        time.sleep(0.1)
        if os.path.exists({str(go)!r}):
            file.write('"loss": 1.5}}\\n')
            sys.exit(0)
sys.exit(1)
"""

    def watch() -> None:
        wait_for(lambda: any(len(history(run, "loss")) == 5 for run in runs(tmp_path, "status = 'RUNNING'")))
        go.touch()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert run_tracked(job(tmp_path, metrics_file=metrics), python(code), patience=0) == 0
    watcher.join()
    (run,) = runs(tmp_path)
    assert [point[1] for point in history(run, "loss")] == [3.0, 2.9, 2.8, 2.7, 2.6, 1.5]


@pytest.mark.parametrize("kept_run_id", [True, False])
def test_a_crash_between_sending_and_marking_duplicates_nothing(store: str, tmp_path: Path, kept_run_id: bool) -> None:
    (tmp_path / "metrics.jsonl").write_text(POINTS + '{"step": 7, "loss": NaN}\n')
    Scores({"stage": "x"}, bare_rows({"a": 1})).write(tmp_path / "s.json")
    tracked = job(tmp_path, metrics_file=tmp_path / "metrics.jsonl", score_files=(tmp_path / "s.json",))
    run_tracked(tracked, ["true"], patience=0)
    (path,) = (tmp_path / "records").glob("record-*")
    record = record_of(tmp_path) | {"delivered": False, "pid": None}
    path.write_text(json.dumps(record if kept_run_id else record | {"run_id": None}))
    assert deliver(tmp_path) == Delivery(1, 0)
    (run,) = runs(tmp_path)
    assert len(history(run, "loss")) == 6
    assert len(history(run, "a")) == 1
    assert run.data.tags["current"] == "true"


def test_sigterm_reaches_the_job(store: str, wait_for, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    command = ["sh", "-c", "echo $$ started; sleep 60 & wait"]
    wrapper = subprocess.Popen([*python(WRAPPER), str(folder), "no", *command])
    log = folder / "job.log"
    wait_for(lambda: log.exists() and "started" in log.read_text())
    assert pending(tmp_path) == 0, "a job that runs does not wait"
    wrapper.send_signal(signal.SIGTERM)
    assert wrapper.wait(10) == 128 + signal.SIGTERM
    wait_for(lambda: not is_running(log.read_text().split()[0]))
    assert record_of(tmp_path)["status"] == "KILLED"
    assert pending(tmp_path) == 1


def test_a_killed_wrapper_is_reported(store: str, wait_for, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    wrapper = subprocess.Popen([*python(WRAPPER), str(folder), "no", "sh", "-c", "echo $$ started; exec sleep 60"])
    log = folder / "job.log"
    wait_for(lambda: log.exists() and "started" in log.read_text())
    wrapper.kill()
    wrapper.wait(10)
    if sys.platform == "linux":
        wait_for(lambda: not is_running(log.read_text().split()[0]))
    assert record_of(tmp_path)["status"] == "RUNNING"
    assert pending(tmp_path) == 1
    assert deliver(tmp_path) == Delivery(1, 0)
    assert deliver(tmp_path) == Delivery(0, 0)
    record = record_of(tmp_path)
    assert record["status"] == "KILLED"
    from mlflow import MlflowClient

    assert MlflowClient(tracking_uri()).get_run(record["run_id"]).info.status == "KILLED"


def test_jobs_of_other_hosts_are_dead_when_silent(tmp_path: Path) -> None:
    run_tracked(job(tmp_path), ["true"], patience=3600)
    (path,) = (tmp_path / "records").glob("record-*")
    path.write_text(json.dumps(record_of(tmp_path) | {"host": "elsewhere", "pid": 1, "status": "RUNNING"}))
    assert pending(tmp_path) == 0
    long_ago = time.time() - 2 * records.STALE
    os.utime(path, (long_ago, long_ago))
    assert pending(tmp_path) == 1


def test_a_command_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-such-command cannot be started"):
        run_tracked(job(tmp_path), ["no-such-command"], patience=0)
    assert pending(tmp_path) == 0


def test_what_a_job_is_made_of_is_the_json_of_its_command(tmp_path: Path) -> None:
    given = {
        "--shape": '{"layers": 2}',
        "--options": '{"steps": 3, "lora": {"rank": 4}}',
        "--columns": '{"rope": "it\'s"}',
    }
    words = [word for pair in {**given, "--layout": '{"shard": true}', "--tag": '{"x": 1}'}.items() for word in pair]
    track = [sys.executable, "-m", "ropewalk.cli", "track", "--experiment", "a/models", "--name", "small/0"]
    command = [*track, "--root", "records", "--tag", "code=12", "--", "true", *words]
    subprocess.run(command, cwd=tmp_path, check=True, env=os.environ | {"MLFLOW_TRACKING_URI": ""})
    (path,) = (tmp_path / "records/models/small/0").glob("record-*.json")
    record = json.loads(path.read_text())
    assert record["params"] == {"layers": "2", "steps": "3", "lora.rank": "4", "rope": "it's"}
    assert (record["experiment"], record["name"], record["tags"]["code"]) == ("a/models", "small/0", "12")


def test_names_become_names_of_mlflow() -> None:
    assert store_module._name("//a/../b/./c?(d):e f.g-h") == "a/b/c__d_:e f.g-h"
    assert store_module._name("..") == "_"
    assert len(store_module._name("x" * 300)) == 250


@pytest.mark.slow
def test_two_first_uses_at_once(tmp_path: Path) -> None:
    environment = os.environ | {"MLFLOW_TRACKING_URI": ""}
    wrappers = [
        subprocess.Popen(
            [*python(WRAPPER), f"records/{name}", "yes", "true"],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for wrapper in wrappers:
        assert wrapper.communicate(timeout=120) == (None, "")
        assert wrapper.returncode == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "records").rglob("record-*.json")]
    assert [record["delivered"] for record in records] == [True, True]
    assert (tmp_path / "mlflow.db").exists()


def test_a_server_that_is_away_fails_no_job(address: str, tmp_path: Path) -> None:
    start = time.monotonic()
    wrapper = subprocess.run(
        [*python(WRAPPER), str(tmp_path), "yes", "sh", "-c", "exit 3"], stderr=subprocess.PIPE, text=True
    )
    assert wrapper.returncode == 3
    assert time.monotonic() - start < 60
    (line,) = wrapper.stderr.splitlines()
    assert line.startswith(f"tracking: {address} is not reachable (")
    assert line.endswith(f"; 1 records wait in {tmp_path}, delivered with the next job or by `ropewalk deliver`.")
    assert pending(tmp_path) == 1


@pytest.mark.slow
def test_what_waits_arrives_when_the_server_is_back(store: str, address: str, server, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(POINTS)
    tracked = job(
        tmp_path, metrics_file=tmp_path / "metrics.jsonl", artifacts=(tmp_path / "metrics.jsonl",), params={"a": 1}
    )
    assert run_tracked(tracked, ["true"], patience=0) == 0
    assert deliver(tmp_path) == Delivery(0, 1)
    with server(address, f"sqlite:///{tmp_path}/server.db", tmp_path):
        # the next job of another folder delivers it too
        assert (
            run_tracked(job(tmp_path, folder=tmp_path / "others", name="other"), ["true"], root=tmp_path, patience=0)
            == 0
        )
        assert pending(tmp_path) == 0
        assert deliver(tmp_path) == Delivery(0, 0)
        both = {run.info.run_name: run for run in runs(tmp_path)}
        assert sorted(both) == ["nll/it's", "other"]
        run = both["nll/it's"]
        assert (run.info.status, run.data.params) == ("FINISHED", {"a": "1"})
        assert len(history(run, "loss")) == 5
        assert artifacts(run) == ["metrics.jsonl"]
