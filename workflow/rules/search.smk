# Searches of a rope without training; what one found is a row of ropes.


rule search_rope:
    input:
        search_workers,
        model=lambda wildcards: PATHS.of(
            STUDY.models[STUDY.searches[wildcards.search].model]
        ),
        corpora=corpora_of("searches"),
    output:
        directory(f"{RESULTS}/searches/{{search}}"),
    log:
        f"{LOGS}/searches/{{search}}.log",
    benchmark:
        f"{BENCHMARKS}/searches/{{search}}.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: threads_of("search")
    resources:
        **resources_of("search"),
    params:
        corpora=all_of("--corpus"),
        options=of_row("searches", lambda found: to_json(found.options)),
        columns=of_row("searches", columns_json),
        state=f"{STATE}/searches/{{search}}",
        code=code_hash("ropewalk.search.run"),
    message:
        "search a rope for {input.model}: {wildcards.search}"
    shell:
        tracked(
            "search",
            "{wildcards.search}",
            "{output}",
            flags="--metrics {params.state}.jsonl --scores {output}/scores.json",
        )
        + "ropewalk search --model {input.model} {params.corpora:q} --options {params.options:q} "
        "--columns {params.columns:q} --journal {params.state}.journal --metrics {params.state}.jsonl -o {output}"


use rule search_rope as search_worker with:
    input:
        model=lambda wildcards: PATHS.of(
            STUDY.models[STUDY.searches[wildcards.search].model]
        ),
        corpora=corpora_of("searches"),
    output:
        touch(f"{RESULTS}/searches/workers/{{search}}/{{worker}}.done"),
    log:
        f"{LOGS}/searches/{{search}}/worker-{{worker}}.log",
    benchmark:
        f"{BENCHMARKS}/searches/{{search}}/worker-{{worker}}.tsv"
    message:
        "search a rope for {input.model}: {wildcards.search}, worker {wildcards.worker}"
