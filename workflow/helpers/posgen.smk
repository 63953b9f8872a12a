# Ropes and files of PosGen experiments.


def posgen_ropes(experiment, part, files=()):
    """The options that name ropes of a PosGen experiment: those to train with, or to swap in, or to test in brief.
    A job names the files that it was given, which are copies where results lie in a bucket.
    """
    ropes = [
        rope
        for rope in POSGEN[experiment].ropes
        if part == ("brief" if rope.brief else "swapped" if rope.weights else "trained")
    ]
    folder = POSGEN_FOLDER.format(experiment=experiment)
    given = {Path(file).stem: file for file in files}
    return [
        given.get(rope.name, f"{folder}/ropes/{rope.name}.json")
        + (f"={rope.weights}" if rope.weights else "")
        for rope in ropes
    ]


def posgen_files(experiment, *parts):
    """The files behind these options."""
    return [
        option.partition("=")[0]
        for part in parts
        for option in posgen_ropes(experiment, part)
    ]


def posgen_rope(wildcards):
    """A rope of a PosGen experiment, with the options of the table that it starts from."""
    experiment = POSGEN[wildcards.experiment]
    [rope] = [rope for rope in experiment.ropes if rope.name == wildcards.name]
    factor = experiment.factor or experiment.test_length / experiment.train_length
    table = {
        "head_dim": experiment.head_dim,
        "base": experiment.base,
        "length": rope.original_length or experiment.train_length,
    }
    return rope_settings(rope, factor), table


def shown_posgen(file, title, caption):
    """A file of the report of a PosGen experiment."""
    return shown(
        file, "5 PosGen", title, caption, f"{POSGEN_FOLDER}/report", "{experiment}"
    )
