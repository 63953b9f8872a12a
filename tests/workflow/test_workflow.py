"""The workflow itself: a whole run of a tiny study, and what it would do again after a change."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import forked
import pytest
import yaml

from ropewalk.warm import VARIABLE

ROOT = Path(__file__).parents[2]

_spec = importlib.util.spec_from_file_location("record", ROOT / "tests/golden/record.py")
assert _spec is not None
assert _spec.loader is not None
record = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(record)
TINY = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())
SNAKEMAKE = [sys.executable, "-m", "snakemake"]
FOUND = "search_small_sobol-ramp_2x_seed-0"

# A found rope that is tuned with; a rope, regime and seed that another tuning has too; a regime that has the name of an
# option.
AGAIN = {
    **TINY["tunings"]["finetune"],
    "ropes": ["yarn", FOUND],
    "untuned": [],
    "regimes": {"long": {"length": 64, "steps": 6}, "reference": {"length": 32, "steps": 2}},
}
STUDY = {**TINY, "tunings": {**TINY["tunings"], "again": AGAIN}}
END = {"study": 1, "scorecard": 1, "summary": 1, "all": 1}
"""What follows any change."""

REDUCED_SWEEP = {
    "models": {
        "dim128-base1000": {
            "shape": {"layers": 1, "intermediate_size": 32, "length": 64},
            "pretraining": {"steps": 2, "batch_size": 2, "warmup_steps": 1},
        }
    },
    "readings": {
        "perplexity": {
            "of": [{"models": ["dim128-base1000"], "ropes": ["none"]}],
            "options": {"documents": 2, "read_to": 256},
            "report": {"lengths": [128, 256], "reference": "none"},
        },
        "copying": {
            "of": [{"models": ["dim128-base1000"], "ropes": ["none"]}],
            "options": {"gaps": [8], "samples": 2},
        },
    },
    "sweeps": {
        "bases": {
            "models": ["dim128-base1000"],
            "options": {"steps": 2, "batch_tokens": 128, "warmup_steps": 1},
            "groups": [{"bases": ["beta3", 1000000]}],
        }
    },
    "resources": {kind: {"threads": 1} for kind in ("pretrain", "tune", "read")},
}
"""What is left of the sweep for GPUs in a test."""


def make_clone(folder: Path) -> Path:
    for name in ("Snakefile", "config", "workflow", "envs", "slurm"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def write_config(clone: Path, study: dict[str, Any] = STUDY, **parts: Any) -> None:
    """Write a study with values in other places, as ``factor=2`` or ``posgen__posgen__options__steps=3``."""
    values = json.loads(json.dumps(study))
    for path, value in parts.items():
        *folders, key = path.split("__")
        here = values
        for part in folders:
            here = here.setdefault(part, {})
        here[key] = value
    (clone / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def environment(package: Path | None = None) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    changes = {"PYTHONPATH": str(package)} if package else {}
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "", **changes}


def snakemake(
    clone: Path, *words: str, files: tuple[str, ...] = ("study.yaml",), package: Path | None = None
) -> subprocess.CompletedProcess[str]:
    told = ["--configfile", *files, "--cores", "2", *words]
    if "-n" in words and package is None:
        return forked.snakemake(told, clone, environment())
    command = [*SNAKEMAKE, *told]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, env=environment(package), check=False)


class Plan(NamedTuple):
    """What a dry run lists: jobs by rule, and the ids of their rows."""

    jobs: dict[str, int]
    rows: list[str]


def plan(clone: Path, *words: str, **how: Any) -> Plan:
    done = snakemake(clone, "-n", *words, **how)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    table = said.partition("Job stats:")[2]
    jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE) if rule != "total"}
    return Plan(jobs, sorted(line.split()[-1] for line in re.findall(r"^Job \d+: (.*)$", said, re.MULTILINE)))


def planned(clone: Path, *words: str, **how: Any) -> dict[str, int]:
    """Jobs by rule that a dry run lists."""
    return plan(clone, *words, **how).jobs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the tiny study has run to its end."""
    clone = make_clone(tmp_path_factory.mktemp("clone"))
    write_config(clone)
    done = snakemake(clone)
    assert done.returncode == 0, done.stderr[-4000:]
    return clone


