# The checked configuration, the names of files, and how a job is run and recorded.

import hashlib
import json
from pathlib import Path

import ropewalk
from ropewalk.config import check_config, method_parameters
from ropewalk.errors import UserError
from ropewalk.models.sources import CHECKPOINT_FILES
from ropewalk.tracking import pending

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

FINETUNE = STUDY.used_finetune
FINETUNE_FOLDER = f"{RESULTS}/finetune/{{experiment}}"

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


def posgen_ropes(experiment, part):
    """The options that name ropes of a PosGen experiment: those to train with, or to swap in, or to test in brief."""
    ropes = [
        rope
        for rope in POSGEN[experiment].ropes
        if part == ("brief" if rope.brief else "swapped" if rope.weights else "trained")
    ]
    folder = POSGEN_FOLDER.format(experiment=experiment)
    return [
        f"{folder}/ropes/{rope.name}.json"
        + (f"={rope.weights}" if rope.weights else "")
        for rope in ropes
    ]


def posgen_files(experiment, *parts):
    """The files behind these options."""
    return [
        option.partition("=")[0]
        for part in parts
        for option in posgen_ropes(experiment, part)
    ]


def posgen_rope(wildcards):
    """A rope of a PosGen experiment, with the options of the table that it starts from."""
    experiment = POSGEN[wildcards.experiment]
    [rope] = [rope for rope in experiment.ropes if rope.name == wildcards.name]
    factor = experiment.factor or experiment.test_length / experiment.train_length
    table = {
        "head_dim": experiment.head_dim,
        "base": experiment.base,
        "length": rope.original_length or experiment.train_length,
    }
    return rope_settings(rope, factor), table


def search_corpora(wildcards):
    """The corpora that an experiment searches on."""
    return [CORPORA[name] for name in STUDY.search_corpora(wildcards.experiment)]


def search_studies(wildcards):
    """The folders of all searches of an experiment."""
    folder = SEARCH_FOLDER.format(**wildcards)
    return [f"{folder}/studies/{name}" for name in SEARCH[wildcards.experiment].studies]


def search_settings(wildcards):
    """The options of one search."""
    return SEARCH[wildcards.experiment].studies[wildcards.study]


def search_test(wildcards):
    """How found ropes are tested."""
    experiment = SEARCH[wildcards.experiment]
    return {
        "documents": experiment.test_documents,
        "seed": experiment.answer_seed,
        "dtype": experiment.dtype,
    }


def finetune_rope(wildcards):
    """The name of the rope that a training is about."""
    return FINETUNE[wildcards.experiment].trainings[wildcards.training][0]


def finetune_corpora(wildcards):
    """The corpora that an experiment trains on."""
    named = FINETUNE[wildcards.experiment].corpora or list(CORPORA)
    return [CORPORA[name] for name in named]


def finetune_options(wildcards):
    """The options of a training that change its outcome."""
    experiment = FINETUNE[wildcards.experiment]
    _, regime, seed = experiment.trainings[wildcards.training]
    return experiment.options(regime, seed)


def finetune_layout(wildcards):
    """The options of a training that change no more than where it runs, and when it is saved."""
    keys = {
        "shard",
        "context_parallel",
        "activation_checkpointing",
        "attention",
        "checkpoint_every",
    }
    return flags(FINETUNE[wildcards.experiment].model_dump(include=keys))


def finetune_launcher(wildcards):
    """What starts a training: one process, or several."""
    launcher = FINETUNE[wildcards.experiment].launcher
    return (
        f"{launcher} -m ropewalk.training.finetune" if launcher else "ropewalk finetune"
    )


def finetune_untuned(wildcards):
    """The measurements of the model as it was, with the ropes of an experiment."""
    experiment = FINETUNE[wildcards.experiment]
    return [EVALUATIONS[rope] for rope in [*experiment.ropes, *experiment.untuned]]


def finetune_measured(wildcards):
    """The measurements of all trainings of an experiment."""
    folder = FINETUNE_FOLDER.format(**wildcards)
    return [
        f"{folder}/{name}/measured" for name in FINETUNE[wildcards.experiment].trainings
    ]


def subject_of(section):
    """The subject that a job of a section is about, as a function of its wildcards."""

    def find(wildcards):
        subjects = section[wildcards.experiment].subjects
        return next(one for one in subjects if one.name == wildcards.subject)

    return find


def subject_model(section):
    """The model of a subject, as a function of a job's wildcards."""

    def find(wildcards):
        subject = subject_of(section)(wildcards)
        if not subject.tuned:
            return MODEL
        experiment, training = subject.tuned.split("/", 1)
        return f"{FINETUNE_FOLDER.format(experiment=experiment)}/{training}/model"

    return find


def subject_rope(section):
    """The rope of a subject, as a function of a job's wildcards."""

    def find(wildcards):
        subject = subject_of(section)(wildcards)
        if subject.found:
            experiment, study = subject.found.split("/")
            # A folder of several files; the rope is one of them.
            return f"{SEARCH_FOLDER.format(experiment=experiment)}/studies/{study}"
        return ROPES[subject.tuned.split("/")[1] if subject.tuned else subject.rope]

    return find


def rope_file(wildcards, input):
    """The rope of a job: a file, or in the folder of a search."""
    return f"{input.rope}/rope.json" if not input.rope.endswith(".json") else input.rope


def leval_data(wildcards):
    """Where the questions of an experiment are: made here, or elsewhere."""
    experiment = LEVAL[wildcards.experiment]
    return (
        f"folder:{LEVAL_FOLDER.format(**wildcards)}/pocket"
        if experiment.data == "pocket"
        else experiment.data
    )


