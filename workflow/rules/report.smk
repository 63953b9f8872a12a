# Figures and tables from what was measured, and the HTML report that holds them.

FIGURES = f"{RESULTS}/report"
CAPTIONS = "../report"


rule figures:
    input:
        evaluations=EVALUATIONS.values(),
        model=MODEL,
    output:
        report(f"{FIGURES}/nll_by_position.png", caption=f"{CAPTIONS}/nll_by_position.rst", category="1 Perplexity"),
        report(f"{FIGURES}/nll_by_rope.png", caption=f"{CAPTIONS}/nll_by_rope.rst", category="1 Perplexity"),
        report(f"{FIGURES}/perplexity.png", caption=f"{CAPTIONS}/perplexity.rst", category="1 Perplexity"),
        report(f"{FIGURES}/perplexity.html", caption=f"{CAPTIONS}/perplexity_table.rst", category="1 Perplexity"),
        report(f"{FIGURES}/perplexity.csv", caption=f"{CAPTIONS}/perplexity_table.rst", category="1 Perplexity"),
        report(f"{FIGURES}/ropes.png", caption=f"{CAPTIONS}/ropes.rst", category="3 Ropes"),
        *(
            [report(f"{FIGURES}/copying.png", caption=f"{CAPTIONS}/copying.rst", category="2 Copying")]
            if COPYING.gaps
            else []
        ),
        *([report(f"{FIGURES}/training.png", caption=f"{CAPTIONS}/training.rst", category="4 Model")] if FRESH else []),
        scores=f"{FIGURES}/scores.json",
    params:
        settings=settings(**STUDY.evaluation.model_dump(include={"lengths", "reference", "confidence"})),
        flags=flags(STUDY.evaluation.model_dump(include={"lengths", "reference", "confidence"})),
        evaluations=lambda wildcards, input: [word for folder in input.evaluations for word in ("--evaluation", folder)],
        training=f"--training {MODEL}/metrics.jsonl" if FRESH else "",
        folder=FIGURES,
        code=code("report", "evaluation/perplexity.py"),
    log:
        f"{LOGS}/figures.log",
    benchmark:
        f"{BENCHMARKS}/figures.tsv"
    threads: 1
    resources:
        **stage_resources("corpora"),
    shell:
        tracked("report", "{params.folder}")
        + "ropewalk report {params.evaluations:q} {params.flags:q} {params.training} -o {params.folder}"


rule study_config:
    output:
        f"{RESULTS}/config.yaml",
    params:
        text=settings(**STUDY.model_dump()),
    log:
        f"{LOGS}/study_config.log",
    localrule: True
    threads: 1
    shell:
        # JSON is YAML.
        "printf '%s' {params.text:q} > {output} 2> {log}"


rule html:
    input:
        rules.figures.output,
        config=f"{RESULTS}/config.yaml",
    output:
        f"{RESULTS}/report.html",
    params:
        code=code("report"),
    log:
        f"{LOGS}/html.log",
    localrule: True
    threads: 1
    shell:
        "snakemake --configfile {input.config} --report {output} --nolock figures > {log} 2>&1"