@pytest.fixture(autouse=True)
def unchanged(request):
    """Each test changes the configuration for itself."""
    yield
    if "finished" in request.fixturenames:
        write_config(request.getfixturevalue("finished"))


@pytest.mark.slow
def test_a_run_writes_everything_and_a_second_one_does_nothing(finished):
    results = finished / "results/tiny"
    for path in (
        "report.html",
        "study.json",
        "models/small/model.safetensors",
        "models/bases_small_base-1000000_length-64_steps-12_seed-0/model.safetensors",
        "models/finetune_small_yarn_long_seed-0/model.safetensors",
        "searches/search_small_scan-groups_2x_seed-0/rope.json",
        "readings/perplexity_small_yarn/nll.parquet",
        "readings/bases_small_base-5_length-32_steps-12_seed-0_log-scaled_nll/nll.parquet",
        "readings/questions_finetune_small_none_long_seed-0_none/tpo.jsonl",
        "posgen/posgen/recursive/models/models.safetensors",
        "posgen/posgen/recursive/scores/accuracy.parquet",
        "reports/perplexity/perplexity/perplexity.csv",
        "reports/copying/copying/copying.png",
        "reports/scaling/bases/scaling.html",
        "reports/predictions/bases/predictions.csv",
        "reports/search/search/search.html",
        "reports/finetune/finetune/differences.png",
        "reports/leval/questions/leval.html",
        "reports/needle/facts/needle.png",
        "reports/posgen/posgen/accuracy.csv",
    ):
        assert (results / path).stat().st_size > 0
    summary = (results / "report.html").read_text()
    assert "Does a searched rope beat hand-made ones?" in summary
    assert "scorecard/scorecard.html" in summary
    card = json.loads((results / "scorecard/scorecard.json").read_text())
    tried = {one["file"].split("/")[1] for one in card["findings"] if one["file"]}
    assert tried >= {"posgen", "scaling", "finetune"}
    again = snakemake(finished)
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
def test_jobs_are_looked_for_when_one_has_ended_and_at_no_other_time(tmp_path):
    """With its default limit of jobs a second, Snakemake looks once a second for each job that has ended so far."""
    clone = make_clone(tmp_path)
    ropes = {f"pi-{number}": {"recipe": {"method": "pi", "factor": number}} for number in range(2, 22)}
    write_config(clone, posgen__posgen__ropes={**TINY["posgen"]["posgen"]["ropes"], **ropes})
    done = snakemake(clone, *(f"results/tiny/ropes/posgen/posgen/{name}.json" for name in ropes), "--verbose")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    assert len(re.findall(r"^Finished jobid: ", said, re.MULTILINE)) == len(ropes)
    assert said.count("Ready jobs: ") <= len(ropes) + 1


@pytest.mark.slow
def test_no_number_has_moved_since_they_were_recorded(finished):
    golden = record.load(ROOT / "tests/golden/tiny.json")
    found = record.collect(finished / "results/tiny", without=["again"])
    assert len(golden) > 800
    # Another processor may round otherwise; files of weights are the same on the one that wrote them only.
    known = {name: value for name, value in golden.items() if not name.endswith(record.CHECKSUM)}
    differences = record.differences(
        known, {name: found[name] for name in known if name in found}, rtol=1e-3, atol=1e-3
    )
    assert differences == []


@pytest.mark.slow
def test_a_found_rope_is_read_tuned_with_and_asked(finished):
    results = finished / "results/tiny"
    found = json.loads((results / f"ropes/32-10000-32/{FOUND}.json").read_text())
    assert found == json.loads((results / f"searches/{FOUND}/rope.json").read_text())
    for regime in ("long", "reference"):
        model = f"again_small_{FOUND}_{regime}_seed-0"
        tuned = json.loads((results / f"models/{model}/config.json").read_text())
        assert tuned["rope_parameters"], "the checkpoint carries the rope"
        assert (results / f"readings/perplexity_{model}_{FOUND}/nll.parquet").is_file()
    needles = json.loads((results / f"readings/facts_small_{FOUND}/scores.json").read_text())
    assert needles["setting"]["rope"] == FOUND


