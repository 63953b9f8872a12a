"""A model and a rope make NLL; many NLL make a table; tables make the report."""

from snakemake.utils import min_version

min_version("9.11")


configfile: "config/default.yaml"


report: "workflow/report/study.rst"


# With `--sdm apptainer`; built once by envs/ropewalk.def.
container: "envs/ropewalk.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/corpora.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/scaling.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/leval.smk"
include: "workflow/rules/needle.smk"
include: "workflow/rules/posgen.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.summary.output,


# Each stage by name: `snakemake --cores all evaluations` runs what it needs and nothing after it.
rule corpora:
    input:
        CORPORA.values(),


rule model:
    input:
        MODEL,


rule ropes:
    input:
        ROPES.values(),


rule evaluations:
    input:
        EVALUATIONS.values(),


rule scaling:
    input:
        expand(rules.scaling_report.output, experiment=SCALING),
        expand(rules.scaling_predict.output, experiment=PREDICTED),


rule predictions:
    input:
        expand(rules.scaling_predict.output, experiment=PREDICTED),


rule search:
    input:
        expand(rules.search_report.output, experiment=SEARCH),


rule finetune:
    input:
        expand(rules.finetune_report.output, experiment=FINETUNE),


rule leval:
    input:
        expand(rules.leval_report.output, experiment=LEVAL),


rule needle:
    input:
        expand(rules.needle_report.output, experiment=NEEDLE),


rule posgen:
    input:
        expand(rules.posgen_report.output, experiment=POSGEN),


onsuccess:
    shell(DELIVER)
    if Path(rules.summary.output[0]).is_file():
        print(f"\nReport:   {rules.summary.output[0]}")
    print("Compare:  uv run mlflow ui, then open http://127.0.0.1:5000")


onerror:
    shell(DELIVER)
