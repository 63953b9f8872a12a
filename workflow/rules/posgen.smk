# PosGen: all models of a task are trained in one job, and scored with every rope in another.

POSGEN_ELSEWHERE = {
    "tasks",
    "base",
    "factor",
    "ropes",
    "generated_sequences",
    "checkpoint_every",
}


rule posgen_rope:
    output:
        f"{POSGEN_FOLDER}/ropes/{{name}}.json",
    log:
        f"{LOGS}/posgen/{{experiment}}/ropes/{{name}}.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=lambda wildcards: settings(
            rope=posgen_rope(wildcards)[0], table=posgen_rope(wildcards)[1]
        ),
        method=lambda wildcards: posgen_rope(wildcards)[0]["method"].replace("_", "-"),
        table=lambda wildcards: flags(posgen_rope(wildcards)[1]),
        flags=lambda wildcards: rope_flags(posgen_rope(wildcards)[0]),
        code=code("rope"),
    shell:
        tracked("posgen/ropes/{wildcards.experiment}/{wildcards.name}", "{output}")
        + "ropewalk rope {params.method} {params.table:q} {params.flags:q} -o {output}"


rule posgen_train:
    input:
        lambda wildcards: posgen_files(wildcards.experiment, "trained", "swapped"),
    output:
        directory(f"{POSGEN_FOLDER}/{{task}}/models"),
    log:
        f"{LOGS}/posgen/{{experiment}}/{{task}}/train.log",
    benchmark:
        f"{BENCHMARKS}/posgen/{{experiment}}/{{task}}/train.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.posgen.threads
    resources:
        **stage_resources("posgen"),
    params:
        settings=lambda wildcards: settings(
            task=wildcards.task,
            base=POSGEN[wildcards.experiment].base,
            swapped=posgen_ropes(wildcards.experiment, "swapped"),
            **POSGEN[wildcards.experiment].model_dump(exclude=POSGEN_ELSEWHERE),
        ),
        flags=lambda wildcards: flags(
            POSGEN[wildcards.experiment].model_dump(exclude=POSGEN_ELSEWHERE),
            switches=["train_feed_forward"],
        ),
        ropes=lambda wildcards, input: each(
            "--rope", posgen_ropes(wildcards.experiment, "trained", input)
        ),
        swapped=lambda wildcards, input: each(
            "--swapped", posgen_ropes(wildcards.experiment, "swapped", input)
        ),
        code=code(
            "rope",
            "posgen/tasks.py",
            "posgen/data.py",
            "posgen/model.py",
            "posgen/models.py",
            "posgen/scoring.py",
            "posgen/training.py",
        ),
        artifacts=lambda wildcards, input: each("--artifact", input),
        # Not outputs: they must outlive a job that is killed.
        state=f"{RESULTS}/state/posgen/{{experiment}}/{{task}}",
        metrics=f"{RESULTS}/state/posgen/{{experiment}}/{{task}}.jsonl",
        # Derived from the input as far as Snakemake can tell, so that a change of it trains nothing again.
        every=lambda wildcards, input: POSGEN[wildcards.experiment].checkpoint_every,
    shell:
        tracked(
            "posgen/train/{wildcards.experiment}/{wildcards.task}",
            "{output}/training.json",
            "{output}/models.safetensors",
            flags="{params.artifacts:q} --metrics {params.metrics} --scores {output}/scores.json",
        )
        + "ropewalk posgen train {wildcards.task} {params.ropes:q} {params.swapped:q} {params.flags:q} "
        "--checkpoint-every {params.every} --state {params.state} --metrics {params.metrics} -o {output}"


rule posgen_score:
    input:
        lambda wildcards: posgen_files(
            wildcards.experiment, "trained", "swapped", "brief"
        ),
        models=f"{POSGEN_FOLDER}/{{task}}/models",
    output:
        directory(f"{POSGEN_FOLDER}/{{task}}/scores"),
    log:
        f"{LOGS}/posgen/{{experiment}}/{{task}}/score.log",
    benchmark:
        f"{BENCHMARKS}/posgen/{{experiment}}/{{task}}/score.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.posgen.threads
    resources:
        **stage_resources("posgen"),
    params:
        settings=lambda wildcards: settings(
            **POSGEN[wildcards.experiment].model_dump(
                include={"generated_sequences", "ropes"}
            )
        ),
        ropes=lambda wildcards, input: each(
            "--rope",
            posgen_ropes(wildcards.experiment, "trained", input)
            + posgen_ropes(wildcards.experiment, "swapped", input),
        ),
        brief=lambda wildcards, input: each(
            "--brief", posgen_ropes(wildcards.experiment, "brief", input)
        ),
        generated=lambda wildcards: POSGEN[wildcards.experiment].generated_sequences,
        code=code("rope", "posgen"),
    shell:
        tracked(
            "posgen/score/{wildcards.experiment}/{wildcards.task}",
            "{output}/accuracy.parquet",
            "{output}/scoring.json",
            flags="--scores {output}/scores.json --runs {output}/runs",
        )
        + "ropewalk posgen score {input.models} {params.ropes:q} {params.brief:q} "
        "--generated-sequences {params.generated} -o {output}"


rule posgen_report:
    input:
        lambda wildcards: expand(
            f"{POSGEN_FOLDER}/{{task}}/scores",
            experiment=wildcards.experiment,
            task=POSGEN[wildcards.experiment].tasks,
        ),
    output:
        shown_posgen("accuracy.html", "1 Accuracy by rope and task", "posgen_accuracy"),
        shown_posgen("accuracy.csv", "2 The same as CSV", "posgen_accuracy"),
        shown_posgen("accuracy.png", "3 Every rope, every seed", "posgen_ropes"),
        shown_posgen("positions.png", "4 Accuracy by position", "posgen_positions"),
        shown_posgen("validation.png", "5 Validation loss", "posgen_validation"),
        shown_posgen("feature_gap.html", "6 Feature gap", "posgen_feature_gap"),
        shown_posgen("feature_gap.csv", "7 The same as CSV", "posgen_feature_gap"),
        scores=f"{POSGEN_FOLDER}/report/scores.json",
    log:
        f"{LOGS}/posgen/{{experiment}}/report.log",
    benchmark:
        f"{BENCHMARKS}/posgen/{{experiment}}/report.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=settings(confidence=STUDY.evaluation.confidence),
        scores=lambda wildcards, input: each("--scores", input),
        confidence=STUDY.evaluation.confidence,
        folder=lambda wildcards, output: Path(output.scores).parent,
        code=code(
            "report/posgen.py",
            "report/posgen_figures.py",
            "report/style.py",
            "report/tables.py",
            "rope",
            "intervals.py",
            "metrics.py",
        ),
    shell:
        tracked(
            "posgen/report/{wildcards.experiment}",
            "{params.folder}",
            flags="--scores {output.scores}",
        )
        + "ropewalk posgen report {params.scores:q} --confidence {params.confidence} -o {params.folder}"
