# Where the questions of L-Eval are, and the options that change the answers.


def leval_data(wildcards):
    """Where the questions of an experiment are: made here, or elsewhere."""
    experiment = LEVAL[wildcards.experiment]
    return (
        f"folder:{LEVAL_FOLDER.format(**wildcards)}/pocket"
        if experiment.data == "pocket"
        else experiment.data
    )


def leval_source(wildcards, input):
    """The same as a job finds it, which is given a copy where results lie in a bucket."""
    experiment = LEVAL[wildcards.experiment]
    return f"folder:{input[0]}" if experiment.data == "pocket" else experiment.data


def leval_files(wildcards):
    """The files of the questions, so that a change of them is noticed."""
    experiment = LEVAL[wildcards.experiment]
    if experiment.data == "pocket":
        return f"{LEVAL_FOLDER.format(**wildcards)}/pocket"
    wanted = {f"{task}.jsonl" for task in experiment.tasks}
    return files_of(experiment.data, *wanted)


def leval_options(wildcards):
    """The options of an experiment that change its answers."""
    experiment = LEVAL[wildcards.experiment]
    return {
        **experiment.model_dump(exclude={"data", "revision", "pocket", "subjects"}),
        "data_revision": experiment.revision,
    }


def shown_leval(file, title, caption):
    """A file of the report of L-Eval."""
    return shown(
        file,
        "9 Needles and L-Eval",
        title,
        caption,
        f"{LEVAL_FOLDER}/report",
        "L-Eval, {experiment}",
    )
