# The checked configuration, the names of files, and how a job is run and recorded.

import hashlib
import json
from pathlib import Path

import ropewalk
from ropewalk.config import check_config, method_parameters
from ropewalk.errors import UserError
from ropewalk.models.sources import CHECKPOINT_FILES
from ropewalk.tracking import pending
from snakemake.io import is_flagged

try:
    STUDY = check_config(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{STUDY.name}"
TRACKING = f"{RESULTS}/tracking"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
FIGURES = f"{RESULTS}/report"

ROPE_SETTINGS = {rope.name: rope for rope in STUDY.extension.ropes}
FRESH = STUDY.model.source == "fresh"

MODEL = f"{RESULTS}/model"
CORPORA = {name: f"{RESULTS}/corpora/{name}" for name in STUDY.used_corpora}
ROPES = {name: f"{RESULTS}/ropes/{name}.json" for name in ROPE_SETTINGS}
EVALUATIONS = {name: f"{RESULTS}/evaluations/{name}" for name in ROPE_SETTINGS}


SCALING = STUDY.used_scaling
SCALING_FOLDER = f"{RESULTS}/scaling/{{experiment}}"
SCALING_CELLS = {
    experiment: {cell.name: cell for cell in STUDY.cells(experiment)}
    for experiment in SCALING
}
# Sweeps of a model whose table is known without it.
PREDICTED = [experiment for experiment in SCALING if STUDY.table(experiment)]

SEARCH = STUDY.used_search
SEARCH_FOLDER = f"{RESULTS}/search/{{experiment}}"
SEARCHES = {name: SEARCH[name].studies for name in SEARCH}

FINETUNE = STUDY.used_finetune
FINETUNE_FOLDER = f"{RESULTS}/finetune/{{experiment}}"
TRAININGS = {name: FINETUNE[name].trainings for name in FINETUNE}

LEVAL = STUDY.used_leval
LEVAL_FOLDER = f"{RESULTS}/leval/{{experiment}}"

NEEDLE = STUDY.used_needle
NEEDLE_FOLDER = f"{RESULTS}/needle/{{experiment}}"

POSGEN = STUDY.used_posgen
POSGEN_FOLDER = f"{RESULTS}/posgen/{{experiment}}"


wildcard_constraints:
    name=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    experiment=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    cell=r"base-[0-9.e+]+_length-\d+_steps-\d+_seed-\d+",
    base=r"[0-9.e+]+",
    training=r"[^/]+/[^/]+/seed-\d+",
    subject=r"[A-Za-z0-9][A-Za-z0-9_.+-]*",
    reading=r"measured|log-scaled",
    study=r"[a-z]+-[a-z]+-[0-9.e+]+x-seed-\d+",
    worker=r"\d+",
    task=r"recursive|chain-of-thought|semi-recursive",


# Short jobs leave their records to the end of the workflow, which a fault of MLflow must not fail.
DELIVER = f"ropewalk deliver {TRACKING} || true"

# Records that waited while MLflow was away go out now, even when there is nothing else to do.
if workflow.is_main_process and not workflow.dryrun and pending(TRACKING):
    shell(DELIVER)


plain_expand = expand


def expand(files, **values):
    """Snakemake's expand(), also for outputs that lie in a bucket, which it refuses (its issue 3027)."""
    if is_flagged(files[0], "storage_object"):
        [(wildcard, names)] = values.items()
        return [
            file.apply_wildcards({wildcard: name}) for name in names for file in files
        ]
    return plain_expand(files, **values)


def settings(**parts):
    """What a job is made of, as JSON: recorded with its run, and a change of it runs the job again."""
    return json.dumps(parts, sort_keys=True, default=str)


def rope_settings(rope, factor):
    """Name, method and parameters of a rope, with this factor where it has none of its own."""
    return {
        "name": rope.name,
        "method": rope.method,
        **rope.parameters(factor),
        "resonance": rope.resonance,
    }


def study_rope(name):
    """The settings of a rope of the study's own model."""
    return rope_settings(ROPE_SETTINGS[name], STUDY.extension.factor)


def rope_flags(given):
    """The command-line options of a rope's settings; the length of a method is not that of the table."""
    switches = [
        key
        for key, parameter in method_parameters(given["method"]).items()
        if parameter.default is True
    ]
    renamed = {
        ("at_length" if key == "length" else key): value
        for key, value in given.items()
        if key not in ("name", "method")
    }
    return flags(renamed, switches)


def each(option, values):
    """An option that is given once for each of several values."""
    return [word for value in values for word in (option, value)]


def files_of(source, *patterns):
    """The files behind a `folder:` source, so that a change of them is noticed; nothing for other sources."""
    kind, _, folder = source.partition(":")
    if kind != "folder":
        return []
    found = (path for pattern in patterns for path in Path(folder).rglob(pattern))
    # They lie where they lie, also when results lie in a bucket.
    return local(sorted(str(path) for path in found if path.is_file()))


def given_model(wildcards, input):
    """The model as a job on a corpus finds it."""
    return input[0]


def code(*names):
    """A hash of the package's modules that decide a job's output, so that changed code reruns what it changes."""
    digest = hashlib.sha256()
    package = Path(ropewalk.__file__).parent
    for name in names:
        path = package / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def tracked(run, *artifacts, flags=""):
    """The front of a shell command: what follows runs as one MLflow run named `run`, with its output shown and logged."""
    stage = run.split("/")[0]
    attached = " ".join(f"--artifact {artifact}" for artifact in artifacts)
    return (
        f"ropewalk track --experiment {STUDY.name}/{stage} --name {run} --root {TRACKING} "
        f"--tag code={{params.code}} --params {{params.settings:q}} --log {{log}} {attached} {flags} -- "
    )


def stage_resources(stage):
    """Memory and time that double with each attempt, and GPUs of one machine, which Slurm would else collect from several."""
    wanted = getattr(STUDY.resources, stage)
    return {
        "mem_mb": lambda wildcards, attempt: wanted.mem_mb * 2 ** (attempt - 1),
        "runtime": lambda wildcards, attempt: wanted.runtime * 2 ** (attempt - 1),
        "gpu": wanted.gpu,
        "nodes": 1,
    }


def flags(options, switches=()):
    """Command-line options from a mapping; None is left out, and False too unless the option is one of `switches`,
    which are on by default."""
    words = []
    for key, value in options.items():
        option = f"--{key.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is False and key in switches:
            words.append(f"--no-{option[2:]}")
        elif isinstance(value, (list, tuple)):
            words += [option, ",".join(f"{item}" for item in value)]
        elif value is not None and value is not False:
            words += [option, f"{value}"]
    return words


def shown(file, category, title, caption=None, folder=FIGURES, subcategory=None):
    """A file of the report, under its category and title, with its caption."""
    caption = caption or Path(file).stem
    return report(
        f"{folder}/{file}",
        caption=f"../report/{caption}.rst",
        category=category,
        subcategory=subcategory,
        labels={"result": title},
    )


# What one stage alone needs.
include: "../helpers/scaling.smk"
include: "../helpers/search.smk"
include: "../helpers/posgen.smk"
include: "../helpers/finetune.smk"
include: "../helpers/subjects.smk"
include: "../helpers/leval.smk"
include: "../helpers/needle.smk"
