from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import forked
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from ropewalk import cli
from ropewalk.corpora import Corpus
from ropewalk.errors import UserError
from ropewalk.models import binding
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.shape import ModelShape
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.options import plain, to_json
from ropewalk.rope import Rope, apply, default_rope
from ropewalk.scores import Scores
from ropewalk.training import loss, tuning
from ropewalk.training.batches import TrainingBatches
from ropewalk.training.options import AdapterOptions, FarOptions, Layout, TuningOptions

SHAPE = ModelShape(hidden_size=32, layers=1, heads=1, kv_heads=1, intermediate_size=32, length=32)
OPTIONS = TuningOptions(steps=20, learning_rate=5e-3, warmup_steps=2, length=64, batch_tokens=256, copy_fraction=0.25)
LAYOUT = Layout(checkpoint_every=5)
COLUMNS = {"model": "tuned", "tuned_rope": "abf", "seed": 0}
ORIGINAL = default_rope(32, 10_000.0, 32)


@pytest.fixture(scope="module")
def corpus(lettered) -> Corpus:
    return lettered


@pytest.fixture(scope="module")
def source(make_model) -> ModelSource:
    return make_model(SHAPE)


def tune(source, corpus, folder, rope, layout=LAYOUT, **changed):
    return tuning.tune(
        source,
        rope,
        replace(OPTIONS, **changed),
        [corpus],
        layout=layout,
        state=folder.parent / "state",
        folder=folder,
        metrics=folder.parent / "metrics.jsonl",
        columns=COLUMNS,
    )


