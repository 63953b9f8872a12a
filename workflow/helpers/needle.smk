# The options of experiments with hidden facts.


def needle_options(wildcards):
    """The options of an experiment with hidden facts."""
    return NEEDLE[wildcards.experiment].model_dump(exclude={"subjects"})


def shown_needle(file, title, caption):
    """A file of the report of hidden facts."""
    return shown(
        file,
        "9 Needles and L-Eval",
        title,
        caption,
        f"{NEEDLE_FOLDER}/report",
        "Needles, {experiment}",
    )
