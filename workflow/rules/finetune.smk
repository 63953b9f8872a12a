# Fine-tuning with lengthened ropes: a job each, measured as the untuned model is.


rule finetune_tune:
    input:
        model=MODEL,
        rope=lambda wildcards: ROPES[finetune_rope(wildcards)],
        corpora=finetune_corpora,
    output:
        directory(f"{FINETUNE_FOLDER}/{{training}}/model"),
    log:
        f"{LOGS}/finetune/{{experiment}}/{{training}}/tune.log",
    benchmark:
        f"{BENCHMARKS}/finetune/{{experiment}}/{{training}}/tune.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.finetune.threads
    resources:
        **finetune_resources(),
    params:
        settings=lambda wildcards: settings(
            rope=study_rope(finetune_rope(wildcards)), **finetune_options(wildcards)
        ),
        flags=lambda wildcards: flags(finetune_options(wildcards)),
        corpora=lambda wildcards, input: each("--corpus", input.corpora),
        code=code("rope", "models", "training", "corpora/store.py"),
        # Not outputs: they must outlive a job that is killed.
        state=f"{RESULTS}/state/finetune/{{experiment}}/{{training}}",
        metrics=f"{RESULTS}/state/finetune/{{experiment}}/{{training}}.jsonl",
        # Derived from the input as far as Snakemake can tell, so that a change of them trains nothing again.
        layout=lambda wildcards, input: finetune_layout(wildcards),
        launcher=lambda wildcards, input: finetune_launcher(wildcards),
    shell:
        tracked(
            "finetune/tune/{wildcards.experiment}/{wildcards.training}",
            "{output}",
            flags="--metrics {params.metrics} --scores {output}/scores.json",
        )
        + "{params.launcher} {input.model} --rope {input.rope} {params.corpora:q} {params.flags:q} "
        "{params.layout:q} --state {params.state} --metrics {params.metrics} -o {output}"


rule finetune_measure:
    input:
        model=f"{FINETUNE_FOLDER}/{{training}}/model",
        rope=lambda wildcards: ROPES[finetune_rope(wildcards)],
        corpora=CORPORA.values(),
    output:
        directory(f"{FINETUNE_FOLDER}/{{training}}/measured"),
    log:
        f"{LOGS}/finetune/{{experiment}}/{{training}}/measure.log",
    benchmark:
        f"{BENCHMARKS}/finetune/{{experiment}}/{{training}}/measure.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.evaluate.threads
    resources:
        **stage_resources("evaluate"),
    params:
        settings=lambda wildcards: settings(
            rope=study_rope(finetune_rope(wildcards)),
            tuning=finetune_options(wildcards),
            **EVALUATION,
            copying=COPYING.model_dump(),
        ),
        flags=EVALUATION_FLAGS,
        corpora=lambda wildcards, input: each("--corpus", input.corpora),
        code=code(*EVALUATION_CODE),
    shell:
        tracked(
            "finetune/measure/{wildcards.experiment}/{wildcards.training}",
            "{output}",
            flags="--metrics {output}/metrics.jsonl --scores {output}/scores.json",
        )
        + "ropewalk evaluate --model {input.model} --rope {input.rope} {params.corpora:q} {params.flags:q} -o {output}"


rule finetune_report:
    input:
        untuned=finetune_untuned,
        tuned=finetune_measured,
    output:
        shown_finetune("finetune.html", "1 What changed", "finetune"),
        shown_finetune(
            "before_after.png", "2 Before and after", "finetune_before_after"
        ),
        shown_finetune(
            "differences.png", "3 Differences between ropes", "finetune_differences"
        ),
        shown_finetune("perplexity.csv", "4 The same as CSV", "finetune"),
        scores=f"{FINETUNE_FOLDER}/report/scores.json",
    log:
        f"{LOGS}/finetune/{{experiment}}/report.log",
    benchmark:
        f"{BENCHMARKS}/finetune/{{experiment}}/report.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=settings(
            **STUDY.evaluation.model_dump(include={"lengths", "confidence"})
        ),
        flags=flags(STUDY.evaluation.model_dump(include={"lengths", "confidence"})),
        untuned=lambda wildcards, input: each("--untuned", input.untuned),
        tuned=lambda wildcards, input: each(
            "--tuned",
            [
                f"{name}={folder}"
                for name, folder in zip(TRAININGS[wildcards.experiment], input.tuned)
            ],
        ),
        folder=lambda wildcards, output: Path(output.scores).parent,
        code=code(
            "report/finetune.py",
            "report/finetune_figures.py",
            "report/figures.py",
            "report/style.py",
            "report/tables.py",
            "reading/nll_file.py",
            "reading/perplexity.py",
            "rope",
            "intervals.py",
        ),
    shell:
        tracked(
            "finetune/report/{wildcards.experiment}",
            "{params.folder}",
            flags="--scores {output.scores}",
        )
        + "ropewalk finetune-report {params.untuned:q} {params.tuned:q} {params.flags:q} -o {params.folder}"
