from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from transformers import LlamaConfig

from ropewalk import cli
from ropewalk.errors import UserError
from ropewalk.options import to_json
from ropewalk.training.budget import GIB, Budget, budget
from ropewalk.training.options import AdapterOptions, Layout, TuningOptions

LLAMA_7B = LlamaConfig(
    hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
)
EIGHT = Layout(shard=True, activation_checkpointing=True)


def cost_of(length: int, *, sequences: int = 1, gpus: int = 1, layout: Layout = Layout(), **more: Any) -> Budget:
    options = TuningOptions(
        **{"steps": 1, "learning_rate": 1e-5, **more}, length=length, batch_tokens=sequences * length
    )
    return budget(LLAMA_7B, options, gpus=gpus, layout=layout)


@pytest.mark.parametrize(
    ("length", "inputs", "layer", "rate"),
    # Worked out by hand for eight H100 at 40 % of their peak.
    [(32_768, 8.0, 4.7, 36e3), (65_536, 16.0, 9.4, 26e3), (131_072, 32.0, 18.8, 16.6e3)],
)
def test_the_budget_of_llama_2(length, inputs, layer, rate):
    cost = cost_of(length, sequences=8, steps=50, gpus=8, layout=EIGHT)
    assert cost.parameters == 6_738_415_616
    assert cost.memory["weights, gradients, moments"] / GIB == pytest.approx(12.55, abs=0.01)
    assert cost.memory["layer inputs"] / GIB == pytest.approx(inputs)
    assert cost.memory["activations of one layer"] / GIB == pytest.approx(layer, abs=0.06)
    assert cost.tokens_per_second == pytest.approx(rate, rel=0.02)
    assert cost.hours == pytest.approx(50 * 8 * length / cost.tokens_per_second / 3600)


def test_adapters_have_no_moments_for_the_rest():
    whole = cost_of(4096)
    adapted = cost_of(4096, lora=AdapterOptions(rank=8, alpha=16.0))
    assert adapted.trainable == 32 * 4 * 8 * 2 * 4096
    assert whole.memory["weights, gradients, moments"] > 3.9 * adapted.memory["weights, gradients, moments"]
    # No gradient of the frozen weights: two thirds of their products.
    assert adapted.sequence_flops / whole.sequence_flops == pytest.approx(2 / 3, abs=0.03)


def test_a_sequence_that_is_cut_takes_its_share_of_the_memory():
    cut = Layout(shard=True, activation_checkpointing=True, context_parallel=8)
    one = cost_of(131_072, gpus=8, layout=cut)
    assert one.memory["layer inputs"] / GIB == pytest.approx(4.0)
    assert sum(one.memory.values()) / GIB == pytest.approx(21.5, abs=0.5)


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(UserError, match="a batch of 4096 tokens in sequences of 4096 cannot be cut into 8 GPUs"):
        cost_of(4096, gpus=8)


def test_the_command_says_what_a_tuning_costs_and_needs_no_weights(monkeypatch, tmp_path, capsys):
    LLAMA_7B.save_pretrained(tmp_path / "model")
    tuning = TuningOptions(steps=6, learning_rate=1e-3, length=4096, batch_tokens=32_768)
    given = {"--options": to_json(tuning), "--layout": to_json(EIGHT), "--gpus": "8"}
    words = [word for option, value in given.items() for word in (option, value)]

    def said(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ropewalk", "budget", str(tmp_path / "model"), *words, *more])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
        return str(capsys.readouterr().out)

    shown = said()
    assert shown.rstrip("\n") == budget(LLAMA_7B, tuning, gpus=8, layout=EIGHT).text(80.0)
    assert "tokens                       196,608" in shown
    assert " fits into 80 GiB" in shown
    assert "does not fit into 8 GiB" in said("--gpu-memory", "8")
    half = budget(LLAMA_7B, tuning, gpus=8, layout=EIGHT, utilisation=0.2, peak_flops=100e12)
    assert said("--utilisation", "0.2", "--peak-tflops", "100").rstrip("\n") == half.text(80.0)
    assert list(tmp_path.iterdir()) == [tmp_path / "model"], "nothing was trained"


LLAMA_13B = LlamaConfig(
    hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40, vocab_size=32000
)


@pytest.mark.parametrize(("config", "at_once", "now"), [(LLAMA_7B, 50.2, 15.4), (LLAMA_13B, 97.0, 28.4)])
def test_layers_are_gathered_one_after_the_other(config, at_once, now):
    """Gathered at once, with gradients kept whole over micro-batches, a rank holds 16/8 + 2 + 2 + 2 bytes a weight."""
    options = TuningOptions(steps=1, learning_rate=1e-5, length=4096, batch_tokens=32_768)
    cost = budget(config, options, gpus=8, layout=EIGHT)
    shares = cost.memory["weights, gradients, moments"]
    assert (shares + 6 * cost.parameters) / GIB == pytest.approx(at_once, abs=0.1)
    assert (shares + cost.memory["gathered weights, gradients"]) / GIB == pytest.approx(now, abs=0.1)


MEASURED = """
import json
import torch
import torch.distributed as dist
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.shape import ModelShape
from ropewalk.training.budget import gathered, weight_groups
from ropewalk.training.loop import count_parameters

dist.init_process_group("gloo")
shape = ModelShape(hidden_size=128, layers=6, heads=2, kv_heads=2, intermediate_size=512, length=64)
model = fresh_llama(shape, 3000, seed=0)
groups, (trained, _) = weight_groups(model), count_parameters(model)
# As the loop has accelerate do it; float32 takes the place of bfloat16, which gloo is slow with.
for module in (*model.model.layers, model):
    fully_shard(module, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32))
optimizer = torch.optim.AdamW(model.parameters())
ids = torch.randint(0, 3000, (1, 8))
tracker = FSDPMemTracker(model, optimizer)
with tracker:
    for step in range(2):
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step == 0:
            tracker.reset_mod_stats()
[peak] = tracker.get_tracker_snapshot("peak").values()
activations = sum(size for kind, size in peak.items() if str(kind).split(".")[-1] in ("ACT", "INP"))
if dist.get_rank() == 0:
    told = 16 * trained / 2 + gathered(groups, weight=4)
    print(json.dumps({"told": told, "measured": peak["Total"] - activations}))
dist.destroy_process_group()
"""


def test_what_two_processes_hold_is_what_the_budget_says(tmp_path):
    (tmp_path / "measured.py").write_text(MEASURED)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run([*start, str(tmp_path / "measured.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    # No less than is held, and not much more.
    assert found["measured"] <= found["told"] * 1.02
    assert found["told"] == pytest.approx(found["measured"], rel=0.15)
