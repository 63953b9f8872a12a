# PosGen: all models of a task are trained in one job, and scored with every rope in another.


rule posgen_train:
    input:
        trained=posgen_ropes("trained"),
        swapped=posgen_ropes("swapped"),
    output:
        directory(f"{RESULTS}/posgen/{{task}}/models"),
    log:
        f"{LOGS}/posgen/{{task}}/train.log",
    benchmark:
        f"{BENCHMARKS}/posgen/{{task}}/train.tsv"
    # Else it is left to the end, where one core waits for the other.
    priority: 1
    conda:
        "../../envs/ropewalk.yaml"
    threads: threads_of("posgen")
    resources:
        **resources_of("posgen"),
    params:
        task=of_row("posgen", lambda found: found.task),
        options=of_row("posgen", lambda found: to_json(found.options)),
        ropes=all_of("--rope", "trained"),
        swapped=posgen_swapped("swapped", "--swapped"),
        artifacts=lambda wildcards, input: each("--artifact", input),
        # Derived from the input as far as Snakemake can tell, so that a change of it trains nothing again.
        layout=lambda wildcards, input: to_json(STUDY.posgen[wildcards.task].layout),
        state=f"{STATE}/posgen/{{task}}",
        code=code_hash("ropewalk.posgen.models"),
    message:
        "train PosGen's models: {wildcards.task}"
    shell:
        tracked(
            "posgen",
            "train/{wildcards.task}",
            "{output}/training.json",
            "{output}/models.safetensors",
            flags="{params.artifacts:q} --metrics {params.state}.jsonl --scores {output}/scores.json",
        )
        + "ropewalk posgen train {params.task} {params.ropes:q} {params.swapped:q} --options {params.options:q} "
        "--layout {params.layout:q} --state {params.state} --metrics {params.state}.jsonl -o {output}"


rule posgen_score:
    input:
        trained=posgen_ropes("trained"),
        swapped=posgen_ropes("swapped"),
        brief=posgen_ropes("brief"),
        models=f"{RESULTS}/posgen/{{task}}/models",
    output:
        directory(f"{RESULTS}/posgen/{{task}}/scores"),
    log:
        f"{LOGS}/posgen/{{task}}/score.log",
    benchmark:
        f"{BENCHMARKS}/posgen/{{task}}/score.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: threads_of("posgen")
    resources:
        **resources_of("posgen"),
    params:
        options=of_row("posgen", lambda found: to_json(found.scoring)),
        ropes=all_of("--rope", "trained"),
        swapped=posgen_swapped("swapped", "--rope"),
        brief=posgen_swapped("brief", "--brief"),
        # Others are compared with the first, and another order of inputs alone runs nothing again.
        order=of_row("posgen", lambda found: found.trained),
        code=code_hash("ropewalk.posgen.results"),
    message:
        "score PosGen's models: {wildcards.task}"
    shell:
        tracked(
            "posgen",
            "score/{wildcards.task}",
            "{output}/accuracy.parquet",
            "{output}/scoring.json",
            flags="--scores {output}/scores.json --runs {output}/runs",
        )
        + "ropewalk posgen score {input.models} {params.ropes:q} {params.swapped:q} {params.brief:q} "
        "--options {params.options:q} -o {output}"