def test_the_checkpoint_carries_its_rope_and_was_trained_with_it(source, corpus, tmp_path):
    rope = apply(ORIGINAL, "abf", new_base=300.0)
    result = tune(source, corpus, tmp_path / "tuned", rope)
    assert result.tokens == 20 * 256
    restored = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned", dtype=torch.float32).eval()
    buffer = restored.model.rotary_emb.inv_freq
    np.testing.assert_allclose(buffer.numpy(), rope.inv_freq, rtol=1e-6)
    # The same weights with the rope patched in by hand.
    ids = torch.tensor(np.random.default_rng(0).integers(0, 255, (1, 100)))
    with torch.no_grad():
        own = restored(ids).logits
        binding.patch(restored, rope)
        patched = restored(ids).logits
        binding.patch(restored, ORIGINAL)
        other = restored(ids).logits
    torch.testing.assert_close(own, patched, atol=1e-5, rtol=1e-5)
    assert (own - other).abs().max() > 1e-3
    record = json.loads((tmp_path / "tuned/training.json").read_text())
    assert record["options"] == plain(OPTIONS)
    assert (record["rope"], record["columns"]) == (rope.to_json(), COLUMNS)
    came_to = Scores.read(tmp_path / "tuned/scores.json")
    assert came_to.setting == {"stage": "training", **COLUMNS}
    assert came_to.one(quantity="final_loss").value == pytest.approx(result.final_loss)
    lines = [json.loads(line) for line in (tmp_path / "tuned/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert not (tmp_path / "state").exists()


def test_tuning_does_not_repeat_the_batches_of_pre_training(corpus):
    before, after = (TrainingBatches([corpus], 32, 4, 0.0, [], seed=0, stage=stage) for stage in (0, 1))
    assert (before(3).ids != after(3).ids).any()
    # Pre-trainings of earlier versions, which knew no stages, stay what they were.
    rng = np.random.default_rng([0, 3])
    rng.multinomial(4, [1.0])
    assert (before(3).ids == corpus.sample_windows(rng, 32, 4)).all()


def test_another_model_of_the_same_name_is_trained_anew(source, corpus, tmp_path, capsys):
    rope = apply(ORIGINAL, "abf", new_base=1e6)
    folder = tmp_path / "model"
    fresh_llama(SHAPE, len(byte_tokenizer()), seed=1).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    own = ModelSource("folder", str(folder))

    class Stop(Exception):
        pass

    def stop_at(step):
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        called = TrainingBatches.__call__
        patch.setattr(
            TrainingBatches, "__call__", lambda self, step: stop_at(step) if step == 12 else called(self, step)
        )
        with pytest.raises(Stop):
            tune(own, corpus, tmp_path / "tuned", rope)
    assert sorted(path.name for path in (tmp_path / "state").glob("step-*")) == ["step-00000005", "step-00000010"]
    shutil.copytree(tmp_path, tmp_path.with_name("same"))
    tune(own, corpus, tmp_path.with_name("same") / "tuned", rope)
    assert "tuning: resumed at step 10 of 20" in capsys.readouterr().out
    fresh_llama(SHAPE, len(byte_tokenizer()), seed=2).save_pretrained(folder)
    tune(own, corpus, tmp_path / "tuned", rope)
    assert "resumed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        (default_rope(16, 10_000.0, 32), "the rope rotates 16 dimensions of a head; this model rotates 32"),
        (apply(ORIGINAL, "log_scaling"), "log-scaled attention cannot be written into a configuration"),
        (apply(ORIGINAL, "dynamic_ntk", factor=2), "a rope that changes with the length cannot be written"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_training(source, corpus, tmp_path, rope, message):
    with pytest.raises(UserError, match=message):
        tune(source, corpus, tmp_path / "tuned", rope)
    assert list(tmp_path.iterdir()) == []


def test_adapters_end_up_in_the_weights(source, corpus, tmp_path):
    rope = apply(ORIGINAL, "yarn", factor=2.0)
    result = tune(source, corpus, tmp_path / "tuned", rope, lora=AdapterOptions(rank=4, alpha=8.0))
    assert result.trainable == 4 * 4 * 2 * 32
    before = AutoModelForCausalLM.from_pretrained(source.name)
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned")
    changed = {
        name for (name, a), b in zip(before.named_parameters(), after.parameters(), strict=True) if (a != b).any()
    }
    assert changed == {f"model.layers.0.self_attn.{which}_proj.weight" for which in "qkvo"}
    for name in changed:
        difference = after.get_parameter(name) - before.get_parameter(name)
        assert torch.linalg.matrix_rank(difference, rtol=1e-4) <= 4
    with pytest.raises(UserError, match="LoRA targets nothing_proj: Target modules"):
        tune(
            source, corpus, tmp_path / "other", rope, lora=AdapterOptions(rank=4, alpha=8.0, targets=("nothing_proj",))
        )


def test_packed_documents_train_too(source, corpus, tmp_path):
    rope = apply(ORIGINAL, "yarn", factor=2.0)
    result = tune(source, corpus, tmp_path / "tuned", rope, packed=True, copy_fraction=0.0)
    assert result.final_loss < 5.0
    cut = Layout(shard=True, context_parallel=2)
    with pytest.raises(UserError, match="packed sequences are masked, which context_parallel cannot"):
        tune(source, corpus, tmp_path / "other", rope, cut, packed=True, copy_fraction=0.0)


FRESH = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
with torch.no_grad():
    torch.save(model(torch.arange(200)[None] % 250).logits, sys.argv[2])
"""


@pytest.fixture
def words(source, corpus, tmp_path) -> list[str]:
    """What `ropewalk tune` is told, but for its options and its output."""
    apply(apply(ORIGINAL, "yarn", factor=4.0), "resonance").save(tmp_path / "rope.json")
    return ["--model", source.name, "--rope", str(tmp_path / "rope.json"), "--corpus", str(corpus.folder)]


SHORT = replace(OPTIONS, steps=8, learning_rate=1e-3, schedule="linear", copy_fraction=0.0)


def test_a_checkpoint_gives_the_same_logits_in_a_process_that_knows_nothing_of_this(words, tmp_path, monkeypatch):
    columns = {"model": "m", "tuned_rope": "yarn"}
    told = [
        "tune",
        *words,
        "--options",
        to_json(SHORT),
        "--columns",
        json.dumps(columns),
        "-o",
        str(tmp_path / "tuned"),
    ]
    monkeypatch.setattr(sys, "argv", ["ropewalk", *told])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    record = json.loads((tmp_path / "tuned/training.json").read_text())
    assert (record["options"]["warmup_steps"], record["options"]["schedule"]) == (2, "linear")
    assert record["columns"] == columns
    assert not (tmp_path / "tuned.state").exists()
    assert (tmp_path / "tuned.jsonl").is_file()
    command = [sys.executable, "-c", FRESH, str(tmp_path / "tuned"), str(tmp_path / "logits.pt")]
    subprocess.run(command, check=True, capture_output=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned", dtype=torch.float32).eval()
    binding.patch(model, Rope.load(tmp_path / "rope.json"))
    with torch.no_grad():
        expected = model(torch.arange(200)[None] % 250).logits
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "layout", "message"),
    [
        ({}, {"context_parallel": 2}, "--layout: context_parallel cuts sequences among processes that share"),
        ({"batch_tokens": 100}, {}, "--options: batch_tokens is 100; expected a multiple of the sequence length, 64"),
        ({"lora": {"rank": -1}}, {}, "--options key 'lora.rank' is -1; expected at least 1"),
        ({"packed": True, "copy_fraction": 0.5}, {}, "--options: packed sequences are documents only"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_written(
    words, tmp_path, monkeypatch, capsys, options, layout, message
):
    before = sorted(tmp_path.iterdir())
    given = ["--options", json.dumps(plain(SHORT) | options), "--layout", json.dumps(layout)]
    monkeypatch.setattr(sys, "argv", ["ropewalk", "tune", *words, *given, "-o", str(tmp_path / "tuned")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


SHARDED = """
import os
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule
# accelerate leaves processes without GPUs unsharded, whatever it is asked for; so it is told that these have some.
PartialState(cpu=True)
PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
from ropewalk.cli import main
from ropewalk.training import loop
gather, save = loop._gather, loop._save
def gather_seen(accelerator, prepared, model):
    print("sharded:", *(type(m).__name__ for m in prepared.modules() if isinstance(m, FSDPModule)), flush=True)
    gather(accelerator, prepared, model)
def save_and_stop(*args):
    save(*args)
    raise SystemExit(3)
loop._gather = gather_seen
loop._save = save_and_stop if os.environ.get("STOP") else save
main()
"""


def told(folder, words, name, options, layout) -> list[str]:
    """What `ropewalk` is told to train."""
    return ["tune", *words, "--options", to_json(options), "--layout", to_json(layout), "-o", str(folder / name)]


def by_two(folder, words, options, layout, script, **environment):
    """A training in two processes that run a script; return their exit statuses and what they said."""
    return forked.ranks(2, script, told(folder, words, "two", options, layout), {**os.environ, **environment})


def by_one(folder, words, options, monkeypatch):
    """The same training in this process."""
    with monkeypatch.context() as here:
        here.setattr(sys, "argv", ["ropewalk", *told(folder, words, "one", options, Layout(checkpoint_every=4))])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert end.value.code == 0


def check_equal(folder, tied):
    one, two = (AutoModelForCausalLM.from_pretrained(folder / name) for name in ("one", "two"))
    assert type(two).__name__ == two.config.architectures[0] == "LlamaForCausalLM"
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert (two.lm_head.weight is two.model.embed_tokens.weight) == tied
    assert not (folder / "two.state").exists()


@pytest.mark.slow
def test_two_processes_come_to_what_one_does(words, tmp_path, monkeypatch):
    by_one(tmp_path, words, SHORT, monkeypatch)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = told(tmp_path, words, "two", SHORT, Layout(checkpoint_every=4))
    done = subprocess.run([*launch, "-m", "ropewalk.cli", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    check_equal(tmp_path, tied=False)


@pytest.fixture
def tied(words, tmp_path) -> list[str]:
    """What `ropewalk tune` is told of the same model with one matrix for the first and the last layer."""
    model = AutoModelForCausalLM.from_pretrained(words[1])
    shutil.copytree(words[1], tmp_path / "tied")
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path / "tied")
    return [words[0], str(tmp_path / "tied"), *words[2:]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "changed", "layout"),
    [
        ("words", {"accumulation": 2}, Layout(shard=True, activation_checkpointing=True)),
        ("tied", {}, Layout(shard=True)),
        ("tied", {"lora": AdapterOptions(rank=4, alpha=8.0)}, Layout(shard=True)),
    ],
    ids=["checkpointed", "tied", "adapters"],
)
def test_two_processes_that_share_out_the_weights_come_to_what_one_does(
    request, tmp_path, monkeypatch, changed, layout, model
):
    words, options = request.getfixturevalue(model), replace(SHORT, **changed)
    (tmp_path / "sharded.py").write_text(SHARDED)
    shared = replace(layout, checkpoint_every=4)
    by_one(tmp_path, words, options, monkeypatch)
    statuses, said = by_two(tmp_path, words, options, shared, tmp_path / "sharded.py", STOP="1")
    assert statuses == [3, 3], said[-2000:]
    assert (tmp_path / "two.state").is_dir()
    assert not (tmp_path / "two").exists()
    statuses, said = by_two(tmp_path, words, options, shared, tmp_path / "sharded.py")
    assert statuses == [0, 0], said[-2000:]
    assert "resumed at step 4 of 8" in said
    # What was to be shared out was: the layers, each by itself, and the rest.
    wrapped = next(line for line in said.splitlines() if line.startswith("sharded:"))
    assert wrapped.count("DecoderLayer") == SHAPE.layers
    assert "CausalLoss" in wrapped
    check_equal(tmp_path, tied=model == "tied")


RING = """
import contextlib
import torch
import torch.distributed as dist
from torch.distributed.tensor import experimental
from torch.nn import functional
attend = functional.scaled_dot_product_attention
class Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mine):
        parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, mine.contiguous())
        return torch.cat(parts, 2)
    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size(), 2)[dist.get_rank()]
