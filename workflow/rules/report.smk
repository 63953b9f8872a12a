# Reports of readings, the scorecard, and the page that a person opens first.

REPORT_CODE = {kind: code_hash(f"ropewalk.report.{kind}") for kind in REPORTS}


rule report:
    input:
        readings=of_row(
            "reports",
            lambda found: paths_of(STUDY.readings, found.readings)
            + paths_of(STUDY.posgen, found.tasks),
        ),
        searches=of_row(
            "reports", lambda found: paths_of(STUDY.searches, found.searches)
        ),
        model=of_row(
            "reports",
            lambda found: paths_of(STUDY.models, [found.model] if found.model else []),
        ),
    output:
        directory(f"{RESULTS}/reports/{{report}}"),
    log:
        f"{LOGS}/reports/{{report}}.log",
    benchmark:
        f"{BENCHMARKS}/reports/{{report}}.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **resources_of("corpus"),
    params:
        kind=of_row("reports", lambda found: found.kind),
        options=of_row("reports", lambda found: to_json(found.options)),
        # Others are compared with the first, and another order of inputs alone runs nothing again.
        order=of_row(
            "reports", lambda found: [*found.readings, *found.searches, *found.tasks]
        ),
        searches=all_of("--search", "searches"),
        model=all_of("--model", "model"),
        # Predictions are computed, and measure nothing.
        scores=lambda wildcards, output: (
            []
            if row("reports")(wildcards).kind == "predictions"
            else ["--scores", f"{output}/scores.json"]
        ),
        code=of_row("reports", lambda found: REPORT_CODE[found.kind]),
    message:
        "report {wildcards.report}"
    shell:
        tracked(
            "reports",
            "{wildcards.report}",
            "{output}",
            flags="{params.scores:q} --runs {output}/runs",
        )
        + "ropewalk report {params.kind} {input.readings} {params.searches:q} {params.model:q} "
        "--options {params.options:q} -o {output}"


rule study:
    output:
        f"{RESULTS}/study.json",
    log:
        f"{LOGS}/study.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    params:
        # In its own order: what two experiments share is made by the first.
        text=json.dumps({"config": plain(STUDY.config), "reports": list(STUDY.reports)}),
    message:
        "write down the configuration, and which reports belong to it"
    shell:
        "printf '%s' {params.text:q} > {output} 2> {log}"


rule scorecard:
    input:
        [
            PATHS.of(report)
            for report in STUDY.reports_of(
                "posgen", "scaling", "search", "causes", "finetune", "leval"
            )
        ],
        study=f"{RESULTS}/study.json",
    output:
        directory(f"{RESULTS}/scorecard"),
    log:
        f"{LOGS}/scorecard.log",
    benchmark:
        f"{BENCHMARKS}/scorecard.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **resources_of("corpus"),
    params:
        study=lambda wildcards, input: Path(input.study).parent,
        code=code_hash("ropewalk.report.scorecard.card"),
    message:
        "hold the claims of the papers against what was measured"
    shell:
        tracked(
            "scorecard", "scorecard", "{output}", flags="--scores {output}/scores.json"
        )
        + "ropewalk scorecard {params.study} -o {output}"


rule summary:
    input:
        reports=[PATHS.of(report) for report in STUDY.reports.values()],
        models=[
            PATHS.of(row) for row in STUDY.models.values() if row.kind == "pretrain"
        ],
        exports=[PATHS.of(row) for row in STUDY.exports.values()],
        scorecard=f"{RESULTS}/scorecard",
        study=f"{RESULTS}/study.json",
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
        **resources_of("corpus"),
    params:
        study=lambda wildcards, input: Path(input.study).parent,
        code=code_hash("ropewalk.report.summary"),
    message:
        "write the page of the study"
    shell:
        tracked("summary", "summary", "{output}")
        + "ropewalk summary {params.study} -o {output}"
