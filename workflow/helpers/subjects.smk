# What answers questions: the model of the study with a rope, or one that was fine-tuned.


def subject_of(section):
    """The subject that a job of a section is about, as a function of its wildcards."""
    named = {
        experiment: {subject.name: subject for subject in asked.subjects}
        for experiment, asked in section.items()
    }

    def find(wildcards):
        return named[wildcards.experiment][wildcards.subject]

    return find


def subject_model(section):
    """The model of a subject, as a function of a job's wildcards."""

    subject_named = subject_of(section)

    def find(wildcards):
        subject = subject_named(wildcards)
        if not subject.tuned:
            return MODEL
        experiment, training = subject.tuned.split("/", 1)
        return f"{FINETUNE_FOLDER.format(experiment=experiment)}/{training}/model"

    return find


def subject_rope(section):
    """The rope of a subject, as a function of a job's wildcards."""

    subject_named = subject_of(section)

    def find(wildcards):
        subject = subject_named(wildcards)
        if subject.found:
            experiment, study = subject.found.split("/")
            # A folder of several files; the rope is one of them.
            return f"{SEARCH_FOLDER.format(experiment=experiment)}/studies/{study}"
        return ROPES[subject.tuned.split("/")[1] if subject.tuned else subject.rope]

    return find


def rope_file(wildcards, input):
    """The rope of a job: a file, or in the folder of a search."""
    return f"{input.rope}/rope.json" if not input.rope.endswith(".json") else input.rope
