"""The workflow itself: a whole run of a tiny study, and what it would do again after a change."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TINY = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())
SNAKEMAKE = [sys.executable, "-m", "snakemake"]

REDUCED_SWEEP = {
    "corpora": {"books": None, "mathematics": None},
    "evaluation": {"documents": 2, "lengths": [128, 256], "copying": {"gaps": [8], "samples": 2}},
    "scaling": {
        "dim64-base10000": None,
        "dim64-base100000": None,
        "dim64-base1000": None,
        "dim128-base10000": None,
        "dim128-base100000": None,
        "dim128-base1000": {
            "fresh": {"layers": 1, "intermediate_size": 32, "length": 64},
            "pretraining": {"steps": 2, "batch_size": 2, "warmup_steps": 1},
            "tuning": {"steps": 2, "batch_tokens": 128, "warmup_steps": 1},
            "sweeps": [{"bases": ["beta3", 1000000]}],
        },
    },
    "resources": {stage: {"threads": 1} for stage in ("model", "tuning", "evaluate")},
}
"""What is left of the sweeps for a GPU in a test."""


def make_clone(folder: Path) -> Path:
    for name in ("Snakefile", "config", "workflow", "envs", "slurm"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def write_config(clone: Path, **parts) -> None:
    values = json.loads(json.dumps(TINY))
    for path, value in parts.items():
        *folders, key = path.split("__")
        here = values
        for part in folders:
            here = here.setdefault(part, {})
        here[key] = value
    (clone / "study.yaml").write_text(yaml.safe_dump(values))


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"} | {"MLFLOW_TRACKING_URI": ""}


def snakemake(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*SNAKEMAKE, "--configfile", "study.yaml", "--cores", "2", *words]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, env=environment(), check=False)


def planned(clone: Path, *words: str) -> dict[str, int]:
    """Jobs by rule that a dry run lists."""
    done = snakemake(clone, "-n", *words)
    assert done.returncode == 0, done.stderr
    table = (done.stdout + done.stderr).partition("Job stats:")[2]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE) if rule != "total"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
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
    written = ("report.html", "report/perplexity.csv", "evaluations/yarn/nll.parquet", "model/model.safetensors")
    for path in (
        *written,
        "scaling/embedded/report/scaling.html",
        "scaling/embedded/cells/base-1000000_length-64_steps-12_seed-0/model/model.safetensors",
        "scaling/embedded/cells/base-5_length-32_steps-12_seed-0/log-scaled/nll.parquet",
        "scaling/embedded/predictions/predictions.csv",
        "search/embedded/studies/scan-groups-2x-seed-0/rope.json",
        "search/embedded/report/search.html",
        "finetune/embedded/yarn/long/seed-0/model/model.safetensors",
        "finetune/embedded/report/differences.png",
        "leval/embedded/answers/none_long_seed-0/tpo.jsonl",
        "leval/embedded/report/leval.html",
        "needle/embedded/report/needle.png",
        "posgen/embedded/report/accuracy.csv",
        "posgen/embedded/recursive/models/models.safetensors",
    ):
        assert (results / path).stat().st_size > 0
    summary = (results / "report.html").read_text()
    assert "Does a searched rope beat hand-made ones?" in summary
    assert "href='scorecard/scorecard.html'" in summary
    card = json.loads((results / "scorecard/scorecard.json").read_text())
    tried = {one["experiment"]["stage"] for one in card["findings"] if one["experiment"]}
    assert tried >= {"posgen", "scaling", "finetune"}
    page = (results / "tables.html").read_text()
    assert "scorecard.html" in page
    assert "nll_by_position.png" in page
    assert "feature_gap.html" in page
    assert "scaling.html" in page
    assert "search.html" in page
    assert "finetune.html" in page
    assert "leval.html" in page
    assert "needle.html" in page
    again = snakemake(finished)
    assert "Nothing to be done" in again.stdout + again.stderr


MORE = ("finetune", "leval", "needle")
PAGES = ("scorecard", "summary")
END = {"scorecard": 1, "tables": 1, "summary": 1, "study_config": 1, "all": 1}


@pytest.mark.slow
def test_every_job_is_one_current_run_in_mlflow(finished):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiments = {e.name: e.experiment_id for e in client.search_experiments() if e.name.startswith("tiny/")}
    assert set(experiments) == {
        f"tiny/{stage}"
        for stage in (
            "corpora",
            "pretrain",
            "ropes",
            "evaluate",
            "scaling",
            "posgen",
            "search",
            "report",
            *MORE,
            *PAGES,
        )
    }
    runs = client.search_runs([experiments["tiny/evaluate"]], "tags.current = 'true'")
    assert {run.info.run_name for run in runs} == {"evaluate/none", "evaluate/yarn", "evaluate/dynamic-ntk"}
    yarn = next(run for run in runs if run.info.run_name == "evaluate/yarn")
    assert yarn.info.status == "FINISHED"
    assert yarn.data.params["rope.factor"] == "4.0"
    scores = json.loads((finished / "results/tiny/evaluations/yarn/scores.json").read_text())
    assert yarn.data.metrics["government/128/perplexity"] == pytest.approx(scores["government"]["128"]["perplexity"])
    files = {file.path for file in client.list_artifacts(yarn.info.run_id)}
    assert {"yarn", "yarn.json", "log"} <= files
    [training] = client.search_runs([experiments["tiny/pretrain"]])
    history = client.get_metric_history(training.info.run_id, "loss")
    assert [point.step for point in history] == [10, 20]


@pytest.mark.slow
def test_seeds_and_ropes_of_posgen_can_be_compared_in_mlflow(finished):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny/posgen")
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parts = [f"{rope}-{seed}" for rope in ("rope", "resonance", "yarn-swapped") for seed in (0, 1)]
    for task in ("recursive", "semi-recursive"):
        above = found[f"posgen/score/embedded/{task}"]
        for part in parts:
            run = found[f"posgen/score/embedded/{task}/{part}"]
            assert run.data.tags["mlflow.parentRunId"] == above.info.run_id
            assert 0 <= run.data.metrics["ood_accuracy"] <= 1
            history = client.get_metric_history(run.info.run_id, "validation_loss")
            assert [point.step for point in history] == [6, 12]
    assert found["posgen/train/embedded/recursive"].data.params["steps"] == "12"
    assert len(found) == 2 * (len(parts) + 2) + 1 + 4, "parts, two jobs a task, the report, and the ropes"


@pytest.mark.slow
def test_another_rope_of_posgen_is_scored_and_trains_nothing(finished):
    ntk = {"name": "ntk", "method": "ntk", "weights": "resonance", "brief": True}
    write_config(finished, posgen__embedded__ropes=[*TINY["posgen"]["embedded"]["ropes"], ntk])
    assert planned(finished, "posgen") == {"posgen_rope": 1, "posgen_score": 2, "posgen_report": 1, "posgen": 1}


@pytest.mark.slow
def test_another_training_of_posgen_leaves_the_rest_alone(finished):
    write_config(finished, posgen__embedded__learning_rate=0.01)
    after = {"posgen_train": 2, "posgen_score": 2, "posgen_report": 1, **END}
    assert planned(finished) == after
    write_config(finished, posgen__embedded__checkpoint_every=3)
    assert planned(finished, "posgen") == {}


@pytest.mark.slow
def test_the_gpu_preset_runs_at_reduced_size(tmp_path):
    clone = make_clone(tmp_path)
    (clone / "reduced.yaml").symlink_to(ROOT / "tests/workflow/h100_reduced.yaml")
    command = [*SNAKEMAKE, "--configfile", "config/h100.yaml", "reduced.yaml", "--cores", "2", "posgen"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = clone / "results/h100/posgen"
    trained = {
        name: json.loads((folder / name / "semi-recursive/models/training.json").read_text())
        for name in ("paper", "released")
    }
    assert trained["paper"]["data"]["test_in_train"] == 0
    assert trained["released"]["options"]["starts"] == "cycled"
    assert [trained[name]["options"]["layers"] for name in trained] == [2, 6]
    assert list(trained["released"]["ropes"]) == ["rope", "resonance"], "YaRN is swapped in"
    assert (folder / "released/report/accuracy.html").is_file()


def test_a_study_can_do_without_posgen(tmp_path):
    clone = make_clone(tmp_path)
    write_config(clone, posgen__embedded=None)
    assert not any(rule.startswith("posgen") for rule in planned(clone))


@pytest.mark.slow
def test_another_length_reruns_evaluations_and_report_only(finished):
    write_config(finished, evaluation__lengths=[32, 64, 96])
    assert planned(finished) == {
        "evaluate": 3,
        "figures": 1,
        "scaling_measure": 3,
        "scaling_report": 1,
        "finetune_measure": 2,
        "finetune_report": 1,
        **END,
    }


@pytest.mark.slow
def test_another_factor_of_one_method_reruns_that_method_only(finished):
    ropes = [{**rope, **({"factor": 2} if rope["name"] == "yarn" else {})} for rope in TINY["extension"]["ropes"]]
    write_config(finished, extension__ropes=ropes)
    assert planned(finished) == {
        "rope": 1,
        "evaluate": 1,
        "figures": 1,
        "finetune_tune": 1,
        "finetune_measure": 1,
        "finetune_report": 1,
        "needle_measure": 1,
        "needle_report": 1,
        **END,
    }
    done = snakemake(finished, "-n", "evaluations")
    assert "name=yarn" in done.stdout + done.stderr
    assert "name=none" not in done.stdout + done.stderr


@pytest.mark.slow
def test_how_often_to_save_trains_nothing_again(finished):
    write_config(finished, pretraining__checkpoint_every=5)
    assert planned(finished, "evaluations") == {}


@pytest.mark.slow
def test_confidence_measures_nothing_again(finished):
    write_config(finished, evaluation__confidence=0.9)
    reports = {"figures": 1, "posgen_report": 1, "scaling_report": 1, "search_report": 1}
    reports |= {"finetune_report": 1, "leval_report": 1, "needle_report": 1}
    assert planned(finished) == {**reports, **END}


@pytest.mark.slow
def test_a_new_base_leaves_the_other_cells_alone(finished):
    sweeps = [*TINY["scaling"]["embedded"]["sweeps"], {"bases": [300.0]}]
    write_config(finished, scaling__embedded__sweeps=sweeps)
    assert planned(finished, "scaling") == {
        "scaling_rope": 1,
        "scaling_tune": 1,
        "scaling_measure": 1,
        "scaling_predict": 1,
        "scaling_report": 1,
        "scaling": 1,
    }


@pytest.mark.slow
def test_another_tuning_trains_the_cells_again_and_nothing_else(finished):
    write_config(finished, scaling__embedded__tuning={**TINY["scaling"]["embedded"]["tuning"], "learning_rate": 0.01})
    jobs = {"scaling_tune": 2, "scaling_measure": 3, "scaling_report": 1}
    assert planned(finished) == {**jobs, **END}


@pytest.mark.slow
def test_another_threshold_only_reads_again(finished):
    write_config(finished, scaling__embedded__thresholds=[0.3])
    assert planned(finished) == {"scaling_report": 1, **END}


@pytest.mark.slow
def test_more_trials_of_one_search_leave_the_other_alone(finished):
    kinds = [{"sampler": "sobol", "space": "ramp", "budget": 8}, {"sampler": "scan", "space": "groups"}]
    write_config(finished, search__embedded__searches=kinds)
    again = {"search_study": 1, "search_compare": 1, "search_report": 1, "needle_measure": 1, "needle_report": 1}
    assert planned(finished) == {**again, **END}
    write_config(finished, search__embedded__test_documents=1)
    assert planned(finished, "search") == {"search_compare": 1, "search_report": 1, "search": 1}


@pytest.mark.slow
def test_another_learning_rate_tunes_again_and_where_it_runs_does_not(finished):
    write_config(finished, finetune__embedded__learning_rate=1e-3)
    jobs = {"finetune_tune": 2, "finetune_measure": 2, "finetune_report": 1}
    asked = {"leval_predict": 1, "leval_report": 1, "needle_measure": 1, "needle_report": 1}
    assert planned(finished) == {**jobs, **asked, **END}
    write_config(finished, finetune__embedded__activation_checkpointing=True, finetune__embedded__checkpoint_every=7)
    assert planned(finished, "finetune", "needle", "leval") == {}


@pytest.mark.slow
def test_workers_come_before_what_they_search(finished):
    write_config(finished, search__embedded__workers=2)
    workers = {"search_worker": 4, "search_study": 2, "search_compare": 1, "search_report": 1, "search": 1}
    assert planned(finished, "search") == workers


def test_the_laws_of_the_paper_need_no_model(tmp_path):
    clone = make_clone(tmp_path)
    command = [*SNAKEMAKE, "--cores", "1", "predictions", "--configfile", "config/paper.yaml"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    table = (clone / "results/paper/scaling/llama2/predictions/predictions.csv").read_text()
    assert "129027" in table
    done = subprocess.run(
        [*command[:5], "scaling", *command[6:], "-n"],
        cwd=clone,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"scaling_tune +18", done.stdout + done.stderr)
    assert re.search(r"scaling_measure +20", done.stdout + done.stderr)


@pytest.mark.slow
def test_a_sweep_of_a_model_of_its_own(tmp_path):
    """The preset for a GPU, cut down: six models of their own, of which one is tried here."""
    clone = make_clone(tmp_path)
    (clone / "reduced.yaml").write_text(yaml.safe_dump(REDUCED_SWEEP))
    files = ["--configfile", "config/h100-scaling.yaml", "reduced.yaml"]
    command = [*SNAKEMAKE, "--cores", "2", "scaling", *files]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = clone / "results/h100-scaling/scaling"
    config = json.loads((folder / "dim128-base1000/model/config.json").read_text())
    assert config["hidden_size"] // config["num_attention_heads"] == 128
    assert config["rope_parameters"]["rope_theta"] == 1000
    assert (folder / "dim128-base1000/report/scaling.html").is_file()
    assert not (clone / "results/h100-scaling/model").exists(), "the study's own model is not needed"


def test_switches_that_are_turned_off_and_lengths_of_methods_reach_the_command(tmp_path):
    clone = make_clone(tmp_path)
    ropes = [
        {"name": "yarn", "method": "yarn", "truncate": False},
        {"name": "log", "method": "log_scaling", "length": 99},
    ]
    others = {f"{stage}__embedded": None for stage in ("finetune", "needle", "leval")}
    write_config(clone, extension__ropes=ropes, **others)
    done = snakemake(clone, "-n", "-p", "ropes")
    assert "--no-truncate" in done.stdout + done.stderr
    assert "log-scaling --on results/tiny/original.json --at-length 99" in done.stdout + done.stderr


def test_a_text_that_changes_in_a_folder_is_read_again(tmp_path):
    clone = make_clone(tmp_path)
    (clone / "text").mkdir()
    for i in range(200):
        (clone / f"text/{i}.txt").write_text(f"{i}: " + "words and more words, " * 20)
    write_config(clone, corpora={"books": None, "mathematics": None, "government": {"source": "folder:text"}})
    assert snakemake(clone, "corpora").returncode == 0
    assert planned(clone, "corpora") == {}
    (clone / "text/new.txt").write_text("something new " * 50)
    assert planned(clone, "corpora") == {"corpus": 1, "corpora": 1}


@pytest.mark.slow
def test_a_stage_is_run_by_its_name(finished):
    write_config(finished, pretraining__steps=30)
    assert planned(finished, "corpora") == {}
    assert planned(finished, "model") == {"pretrain": 1, "model": 1}


@pytest.mark.slow
def test_a_new_rope_leaves_the_others_alone(finished):
    write_config(finished, extension__ropes=[*TINY["extension"]["ropes"], {"name": "pi", "method": "pi"}])
    assert planned(finished, "evaluations") == {"rope": 1, "evaluate": 1, "evaluations": 1}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"evaluation__documnts": 3}, "config key 'evaluation.documnts' is not known (did you mean 'documents'?)"),
        ({"posgen__embedded__modulus": 2}, "modulus 2 has 16 different starts of 4 tokens; expected at least 116"),
        (
            {"extension__factor": 0.5},
            "config key 'extension.factor' is 0.5: input should be greater than or equal to 1",
        ),
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
    done = subprocess.run(
        [*SNAKEMAKE, "--profile", "slurm", "--configfile", "study.yaml", "-n"],
        cwd=clone,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "gpu=1" in done.stdout + done.stderr


@pytest.mark.slow
def test_kill_9_in_the_middle_of_training_then_a_rerun(tmp_path):
    """The workflow and its jobs are killed without warning; the next call goes on from the last checkpoint."""
    clone = make_clone(tmp_path)
    write_config(clone, pretraining__steps=4000, pretraining__checkpoint_every=50)
    command = [*SNAKEMAKE, "--configfile", "study.yaml", "--cores", "2", "model"]
    with (clone / "first.log").open("w") as log:
        first = subprocess.Popen(command, cwd=clone, env=environment(), start_new_session=True, stdout=log, stderr=log)
    state = clone / "results/tiny/state/pretraining"
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
    assert not (clone / "results/tiny/model").exists(), "something that looks finished was left behind"
    locked = snakemake(clone, "model")
    assert "--unlock" in locked.stderr
    assert snakemake(clone, "--unlock").returncode == 0
    again = snakemake(clone, "model")
    assert again.returncode == 0, again.stderr[-3000:]
    log = (clone / "results/tiny/logs/pretrain.log").read_text()
    assert f"resumed at step {reached} of 4000" in log
    lines = (clone / "results/tiny/model/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(10, 4001, 10))
