# Questions on long documents: answered by a job a model and rope, then scored and compared.

LEVAL_CODE = (
    "rope",
    "models",
    "reading/leval",
    "reading/generation.py",
    "reading/nll.py",
)


rule leval_pocket:
    output:
        directory(f"{LEVAL_FOLDER}/pocket"),
    log:
        f"{LOGS}/leval/{{experiment}}/pocket.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=lambda wildcards: settings(
            **LEVAL[wildcards.experiment].pocket.model_dump()
        ),
        flags=lambda wildcards: flags(LEVAL[wildcards.experiment].pocket.model_dump()),
        code=code("reading/leval/pocket.py"),
    shell:
        tracked("leval/pocket/{wildcards.experiment}", "{output}")
        + "ropewalk leval pocket {params.flags:q} -o {output}"


rule leval_predict:
    input:
        leval_files,
        model=subject_model(LEVAL),
        rope=subject_rope(LEVAL),
    output:
        directory(f"{LEVAL_FOLDER}/answers/{{subject}}"),
    log:
        f"{LOGS}/leval/{{experiment}}/{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/leval/{{experiment}}/{{subject}}.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.retrieval.threads
    resources:
        **stage_resources("retrieval"),
    params:
        settings=lambda wildcards: settings(
            subject=subject_of(LEVAL)(wildcards).model_dump(),
            data=leval_data(wildcards),
            **leval_options(wildcards),
        ),
        flags=lambda wildcards: flags(leval_options(wildcards)),
        data=leval_source,
        rope=rope_file,
        code=code(*LEVAL_CODE),
        # Not an output: it must outlive a job that is killed.
        state=f"{RESULTS}/state/leval/{{experiment}}/{{subject}}",
    shell:
        tracked("leval/answers/{wildcards.experiment}/{wildcards.subject}", "{output}")
        + "ropewalk leval predict --model {input.model} --rope {params.rope} --data {params.data:q} "
        "--name {wildcards.subject} {params.flags:q} --state {params.state} -o {output}"


rule leval_report:
    input:
        lambda wildcards: [
            f"{LEVAL_FOLDER.format(**wildcards)}/answers/{subject.name}"
            for subject in LEVAL[wildcards.experiment].subjects
        ],
    output:
        shown_leval("leval.html", "1 Scores", "leval"),
        shown_leval("leval.png", "2 The same as a figure", "leval"),
        shown_leval("leval.csv", "3 The same as CSV", "leval"),
        scores=f"{LEVAL_FOLDER}/report/scores.json",
    log:
        f"{LOGS}/leval/{{experiment}}/report.log",
    benchmark:
        f"{BENCHMARKS}/leval/{{experiment}}/report.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=settings(confidence=STUDY.evaluation.confidence),
        confidence=STUDY.evaluation.confidence,
        answers=lambda wildcards, input: each("--predictions", input),
        folder=lambda wildcards, output: Path(output.scores).parent,
        code=code(
            "report/leval.py",
            "report/leval_page.py",
            "report/style.py",
            "report/tables.py",
            "reading/leval",
            "intervals.py",
        ),
    shell:
        tracked(
            "leval/report/{wildcards.experiment}",
            "{params.folder}",
            flags="--scores {output.scores}",
        )
        + "ropewalk leval report {params.answers:q} --confidence {params.confidence} -o {params.folder}"