@pytest.mark.slow
def test_one_rope_regime_and_seed_in_two_tunings_and_a_regime_called_reference(finished):
    results = finished / "results/tiny"
    tables = {name: (results / f"reports/finetune/{name}/perplexity.csv").read_text() for name in ("finetune", "again")}
    assert "long" in tables["finetune"]
    assert "long" in tables["again"]
    assert "reference" in tables["again"]
    assert not (results / "models/again_small_yarn_long_seed-0").exists(), "the same as that of the other experiment"
    assert "reference" in (results / "report.html").read_text()


@pytest.mark.slow
def test_every_job_is_one_current_run_in_mlflow(finished):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiments = {e.name: e.experiment_id for e in client.search_experiments() if e.name.startswith("tiny/")}
    kinds = ("corpora", "ropes", "models", "nll", "copying", "needle", "leval", "probe", "search", "export", "posgen")
    assert set(experiments) == {f"tiny/{kind}" for kind in (*kinds, "reports", "scorecard", "summary")}
    runs = {run.info.run_name: run for run in client.search_runs([experiments["tiny/nll"]], "tags.current = 'true'")}
    read = [path.parent.name for path in (finished / "results/tiny/readings").glob("*/nll.parquet")]
    assert sorted(runs) == sorted(read), "a run has the id of its row"
    yarn = runs["perplexity_small_yarn"]
    assert yarn.info.status == "FINISHED"
    assert (yarn.data.params["rope"], yarn.data.params["read_to"]) == ("yarn", "128")
    scores = json.loads((finished / "results/tiny/readings/perplexity_small_yarn/scores.json").read_text())
    [row] = [row for row in scores["rows"] if (row["quantity"], row["length"]) == ("perplexity", 128)]
    logged = yarn.data.metrics["corpus-government/length-128/over-documents/perplexity"]
    assert logged == pytest.approx(row["value"])
    files = {file.path for file in client.list_artifacts(yarn.info.run_id)}
    assert {"perplexity_small_yarn", "yarn.json", "log"} <= files
    [training] = client.search_runs([experiments["tiny/models"]], "attributes.run_name = 'small'")
    history = client.get_metric_history(training.info.run_id, "loss")
    assert [point.step for point in history] == [10, 20]
    assert (training.data.params["hidden_size"], training.data.params["learning_rate"]) == ("32", "0.002")


@pytest.mark.slow
def test_seeds_and_ropes_of_posgen_can_be_compared_in_mlflow(finished):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny/posgen")
    assert experiment is not None
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parts = [f"{rope}-{seed}" for rope in ("rope", "resonance", "yarn-swapped") for seed in (0, 1)]
    for task in ("recursive", "semi-recursive"):
        above = found[f"score/posgen/{task}"]
        for part in parts:
            run = found[f"score/posgen/{task}/{part}"]
            assert run.data.tags["mlflow.parentRunId"] == above.info.run_id
            assert 0 <= run.data.metrics["ood_accuracy"] <= 1
            history = client.get_metric_history(run.info.run_id, "validation_loss")
            assert [point.step for point in history] == [6, 12]
    assert found["train/posgen/recursive"].data.params["steps"] == "12"
    assert len(found) == 2 * (len(parts) + 2), "parts, and two jobs a task"


# What a change runs again.


@pytest.mark.slow
def test_another_reported_length_reads_no_model(finished):
    write_config(finished, readings__perplexity__report__lengths=[32, 48, 96, 128])
    again = plan(finished)
    assert again.jobs == {"report": 3, **END}
    assert {"perplexity/perplexity", "finetune/finetune", "finetune/again"} <= set(again.rows)


