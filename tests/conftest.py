from __future__ import annotations

import os

# Two processes that each want all cores slow each other down many times over.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pandas as pd
import pytest

WINDOW, TEXT = 128, 2048
LONGEST = (
    "test_workflow.py",
    "test_slurm.py",
    "test_load.py",
    "test_tuning.py",
    "test_one_hour.py",
    "test_notebook.py",
    "test_storage.py",
)


def pytest_xdist_auto_num_workers(config):
    """One more than there are cores: tests of workflows, of Slurm and of servers wait for much of their time."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Files that take minutes go first, a worker each: at the end, one would work while the others wait."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture
def make_cell(tmp_path):
    """Write a cell of a sweep as `tune` and `read` would, with a wall at a chosen position.

    Its readings are below the folder that comes back: `nll` and `copying`.
    """
    # These are slow to import, and few tests need them.
    from ropewalk.files import write_json
    from ropewalk.reading.nll_file import write_nll
    from ropewalk.rope import apply, default_rope

    def make(
        base, wall, *, tune_length=WINDOW, seed=0, steps=300, log_scaled=False, height=1.0, documents=12, copied=64,
        model="model",
    ):  # fmt: skip
        rope = apply(default_rope(64, 1e4, 128), "abf", new_base=float(base))
        if log_scaled:
            rope = apply(rope, "log_scaling", length=tune_length)
        folder = tmp_path / f"cells/{model}-{base:g}-{tune_length}-{seed}-{steps}-{log_scaled}"
        position = np.arange(1, TEXT, dtype=np.int32)
        rng = np.random.default_rng(seed)
        frames = []
        for d in range(documents):
            window = rng.normal(2, 0.1, TEXT - 1)
            nll = window + np.where(position > wall, height * (1 + 0.1 * d / documents), 0)
            columns = {"position": position, "nll": nll.astype(np.float32), "window_nll": window.astype(np.float32)}
            names = {"corpus": "text", "document": f"d{d}", "pass_length": np.int32(TEXT)}
            frames.append(pd.DataFrame({**columns, **names}))
        plain = apply(default_rope(64, 1e4, 128), "abf", new_base=float(base))
        options = {"steps": steps, "length": tune_length, "seed": seed}
        # One model is read with both ropes.
        called = {"model": f"{model}-{base:g}-{tune_length}-{seed}-{steps}", "rope": f"base-{base:g}-{log_scaled}"}
        about = {"columns": called, "model": f"folder:{called['model']}", "rope": rope.to_json(), "parameters": 558_208}
        training = {"options": options, "rope": plain.to_json(), "model": f"folder:models/{model}", "weights": model}
        header = {**about, "options": {"window": tune_length}, "training": training}
        write_nll(folder / "nll/nll.parquet", pd.concat(frames), header)
        gaps = [(gap, float(gap <= copied)) for gap in (16, 32, 64, 128) for _ in range(8)]
        (folder / "copying").mkdir()
        pd.DataFrame(gaps, columns=["gap", "accuracy"]).to_csv(folder / "copying/copying.csv", index=False)
        write_json(folder / "copying/reading.json", about)
        return folder

    return make


@pytest.fixture(scope="session")
def lettered(tmp_path_factory):
    """A corpus of eighty short documents that are much alike, one token a byte."""
    from ropewalk.corpora import build
    from ropewalk.models.tokenizers import byte_tokenizer

    folder = tmp_path_factory.mktemp("text")
    for i in range(80):
        (folder / f"{i}.txt").write_text(f"document {i} says: " + "abcdefgh " * 30)
    return build(f"folder:{folder}", byte_tokenizer(), tmp_path_factory.mktemp("corpus") / "c")


@pytest.fixture(scope="session")
def make_model(tmp_path_factory):
    """Write a random byte-level model of a shape, with its weights times a number, and say where it is."""
    from ropewalk.models.fresh import fresh_llama
    from ropewalk.models.sources import ModelSource
    from ropewalk.models.tokenizers import byte_tokenizer

    def make(shape, seed=0, times=1):
        folder = tmp_path_factory.mktemp("model")
        model = fresh_llama(shape, len(byte_tokenizer()), seed)
        for parameter in model.parameters():
            parameter.data.mul_(times)
        model.save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        return ModelSource("folder", str(folder))

    return make
