# Each rope is measured by a job of its own.

EVALUATION = STUDY.evaluation.model_dump(exclude={"copying", "reference", "confidence"})
COPYING = STUDY.evaluation.copying
EVALUATION_CODE = (
    "rope",
    "models",
    "evaluation",
    "corpora/store.py",
    "metrics.py",
    "intervals.py",
)
EVALUATION_FLAGS = flags(
    {**EVALUATION, **(COPYING.model_dump() if COPYING.gaps else {})}
)


rule evaluate:
    input:
        model=MODEL,
        rope=f"{RESULTS}/ropes/{{name}}.json",
        corpora=CORPORA.values(),
    output:
        directory(f"{RESULTS}/evaluations/{{name}}"),
    log:
        f"{LOGS}/evaluate/{{name}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/{{name}}.tsv"
    conda:
        "../../envs/ropewalk.yaml"
    threads: STUDY.resources.evaluate.threads
    resources:
        **stage_resources("evaluate"),
    params:
        settings=lambda wildcards: settings(
            rope=study_rope(wildcards.name),
            **EVALUATION,
            copying=COPYING.model_dump(),
        ),
        flags=EVALUATION_FLAGS,
        corpora=lambda wildcards, input: each("--corpus", input.corpora),
        code=code(*EVALUATION_CODE),
    shell:
        tracked(
            "evaluate/{wildcards.name}",
            "{output}",
            "{input.rope}",
            flags="--metrics {output}/metrics.jsonl --scores {output}/scores.json",
        )
        + "ropewalk evaluate --model {input.model} --rope {input.rope} {params.corpora:q} {params.flags:q} -o {output}"