@pytest.mark.slow
def test_a_length_beyond_what_was_read_is_refused(finished):
    write_config(finished, readings__perplexity__report__lengths=[64, 256])
    done = snakemake(finished, "-n")
    assert done.returncode != 0
    assert "'readings.perplexity.report.lengths' is [64, 256]; expected different lengths up to read_to" in done.stdout


@pytest.mark.slow
def test_a_length_of_dynamic_ropes_reads_those_only(finished):
    write_config(finished, readings__perplexity__options__dynamic_lengths=[32, 48, 64])
    again = plan(finished, "perplexity", "scaling", "finetune")
    assert again.jobs["read"] == 1
    assert "perplexity_small_dynamic-ntk" in again.rows


@pytest.mark.slow
def test_another_option_of_readings_reads_again(finished):
    write_config(finished, readings__facts__options__samples=2)
    assert planned(finished) == {"read": 2, "report": 1, **END}
    write_config(finished, readings__copying__options__samples=3)
    assert planned(finished) == {"read": 6, "report": 2, **END}


@pytest.mark.slow
def test_another_factor_of_one_method_reruns_that_method_only(finished):
    write_config(finished, ropes__yarn={"method": "yarn", "factor": 3})
    again = plan(finished)
    # As a rival of searches, it had their factor; now it has its own there too.
    assert again.jobs == {"rope": 1, "tune": 2, "read": 6, "export": 1, "report": 6, **END}
    changed = ("finetune_small_yarn_long_seed-0", "again_small_yarn_reference_seed-0")
    assert set(changed) <= set(again.rows)
    assert not any("none" in row or FOUND in row for row in again.rows)


@pytest.mark.slow
def test_a_new_rope_leaves_the_others_alone(finished):
    of = [{"models": ["small"], "ropes": ["none", "yarn", "dynamic-ntk", "pi"]}]
    write_config(finished, ropes__pi="pi", readings__perplexity__of=of)
    assert planned(finished, "readings") == {"rope": 1, "read": 1, "readings": 1}


@pytest.mark.slow
def test_where_and_how_often_a_training_is_saved_trains_nothing_again(finished):
    write_config(
        finished,
        models__small__layout={"checkpoint_every": 5},
        sweeps__bases__layout={"checkpoint_every": 5, "activation_checkpointing": True},
        tunings__finetune__layout={"checkpoint_every": 7},
        posgen__posgen__layout={"checkpoint_every": 3},
    )
    assert planned(finished) == END


@pytest.mark.slow
def test_confidence_reads_nothing_again(finished):
    write_config(finished, confidence=0.9)
    again = plan(finished)
    assert again.jobs == {"report": 9, **END}
    assert "predictions/bases" not in again.rows, "laws have no intervals"


@pytest.mark.slow
def test_a_new_base_leaves_the_others_alone(finished):
    write_config(finished, sweeps__bases__groups=[*TINY["sweeps"]["bases"]["groups"], {"bases": [300.0]}])
    again = plan(finished, "scaling", "predictions")
    assert again.jobs == {"rope": 1, "tune": 1, "read": 2, "report": 2, "scaling": 1, "predictions": 1}
    assert "bases_small_base-300_length-32_steps-12_seed-0" in again.rows


@pytest.mark.slow
def test_another_learning_rate_of_a_sweep_tunes_its_bases_again(finished):
    write_config(finished, sweeps__bases__options__learning_rate=0.01)
    assert planned(finished) == {"tune": 2, "read": 6, "report": 1, **END}
    write_config(finished, sweeps__bases__report={"thresholds": [0.3]})
    assert planned(finished) == {"report": 1, **END}


@pytest.mark.slow
def test_another_learning_rate_of_a_tuning_tunes_again_what_it_made(finished):
    write_config(finished, tunings__finetune__options__learning_rate=2e-3)
    again = plan(finished)
    # That of the other experiment, which was the same until now, is made by itself.
    assert again.jobs == {"tune": 3, "read": 5, "report": 4, **END}
    assert [row for row in again.rows if row.startswith("again")] == ["again_small_yarn_long_seed-0"]


