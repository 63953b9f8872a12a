"""A study is three tables: ropes, models, readings. A job makes one row; reports read rows."""

from snakemake.utils import min_version

min_version("9.11")


# Every key, explained.
configfile: "config/default.yaml"


# The study that runs where no --configfile names another.
if not workflow.overwrite_configfiles:

    configfile: "config/embedded.yaml"


# With `--sdm apptainer`; built once by envs/ropewalk.def.
container: "envs/ropewalk.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/rope.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/read.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/posgen.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/report.html",


# What can be asked for by name: `snakemake --cores all finetune` runs what that report needs, and nothing after it.
#
# `prefetch` brings what needs the network: models, questions, and tokenised corpora; here, since nodes may have none.
TARGETS = {
    "corpora": STUDY.corpora.values(),
    "models": STUDY.models.values(),
    "ropes": STUDY.ropes.values(),
    "readings": STUDY.readings.values(),
    "searches": STUDY.searches.values(),
    "exports": STUDY.exports.values(),
    **{kind: STUDY.reports_of(kind) for kind in REPORTS},
}


rule prefetch:
    input:
        paths_of(STUDY.corpora, STUDY.corpora),
        paths_of(STUDY.models, models_of("fetch")),
        [questions_folder(name) for name in QUESTIONS],


# And experiments by the names that the study gives them, where no target and no rule is called so.
TAKEN = {*TARGETS, *(rule.name for rule in workflow.rules)}
for report in STUDY.reports_of():
    if report.name not in TAKEN:
        TARGETS.setdefault(report.name, [])
        TARGETS[report.name] = [*TARGETS[report.name], report]


for target, rows in TARGETS.items():

    rule:
        name:
            target
        input:
            [PATHS.of(row) for row in rows],


onstart:
    start_resident()
    unhurried(workflow)
    if "prefetch" in workflow.dag_settings.targets:
        workflow.localrules("corpus", "fetch", "questions")


onsuccess:
    shell(DELIVER)
    if times := stage_times(STUDY, Path(BENCHMARKS)):
        print(f"\nTime of all jobs that stand:\n{times_text(times)}")
    if Path(f"{RESULTS}/report.html").is_file():
        print(f"\nReport:   {RESULTS}/report.html")
    print("Compare:  uv run mlflow ui, then open http://127.0.0.1:5000")


onerror:
    shell(DELIVER)
