# Figures and tables from what was measured, and the HTML report that holds them.

FIGURES = f"{RESULTS}/report"
CAPTIONS = "../report"


rule figures:
    input:
        evaluations=EVALUATIONS.values(),
        model=MODEL,
    output:
        report(
            f"{FIGURES}/nll_by_position.png",
            caption=f"{CAPTIONS}/nll_by_position.rst",
            category="1 Perplexity",
        ),
        report(
            f"{FIGURES}/nll_by_rope.png",
            caption=f"{CAPTIONS}/nll_by_rope.rst",
            category="1 Perplexity",
        ),
        report(
            f"{FIGURES}/perplexity.png",
            caption=f"{CAPTIONS}/perplexity.rst",
            category="1 Perplexity",
        ),
        report(
            f"{FIGURES}/perplexity.html",
            caption=f"{CAPTIONS}/perplexity_table.rst",
            category="1 Perplexity",
        ),
        report(
            f"{FIGURES}/perplexity.csv",
            caption=f"{CAPTIONS}/perplexity_table.rst",
            category="1 Perplexity",
        ),
        report(
            f"{FIGURES}/ropes.png", caption=f"{CAPTIONS}/ropes.rst", category="3 Ropes"
        ),
        *(
            [
                report(
                    f"{FIGURES}/copying.png",
                    caption=f"{CAPTIONS}/copying.rst",
                    category="2 Copying",
                )
            ]
            if COPYING.gaps
            else []
        ),
        *(
            [
                report(
                    f"{FIGURES}/training.png",
                    caption=f"{CAPTIONS}/training.rst",
                    category="4 Model",
                )
            ]
            if FRESH
            else []
        ),
        scores=f"{FIGURES}/scores.json",
    log:
        f"{LOGS}/figures.log",
    benchmark:
        f"{BENCHMARKS}/figures.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=settings(
            **STUDY.evaluation.model_dump(
                include={"lengths", "reference", "confidence"}
            )
        ),
        flags=flags(
            STUDY.evaluation.model_dump(include={"lengths", "reference", "confidence"})
        ),
        evaluations=lambda wildcards, input: [
            word for folder in input.evaluations for word in ("--evaluation", folder)
        ],
        training=f"--training {MODEL}/metrics.jsonl" if FRESH else "",
        folder=lambda wildcards, output: Path(output.scores).parent,
        code=code("report", "evaluation/perplexity.py"),
    shell:
        tracked("report", "{params.folder}")
        + "ropewalk report {params.evaluations:q} {params.flags:q} {params.training} -o {params.folder}"


rule study_config:
    output:
        f"{RESULTS}/config.yaml",
    log:
        f"{LOGS}/study_config.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    params:
        text=settings(**STUDY.model_dump()),
    shell:
        # JSON is YAML.
        "printf '%s' {params.text:q} > {output} 2> {log}"


rule html:
    input:
        rules.figures.output,
        config=f"{RESULTS}/config.yaml",
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/html.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    params:
        code=code("report"),
    shell:
        "snakemake --configfile {input.config} --report {output} --nolock figures > {log} 2>&1"