@pytest.mark.slow
def test_more_trials_of_one_search_leave_the_other_alone(finished):
    kinds = [{"sampler": "sobol", "space": "ramp", "budget": 8}, {"sampler": "scan", "space": "groups"}]
    write_config(finished, searches__search__kinds=kinds)
    again = plan(finished)
    # The found rope, and all that is made of it.
    assert again.jobs == {"search_rope": 1, "rope": 1, "tune": 2, "read": 5, "report": 3, **END}
    assert "search_small_scan-groups_2x_seed-0" not in again.rows
    write_config(finished, searches__search__test_documents=1)
    assert planned(finished, "search") == {"read": 5, "report": 1, "search": 1}


@pytest.mark.slow
def test_workers_come_before_what_they_search(finished):
    write_config(finished, searches__search__workers=2)
    again = planned(finished, "searches")
    assert again == {"search_worker": 4, "search_rope": 2, "searches": 1}


@pytest.mark.slow
def test_another_rope_of_posgen_is_scored_and_trains_nothing(finished):
    write_config(finished, posgen__posgen__ropes__ntk={"recipe": "ntk", "weights": "resonance", "brief": True})
    assert planned(finished, "posgen") == {"rope": 1, "posgen_score": 2, "report": 1, "posgen": 1}


@pytest.mark.slow
def test_another_order_compares_again_and_reads_nothing(finished):
    write_config(finished, readings__copying__of=[{"models": ["small"], "ropes": ["yarn", "none", "dynamic-ntk"]}])
    assert planned(finished, "copying") == {"report": 1, "copying": 1}
    ropes = TINY["posgen"]["posgen"]["ropes"]
    write_config(finished, posgen__posgen__ropes={name: ropes[name] for name in ("resonance", *ropes)})
    assert planned(finished, "posgen") == {"posgen_score": 2, "report": 1, "posgen": 1}


@pytest.mark.slow
def test_another_training_of_posgen_leaves_the_rest_alone(finished):
    write_config(finished, posgen__posgen__options__learning_rate=0.01)
    assert planned(finished) == {"posgen_train": 2, "posgen_score": 2, "report": 1, **END}
    write_config(finished, posgen__posgen__scoring__generated_sequences=3)
    assert planned(finished) == {"posgen_score": 2, "report": 1, **END}


@pytest.mark.slow
def test_a_second_model_leaves_the_rows_of_the_first_alone(finished):
    second = json.loads(json.dumps(TINY["models"]["small"]))
    second["pretraining"]["seed"] = 1
    of = [*TINY["readings"]["copying"]["of"], {"models": ["second"], "ropes": ["yarn", FOUND]}]
    write_config(finished, models__second=second, readings__copying__of=of)
    again = plan(finished)
    assert again.jobs == {"pretrain": 1, "read": 2, "report": 1, **END}
    assert {"copying_second_yarn", f"copying_second_{FOUND}"} <= set(again.rows)


def test_models_that_differ_in_their_seed_only(tmp_path):
    clone = make_clone(tmp_path)
    parts = {key: TINY[key] for key in ("name", "factor", "corpora", "models", "ropes")}
    readings = {"copying": {**TINY["readings"]["copying"], "of": [{"models": ["small"], "ropes": ["none", "yarn"]}]}}
    write_config(clone, {**parts, "readings": readings}, models__small__seeds=[0, 1])
    made = plan(clone, "copying")
    assert made.jobs == {"corpus": 1, "pretrain": 2, "rope": 2, "read": 4, "report": 1, "copying": 1}
    assert {"small_seed-0", "small_seed-1", "copying_small_seed-1_yarn"} <= set(made.rows)


