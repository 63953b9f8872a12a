# Corpora, and models: fetched, pre-trained, or tuned.

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
        **resources_of("tune"),
        "gpu": wanted.nodes * wanted.gpu,
        "nodes": wanted.nodes,
        "tasks": wanted.nodes,
        # Else the executor would also ask for so many tasks on each GPU.
        "tasks_per_gpu": 0,
        # The rule calls `srun` itself; else the executor would put the whole rule into a step of one task.
        "mpi": "srun",
    }


def tune_launcher(wildcards):
    """What starts a tuning: one process, or several on one node or more."""
    launcher = STUDY.models[wildcards.model].launcher
    wanted = STUDY.config.resources.tune
    if wanted.nodes == 1:
        return f"{launcher} -m ropewalk.cli tune" if launcher else "ropewalk tune"
    script = f'exec {launcher or "accelerate launch"} {MEETING} -m ropewalk.cli tune "$@"'
    return (
        f"srun --nodes={wanted.nodes} --ntasks={wanted.nodes} --ntasks-per-node=1 --cpus-per-task={wanted.threads} "
        f"--kill-on-bad-exit=1 sh -c {shlex.quote(script)} tune"
    )


rule corpus:
    input:
        lambda wildcards: files_of(
            STUDY.corpora[wildcards.corpus].options.source, "*.txt", "*.md", "*.jsonl"
        ),
        tokenizer=corpus_tokenizer,
    output:
        directory(f"{RESULTS}/corpora/{{corpus}}"),
    log:
        f"{LOGS}/corpora/{{corpus}}.log",
    benchmark:
        f"{BENCHMARKS}/corpora/{{corpus}}.tsv"
    message:
        "tokenise the corpus {wildcards.corpus}"
    conda:
        "../../envs/ropewalk.yaml"
    threads: threads_of("corpus")
    resources:
        **resources_of("corpus"),
    params:
        options=of_row("corpora", lambda found: to_json(found.options)),
        tokenizer=lambda wildcards, input: input.tokenizer or "byte",
        code=code_hash("ropewalk.corpora.store"),
    shell:
        tracked(
            "corpora",
            "{wildcards.corpus}",
            "{output}/corpus.json",
            "{output}/documents.parquet",
        )
        + "ropewalk corpus --tokenizer {params.tokenizer} --options {params.options:q} -o {output}"


rule fetch:
    input:
        lambda wildcards: files_of(
            STUDY.models[wildcards.model].source, *CHECKPOINT_FILES
        ),
    output:
        directory(f"{RESULTS}/models/{{model}}"),
    wildcard_constraints:
        model=one_of(models_of("fetch")),
    log:
        f"{LOGS}/models/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}.tsv"
    message:
        "fetch the model {wildcards.model}"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **{**resources_of("pretrain"), "gpu": 0},
    params:
        source=of_row("models", lambda found: found.source),
        revision=of_row(
            "models",
            lambda found: ["--revision", found.revision] if found.revision else [],
        ),
        code=code_hash("ropewalk.models.loading"),
    shell:
        # The weights are a copy of what can be fetched again, so only their description is attached.
        tracked(
            "models",
            "{wildcards.model}",
            "{output}/config.json",
            "{output}/source.json",
        )
        + "ropewalk fetch {params.source:q} {params.revision:q} -o {output}"


rule pretrain:
    input:
        corpora=corpora_of("models"),
    output:
        directory(f"{RESULTS}/models/{{model}}"),
    wildcard_constraints:
        model=one_of(models_of("pretrain")),
    log:
        f"{LOGS}/models/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}.tsv"
    message:
        "pre-train the model {wildcards.model}"
    conda:
        "../../envs/ropewalk.yaml"
    threads: threads_of("pretrain")
    resources:
        **resources_of("pretrain"),
    params:
        corpora=all_of("--corpus"),
        shape=of_row("models", lambda found: to_json(found.shape)),
        options=of_row("models", lambda found: to_json(found.options)),
        columns=of_row("models", columns_json),
        # Derived from the input as far as Snakemake can tell, so that a change of it trains nothing again.
        layout=lambda wildcards, input: to_json(STUDY.models[wildcards.model].layout),
        state=f"{STATE}/models/{{model}}",
        code=code_hash("ropewalk.training.pretraining"),
    shell:
        tracked(
            "models",
            "{wildcards.model}",
            "{output}",
            flags="--metrics {params.state}.jsonl --scores {output}/scores.json",
        )
        + "ropewalk pretrain {params.corpora:q} --shape {params.shape:q} --options {params.options:q} "
        "--columns {params.columns:q} --layout {params.layout:q} --state {params.state} "
        "--metrics {params.state}.jsonl -o {output}"


rule tune:
    input:
        model=lambda wildcards: PATHS.of(
            STUDY.models[STUDY.models[wildcards.model].base]
        ),
        rope=lambda wildcards: PATHS.of(
            STUDY.ropes[STUDY.models[wildcards.model].rope]
        ),
        corpora=corpora_of("models"),
    output:
        directory(f"{RESULTS}/models/{{model}}"),
    wildcard_constraints:
        model=one_of(models_of("tune")),
    log:
        f"{LOGS}/models/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}.tsv"
    message:
        "tune {input.model} with {input.rope}: {wildcards.model}"
    conda:
        "../../envs/ropewalk.yaml"
    threads: threads_of("tune")
    resources:
        **tune_resources(),
    params:
        corpora=all_of("--corpus"),
        options=of_row("models", lambda found: to_json(found.options)),
        columns=of_row("models", columns_json),
        # Derived from the input as far as Snakemake can tell, so that a change of them trains nothing again.
        layout=lambda wildcards, input: to_json(STUDY.models[wildcards.model].layout),
        launcher=lambda wildcards, input: tune_launcher(wildcards),
        state=f"{STATE}/models/{{model}}",
        code=code_hash("ropewalk.training.tuning"),
    shell:
        tracked(
            "models",
            "{wildcards.model}",
            "{output}",
            flags="--metrics {params.state}.jsonl --scores {output}/scores.json",
        )
        + "{params.launcher} --model {input.model} --rope {input.rope} {params.corpora:q} --options {params.options:q} "
        "--columns {params.columns:q} --layout {params.layout:q} --state {params.state} "
        "--metrics {params.state}.jsonl -o {output}"
