from __future__ import annotations

import random

import pytest

from ropewalk.corpora import Corpus, build
from ropewalk.models.fresh import ModelShape
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.search import causes
from ropewalk.search.options import SearchOptions
from ropewalk.search.run import search

WORDS = "rope walk yarn strand hemp twist tar coil knot hook sail mast wind tide port stern bow keel".split()  # noqa: SIM905
SHAPE = ModelShape(hidden_size=64, layers=1, heads=2, kv_heads=2, intermediate_size=32, length=64)


@pytest.fixture(scope="package")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("text")
    for i in range(60):
        chosen = random.Random(i)
        (folder / f"{i}.txt").write_text(" ".join(chosen.choice(WORDS) for _ in range(160)))
    return build(f"folder:{folder}", byte_tokenizer(), tmp_path_factory.mktemp("corpus") / "text")


@pytest.fixture(scope="package")
def source(make_model) -> ModelSource:
    """A model that has learned nothing: whatever a rope changes in it, it changes exactly."""
    return make_model(SHAPE, times=3)


@pytest.fixture(scope="package")
def find(source, corpus):
    """Search and write a folder, which is named like the search."""

    def run(folder, *, columns=None, metrics=None, model=source, worker=False, **options):
        given = {"budget": 18, "retrieval": "none", "short_cost": 1.0, "documents": 4, "candidates": 3, "factor": 4.0}
        search(
            model,
            {"text": corpus},
            SearchOptions(**given | options),
            columns=columns or {"search": folder.name, "experiment": "search", "model": "dull"},
            journal=folder.with_suffix(".journal"),
            folder=None if worker else folder,
            metrics=metrics,
        )
        return folder

    before, causes.SAMPLES = causes.SAMPLES, 256
    yield run
    causes.SAMPLES = before


@pytest.fixture(scope="package")
def searches(find, tmp_path_factory):
    root = tmp_path_factory.mktemp("searches")
    return [
        find(root / f"{sampler}-{space}-4x-seed-{seed}", sampler=sampler, space=space, seed=seed)
        for sampler, space in (("gp", "ramp"), ("scan", "groups"))
        for seed in (0, 1)
    ]


@pytest.fixture(scope="package")
def tuned(find, tmp_path_factory):
    """Hand-made methods whose constants were tuned."""
    root = tmp_path_factory.mktemp("tuned")
    return [find(root / f"grid-{space}-4x-seed-0", sampler="grid", space=space) for space in ("yarn", "step")]