def ring(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    assert is_causal and attn_mask is None
    key, value = Gathered.apply(key), Gathered.apply(value)
    mine = torch.arange(query.shape[2])[:, None] + dist.get_rank() * query.shape[2]
    mask = mine >= torch.arange(key.shape[2])
    return attend(query, key, value, attn_mask=mask, scale=scale, enable_gqa=enable_gqa)
@contextlib.contextmanager
def context_parallel(mesh, *, buffers, buffer_seq_dims, no_restore_buffers):
    for buffer, dim in zip(buffers, buffer_seq_dims):
        part = buffer.chunk(mesh.size(), dim)[mesh.get_local_rank()].clone()
        buffer.resize_(part.shape).copy_(part)
    print("cut:", [tuple(buffer.shape) for buffer in buffers], flush=True)
    functional.scaled_dot_product_attention = ring
    yield
    functional.scaled_dot_product_attention = attend
experimental.context_parallel = context_parallel
"""
"""A stand-in for ring attention, whose kernels need a GPU: keys and values of all processes are gathered."""


@pytest.mark.slow
def test_two_processes_that_share_a_sequence_come_to_what_one_does(words, tmp_path, monkeypatch):
    (tmp_path / "ring.py").write_text(RING + SHARDED)
    cut = Layout(shard=True, context_parallel=2, checkpoint_every=4, attention="sdpa")
    by_one(tmp_path, words, SHORT, monkeypatch)
    statuses, said = by_two(tmp_path, words, SHORT, cut, tmp_path / "ring.py")
    assert statuses == [0, 0], said[-3000:]
    # Ids, targets and places of half of each sequence.
    half = (SHORT.sequences, SHORT.length // 2)
    assert f"cut: {[half] * 3}" in said
    check_equal(tmp_path, tied=False)


def test_mixed_windows_train_both_tables_and_deliver_both(source, corpus, tmp_path, monkeypatch):
    rope = apply(apply(ORIGINAL, "yarn", factor=2.0), "switched")
    seen = []
    real = loss.patch

    def patched(model, bound, *, prove):
        seen.append(bound)
        real(model, bound, prove=prove)

    monkeypatch.setattr(loss, "patch", patched)
    result = tune(source, corpus, tmp_path / "tuned", rope, short_share=0.5, steps=6)
    assert result.tokens == 6 * 256
    # Of four sequences of 64 tokens, two are cut into four of 32.
    assert seen == [rope.at(64), rope.at(32)] * 6
    batch = TrainingBatches([corpus], 64, 2, 0.0, [], 0, 1, TrainingBatches([corpus], 32, 4, 0.0, [], 0, 2))(0)
    assert (batch.ids.shape, batch.short.ids.shape, batch.tokens) == ((2, 64), (4, 32), 256)
    restored = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned", dtype=torch.float32).eval()
    for length in (32, 64):
        ids = torch.tensor(np.random.default_rng(0).integers(0, 255, (1, length)))
        with torch.no_grad():
            own = restored(ids).logits
            plain_model = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned", dtype=torch.float32).eval()
            binding.patch(plain_model, rope.at(length))
            torch.testing.assert_close(own, plain_model(ids).logits, atol=1e-4, rtol=1e-4)
    assert (rope.at(32).inv_freq == ORIGINAL.inv_freq).all()
    assert (rope.at(64).inv_freq != ORIGINAL.inv_freq).any()


def test_mixed_windows_and_far_context_want_what_fits(source, corpus, tmp_path):
    yarn = apply(ORIGINAL, "yarn", factor=2.0)
    with pytest.raises(UserError, match="a multiple of the 32 tokens of training; it is 48"):
        tune(source, corpus, tmp_path / "tuned", yarn, short_share=0.5, length=48, batch_tokens=192)
    with pytest.raises(UserError, match="short_share is 0.05"):
        replace(OPTIONS, short_share=0.05)
    with pytest.raises(UserError, match="far.window is 64"):
        replace(OPTIONS, far=FarOptions(window=64))
    with pytest.raises(UserError, match="window is 9"):
        FarOptions(window=9)
    result = tune(source, corpus, tmp_path / "tuned", yarn, far=FarOptions(window=16), steps=4)
    assert np.isfinite(result.final_loss)