def leval_files(wildcards):
    """The files of the questions, so that a change of them is noticed."""
    experiment = LEVAL[wildcards.experiment]
    if experiment.data == "pocket":
        return f"{LEVAL_FOLDER.format(**wildcards)}/pocket"
    wanted = {f"{task}.jsonl" for task in experiment.tasks}
    return files_of(experiment.data, *wanted)


def leval_options(wildcards):
    """The options of an experiment that change its answers."""
    experiment = LEVAL[wildcards.experiment]
    return {
        **experiment.model_dump(exclude={"data", "revision", "pocket", "subjects"}),
        "data_revision": experiment.revision,
    }


def needle_options(wildcards):
    """The options of an experiment with hidden facts."""
    return NEEDLE[wildcards.experiment].model_dump(exclude={"subjects"})


def scaling_cell(wildcards):
    """The cell of a sweep that a job is about."""
    return SCALING_CELLS[wildcards.experiment][wildcards.cell]


def scaling_model(wildcards):
    """What a sweep starts from: a model of its own, or that of the study."""
    own = SCALING[wildcards.experiment].fresh
    return f"{SCALING_FOLDER}/model".format(**wildcards) if own else MODEL


def scaling_pretraining(wildcards):
    """Shape and training of a sweep's own model."""
    sweep = SCALING[wildcards.experiment]
    training = sweep.pretraining or STUDY.pretraining
    return {
        "shape": sweep.fresh.model_dump(),
        "training": training.model_dump(exclude={"checkpoint_every"}),
    }


def scaling_table(wildcards):
    """The options that name the table of a sweep's model, where it is known without the model."""
    table = STUDY.table(wildcards.experiment)
    return flags(table.model_dump()) if table else []


def scaling_rope(wildcards):
    """The rope of a cell, read with log-scaled attention or without."""
    cell = scaling_cell(wildcards)
    scaled = (
        f"_log-{cell.length}"
        if getattr(wildcards, "reading", None) == "log-scaled"
        else ""
    )
    folder = SCALING_FOLDER.format(experiment=wildcards.experiment)
    return f"{folder}/ropes/base-{cell.base:.10g}{scaled}.json"


def scaling_tuning(wildcards):
    """The options of a cell's tuning that change its outcome."""
    cell = scaling_cell(wildcards)
    tuning = SCALING[wildcards.experiment].tuning.model_dump(
        exclude={"checkpoint_every"}
    )
    return {**tuning, "length": cell.length, "steps": cell.steps, "seed": cell.seed}


def scaling_readings(wildcards):
    """The folders of all that is measured in a sweep."""
    folder = SCALING_FOLDER.format(experiment=wildcards.experiment)
    cells = SCALING_CELLS[wildcards.experiment].values()
    return [
        f"{folder}/cells/{cell.name}/{reading}"
        for cell in cells
        for reading in ("measured", *(["log-scaled"] if cell.log_scaling else []))
    ]


def scaling_options(wildcards):
    """How a sweep is read."""
    sweep = SCALING[wildcards.experiment]
    return {
        **sweep.model_dump(include={"thresholds", "smoothing", "perplexity_ratio"}),
        "confidence": STUDY.evaluation.confidence,
    }


def files_of(source, *patterns):
    """The files behind a `folder:` source, so that a change of them is noticed; nothing for other sources."""
    kind, _, folder = source.partition(":")
    if kind != "folder":
        return []
    found = (path for pattern in patterns for path in Path(folder).rglob(pattern))
    return sorted(str(path) for path in found if path.is_file())


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
    """Memory and time that double with each attempt, and GPUs."""
    wanted = getattr(STUDY.resources, stage)
    return {
        "mem_mb": lambda wildcards, attempt: wanted.mem_mb * 2 ** (attempt - 1),
        "runtime": lambda wildcards, attempt: wanted.runtime * 2 ** (attempt - 1),
        "gpu": wanted.gpu,
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


def scaling_settings(wildcards):
    """The bases and tuning lengths of a sweep, as BASE@LENGTH."""
    cells = SCALING_CELLS[wildcards.experiment].values()
    return list(dict.fromkeys(f"{cell.base:.10g}@{cell.length}" for cell in cells))


def shown_prediction(file, title):
    """A file of what the laws predict for a sweep."""
    folder = f"{SCALING_FOLDER}/predictions"
    return shown(
        file, "6 Scaling", title, "scaling_predictions", folder, "{experiment}"
    )


def shown_scaling(file, title, caption):
    """A file of the report of a sweep."""
    return shown(
        file, "6 Scaling", title, caption, f"{SCALING_FOLDER}/report", "{experiment}"
    )


def shown_search(file, title, caption):
    """A file of the report of searches."""
    return shown(
        file, "7 Search", title, caption, f"{SEARCH_FOLDER}/report", "{experiment}"
    )


def shown_finetune(file, title, caption):
    """A file of the report of a fine-tuning."""
    return shown(
        file,
        "8 Fine-tuning",
        title,
        caption,
        f"{FINETUNE_FOLDER}/report",
        "{experiment}",
    )


def shown_leval(file, title, caption):
    """A file of the report of L-Eval."""
    return shown(
        file, "9 L-Eval", title, caption, f"{LEVAL_FOLDER}/report", "{experiment}"
    )


def shown_needle(file, title, caption):
    """A file of the report of hidden facts."""
    return shown(
        file, "10 Needles", title, caption, f"{NEEDLE_FOLDER}/report", "{experiment}"
    )


def shown_posgen(file, title, caption):
    """A file of the report of a PosGen experiment."""
    return shown(
        file, "5 PosGen", title, caption, f"{POSGEN_FOLDER}/report", "{experiment}"
    )
