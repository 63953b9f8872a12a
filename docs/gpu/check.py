"""Exercise every path that needs a CUDA GPU, on models that take seconds: `python docs/gpu/check.py -o check.json`.

Each check runs by itself and says what it measured; the exit status counts those that failed. On a machine without a
GPU the same checks run on the CPU, without what asks for CUDA.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from ropewalk.corpora import build
from ropewalk.files import write_json
from ropewalk.models import binding
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.shape import ModelShape
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.posgen.model import StackedDecoder, rotations
from ropewalk.posgen.options import PosGenOptions
from ropewalk.posgen.training import training_losses
from ropewalk.reading import nll
from ropewalk.rope import Rope, default_rope, methods

# Trainings run beside each other on one card.
os.environ.setdefault("ROPEWALK_SHARE_GPU", "1")
GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
SMALL = ModelShape(hidden_size=64, layers=2, heads=2, kv_heads=1, intermediate_size=128, length=128)
# SmolLM2-135M: what a real model costs.
REAL = ModelShape(hidden_size=576, layers=30, heads=9, kv_heads=3, intermediate_size=1536, base=100_000.0, length=8192)

# Of the small model and of the real one, in tokens.
MAPS: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "self_extend": ({"window": 32, "group": 8}, {"window": 2048, "group": 8}),
    "leaky_rerope": ({"window": 32, "group": 8}, {"window": 2048, "group": 8}),
    "dual_chunk": ({"window": 16, "chunk": 48}, {"window": 1024, "chunk": 3072}),
    "string": ({"window": 16, "shift": 48}, {"window": 128, "shift": 2730}),
}


def seconds(work: Callable[[], Any], repeat: int = 3 if GPU else 1) -> float:
    """Median wall seconds of a call, after one that does not count."""
    times = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        work()
        if GPU:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def real_model() -> PreTrainedModel:
    """A model of SmolLM2's shape, with weights as they are drawn."""
    model: PreTrainedModel = fresh_llama(REAL, 49_152, seed=0).eval()
    return model.to(DEVICE, torch.bfloat16 if GPU else torch.float32)


