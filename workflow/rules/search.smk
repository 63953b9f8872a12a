# Searches of a rope without training: a job each; then found and hand-made ropes on documents that no search saw.

# What reads texts with a rope, for searches and comparisons alike.
READING_CODE = (
    "search/objective.py",
    "search/value.py",
    "rope",
    "models",
    "corpora/store.py",
    "reading/copying.py",
    "reading/needle.py",
    "reading/nll.py",
)
SEARCH_CODE = (
    "search/causes.py",
    "search/rivals.py",
    "search/run.py",
    "search/space.py",
    "search/study.py",
    *READING_CODE,
)

if any(experiment.workers for experiment in SEARCH.values()):

    # Several jobs on one journal, for models whose trials take minutes; what they found is chosen by `search`.
    rule search_worker:
        input:
            model=MODEL,
            corpora=search_corpora,
        output:
            touch(f"{SEARCH_FOLDER}/workers/{{study}}/{{worker}}.done"),
        log:
            f"{LOGS}/search/{{experiment}}/{{study}}/worker-{{worker}}.log",
        benchmark:
            f"{BENCHMARKS}/search/{{experiment}}/{{study}}/worker-{{worker}}.tsv"
        conda:
            "../../envs/ropewalk.yaml"
        threads: STUDY.resources.search.threads
        resources:
            **stage_resources("search"),
        params:
            settings=lambda wildcards: settings(**search_settings(wildcards)),
            flags=lambda wildcards: flags(search_settings(wildcards)),
            corpora=lambda wildcards, input: each("--corpus", input.corpora),
            code=code(*SEARCH_CODE),
            # Not an output: it must outlive a job that is killed.
            journal=f"{RESULTS}/state/search/{{experiment}}/{{study}}.journal",
        shell:
            tracked(
                "search/worker/{wildcards.experiment}/{wildcards.study}/{wildcards.worker}"
            )
            + "ropewalk search --model {input.model} {params.corpora:q} {params.flags:q} --journal {params.journal}"


rule search_study:
    input:
        lambda wildcards: expand(
            f"{SEARCH_FOLDER}/workers/{{study}}/{{worker}}.done",
            experiment=wildcards.experiment,
            study=wildcards.study,
            worker=range(SEARCH[wildcards.experiment].workers),
        ),
        model=MODEL,
        corpora=search_corpora,
    output:
        directory(f"{SEARCH_FOLDER}/studies/{{study}}"),
    log:
        f"{LOGS}/search/{{experiment}}/{{study}}/search.log",
    benchmark:
        f"{BENCHMARKS}/search/{{experiment}}/{{study}}/search.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.search.threads
    resources:
        **stage_resources("search"),
    params:
        settings=lambda wildcards: settings(**search_settings(wildcards)),
        flags=lambda wildcards: flags(search_settings(wildcards)),
        corpora=lambda wildcards, input: each("--corpus", input.corpora),
        code=code(*SEARCH_CODE),
        # Not outputs: they must outlive a job that is killed.
        journal=f"{RESULTS}/state/search/{{experiment}}/{{study}}.journal",
        metrics=f"{RESULTS}/state/search/{{experiment}}/{{study}}.jsonl",
    shell:
        tracked(
            "search/{wildcards.experiment}/{wildcards.study}",
            "{output}",
            flags="--metrics {params.metrics} --scores {output}/scores.json",
        )
        + "ropewalk search --model {input.model} {params.corpora:q} {params.flags:q} --journal {params.journal} "
        "--metrics {params.metrics} -o {output}"


rule search_compare:
    input:
        studies=search_studies,
        model=MODEL,
        corpora=CORPORA.values(),
    output:
        directory(f"{SEARCH_FOLDER}/comparison"),
    log:
        f"{LOGS}/search/{{experiment}}/compare.log",
    benchmark:
        f"{BENCHMARKS}/search/{{experiment}}/compare.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.search.threads
    resources:
        **stage_resources("search"),
    params:
        settings=lambda wildcards: settings(**search_test(wildcards)),
        flags=lambda wildcards: flags(search_test(wildcards)),
        searches=lambda wildcards, input: each("--search", input.studies),
        corpora=lambda wildcards, input: each("--corpus", input.corpora),
        code=code("search/comparison.py", "search/results.py", *READING_CODE),
    shell:
        tracked("search/compare/{wildcards.experiment}", "{output}")
        + "ropewalk search-compare --model {input.model} {params.searches:q} {params.corpora:q} {params.flags:q} "
        "-o {output}"


rule search_report:
    input:
        studies=search_studies,
        comparison=rules.search_compare.output,
    output:
        shown_search("search.html", "1 What was found", "search"),
        shown_search("convergence.png", "2 Best so far", "search_convergence"),
        shown_search("optimum.png", "3 The found ropes", "search_optimum"),
        shown_search("price.png", "4 Gain and price", "search_price"),
        shown_search("plane.png", "5 The two causes", "search_plane"),
        shown_search("importances.png", "6 What matters", "search_importances"),
        shown_search("standings.csv", "7 All ropes as CSV", "search_tables"),
        shown_search("rivals.csv", "8 All searches as CSV", "search_tables"),
        shown_search("transfer.csv", "9 Other lengths as CSV", "search_tables"),
        scores=f"{SEARCH_FOLDER}/report/scores.json",
    log:
        f"{LOGS}/search/{{experiment}}/report.log",
    benchmark:
        f"{BENCHMARKS}/search/{{experiment}}/report.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=settings(confidence=STUDY.evaluation.confidence),
        confidence=STUDY.evaluation.confidence,
        searches=lambda wildcards, input: each("--search", input.studies),
        folder=lambda wildcards, output: Path(output.scores).parent,
        code=code(
            "report/search.py",
            "report/search_figures.py",
            "report/search_page.py",
            "report/style.py",
            "report/tables.py",
            "search/results.py",
            "search/value.py",
            "rope",
            "intervals.py",
        ),
    shell:
        tracked(
            "search/report/{wildcards.experiment}",
            "{params.folder}",
            flags="--scores {output.scores}",
        )
        + "ropewalk search-report {params.searches:q} --comparison {input.comparison} "
        "--confidence {params.confidence} -o {params.folder}"
