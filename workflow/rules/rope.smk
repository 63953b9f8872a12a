# Ropes: methods applied to the table of a model, to a file, or to what a search found.


rule rope:
    input:
        unpack(rope_start),
    output:
        f"{RESULTS}/ropes/{{rope}}.json",
    log:
        f"{LOGS}/ropes/{{rope}}.log",
    localrule: True
    conda:
        "../../envs/ropewalk.yaml"
    threads: 1
    resources:
        **resources_of("corpus"),
    params:
        steps=of_row(
            "ropes", lambda found: json.dumps(list(found.steps), sort_keys=True)
        ),
        start=rope_table,
        code=code_hash("ropewalk.rope.methods"),
    message:
        "make the rope {wildcards.rope}"
    shell:
        tracked("ropes", "{wildcards.rope}", "{output}")
        + "ropewalk rope recipe {params.steps:q} {params.start:q} -o {output}"