def kernels(work: Callable[[], Any]) -> list[str]:
    """The attention kernels that a call runs, in plain words of the profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if GPU else [])]) as seen:
        work()
    return sorted({event.key for event in seen.key_averages() if "attention" in event.key})


def reading(folder: Path) -> dict[str, Any]:
    """NLL in one pass and in chunks, in both types, on this device; against float32 on the CPU for a small model."""
    small = fresh_llama(SMALL, 300, seed=0).eval()
    tokens = np.random.default_rng(0).integers(0, 300, 4096)
    rope = methods.yarn(read_rope(small.config), factor=32.0)
    found: dict[str, Any] = {}
    binding.patch(small, rope)
    on_cpu = nll.token_nll(small, tokens)
    moved = small.to(DEVICE)
    found["float32 against the CPU, largest difference in nats"] = float(
        np.abs(nll.token_nll(moved, tokens) - on_cpu).max()
    )
    assert found["float32 against the CPU, largest difference in nats"] < 1e-3
    half = moved.to(torch.bfloat16)
    binding.patch(half, rope)
    binding.check_float32(half)
    found["bfloat16 against the CPU, mean difference in nats"] = float((nll.token_nll(half, tokens) - on_cpu).mean())
    length, chunk = (16_384, 1024) if GPU else (128, 64)
    model = real_model()
    text = np.random.default_rng(1).integers(0, 49_152, length)
    fits = nll.one_pass_fits
    for name, one_pass in (("one pass", True), ("chunks", False)):
        nll.one_pass_fits = lambda *_, answer=one_pass: answer  # type: ignore[assignment]
        found[f"SmolLM2's shape, {length} tokens, {name}, seconds"] = seconds(
            lambda: nll.token_nll(model, text, chunk=chunk)
        )
        found[f"attention in {name}"] = kernels(lambda: nll.token_nll(model, text[: 2 * chunk], chunk=chunk // 2))
    nll.one_pass_fits = fits
    if GPU:
        found["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def tuning(folder: Path) -> dict[str, Any]:
    """Fine-tuning in every layout, its resumption, and that all of them deliver the same weights."""
    text = folder / "text"
    text.mkdir()
    for k in range(40):
        words = np.random.default_rng(k).choice(["rope", "walk", "wave", "turn", "pair", "angle"], size=400)
        (text / f"{k}.txt").write_text(" ".join(words))
    tokenizer = byte_tokenizer()
    build(f"folder:{text}", tokenizer, folder / "corpus")
    model = fresh_llama(SMALL, len(tokenizer), seed=0)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rope: Rope = methods.yarn(default_rope(32, 10_000.0, 128), factor=2.0)
    rope.save(folder / "rope.json")
    options = {"steps": 6, "learning_rate": 1e-3, "length": 256, "batch_tokens": 1024, "accumulation": 2}
    # Forked from a process that has imported torch, where one offers itself; what is killed here starts by itself.
    plain, by_itself = [sys.executable, "-m", "ropewalk.warm"], [sys.executable, "-m", "ropewalk.cli"]
    # Each meets itself at a port of its own.
    sharded = [
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "1", "--master_port", port, *by_itself[1:]]
        for port in ("29501", "29502", "29503")
    ]
    runs: dict[str, tuple[list[str], Mapping[str, Any], Mapping[str, Any]]] = {
        "plain": (plain, {}, {}),
        "checkpointed activations": (plain, {}, {"activation_checkpointing": True}),
        "packed": (plain, {"packed": True}, {}),
        "adapters": (plain, {"lora": {"rank": 4}}, {}),
        "sharded": (sharded[0], {}, {"shard": True}),
        "sharded, checkpointed": (sharded[1], {}, {"shard": True, "activation_checkpointing": True}),
        "sharded adapters": (sharded[2], {"lora": {"rank": 4}}, {"shard": True}),
    }
    if not GPU:
        runs = {name: run for name, run in runs.items() if "shard" not in name}

    def tune(
        name: str, command: list[str], other: Mapping[str, Any], layout: Mapping[str, Any]
    ) -> subprocess.Popen[str]:
        words = ["tune", "--model", str(folder / "model"), "--rope", str(folder / "rope.json"), "--corpus"]
        words += [str(folder / "corpus"), "--options", json.dumps({**options, **other}), "--layout"]
        words += [json.dumps({"checkpoint_every": 3, **layout}), "-o", str(folder / name)]
        return subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    started: dict[str, subprocess.Popen[str]] = {}
    for name, run in runs.items():
        started[name] = tune(name, *run)
    found: dict[str, Any] = {}
    for name, process in started.items():
        said, _ = process.communicate(timeout=120)
        found[name] = "done" if process.returncode == 0 else said[-1500:]
    from safetensors.torch import load_file

    weights = {name: load_file(folder / name / "model.safetensors") for name in runs if found[name] == "done"}
    for name, reference in (
        ("checkpointed activations", "plain"),
        ("sharded", "plain"),
        ("sharded, checkpointed", "plain"),
        ("sharded adapters", "adapters"),
    ):
        if name in weights and reference in weights:
            pairs = [(weights[name][key], value) for key, value in weights[reference].items()]
            found[f"{name} against {reference}, largest difference of a weight"] = max(
                float((a.float() - b.float()).abs().max()) for a, b in pairs
            )
    if any(found[name] != "done" for name in runs):
        raise RuntimeError(json.dumps(found))
    found["killed after three steps and called again, largest difference of a weight"] = resumed(
        lambda: tune("resumed", by_itself, {}, {}), folder / "resumed", weights["plain"]
    )
    return found


def resumed(start: Callable[[], subprocess.Popen[str]], folder: Path, plain: Mapping[str, torch.Tensor]) -> float:
    """Kill a training after its first checkpoint, call it again, and compare what it delivers."""
    from safetensors.torch import load_file

    checkpoint = folder.with_name(f"{folder.name}.state") / "step-00000003/progress.json"
    process, until = start(), time.monotonic() + 120
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not folder.exists(), "it was over before it could be killed"
    said, _ = start().communicate(timeout=120)
    assert "resumed at step 3 of 6" in said, said[-1500:]
    weights = load_file(folder / "model.safetensors")
    return max(float((weights[key].float() - value.float()).abs().max()) for key, value in plain.items())


def loss(folder: Path) -> dict[str, Any]:
    """The loss with Liger's kernel against the plain one, with their gradients, where it is installed."""
    from ropewalk.training import loss as module

    model = fresh_llama(SMALL, 300, seed=0).to(DEVICE)
    ids = torch.from_numpy(np.random.default_rng(2).integers(0, 300, (2, 128))).to(DEVICE)
    found: dict[str, Any] = {"liger is used": module.fused(torch.device(DEVICE))}

    def measured() -> tuple[float, torch.Tensor]:
        model.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=GPU):
            total = module.CausalLoss(model)(ids, torch.roll(ids, -1, 1))
        total.backward()
        return float(total), model.lm_head.weight.grad.detach().clone()

    total, gradient = measured()
    if found["liger is used"]:
        module.fused = lambda device: False  # type: ignore[assignment]
        plain, of_plain = measured()
        found["nats a token that Liger is off"] = abs(total - plain) / ids.numel()
        found["share of the gradient of the head that Liger is off"] = float(
            (gradient - of_plain).norm() / of_plain.norm()
        )
        assert found["nats a token that Liger is off"] < 1e-2
        assert found["share of the gradient of the head that Liger is off"] < 2e-2
    return found


