# Readings: a model with a rope, and what is asked of both.

READER_CODE = {
    "nll": code_hash("ropewalk.reading.document_nll"),
    "copying": code_hash("ropewalk.reading.copying"),
    "needle": code_hash("ropewalk.reading.retrieval"),
    "leval": code_hash("ropewalk.reading.leval.predict"),
    "probe": code_hash("ropewalk.search.probe"),
}


rule read:
    input:
        reading_files,
        model=lambda wildcards: PATHS.of(
            STUDY.models[STUDY.readings[wildcards.reading].model]
        ),
        rope=lambda wildcards: PATHS.of(
            STUDY.ropes[STUDY.readings[wildcards.reading].rope]
        ),
        corpora=corpora_of("readings"),
        questions=reading_questions,
    output:
        directory(f"{RESULTS}/readings/{{reading}}"),
    log:
        f"{LOGS}/readings/{{reading}}.log",
    benchmark:
        f"{BENCHMARKS}/readings/{{reading}}.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: threads_of("read")
    resources:
        **resources_of("read"),
    params:
        kind=of_row("readings", lambda found: found.kind),
        corpora=all_of("--corpus"),
        options=of_row("readings", lambda found: to_json(found.options)),
        columns=of_row("readings", columns_json),
        questions=lambda wildcards, input: each(
            "--questions", input.get("questions", [])
        ),
        state=f"{STATE}/readings/{{reading}}",
        code=of_row("readings", lambda found: READER_CODE[found.kind]),
    message:
        "read {input.model} with {input.rope}: {wildcards.reading}"
    shell:
        tracked(
            "{params.kind}",
            "{wildcards.reading}",
            "{output}",
            "{input.rope}",
            flags="--metrics {output}/metrics.jsonl --scores {output}/scores.json",
        )
        + "ropewalk read {params.kind} --model {input.model} --rope {input.rope} {params.corpora:q} "
        "{params.questions:q} --options {params.options:q} --columns {params.columns:q} --state {params.state} -o {output}"
