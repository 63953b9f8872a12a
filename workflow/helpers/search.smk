# What searches read, and where they write.


def search_corpora(wildcards):
    """The corpora that an experiment searches on."""
    return [CORPORA[name] for name in STUDY.search_corpora(wildcards.experiment)]


def search_studies(wildcards):
    """The folders of all searches of an experiment."""
    folder = SEARCH_FOLDER.format(**wildcards)
    return [f"{folder}/studies/{name}" for name in SEARCHES[wildcards.experiment]]


def search_settings(wildcards):
    """The options of one search."""
    return SEARCHES[wildcards.experiment][wildcards.study]


def search_test(wildcards):
    """How found ropes are tested."""
    experiment = SEARCH[wildcards.experiment]
    return {
        "documents": experiment.test_documents,
        "seed": experiment.answer_seed,
        "dtype": experiment.dtype,
    }


def shown_search(file, title, caption):
    """A file of the report of searches."""
    return shown(
        file, "7 Search", title, caption, f"{SEARCH_FOLDER}/report", "{experiment}"
    )
