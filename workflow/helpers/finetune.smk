# What a fine-tuning starts from, its options, and its files.


def finetune_rope(wildcards):
    """The name of the rope that a training is about."""
    return FINETUNE[wildcards.experiment].trainings[wildcards.training][0]


def finetune_corpora(wildcards):
    """The corpora that an experiment trains on."""
    named = FINETUNE[wildcards.experiment].corpora or list(CORPORA)
    return [CORPORA[name] for name in named]


def finetune_options(wildcards):
    """The options of a training that change its outcome."""
    experiment = FINETUNE[wildcards.experiment]
    _, regime, seed = experiment.trainings[wildcards.training]
    return experiment.options(regime, seed)


def finetune_layout(wildcards):
    """The options of a training that change no more than where it runs, and when it is saved."""
    keys = {
        "shard",
        "context_parallel",
        "activation_checkpointing",
        "attention",
        "checkpoint_every",
    }
    return flags(FINETUNE[wildcards.experiment].model_dump(include=keys))


def finetune_launcher(wildcards):
    """What starts a training: one process, or several."""
    launcher = FINETUNE[wildcards.experiment].launcher
    return (
        f"{launcher} -m ropewalk.training.finetune" if launcher else "ropewalk finetune"
    )


def finetune_untuned(wildcards):
    """The measurements of the model as it was, with the ropes of an experiment."""
    experiment = FINETUNE[wildcards.experiment]
    return [EVALUATIONS[rope] for rope in [*experiment.ropes, *experiment.untuned]]


def finetune_measured(wildcards):
    """The measurements of all trainings of an experiment."""
    folder = FINETUNE_FOLDER.format(**wildcards)
    return [
        f"{folder}/{name}/measured" for name in FINETUNE[wildcards.experiment].trainings
    ]


def shown_finetune(file, title, caption):
    """A file of the report of a fine-tuning."""
    return shown(
        file,
        "8 Fine-tuning",
        title,
        caption,
        f"{FINETUNE_FOLDER}/report",
        "{experiment}",
    )
