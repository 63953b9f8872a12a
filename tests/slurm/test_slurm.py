"""The shipped profile on a real Slurm: what jobs ask for, and what is left of them when they, the workflow or a node
are killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slurm

TINY = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
STUDY = {
    **{key: TINY[key] for key in ("name", "factor", "models")},
    "corpora": {"books": {"source": "folder:texts"}},
    "ropes": {"none": "default", "yarn": "yarn"},
    "tunings": {
        "finetune": {
            **TINY["tunings"]["finetune"],
            "ropes": ["yarn"],
            "untuned": [],
            "read_as": None,
        }
    },
    "resources": {
        "corpus": {"mem_mb": 2000, "runtime": 20},
        "pretrain": {"threads": 1, "mem_mb": 2500, "runtime": 25},
        "tune": {"threads": 2, "mem_mb": 6000, "runtime": 35, "nodes": 2},
    },
}
"""The tiny study with one corpus, one rope, and one training on two nodes."""

# What the first attempt has is too little, and what the second has is enough.
KILLED = """
rule all:
    input: "slow", "greedy"
rule slow:
    output: "slow"
    resources: runtime=lambda wildcards, attempt: 2 ** (attempt - 1)
    shell: "[ {resources.runtime} -gt 1 ] || sleep 600; touch {output}"
rule greedy:
    output: "greedy"
    resources: mem_mb=lambda wildcards, attempt: 400 * 2 ** (attempt - 1)
    shell: "python3 -c 'import time; kept = bytearray(400_000_000); time.sleep(6)' && touch {output}"
"""

CHAIN = """
rule all:
    input: "second"
rule first:
    output: "first"
    localrule: True
    shell: "echo first >> ran; touch {output}"
rule second:
    input: "first"
    output: "second"
    shell: "echo second >> ran; while [ ! -e go ]; do sleep 0.5; done; touch {output}"
