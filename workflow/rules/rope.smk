# Ropes: methods applied to the table of a model, to a file, or to what a search found.


def rope_start(wildcards):
    """The file that a rope starts from, if any: another rope, what a search found, or a fetched model's configuration."""
    found = STUDY.ropes[wildcards.rope]
    if found.file:
        return {"on": local(found.file)}
    if found.rope:
        return {"on": PATHS.of(STUDY.ropes[found.rope])}
    if found.search:
        return {"search": PATHS.of(STUDY.searches[found.search])}
    return {"model": PATHS.of(STUDY.models[found.table.model])} if found.table.model else {}


def rope_table(wildcards, input):
    """The options that say what a rope starts from."""
    table = STUDY.ropes[wildcards.rope].table
    if "on" in input.keys():
        return ["--on", input.on]
    if "search" in input.keys():
        return ["--on", f"{input.search}/rope.json"]
    if "model" in input.keys():
        return ["--model", input.model]
    return [
        "--head-dim",
        str(table.head_dim),
        "--base",
        f"{table.base:.17g}",
        "--length",
        str(table.length),
    ]


rule rope:
    input:
        unpack(rope_start),
    output:
        f"{RESULTS}/ropes/{{rope}}.json",
    log:
        f"{LOGS}/ropes/{{rope}}.log",
    message:
        "make the rope {wildcards.rope}"
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **resources_of("corpus"),
    params:
        steps=of_row("ropes", lambda found: json.dumps(list(found.steps), sort_keys=True)),
        start=rope_table,
        code=code_hash("ropewalk.study.recipes"),
    shell:
        tracked("ropes", "{wildcards.rope}", "{output}")
        + "ropewalk rope recipe {params.steps:q} {params.start:q} -o {output}"
