# The checked configuration, the tables that it makes, and how a job is run and recorded.

import json
import os
import re
from functools import cache
from pathlib import Path

from ropewalk import resident
from ropewalk.closure import code_hash
from ropewalk.errors import UserError
from ropewalk.files import files_below
from ropewalk.models.sources import CHECKPOINT_FILES
from ropewalk.options import plain, to_json
from ropewalk.partitions import Partition, partition_of, partitions
from ropewalk.study import read_study
from ropewalk.study.needs import needs_of
from ropewalk.study.paths import Paths
from ropewalk.study.questions import questions_name, questions_of
from ropewalk.study.times import stage_times, times_text
from ropewalk.tracking import COPY_UP_TO, pending
from ropewalk.warm import VARIABLE

try:
    STUDY = read_study(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{STUDY.config.name}"
PATHS = Paths(RESULTS)
TRACKING = f"{RESULTS}/tracking"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
# Not outputs: what must outlive a job that is killed.
STATE = f"{RESULTS}/state"
REPORTS = (
    "perplexity",
    "copying",
    "needle",
    "measures",
    "leval",
    "scaling",
    "predictions",
    "search",
    "causes",
    "finetune",
    "posgen",
)


def one_of(ids):
    """A pattern for a wildcard that is one of a few ids; nothing where there is none."""
    return "|".join(re.escape(id) for id in ids) or "(?!)"


def models_of(kind):
    """Ids of the models that are made in one way."""
    return [row.id for row in STUDY.models.values() if row.kind == kind]


wildcard_constraints:
    # Of ids there may be thousands; a pattern of all of them would be tried on every file.
    reading=r"[^/]+",
    rope=r".+",
    search=r"[^/]+",
    export=r"[^/]+",
    corpus=r"[^/]+/[^/]+",
    task=r"[^/]+/[^/]+",
    report=r"[^/]+/[^/]+",
    worker=r"\d+",
    questions=r"[^/]+",


# For what sends files to MLflow, in jobs and at the end.
os.environ[COPY_UP_TO] = str(round(STUDY.config.copy_up_to * 2**30))

# Short jobs leave their records to the end of the workflow, which a fault of MLflow must not fail.
DELIVER = f"ropewalk deliver {TRACKING} || true"

# Records that waited while MLflow was away go out now, even when there is nothing else to do.
if workflow.is_main_process and not workflow.dryrun and pending(TRACKING):
    shell(DELIVER)


def start_resident():
    """Have one process import torch for all jobs of this machine; see ropewalk/resident.py."""
    local_only = workflow.executor_plugin.name == "local"
    deployed = workflow.deployment_settings.deployment_method
    if local_only and resident.wanted() and not deployed and VARIABLE not in os.environ:
        _, os.environ[VARIABLE] = resident.start()


def unhurried(workflow):
    """Lift Snakemake's default limit of a hundred jobs a second, which nothing here comes near.

    With a limit, each job that ends has Snakemake look for new ones every second from then on, without an end: after
    some hundred jobs it takes a whole core. A limit that was asked for stays.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def row(table):
    """The row that a job makes, by the wildcard of the table's name."""
    rows, wildcard = {
        "corpora": (STUDY.corpora, "corpus"),
        "ropes": (STUDY.ropes, "rope"),
        "models": (STUDY.models, "model"),
        "readings": (STUDY.readings, "reading"),
        "searches": (STUDY.searches, "search"),
        "exports": (STUDY.exports, "export"),
        "posgen": (STUDY.posgen, "task"),
        "reports": (STUDY.reports, "report"),
    }[table]
    return lambda wildcards: rows[getattr(wildcards, wildcard)]


def of_row(table, what):
    """What a row says of itself, as a function of a job's wildcards."""
    find = row(table)
    return lambda wildcards: what(find(wildcards))


def paths_of(table, ids):
    """The paths of rows by their ids."""
    return [PATHS.of(table[id]) for id in ids]


def corpora_of(table):
    """The corpora of a row, as a function of a job's wildcards."""
    return of_row(table, lambda found: paths_of(STUDY.corpora, found.corpora))


def columns_json(found):
    """What a row is called, as a job gets it."""
    return json.dumps(dict(found.columns), sort_keys=True)


def each(option, values):
    """An option that is given once for each of several values."""
    return [word for value in values for word in (option, value)]


def all_of(option, name="corpora"):
    """An option for each of a job's inputs of one name."""
    return lambda wildcards, input: each(option, input.get(name, []))


def files_of(source, *patterns):
    """The files behind a `folder:` source, so that a change of them is noticed; nothing for other sources."""
    kind, _, folder = source.partition(":")
    if kind != "folder":
        return []
    found = (
        path
        for path in files_below(Path(folder))
        if any(path.match(pattern) for pattern in patterns)
    )
    # They lie where they lie, also when results lie in a bucket.
    return local(sorted(str(path) for path in found if path.is_file()))


def tracked(kind, name, *artifacts, flags=""):
    """The front of a shell command: what follows runs as one MLflow run, with its output shown and logged."""
    attached = " ".join(f"--artifact {artifact}" for artifact in artifacts)
    return (
        f"ropewalk track --experiment {STUDY.config.name}/{kind} --name {name} --root {TRACKING} "
        f"--attempt {{resources.attempt}} --tag code={{params.code}} --log {{log}} {attached} {flags} -- "
    )


@cache
def partition_for(name):
    """The Slurm partition of a rule; one without limits where jobs do not go to a Slurm."""
    settings = workflow.resource_settings
    # Which executor it will be is not known yet, but that it starts jobs elsewhere.
    if settings.nodes is None:
        return Partition("")
    asked = [
        settings.overwrite_resources.get(name, {}),
        settings.default_resources or {},
    ]
    named = [found["slurm_partition"] for found in asked if "slurm_partition" in found]
    # What was given on the command line or in a profile may be an expression, and its text is the name.
    return partition_of(
        partitions(), str(named[0].raw or named[0].value) if named else None
    )


def resources_of(kind, gpus=True, of=None):
    """Memory and time that double with each attempt, up to what the partition has, and GPUs of one machine, which Slurm
    would else collect from several.
    """
    wanted = getattr(STUDY.config.resources, kind)

    def grown(resource):
        first = getattr(wanted, resource)

        def asked(wildcards, attempt):
            partition = partition_for(of or kind)
            try:
                partition.check(kind, resource, first)
            except UserError as error:
                raise WorkflowError(str(error)) from None
            return partition.capped(resource, first * 2 ** (attempt - 1))

        return asked

    return {
        "mem_mb": grown("mem_mb"),
        "runtime": grown("runtime"),
        "attempt": lambda wildcards, attempt: attempt,
        "nodes": 1,
        **gpus_of(wanted.gpu if gpus else 0),
    }


def gpus_of(count, nodes=1):
    """GPUs of a job, as the cluster is asked for them: by number, or by name and number for each of several nodes.

    A number over several nodes may come as one GPU here and three there.
    """
    gres = STUDY.config.resources.gres
    if count and (gres or nodes > 1):
        return {"gres": f"{gres or 'gpu'}:{count}"}
    return {"gpu": count}


def threads_of(kind):
    """Threads of a kind of job."""
    return getattr(STUDY.config.resources, kind).threads