@pytest.fixture
def package(tmp_path):
    """A copy of the package that a workflow runs in the place of this one."""
    shutil.copytree(ROOT / "src/ropewalk", tmp_path / "ropewalk", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def change(package: Path, name: str) -> None:
    with (package / "ropewalk" / name).open("a") as file:
        file.write("\n# One more line.\n")


@pytest.mark.slow
def test_a_changed_line_of_the_loss_trains_again_and_tokenises_nothing(finished, package):
    assert planned(finished, package=package) == {}
    change(package, "training/loss.py")
    again = planned(finished, package=package)
    models = len(list((finished / "results/tiny/models").iterdir()))
    readings = len(list((finished / "results/tiny/readings").iterdir()))
    assert (again["pretrain"], again["tune"], again["read"], again["search_rope"]) == (1, models - 1, readings, 2)
    assert not {"corpus", "posgen_train", "posgen_score"} & set(again)
    assert again["rope"] == 2, "found ropes only"


@pytest.mark.slow
def test_a_changed_line_of_questions_asks_again_and_nothing_else(finished, package):
    change(package, "reading/leval/pocket.py")
    again = plan(finished, package=package)
    assert (again.jobs["read"], set(again.jobs)) == (2, {"read", "report", *END} - {"study"})
    assert all(row.startswith(("questions", "leval")) for row in again.rows if row[0] in "qcpfbs" and "_" in row)


@pytest.mark.slow
def test_a_stage_is_run_by_its_name(finished):
    write_config(finished, models__small__pretraining__steps=30)
    assert planned(finished, "corpora") == {}
    assert planned(finished, "posgen") == {}
    assert planned(finished, "models")["pretrain"] == 1
    assert planned(finished, "copying") == {"pretrain": 1, "read": 3, "report": 1, "copying": 1}


# Other studies.


@pytest.mark.slow
def test_the_sweep_for_gpus_runs_at_reduced_size(tmp_path):
    """The preset, cut down: of six models, one is tried here."""
    clone = make_clone(tmp_path)
    (clone / "reduced.yaml").write_text(yaml.safe_dump(REDUCED_SWEEP, sort_keys=False))
    done = snakemake(clone, "scaling", files=("config/h100-scaling.yaml", "reduced.yaml"))
    assert done.returncode == 0, done.stderr[-3000:]
    results = clone / "results/h100-scaling"
    config = json.loads((results / "models/dim128-base1000/config.json").read_text())
    assert config["hidden_size"] // config["num_attention_heads"] == 128
    assert config["rope_parameters"]["rope_theta"] == 1000
    assert (results / "reports/scaling/bases/scaling.html").is_file()
    assert not (results / "models/dim64-base10000").exists(), "no other model is needed"


def test_the_laws_of_the_paper_need_no_model(tmp_path):
    clone = make_clone(tmp_path)
    done = snakemake(clone, "predictions", files=("config/paper.yaml",))
    assert done.returncode == 0, done.stderr[-3000:]
    table = (clone / "results/paper/reports/predictions/bases/predictions.csv").read_text()
    assert "129027" in table
    planned_jobs = planned(clone, "scaling", files=("config/paper.yaml",))
    # Of those, one is of the model as it was, which must use its context.
    assert (planned_jobs["tune"], planned_jobs["read"]) == (18, 41)


@pytest.mark.parametrize("preset", sorted(path.stem for path in (ROOT / "config").glob("*.yaml")))
def test_every_preset_can_be_planned(tmp_path, preset):
    clone = make_clone(tmp_path)
    jobs = planned(clone, files=(f"config/{preset}.yaml",))
    assert jobs["summary"] == 1


def test_options_of_methods_reach_the_command(tmp_path):
    clone = make_clone(tmp_path)
    ropes = {"yarn": {"method": "yarn", "truncate": False}, "log": {"method": "log_scaling", "length": 99}}
    readings = {
        "copying": {"kind": "copying", "of": [{"models": ["small"], "ropes": [*ropes]}], "options": {"gaps": [8]}}
    }
    parts = {key: TINY[key] for key in ("name", "factor", "corpora", "models")}
    write_config(clone, {**parts, "ropes": ropes, "readings": readings})
    done = snakemake(clone, "-n", "-p", "ropes")
    said = done.stdout + done.stderr
    assert """ropewalk rope recipe '[{"factor": 4.0, "method": "yarn", "truncate": false}]' --head-dim 32""" in said
    assert """ropewalk rope recipe '[{"length": 99, "method": "log_scaling"}]' --head-dim 32""" in said


def test_a_text_that_changes_in_a_folder_is_read_again(tmp_path):
    clone = make_clone(tmp_path)
    (clone / "text").mkdir()
    for i in range(200):
        (clone / f"text/{i}.txt").write_text(f"{i}: " + "words and more words, " * 20)
    write_config(clone, corpora={"books": {"source": "folder:text"}})
    done = snakemake(clone, "corpora")
    assert done.returncode == 0, done.stderr[-3000:]
    assert planned(clone, "corpora") == {}
    (clone / "text/new.txt").write_text("something new " * 50)
    assert planned(clone, "corpora") == {"corpus": 1, "corpora": 1}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"readings__perplexity__options": {"documnts": 3, "read_to": 128}},
            "config key 'readings.perplexity.options.documnts' is not known (did you mean 'documents'?)",
        ),
        ({"posgen__posgen__options__modulus": 2}, "modulus 2 has 16 different starts of 4 tokens; expected at least"),
        ({"factor": 0.5}, "config key 'factor' is 0.5; expected at least 1"),
        ({"resources": {"read": {"nodes": 2}}}, "config key 'resources.read.nodes' is not known"),
    ],
)
def test_a_faulty_configuration_stops_before_any_job(tmp_path, change, sentence):
    clone = make_clone(tmp_path)
    write_config(clone, **change)
    done = snakemake(clone)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone / "results").exists()