"""


def workflow_folder(folder: Path, snakefile: str) -> Path:
    (folder / "Snakefile").write_text(snakefile)
    (folder / "slurm").symlink_to(ROOT / "workflow/profiles/slurm")
    return folder


@pytest.fixture(scope="module", autouse=True)
def killed(slurm, tmp_path_factory) -> Iterator[tuple[Path, Popen[bytes]]]:
    """A workflow whose jobs are killed for their time and memory: runs beside the other tests, since Slurm's shortest
    time is a minute."""
    folder = workflow_folder(tmp_path_factory.mktemp("killed"), KILLED)
    workflow = slurm.snakemake(folder)
    yield folder, workflow
    workflow.kill()


def requested(job: dict[str, str]) -> tuple[str, ...]:
    """Nodes, CPUs of a task, memory of a node, time, and GPUs of a job or of each of its nodes."""
    own = tuple(job.get(key, "none") for key in ("NumNodes", "CPUs/Task", "MinMemoryNode", "TimeLimit"))
    return (*own, job.get("TresPerNode", job.get("TresPerJob", "none")))


def states(jobs: list[dict[str, str]]) -> list[str]:
    return [job["JobState"] for job in jobs]


def ran(folder: Path) -> list[str]:
    """The rules that a chain has started, in their order."""
    return (folder / "ran").read_text().split() if (folder / "ran").exists() else []


def study_folder(folder: Path, study: dict[str, Any]) -> None:
    for name in ("Snakefile", "config", "workflow", "envs", "slurm"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "texts").mkdir()
    for i in range(60):
        (folder / f"texts/{i}.txt").write_text(f"document {i} says: " + "abcdefgh " * 30)
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


def test_a_site_that_takes_gres_alone_is_asked_by_it_and_for_gpus_alone(slurm, tmp_path):
    study_folder(tmp_path, STUDY | {"resources": STUDY["resources"] | {"gres": "gpu:fake"}})
    workflow = slurm.snakemake(tmp_path, "results/tiny/models/small", "--configfile", "study.yaml", init=10)
    slurm.wait_for("the training's job", lambda: len(slurm.jobs(tmp_path)) == 2)
    asked = {
        job["Comment"].split("_wildcards")[0]: (job.get("TresPerNode"), job.get("TresPerJob"))
        for job in slurm.jobs(tmp_path)
    }
    assert asked == {"rule_corpus": (None, None), "rule_pretrain": ("gres:gpu:fake:1", None)}
    # What it trains is the matter of the next test.
    workflow.send_signal(signal.SIGINT)
    assert workflow.wait(180) == 1


def test_a_study_runs_to_its_end_and_asks_for_what_it_declares(slurm, tmp_path):
    study_folder(tmp_path, STUDY)
    tuned = tmp_path / "results/tiny/models/finetune_small_yarn_long_seed-0"
    target = str(tuned.relative_to(tmp_path))
    configuration = ["--configfile", "study.yaml"]
    slurm.finish(tmp_path, slurm.snakemake(tmp_path, target, *configuration, init=10))
    assert (tuned / "model.safetensors").stat().st_size
    jobs = {job["Comment"].split("_wildcards")[0]: job for job in slurm.jobs(tmp_path)}
    assert {name: requested(job) for name, job in jobs.items()} == {
        "rule_corpus": ("1", "1", "2000M", "00:20:00", "none"),
        "rule_pretrain": ("1", "1", "2500M", "00:25:00", "gres:gpu:1"),
        "rule_tune": ("2", "2", "6000M", "00:35:00", "gres:gpu:1"),
    }
    assert {job["Requeue"] for job in jobs.values()} == {"0"}
    # Two processes would say so twice if they had not met.
    log = (tmp_path / f"results/tiny/logs/models/{tuned.name}.log").read_text()
    assert log.count("tuning: 23,712") == 2
    assert log.count("tuning: done") == 1
    again = slurm.finish(tmp_path, slurm.snakemake(tmp_path, target, *configuration))
    assert "Nothing to be done" in again


def test_a_first_attempt_beyond_the_partition_is_one_sentence(slurm, tmp_path):
    greedy = STUDY["resources"] | {"corpus": {"mem_mb": 20_000}}
    study_folder(tmp_path, STUDY | {"resources": greedy})
    workflow = slurm.snakemake(tmp_path, "corpora", "--configfile", "study.yaml")
    assert workflow.wait(120) == 1
    said = (tmp_path / "said").read_text()
    assert "'resources.corpus.mem_mb' is 20000, and the Slurm partition main has 16000 MB of memory" in said
    assert not slurm.jobs(tmp_path)


def test_what_needs_the_network_is_fetched_here_and_not_in_a_job(slurm, tmp_path):
    study_folder(tmp_path, STUDY)
    slurm.finish(tmp_path, slurm.snakemake(tmp_path, "prefetch", "--configfile", "study.yaml"))
    assert (tmp_path / "results/tiny/corpora/byte/books/corpus.json").is_file()
    assert not slurm.jobs(tmp_path)


def test_a_mistake_is_not_made_again_and_what_grows_stays_within_the_partition(slurm, tmp_path):
    small = STUDY["resources"] | {"corpus": {"mem_mb": 9000, "runtime": 20}}
    study_folder(tmp_path, STUDY | {"resources": small})
    (tmp_path / "texts/empty.txt").write_text("")
    workflow = slurm.snakemake(tmp_path, "corpora", "--retries", "1", "--configfile", "study.yaml", init=5)
    assert workflow.wait(240) == 1
    jobs = slurm.jobs(tmp_path)
    assert [job["MinMemoryNode"] for job in jobs] == ["9000M", "16000M"]
    assert [job["TimeLimit"] for job in jobs] == ["00:20:00", "00:40:00"]
    log = (tmp_path / "results/tiny/logs/corpora/byte/books.log").read_text().splitlines()
    assert log == [
        "ropewalk: texts/empty.txt is an empty document.",
        "ropewalk: byte/books is not tried again: another attempt would end so too.",
    ]
    assert len(list(tmp_path.glob("results/tiny/tracking/corpora/byte/books/*.json"))) == 1


def test_a_cancelled_workflow_leaves_nothing_behind_and_goes_on(slurm, tmp_path):
    folder = workflow_folder(tmp_path, CHAIN)
    workflow = slurm.snakemake(folder)
    slurm.wait_for("the second job", lambda: ran(folder) == ["first", "second"])
    workflow.send_signal(signal.SIGINT)
    assert workflow.wait(180) == 1
    slurm.wait_for("the end of its job", lambda: "COMPLETING" not in states(slurm.jobs(folder)), 30)
    assert states(slurm.jobs(folder)) == ["CANCELLED"]
    assert not list(folder.glob(".snakemake/locks/*"))
    assert (folder / "first").exists()
    assert not (folder / "second").exists()
    (folder / "go").touch()
    slurm.finish(folder, slurm.snakemake(folder))
    assert ran(folder) == ["first", "second", "second"]


def test_a_node_that_dies_takes_no_more_than_its_job(slurm, tmp_path):
    folder = workflow_folder(tmp_path, CHAIN)
    workflow = slurm.snakemake(folder, "--default-resources", "slurm_partition=fragile", "mem_mb=2000", "runtime=30")
    slurm.wait_for("the second job", lambda: ran(folder) == ["first", "second"])
    slurm.kill_node("n2", slurm.jobs(folder)[-1]["JobId"])
    slurm.wait_for("another attempt", lambda: len(slurm.jobs(folder)) == 2)
    assert states(slurm.jobs(folder)) == ["NODE_FAIL", "PENDING"]
    (folder / "go").touch()
    slurm.node("n2")
    slurm.finish(folder, workflow)
    assert ran(folder) == ["first", "second", "second"]
    assert states(slurm.jobs(folder)) == ["NODE_FAIL", "COMPLETED"]


def test_a_job_killed_for_its_time_or_memory_is_given_more(slurm, killed):
    folder, workflow = killed
    slurm.finish(folder, workflow)
    jobs = slurm.jobs(folder)
    slow = [job for job in jobs if job["Comment"].startswith("rule_slow")]
    assert [job["TimeLimit"] for job in slow[:2]] == ["00:01:00", "00:02:00"]
    assert slow[0]["JobState"] == "TIMEOUT"
    greedy = [job for job in jobs if job["Comment"].startswith("rule_greedy")]
    assert [job["MinMemoryNode"] for job in greedy] == ["400M", "800M"]
    assert states(greedy) == ["FAILED", "COMPLETED"]
