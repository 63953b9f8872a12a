# Facts hidden in long texts: asked for by a job a model and rope.

NEEDLE_CODE = (
    "rope",
    "models",
    "corpora/store.py",
    "reading/generation.py",
    "reading/needle.py",
    "reading/nll.py",
    "reading/puzzles.py",
    "reading/retrieval.py",
    "intervals.py",
)


rule needle_measure:
    input:
        model=subject_model(NEEDLE),
        rope=subject_rope(NEEDLE),
        corpora=CORPORA.values(),
    output:
        directory(f"{NEEDLE_FOLDER}/measured/{{subject}}"),
    log:
        f"{LOGS}/needle/{{experiment}}/{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/needle/{{experiment}}/{{subject}}.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.retrieval.threads
    resources:
        **stage_resources("retrieval"),
    params:
        settings=lambda wildcards: settings(
            subject=subject_of(NEEDLE)(wildcards).model_dump(),
            **needle_options(wildcards),
        ),
        flags=lambda wildcards: flags(needle_options(wildcards)),
        corpora=lambda wildcards, input: each("--corpus", input.corpora),
        rope=rope_file,
        code=code(*NEEDLE_CODE),
        # Not an output: it must outlive a job that is killed.
        state=f"{RESULTS}/state/needle/{{experiment}}/{{subject}}",
    shell:
        tracked(
            "needle/measure/{wildcards.experiment}/{wildcards.subject}",
            "{output}",
            flags="--metrics {output}/metrics.jsonl --scores {output}/scores.json",
        )
        + "ropewalk needle measure --model {input.model} --rope {params.rope} {params.corpora:q} {params.flags:q} "
        "--state {params.state} -o {output}"


rule needle_report:
    input:
        lambda wildcards: [
            f"{NEEDLE_FOLDER.format(**wildcards)}/measured/{subject.name}"
            for subject in NEEDLE[wildcards.experiment].subjects
        ],
    output:
        shown_needle("needle.png", "1 By length and depth", "needle"),
        shown_needle("needle.html", "2 Scores and effective lengths", "needle"),
        shown_needle("needle.csv", "3 The same as CSV", "needle"),
        scores=f"{NEEDLE_FOLDER}/report/scores.json",
    log:
        f"{LOGS}/needle/{{experiment}}/report.log",
    benchmark:
        f"{BENCHMARKS}/needle/{{experiment}}/report.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **stage_resources("corpora"),
    params:
        settings=settings(confidence=STUDY.evaluation.confidence),
        confidence=STUDY.evaluation.confidence,
        measured=lambda wildcards, input: each("--measured", input),
        folder=lambda wildcards, output: Path(output.scores).parent,
        code=code(
            "report/needle.py",
            "report/style.py",
            "report/tables.py",
            "reading/retrieval.py",
            "intervals.py",
        ),
    shell:
        tracked(
            "needle/report/{wildcards.experiment}",
            "{params.folder}",
            flags="--scores {output.scores}",
        )
        + "ropewalk needle report {params.measured:q} --confidence {params.confidence} -o {params.folder}"
