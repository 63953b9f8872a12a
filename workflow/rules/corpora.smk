# Text is read and tokenised once for each tokenizer.


rule corpus:
    input:
        [] if FRESH else MODEL,
        lambda wildcards: files_of(
            STUDY.used_corpora[wildcards.name].source, "*.txt", "*.md", "*.jsonl"
        ),
    output:
        directory(f"{RESULTS}/corpora/{{name}}"),
    log:
        f"{LOGS}/corpora/{{name}}.log",
    benchmark:
        f"{BENCHMARKS}/corpora/{{name}}.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.corpora.threads
    resources:
        **stage_resources("corpora"),
    params:
        settings=lambda wildcards: settings(
            corpus=STUDY.used_corpora[wildcards.name].model_dump()
        ),
        source=lambda wildcards: STUDY.used_corpora[wildcards.name].source,
        flags=lambda wildcards: flags(
            STUDY.used_corpora[wildcards.name].model_dump(exclude={"source"})
        ),
        tokenizer="byte" if FRESH else given_model,
        code=code("corpora", "models/tokenizers.py"),
    shell:
        tracked(
            "corpora/{wildcards.name}",
            "{output}/corpus.json",
            "{output}/documents.parquet",
        )
        + "ropewalk corpus {params.source:q} --tokenizer {params.tokenizer} {params.flags:q} -o {output}"
