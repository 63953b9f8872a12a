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
        run=lambda wildcards: "/".join(wildcards),
        journal=f"{STATE}/searches/{{search}}.journal",
        written=search_written,
        recorded=search_recorded,
        code=code_hash("ropewalk.search.run"),
    message:
        "search a rope for {input.model}: {wildcards.search}"
    shell:
        tracked("search", "{params.run}", flags="{params.recorded:q}")
        + "ropewalk search --model {input.model} {params.corpora:q} --options {params.options:q} "
        "--columns {params.columns:q} --journal {params.journal} {params.written:q}"


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
