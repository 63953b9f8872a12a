# Corpora, and models: fetched, pre-trained, or tuned.


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
    conda:
        "../../envs/ropewalk.yaml"
    threads: threads_of("corpus")
    resources:
        **resources_of("corpus"),
    params:
        options=of_row("corpora", lambda found: to_json(found.options)),
        tokenizer=lambda wildcards, input: input.tokenizer or "byte",
        # Derived from the input as far as Snakemake can tell: another need tokenises nothing again.
        needs=lambda wildcards, input: corpus_needs(wildcards),
        state=f"{STATE}/corpora/{{corpus}}",
        code=code_hash("ropewalk.corpora.store"),
    message:
        "tokenise the corpus {wildcards.corpus}"
    shell:
        tracked(
            "corpora",
            "{wildcards.corpus}",
            "{output}/corpus.json",
            "{output}/documents.parquet",
        )
        + "ropewalk corpus --threads {threads} --tokenizer {params.tokenizer} --options {params.options:q} "
        "--needs {params.needs:q} --state {params.state} -o {output}"


rule fetch:
    input:
        lambda wildcards: files_of(
            STUDY.models[wildcards.model].source, *CHECKPOINT_FILES
        ),
    output:
        directory(f"{RESULTS}/models/{{model}}"),
    log:
        f"{LOGS}/models/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}.tsv"
    wildcard_constraints:
        model=one_of(models_of("fetch")),
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **resources_of("pretrain", gpus=False, of="fetch"),
    params:
        source=of_row("models", lambda found: found.source),
        revision=of_row(
            "models",
            lambda found: ["--revision", found.revision] if found.revision else [],
        ),
        code=code_hash("ropewalk.models.loading"),
    message:
        "fetch the model {wildcards.model}"
    shell:
        # The weights are a copy of what can be fetched again, so only their description is attached.
        tracked(
            "models",
            "{wildcards.model}",
            "{output}/config.json",
            "{output}/source.json",
        )
        + "ropewalk fetch {params.source:q} {params.revision:q} -o {output}"


rule questions:
    output:
        directory(f"{RESULTS}/questions/{{questions}}"),
    log:
        f"{LOGS}/questions/{{questions}}.log",
    benchmark:
        f"{BENCHMARKS}/questions/{{questions}}.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **resources_of("corpus", of="questions"),
    params:
        source=lambda wildcards: questions_source(wildcards.questions),
        code=code_hash("ropewalk.reading.leval.data"),
    message:
        "fetch the questions {wildcards.questions}"
    shell:
        tracked("questions", "{wildcards.questions}", "{output}/source.json")
        + "ropewalk leval fetch {params.source:q} -o {output}"


rule pretrain:
    input:
        corpora=corpora_of("models"),
    output:
        directory(f"{RESULTS}/models/{{model}}"),
    log:
        f"{LOGS}/models/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}.tsv"
    wildcard_constraints:
        model=one_of(models_of("pretrain")),
    # Before what earlier models make possible: one that is left to the end has a core wait for the other.
    priority: 2
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
    message:
        "pre-train the model {wildcards.model}"
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
        rope=lambda wildcards: PATHS.of(STUDY.ropes[STUDY.models[wildcards.model].rope]),
        corpora=corpora_of("models"),
    output:
        directory(f"{RESULTS}/models/{{model}}"),
    log:
        f"{LOGS}/models/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/models/{{model}}.tsv"
    wildcard_constraints:
        # What is neither fetched nor pre-trained; of these there are few.
        model=f"(?!({one_of(models_of('fetch') + models_of('pretrain'))})$)[^/]+",
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
        launcher=lambda wildcards, input: tune_launcher(),
        state=f"{STATE}/models/{{model}}",
        code=code_hash("ropewalk.training.tuning"),
    message:
        "tune {input.model} with {input.rope}: {wildcards.model}"
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
