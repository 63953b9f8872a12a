# One model: pre-trained from nothing, or fetched.

SHAPE = STUDY.model.fresh.model_dump()
TRAINING = STUDY.pretraining.model_dump(exclude={"checkpoint_every"})
PRETRAINING_CODE = (
    "models/fresh.py",
    "models/tokenizers.py",
    "corpora/store.py",
    "training/batches.py",
    "training/checkpoint.py",
    "training/loop.py",
    "training/pretraining.py",
)

if FRESH:

    rule pretrain:
        input:
            corpora=CORPORA.values(),
        output:
            directory(MODEL),
        log:
            f"{LOGS}/pretrain.log",
        benchmark:
            f"{BENCHMARKS}/pretrain.tsv"
        conda:
            "../../envs/ropewalk.yaml"
        threads: STUDY.resources.model.threads
        resources:
            **stage_resources("model"),
        params:
            settings=settings(shape=SHAPE, training=TRAINING),
            flags=flags({**SHAPE, **TRAINING}),
            corpora=lambda wildcards, input: each("--corpus", input.corpora),
            code=code(*PRETRAINING_CODE),
            # Not outputs: they must outlive a job that is killed.
            state=f"{RESULTS}/state/pretraining",
            metrics=f"{RESULTS}/state/pretraining.jsonl",
            # Derived from the input as far as Snakemake can tell, so that a change of it trains nothing again.
            every=lambda wildcards, input: STUDY.pretraining.checkpoint_every,
        shell:
            tracked(
                "pretrain",
                "{output}",
                flags="--metrics {params.metrics} --scores {output}/scores.json",
            )
            + "ropewalk pretrain {params.corpora:q} {params.flags:q} --checkpoint-every {params.every} "
            "--state {params.state} --metrics {params.metrics} -o {output}"

else:

    rule fetch_model:
        input:
            files_of(STUDY.model.source, *CHECKPOINT_FILES),
        output:
            directory(MODEL),
        log:
            f"{LOGS}/fetch_model.log",
        benchmark:
            f"{BENCHMARKS}/fetch_model.tsv"
        conda:
            "../../envs/ropewalk.yaml"
        threads: 1
        resources:
            **{**stage_resources("model"), "gpu": 0},
        params:
            settings=settings(source=STUDY.model.source, revision=STUDY.model.revision),
            source=STUDY.model.source,
            flags=flags({"revision": STUDY.model.revision}),
            code=code("models/loading.py", "models/sources.py"),
        shell:
            # The weights are a copy of what can be fetched again, so only their description is attached.
            tracked("model", "{output}/config.json", "{output}/source.json")
            + "ropewalk fetch-model {params.source:q} {params.flags:q} -o {output}"


rule original_rope:
    input:
        MODEL,
    output:
        f"{RESULTS}/original.json",
    log:
        f"{LOGS}/original_rope.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=settings(),
        code=code("rope", "models/binding.py"),
    shell:
        tracked("ropes/original", "{output}")
        + "ropewalk original-rope {input} -o {output}"


rule rope:
    input:
        f"{RESULTS}/original.json",
    output:
        f"{RESULTS}/ropes/{{name}}.json",
    log:
        f"{LOGS}/ropes/{{name}}.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=lambda wildcards: settings(rope=study_rope(wildcards.name)),
        method=lambda wildcards: ROPE_SETTINGS[wildcards.name].method.replace("_", "-"),
        flags=lambda wildcards: rope_flags(study_rope(wildcards.name)),
        code=code("rope"),
    shell:
        tracked("ropes/{wildcards.name}", "{output}")
        + "ropewalk rope {params.method} --on {input} {params.flags:q} -o {output}"
