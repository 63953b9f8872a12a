# A sweep of the base: one model, tuned with each base at each length and seed, a job each; then measured, a job each.


if any(sweep.fresh for sweep in SCALING.values()):

    rule scaling_pretrain:
        input:
            corpora=CORPORA.values(),
        output:
            directory(f"{SCALING_FOLDER}/model"),
        log:
            f"{LOGS}/scaling/{{experiment}}/pretrain.log",
        benchmark:
            f"{BENCHMARKS}/scaling/{{experiment}}/pretrain.tsv"
        conda:
            "../../envs/ropewalk.yaml"
        threads: STUDY.resources.model.threads
        resources:
            **stage_resources("model"),
        params:
            settings=lambda wildcards: settings(**scaling_pretraining(wildcards)),
            flags=lambda wildcards: flags(
                {
                    **scaling_pretraining(wildcards)["shape"],
                    **scaling_pretraining(wildcards)["training"],
                }
            ),
            corpora=lambda wildcards, input: each("--corpus", input.corpora),
            code=code(*PRETRAINING_CODE),
            # Not outputs: they must outlive a job that is killed.
            state=f"{RESULTS}/state/scaling/{{experiment}}/pretraining",
            metrics=f"{RESULTS}/state/scaling/{{experiment}}/pretraining.jsonl",
            # Derived from the input as far as Snakemake can tell, so that a change of it trains nothing again.
            every=lambda wildcards, input: (
                SCALING[wildcards.experiment].pretraining or STUDY.pretraining
            ).checkpoint_every,
        shell:
            tracked(
                "scaling/pretrain/{wildcards.experiment}",
                "{output}",
                flags="--metrics {params.metrics} --scores {output}/scores.json",
            )
            + "ropewalk pretrain {params.corpora:q} {params.flags:q} --checkpoint-every {params.every} "
            "--state {params.state} --metrics {params.metrics} -o {output}"


rule scaling_rope:
    input:
        lambda wildcards: (
            [] if STUDY.table(wildcards.experiment) else f"{RESULTS}/original.json"
        ),
    output:
        f"{SCALING_FOLDER}/ropes/base-{{base}}.json",
    log:
        f"{LOGS}/scaling/{{experiment}}/ropes/base-{{base}}.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=lambda wildcards: settings(
            base=float(wildcards.base), table=scaling_table(wildcards)
        ),
        start=lambda wildcards, input: scaling_table(wildcards) or ["--on", *input],
        code=code("rope"),
    shell:
        tracked(
            "scaling/ropes/{wildcards.experiment}/base-{wildcards.base}", "{output}"
        )
        + "ropewalk rope abf {params.start:q} --new-base {wildcards.base} -o {output}"


rule scaling_log_rope:
    input:
        f"{SCALING_FOLDER}/ropes/base-{{base}}.json",
    output:
        f"{SCALING_FOLDER}/ropes/base-{{base}}_log-{{length}}.json",
    log:
        f"{LOGS}/scaling/{{experiment}}/ropes/base-{{base}}_log-{{length}}.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=lambda wildcards: settings(
            base=float(wildcards.base), length=int(wildcards.length)
        ),
        code=code("rope"),
    shell:
        tracked(
            "scaling/ropes/{wildcards.experiment}/base-{wildcards.base}_log-{wildcards.length}",
            "{output}",
        )
        + "ropewalk rope log-scaling --on {input} --at-length {wildcards.length} -o {output}"


rule scaling_tune:
    input:
        model=scaling_model,
        rope=scaling_rope,
        corpora=CORPORA.values(),
    output:
        directory(f"{SCALING_FOLDER}/cells/{{cell}}/model"),
    log:
        f"{LOGS}/scaling/{{experiment}}/{{cell}}/tune.log",
    benchmark:
        f"{BENCHMARKS}/scaling/{{experiment}}/{{cell}}/tune.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.tuning.threads
    resources:
        **stage_resources("tuning"),
    params:
        settings=lambda wildcards: settings(
            base=scaling_cell(wildcards).base, **scaling_tuning(wildcards)
        ),
        flags=lambda wildcards: flags(scaling_tuning(wildcards)),
        corpora=lambda wildcards, input: each("--corpus", input.corpora),
        code=code("rope", "models", "training", "corpora/store.py"),
        # Not outputs: they must outlive a job that is killed.
        state=f"{RESULTS}/state/scaling/{{experiment}}/{{cell}}",
        metrics=f"{RESULTS}/state/scaling/{{experiment}}/{{cell}}.jsonl",
        # Derived from the input as far as Snakemake can tell, so that a change of it trains nothing again.
        every=lambda wildcards, input: SCALING[
            wildcards.experiment
        ].tuning.checkpoint_every,
    shell:
        tracked(
            "scaling/tune/{wildcards.experiment}/{wildcards.cell}",
            "{output}",
            flags="--metrics {params.metrics} --scores {output}/scores.json",
        )
        + "ropewalk finetune {input.model} --rope {input.rope} {params.corpora:q} {params.flags:q} "
        "--checkpoint-every {params.every} --state {params.state} --metrics {params.metrics} -o {output}"


