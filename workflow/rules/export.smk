# Models with their ropes for other engines, each with what proves it.


rule export:
    input:
        model=lambda wildcards: PATHS.of(
            STUDY.models[STUDY.exports[wildcards.export].model]
        ),
        rope=lambda wildcards: PATHS.of(
            STUDY.ropes[STUDY.exports[wildcards.export].rope]
        ),
    output:
        directory(f"{RESULTS}/exports/{{export}}"),
    log:
        f"{LOGS}/exports/{{export}}.log",
    benchmark:
        f"{BENCHMARKS}/exports/{{export}}.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: threads_of("read")
    resources:
        **resources_of("read"),
    params:
        model=exported_model,
        to=of_row("exports", lambda found: found.to),
        columns=of_row("exports", columns_json),
        code=code_hash("ropewalk.export.prove"),
    message:
        "export {input.model} with {input.rope}: {wildcards.export}"
    shell:
        tracked(
            "export",
            "{wildcards.export}",
            "{output}/proof.json",
            "{input.rope}",
            flags="--scores {output}/scores.json",
        )
        + "ropewalk export {input.rope} --model {params.model:q} --to {params.to} --columns {params.columns:q} "
        "--prove -o {output}"
