"""A study of a model, texts and questions of the hub: all is brought first, and the rest needs no hub."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ropewalk.models.shape import ModelShape
from ropewalk.reading.leval.pocket import write_pocket
from ropewalk.reading.options import PocketOptions

ROOT = Path(__file__).parents[2]
STUDY = yaml.safe_load("""
name: hub
factor: 4
corpora:
  books: {source: "hub:pg19", limit: 30}
  government: {source: "hub:govreport"}
models:
  tiny: {source: "hub:tiny/llama", revision: v1}
ropes:
  none: default
  yarn: yarn
readings:
  perplexity:
    kind: nll
    of: [{models: [tiny], ropes: [none, yarn]}]
    options: {documents: 2, read_to: 128}
    report: {lengths: [64, 128], reference: yarn}
  questions:
    kind: leval
    of: [{models: [tiny], ropes: [none]}]
    options: {data: "hub:L4NLP/LEval", tasks: [tpo], context: 64, max_new_tokens: 4}
""")
BOOKS, REPORTS, QUESTIONS = "emozilla/pg19", "ccdv/govreport-summarization", "L4NLP/LEval"


def put_table(path: Path, column: str, kind: str, count: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [f"{path.stem} has the {kind} {number}: " + f"{number} and more. " * 12 for number in range(count)]
    pq.write_table(pa.table({column: texts}), path)


@pytest.fixture(autouse=True)
def full(hub, make_model):
    """The hub has all that the study wants."""
    shape = ModelShape(hidden_size=16, layers=1, heads=1, kv_heads=1, intermediate_size=16, length=32)
    shutil.copytree(make_model(shape).name, hub.folder("models", "tiny/llama", "v1"), dirs_exist_ok=True)
    for number in range(3):
        name = f"data/train-{number:05d}-of-00003.parquet"
        put_table(hub.folder("datasets", BOOKS) / name, "text", "book")
    for part in ("test", "validation", "train"):
        name = f"document/{part}-00000-of-00001.parquet"
        put_table(hub.folder("datasets", REPORTS) / name, "report", "report")
    questions = PocketOptions(documents=1, questions=1, words=50)
    write_pocket(hub.folder("datasets", QUESTIONS) / "LEval/Exam", questions)


@pytest.mark.slow
def test_a_study_that_was_prefetched_needs_no_hub(ropewalk, tmp_path):
    for name in ("Snakefile", "config", "workflow", "envs", "slurm"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))

    def snakemake(*words: str, offline: bool) -> dict[str, int]:
        """Run the study, or a part of it; jobs by rule come back."""
        command = [sys.executable, "-m", "snakemake", "--configfile", "study.yaml", "--cores", "2", *words]
        environment = ropewalk.environment(offline=offline)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        table = (done.stdout + done.stderr).partition("Job stats:")[2]
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}

    hub = ropewalk.hub
    jobs = snakemake("prefetch", offline=False)
    assert jobs == {"corpus": 2, "fetch": 1, "questions": 1, "prefetch": 1, "total": 5}
    results = tmp_path / "results/hub"
    assert "data/train-00001-of-00003.parquet" in hub.sent
    assert "data/train-00002-of-00003.parquet" not in hub.sent, "the limit needs no more"
    assert "LEval/Exam/tpo.jsonl" in hub.sent
    assert len(hub.sent) == len(set(hub.sent)), "no file is brought twice"
    assert (results / "models/tiny/model.safetensors").is_file()
    corpora = {path.parent.name: json.loads(path.read_text()) for path in results.glob("corpora/*/*/corpus.json")}
    commits = {name: one["provenance"]["revision"] for name, one in corpora.items()}
    assert commits == {
        "books": hub.commit("datasets", BOOKS),
        "government": hub.commit("datasets", REPORTS),
    }
    assert {name: one["documents"] for name, one in corpora.items()} == {"books": 30, "government": 60}
    assert not (results / "readings").exists(), "nothing is computed yet"

    ropewalk.forget()
    hub.forget()
    jobs = snakemake(offline=True)
    assert jobs["read"] == 3
    assert not {"corpus", "fetch", "questions"} & set(jobs)
    assert hub.asked == []
    assert (results / "report.html").is_file()
    assert (results / "reports/perplexity/perplexity/perplexity.csv").is_file()
    assert (results / "readings/questions_tiny_none/tpo.jsonl").is_file()
