# What jobs of one kind take, as functions of their wildcards.

import shlex

# One launcher on each node of a Slurm job, which tells them where to meet: the first node, where `srun` runs too.
MEETING = (
    "--multi_gpu --num_machines $SLURM_NNODES --machine_rank $SLURM_NODEID "
    "--num_processes $((SLURM_NNODES * SLURM_GPUS_ON_NODE)) "
    "--main_process_ip $SLURM_LAUNCH_NODE_IPADDR --main_process_port $((20000 + SLURM_JOB_ID % 10000))"
)


def corpus_tokenizer(wildcards):
    """The model whose tokenizer a corpus is cut by, if it is fetched."""
    tokenizer = STUDY.corpora[wildcards.corpus].tokenizer
    return [] if tokenizer == "byte" else PATHS.of(STUDY.models[tokenizer])


def tune_resources():
    """Memory and time by attempt, and GPUs, of one node or several."""
    wanted = STUDY.config.resources.tune
    if wanted.nodes == 1:
        return resources_of("tune")
    return {
        **resources_of("tune", gpus=False),
        **gpus_of(wanted.gpu, wanted.nodes),
        "nodes": wanted.nodes,
        "tasks": wanted.nodes,
        # Else the executor would also ask for so many tasks on each GPU.
        "tasks_per_gpu": 0,
        # The rule calls `srun` itself; else the executor would put the whole rule into a step of one task.
        "mpi": "srun",
    }


def tune_launcher():
    """What starts a tuning: one process, or several on one node or more."""
    wanted = STUDY.config.resources.tune
    if wanted.nodes == 1 and wanted.gpu < 2:
        return "ropewalk tune"
    if wanted.nodes == 1:
        return f"python -m ropewalk.launch {wanted.gpu} tune"
    script = f'exec accelerate launch {MEETING} -m ropewalk.cli tune "$@"'
    return (
        f"srun --nodes={wanted.nodes} --ntasks={wanted.nodes} --ntasks-per-node=1 --cpus-per-task={wanted.threads} "
        f"--kill-on-bad-exit=1 sh -c {shlex.quote(script)} tune"
    )


def rope_start(wildcards):
    """The file that a rope starts from, if any: another rope, what a search found, or a fetched model's configuration."""
    found = STUDY.ropes[wildcards.rope]
    if found.file:
        return {"on": local(found.file)}
    if found.rope:
        return {"on": PATHS.of(STUDY.ropes[found.rope])}
    if found.search:
        return {"search": PATHS.of(STUDY.searches[found.search])}
    return (
        {"model": PATHS.of(STUDY.models[found.table.model])}
        if found.table.model
        else {}
    )


def rope_table(wildcards, input):
    """The options that say what a rope starts from."""
    table = STUDY.ropes[wildcards.rope].table
    if "on" in input.keys():
        return ["--on", input.on]
    if "search" in input.keys():
        return ["--on", f"{input.search}/rope.json"]
    if "model" in input.keys():
        return ["--model", input.model] + (
            ["--length", str(table.length)] if table.length else []
        )
    return [
        "--head-dim",
        str(table.head_dim),
        "--base",
        f"{table.base:.17g}",
        "--length",
        str(table.length),
    ]


def corpus_needs(wildcards):
    """What a study asks a corpus for, as its job gets it."""
    return json.dumps([vars(need) for need in needs_of(STUDY, wildcards.corpus)])


QUESTIONS = questions_of(STUDY)


def questions_source(name):
    """Where questions come from, as their job is told."""
    found = QUESTIONS[name]
    revision = ["--revision", found.revision] if found.revision else []
    return [found.data, *revision]


def questions_folder(name):
    """Where the questions of a name lie."""
    return f"{RESULTS}/questions/{name}"


def reading_questions(wildcards):
    """The questions that a reading asks, if they come from the hub."""
    name = questions_name(STUDY.readings[wildcards.reading])
    return [questions_folder(name)] if name else []


def reading_files(wildcards):
    """Files outside the results that a reading takes, so that a change of them is noticed."""
    found = STUDY.readings[wildcards.reading]
    if found.kind != "leval":
        return []
    return files_of(
        found.options.data, *(f"{task}.jsonl" for task in found.options.tasks)
    )


def search_workers(wildcards):
    """The jobs that share the journal of a search, for models whose trials take minutes."""
    workers = range(STUDY.searches[wildcards.search].workers)
    return [f"{RESULTS}/searches/workers/{wildcards.search}/{k}.done" for k in workers]


def search_written(wildcards, output):
    """The options of what a search writes; a worker writes into the journal only."""
    if "worker" in wildcards.keys():
        return []
    return ["--metrics", f"{STATE}/searches/{wildcards.search}.jsonl", "-o", output[0]]


def search_recorded(wildcards, output):
    """The options of what is recorded of a search."""
    if "worker" in wildcards.keys():
        return []
    files = {
        "--artifact": output[0],
        "--metrics": f"{STATE}/searches/{wildcards.search}.jsonl",
        "--scores": f"{output[0]}/scores.json",
    }
    return [word for pair in files.items() for word in pair]


def posgen_ropes(*parts):
    """The files of ropes of a task, as a function of a job's wildcards."""

    def find(wildcards):
        task = STUDY.posgen[wildcards.task]
        ids = {
            "trained": task.trained,
            "swapped": [id for id, _ in task.swapped],
            "brief": [id for id, _ in task.brief],
        }
        return [PATHS.of(STUDY.ropes[id]) for part in parts for id in ids[part]]

    return find


def posgen_swapped(part, option):
    """An option for each rope that is put into the place of another, from a job's inputs, in order."""

    def find(wildcards, input):
        pairs = getattr(STUDY.posgen[wildcards.task], part)
        return each(
            option,
            [
                f"{file}={weights}"
                for file, (_, weights) in zip(input.get(part, []), pairs)
            ],
        )

    return find


def exported_model(wildcards, input):
    """What is exported: a checkpoint; or, to keep its quantised weights, the GGUF file that a model came as."""
    found = STUDY.exports[wildcards.export]
    source = STUDY.models[found.model].source or ""
    return source if found.to == "gguf" and source.startswith("gguf:") else input.model