rule scaling_measure:
    input:
        model=f"{SCALING_FOLDER}/cells/{{cell}}/model",
        rope=scaling_rope,
        corpora=CORPORA.values(),
    output:
        directory(f"{SCALING_FOLDER}/cells/{{cell}}/{{reading}}"),
    log:
        f"{LOGS}/scaling/{{experiment}}/{{cell}}/{{reading}}.log",
    benchmark:
        f"{BENCHMARKS}/scaling/{{experiment}}/{{cell}}/{{reading}}.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.evaluate.threads
    resources:
        **stage_resources("evaluate"),
    params:
        settings=lambda wildcards: settings(
            base=scaling_cell(wildcards).base,
            tune_length=scaling_cell(wildcards).length,
            tune_steps=scaling_cell(wildcards).steps,
            tune_seed=scaling_cell(wildcards).seed,
            **EVALUATION,
            copying=COPYING.model_dump(),
        ),
        flags=EVALUATION_FLAGS,
        window=lambda wildcards: scaling_cell(wildcards).length,
        corpora=lambda wildcards, input: each("--corpus", input.corpora),
        code=code(*EVALUATION_CODE),
    shell:
        tracked(
            "scaling/{wildcards.reading}/{wildcards.experiment}/{wildcards.cell}",
            "{output}",
            "{input.rope}",
            flags="--metrics {output}/metrics.jsonl --scores {output}/scores.json",
        )
        + "ropewalk evaluate --model {input.model} --rope {input.rope} {params.corpora:q} {params.flags:q} "
        "--window {params.window} -o {output}"


rule scaling_predict:
    output:
        shown_prediction("predictions.html", "8 What the laws predict"),
        shown_prediction("predictions.png", "9 The same as a figure"),
        shown_prediction("predictions.csv", "10 The same as CSV"),
    log:
        f"{LOGS}/scaling/{{experiment}}/predict.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=lambda wildcards: settings(
            table=scaling_table(wildcards), cells=scaling_settings(wildcards)
        ),
        table=scaling_table,
        cells=lambda wildcards: each("--cell", scaling_settings(wildcards)),
        folder=lambda wildcards, output: Path(output[0]).parent,
        code=code("rope", "report/prediction.py", "report/style.py", "report/tables.py"),
    shell:
        tracked("scaling/predict/{wildcards.experiment}", "{params.folder}")
        + "ropewalk scaling predict {params.table:q} {params.cells:q} -o {params.folder}"


rule scaling_report:
    input:
        scaling_readings,
    output:
        shown_scaling("scaling.html", "1 What held up", "scaling"),
        shown_scaling("limits.png", "2 Measured and predicted limits", "scaling_limits"),
        shown_scaling("nll_by_position.png", "3 NLL by position", "scaling_nll"),
        shown_scaling(
            "degradation.png",
            "4 Cost of reading on, base by length",
            "scaling_heatmap",
        ),
        shown_scaling("ladder.png", "5 Ladder of periods", "scaling_ladder"),
        *(
            [shown_scaling("copying.png", "6 Copying", "scaling_copying")]
            if COPYING.gaps
            else []
        ),
        shown_scaling("limits.csv", "7 All limits as CSV", "scaling_table"),
        scores=f"{SCALING_FOLDER}/report/scores.json",
    log:
        f"{LOGS}/scaling/{{experiment}}/report.log",
    benchmark:
        f"{BENCHMARKS}/scaling/{{experiment}}/report.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=lambda wildcards: settings(**scaling_options(wildcards)),
        flags=lambda wildcards: flags(scaling_options(wildcards)),
        cells=lambda wildcards, input: each("--cell", input),
        folder=lambda wildcards, output: Path(output.scores).parent,
        code=code(
            "scaling",
            "report/scaling.py",
            "report/scaling_figures.py",
            "report/scaling_page.py",
            "report/prediction.py",
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
            "scaling/report/{wildcards.experiment}",
            "{params.folder}",
            flags="--scores {output.scores} --runs {params.folder}/runs",
        )
        + "ropewalk scaling report {params.cells:q} {params.flags:q} -o {params.folder}"