def test_the_slurm_profile_works_from_a_clone(tmp_path):
    clone = make_clone(tmp_path)
    write_config(clone)
    command = [*SNAKEMAKE, "--profile", "slurm", "--configfile", "study.yaml", "-n", "-p"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("row", ["small", "finetune_small_none_long_seed-0"])
def test_kill_9_in_the_middle_of_training_then_a_rerun(tmp_path, monkeypatch, row):
    """The workflow and its jobs are killed without warning; the next call goes on from the last checkpoint."""
    monkeypatch.delenv(VARIABLE)  # it has a resident process of its own, which dies with it
    clone = make_clone(tmp_path)
    longer = (
        {"models__small__pretraining__steps": 800, "models__small__layout__checkpoint_every": 50}
        if row == "small"
        else {"tunings__finetune__regimes__long__steps": 800, "tunings__finetune__layout": {"checkpoint_every": 50}}
    )
    write_config(clone, **longer)
    target = f"results/tiny/models/{row}"
    command = [*SNAKEMAKE, target, "--configfile", "study.yaml", "--cores", "2"]
    with (clone / "first.log").open("w") as log:
        first = subprocess.Popen(command, cwd=clone, env=environment(), start_new_session=True, stdout=log, stderr=log)
    state = clone / f"results/tiny/state/models/{row}"
    deadline = time.monotonic() + 180
    while not list(state.glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert list(state.glob("step-*")), (clone / "first.log").read_text()[-3000:]
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    deadline = time.monotonic() + 60
    while (
        subprocess.run(["pgrep", "-f", str(state.relative_to(clone))], capture_output=True, check=False).returncode == 0
    ):
        assert time.monotonic() < deadline, "a job outlived its tracker"
        time.sleep(0.2)
    reached = int(max(state.glob("step-*")).name.partition("-")[2])
    assert not (clone / target).exists(), "something that looks finished was left behind"
    locked = snakemake(clone, target)
    assert "--unlock" in locked.stderr
    assert snakemake(clone, "--unlock").returncode == 0
    again = snakemake(clone, target)
    assert again.returncode == 0, again.stderr[-3000:]
    log = (clone / f"results/tiny/logs/models/{row}.log").read_text()
    assert f"resumed at step {reached} of 800" in log
    lines = (clone / target / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(10, 801, 10))
