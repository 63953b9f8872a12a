# Figures and tables from what was measured, and the HTML report that holds them.

REPORTED = STUDY.evaluation.model_dump(include={"lengths", "reference", "confidence"})


rule figures:
    input:
        evaluations=EVALUATIONS.values(),
        model=MODEL,
    output:
        shown("nll_by_position.png", "1 Perplexity", "1 NLL against position"),
        shown("nll_by_rope.png", "1 Perplexity", "2 The same, a panel a rope"),
        shown("perplexity.png", "1 Perplexity", "3 Perplexity by length"),
        shown(
            "perplexity.html",
            "1 Perplexity",
            "4 Intervals and paired differences",
            "perplexity_table",
        ),
        shown("perplexity.csv", "1 Perplexity", "5 The same as CSV", "perplexity_table"),
        shown("ropes.png", "3 Ropes", "Periods and factors"),
        *([shown("copying.png", "2 Copying", "By distance")] if COPYING.gaps else []),
        *([shown("training.png", "4 Model", "Training loss")] if FRESH else []),
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
        settings=settings(**REPORTED),
        flags=flags(REPORTED),
        evaluations=lambda wildcards, input: each("--evaluation", input.evaluations),
        training=lambda wildcards, input: (
            f"--training {input.model}/metrics.jsonl" if FRESH else ""
        ),
        folder=lambda wildcards, output: Path(output.scores).parent,
        code=code(
            "report/study.py",
            "report/figures.py",
            "report/style.py",
            "report/tables.py",
            "reading/perplexity.py",
            "reading/nll_file.py",
            "intervals.py",
            "metrics.py",
            "rope",
        ),
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


rule scorecard:
    input:
        expand([rules.posgen_report.output.scores], experiment=POSGEN),
        expand([rules.scaling_report.output.scores], experiment=SCALING),
        expand([rules.search_report.output.scores], experiment=SEARCH),
        expand([rules.finetune_report.output.scores], experiment=FINETUNE),
        expand([rules.leval_report.output.scores], experiment=LEVAL),
        config=f"{RESULTS}/config.yaml",
    output:
        shown(
            "scorecard.html",
            "0 Scorecard",
            "Claim by claim",
            folder=f"{RESULTS}/scorecard",
        ),
        json=f"{RESULTS}/scorecard/scorecard.json",
        scores=f"{RESULTS}/scorecard/scores.json",
    log:
        f"{LOGS}/scorecard.log",
    benchmark:
        f"{BENCHMARKS}/scorecard.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=settings(),
        study=lambda wildcards, input: Path(input.config).parent,
        folder=lambda wildcards, output: Path(output.scores).parent,
        code=code(
            "report/scorecard",
            "report/tables.py",
            "report/posgen.py",
            "rope",
            "posgen/data.py",
            "search/results.py",
            "intervals.py",
        ),
    shell:
        tracked("scorecard", "{params.folder}", flags="--scores {output.scores}")
        + "ropewalk scorecard {params.study} -o {params.folder}"


rule tables:
    input:
        rules.figures.output,
        expand(rules.posgen_report.output, experiment=POSGEN),
        expand(rules.scaling_report.output, experiment=SCALING),
        expand(rules.scaling_predict.output, experiment=PREDICTED),
        expand(rules.search_report.output, experiment=SEARCH),
        expand(rules.finetune_report.output, experiment=FINETUNE),
        expand(rules.leval_report.output, experiment=LEVAL),
        expand(rules.needle_report.output, experiment=NEEDLE),
        rules.scorecard.output,
        config=f"{RESULTS}/config.yaml",
        captions=sorted(Path(workflow.basedir).glob("workflow/report/*.rst")),
    output:
        f"{RESULTS}/tables.html",
    log:
        f"{LOGS}/tables.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    params:
        code=code("report"),
    shell:
        "snakemake --configfile {input.config} --report {output} --nolock figures posgen scaling search finetune leval needle scorecard > {log} 2>&1"


rule summary:
    input:
        # Made of all stages' reports, which lie beside it.
        tables=rules.tables.output[0],
        model=MODEL,
        config=f"{RESULTS}/config.yaml",
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/summary.log",
    benchmark:
        f"{BENCHMARKS}/summary.tsv"
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=settings(),
        study=lambda wildcards, input: Path(input.config).parent,
        everything=lambda wildcards, input: Path(input.tables).name,
        code=code("report"),
    shell:
        tracked("summary", "{output}")
        + "ropewalk summary {params.study} --everything {params.everything} -o {output}"
