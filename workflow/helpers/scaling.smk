# The cells of a sweep: their models, ropes and readings.


def scaling_cell(wildcards):
    """The cell of a sweep that a job is about."""
    return SCALING_CELLS[wildcards.experiment][wildcards.cell]


def scaling_model(wildcards):
    """What a sweep starts from: a model of its own, or that of the study."""
    own = SCALING[wildcards.experiment].fresh
    return f"{SCALING_FOLDER}/model".format(**wildcards) if own else MODEL


def scaling_pretraining(wildcards):
    """Shape and training of a sweep's own model."""
    sweep = SCALING[wildcards.experiment]
    training = sweep.pretraining or STUDY.pretraining
    return {
        "shape": sweep.fresh.model_dump(),
        "training": training.model_dump(exclude={"checkpoint_every"}),
    }


def scaling_table(wildcards):
    """The options that name the table of a sweep's model, where it is known without the model."""
    table = STUDY.table(wildcards.experiment)
    return flags(table.model_dump()) if table else []


def scaling_rope(wildcards):
    """The rope of a cell, read with log-scaled attention or without."""
    cell = scaling_cell(wildcards)
    scaled = (
        f"_log-{cell.length}"
        if getattr(wildcards, "reading", None) == "log-scaled"
        else ""
    )
    folder = SCALING_FOLDER.format(experiment=wildcards.experiment)
    return f"{folder}/ropes/base-{cell.base:.10g}{scaled}.json"


def scaling_tuning(wildcards):
    """The options of a cell's tuning that change its outcome."""
    cell = scaling_cell(wildcards)
    tuning = SCALING[wildcards.experiment].tuning.model_dump(
        exclude={"checkpoint_every"}
    )
    return {**tuning, "length": cell.length, "steps": cell.steps, "seed": cell.seed}


def scaling_readings(wildcards):
    """The folders of all that is measured in a sweep."""
    folder = SCALING_FOLDER.format(experiment=wildcards.experiment)
    cells = SCALING_CELLS[wildcards.experiment].values()
    return [
        f"{folder}/cells/{cell.name}/{reading}"
        for cell in cells
        for reading in ("measured", *(["log-scaled"] if cell.log_scaling else []))
    ]


def scaling_options(wildcards):
    """How a sweep is read."""
    sweep = SCALING[wildcards.experiment]
    return {
        **sweep.model_dump(include={"thresholds", "smoothing", "perplexity_ratio"}),
        "confidence": STUDY.evaluation.confidence,
    }


def scaling_settings(wildcards):
    """The bases and tuning lengths of a sweep, as BASE@LENGTH."""
    cells = SCALING_CELLS[wildcards.experiment].values()
    return list(dict.fromkeys(f"{cell.base:.10g}@{cell.length}" for cell in cells))


def shown_prediction(file, title):
    """A file of what the laws predict for a sweep."""
    folder = f"{SCALING_FOLDER}/predictions"
    return shown(
        file, "6 Scaling", title, "scaling_predictions", folder, "{experiment}"
    )


def shown_scaling(file, title, caption):
    """A file of the report of a sweep."""
    return shown(
        file, "6 Scaling", title, caption, f"{SCALING_FOLDER}/report", "{experiment}"
    )