def posgen(folder: Path) -> dict[str, Any]:
    """A training step of PosGen at the paper's size, plain and compiled: milliseconds for a stack of models."""
    found: dict[str, Any] = {}
    options = PosGenOptions(precision="high")
    if not GPU:
        options = replace(options, hidden_size=64, heads=1, intermediate_size=64, batch_size=4)
    torch.set_float32_matmul_precision(options.precision)
    compiled = torch.compile(training_losses, dynamic=False)
    for models in (10, 30) if GPU else (2,):
        ways: list[tuple[str, Any, bool, bool]] = [
            ("complex", training_losses, True, False),
            ("real", training_losses, False, False),
        ]
        if GPU:
            ways += [("real, compiled", compiled, False, False), ("real, compiled, bfloat16", compiled, False, True)]
        for name, losses, is_complex, half in ways:
            first, later = posgen_step(options, models, losses, is_complex, half)
            found[f"{models} models, {name}"] = {"milliseconds": round(1000 * later, 2), "first": round(first, 1)}
            print(f"posgen: {models} models, {name}: {1000 * later:.2f} ms, at first {first:.1f} s", flush=True)
    return found


def posgen_step(options: PosGenOptions, models: int, losses: Any, is_complex: bool, half: bool) -> tuple[float, float]:
    """Seconds of the first training step of a stack, and of later ones."""
    decoder = StackedDecoder(options, list(range(models))).to(DEVICE)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4, fused=True)
    rotation = rotations([default_rope(64, 10_000.0, 64)] * models, 64, DEVICE)
    rotation = rotation if is_complex else torch.view_as_real(rotation)
    tokens = torch.randint(0, 17, (models, options.batch_size, 64), device=DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=half):
            loss = losses(decoder, rotation, tokens, 4, 0.1)
        loss.sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    start = time.perf_counter()
    step()
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - start, seconds(step, 5)


def maps(folder: Path) -> dict[str, Any]:
    """NLL with each map of positions: against float32 on the CPU for a small model, and what it takes of a real one."""
    small = fresh_llama(SMALL, 300, seed=0).eval()
    tokens = np.random.default_rng(0).integers(0, 300, 512)
    found: dict[str, Any] = {}
    length = 16_384 if GPU else 128
    text = np.random.default_rng(1).integers(0, 49_152, length)
    model = real_model()
    found[f"SmolLM2's shape, {length} tokens, without a map, seconds"] = seconds(lambda: nll.token_nll(model, text))
    for name, (near, far) in MAPS.items():
        binding.patch(small.cpu(), methods.apply(read_rope(small.config), name, **near))
        on_cpu = nll.token_nll(small, tokens)
        there = nll.token_nll(small.to(DEVICE), tokens)
        found[f"{name} against the CPU, largest difference in nats"] = float(np.abs(there - on_cpu).max())
        assert found[f"{name} against the CPU, largest difference in nats"] < 1e-3
        binding.patch(model, methods.apply(read_rope(model.config), name, **far))
        if GPU:
            torch.cuda.reset_peak_memory_stats()
        found[f"SmolLM2's shape, {length} tokens, {name}, seconds"] = seconds(lambda: nll.token_nll(model, text))
        if GPU:
            found[f"{name}, peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return found


CHECKS = {"tuning": tuning, "loss": loss, "maps": maps, "posgen": posgen, "reading": reading}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--only", nargs="*", default=list(CHECKS), choices=list(CHECKS), help="checks to run")
    given = parser.parse_args()
    device = torch.cuda.get_device_name() if GPU else "CPU"
    report: dict[str, Any] = {"device": device, "torch": torch.__version__, "transformers": transformers.__version__}
    failed = 0
    for name in given.only:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                report[name] = CHECKS[name](Path(folder))
            except Exception as error:
                traceback.print_exc()
                report[name] = {"failed": f"{type(error).__name__}: {error}"}
                failed += 1
        report[name]["seconds"] = round(time.perf_counter() - start, 1)
        print(f"{name}: {json.dumps(report[name], indent=1)}", flush=True)
        write_json(given.output, report)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
