"""The training loop: accelerate underneath, resumable to the step, the same for pre-training and fine-tuning."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.parallelism_config import ParallelismConfig
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import PreTrainedModel

from ropewalk import checkpoints
from ropewalk.devices import copied, has_gpu
from ropewalk.errors import UserError
from ropewalk.files import claim_state, room_for
from ropewalk.metrics import MetricsFile
from ropewalk.options import plain
from ropewalk.progress import Progress
from ropewalk.rope import Rope
from ropewalk.training.batches import Batch, Batches
from ropewalk.training.loss import CausalLoss, documents_within
from ropewalk.training.options import FarOptions, Layout, TrainingOptions

STEPS_BETWEEN_METRICS = 10
BETAS = (0.9, 0.95)
"""Of AdamW."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to.

    Attributes:
        steps: optimiser steps, those before a resumption included.
        tokens: trained tokens.
        final_loss: mean loss over the last measured steps, in nats a token.
        seconds: wall time of this run, without what was done before a resumption.
        tokens_per_second: of this run; None where nothing was left to do.
        trainable: trainable parameters.
        parameters: all parameters.
    """

    steps: int
    tokens: int
    final_loss: float
    seconds: float
    tokens_per_second: float | None
    trainable: int
    parameters: int


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Trainable parameters and all parameters, shared ones counted once."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)


def train(
    model: PreTrainedModel,
    batches: Batches,
    options: TrainingOptions,
    *,
    state: Path,
    identity: Mapping[str, Any],
    sink: MetricsFile | None = None,
    name: str = "training",
    layout: Layout = Layout(),
    far: FarOptions | None = None,
    tables: tuple[Rope, Rope] | None = None,
) -> TrainingResult:
    """Train a causal language model in place, in bfloat16 on a GPU and float32 on a CPU.

    A run that was killed goes on from its last checkpoint in ``state`` and gives the loss curve of an uninterrupted
    one. ``state`` may be removed when the result is safe.

    Args:
        model: a causal language model. The main process has its trained weights in the end.
        batches: the global batch of a step. It is cut evenly into processes and micro-batches.
        options: how to train.
        state: folder for the checkpoints to resume from.
        identity: what makes this training itself (sizes, seeds, data); checkpoints of another identity are dropped.
        sink: receives loss (nats a token), learning rate, gradient norm and tokens per second every ten steps and at
            each checkpoint.
        name: shown with the progress.
        layout: where it runs, and how often it is saved.
        far: see :class:`CausalLoss`.
        tables: see :class:`CausalLoss`; for batches with short sequences.

    Raises:
        UserError: the loss is not a number, a batch cannot be cut evenly, or all checkpoints are damaged.
    """
    accelerator = _accelerator(layout)
    trainable, parameters = count_parameters(model)
    accelerator.print(f"{name}: {trainable:,} of {parameters:,} parameters are trained")
    if layout.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    loss_model, optimizer = accelerator.prepare(CausalLoss(model, far, tables), _optimizer(model, options))
    # Sharded checkpoints are files of another kind.
    shards = {"shards": accelerator.num_processes} if layout.shard else {}
    reached = _resume(accelerator, state, {**identity, "options": plain(options), **shards})
    attention = getattr(model.config, "_attn_implementation", None)
    start, loss, earlier = reached["step"], reached["loss"], reached["tokens"]
    if sink is not None and accelerator.is_main_process:
        sink.resume(start)
    if start:
        accelerator.print(f"{name}: resumed at step {start} of {options.steps}")

    began, tokens = time.monotonic(), 0
    losses: list[torch.Tensor] = []
    measured, measured_tokens = began, 0
    with Progress(name, options.steps, done=start, shown=accelerator.is_main_process) as progress:
        for step in range(start, options.steps):
            learning_rate = options.learning_rate_at(step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            batch = batches(step)
            step_loss, norm = _step(
                accelerator, loss_model, optimizer, batch, options, layout.context_parallel, attention
            )
            losses.append(step_loss)
            tokens += batch.tokens
            last, note = step + 1 == options.steps, ""
            saved = (step + 1) % layout.checkpoint_every == 0 or last
            # Looking at the loss waits for the device, so it is done seldom; but nothing is saved unseen.
            if (step + 1) % STEPS_BETWEEN_METRICS == 0 or saved:
                loss = _mean(losses, name, step + 1, learning_rate)
                losses = []
                now = time.monotonic()
                rate = (tokens - measured_tokens) / max(now - measured, 1e-9)
                measured, measured_tokens = now, tokens
                note = f"loss {loss:.3f} · {rate:,.0f} tokens/s"
                if sink is not None and accelerator.is_main_process:
                    metrics = {"loss": loss, "learning_rate": learning_rate, "gradient_norm": float(norm)}
                    sink(step + 1, {**metrics, "tokens_per_second": rate})
            progress.advance(note=note)
            if saved:
                _save(accelerator, state, {"step": step + 1, "loss": loss, "tokens": earlier + tokens})
    seconds = time.monotonic() - began
    _gather(accelerator, loss_model, model)
    rate_or_none = tokens / seconds if tokens else None
    return TrainingResult(options.steps, earlier + tokens, loss, seconds, rate_or_none, trainable, parameters)


def _mean(losses: list[torch.Tensor], name: str, step: int, learning_rate: float) -> float:
    loss = float(torch.stack(losses).mean())
    if not math.isfinite(loss):
        raise UserError(
            f"{name}: the loss is {loss} by step {step} at learning rate {learning_rate:g}; "
            "expected a finite number. Lower the learning rate, or clip harder."
        )
    return loss


def _optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=BETAS, fused=True)


def _accelerator(layout: Layout) -> Accelerator:
    gpu = has_gpu()
    common: dict[str, Any] = {"mixed_precision": "bf16" if gpu else "no", "cpu": not gpu}
    if not layout.shard:
        return Accelerator(**common)
    # Gradients are summed in float32, and the loss leaves the model as it is: in bfloat16 one of 3173.3 became 3168.
    precision = MixedPrecisionPolicy(param_dtype=torch.bfloat16 if gpu else None, reduce_dtype=torch.float32)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        mixed_precision_policy=precision,
        # The first process has the weights, and gives them to the others.
        cpu_ram_efficient_loading=True,
    )
    processes, cut = int(os.environ.get("WORLD_SIZE", "1")), layout.context_parallel
    if processes % cut:
        raise UserError(f"{processes} processes cannot be cut into groups of {cut} that share a sequence.")
    parallelism = ParallelismConfig(cp_size=cut, dp_shard_size=processes // cut) if cut > 1 else None
    return Accelerator(**common, fsdp_plugin=plugin, parallelism_config=parallelism)


def _step(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    batch: Batch,
    options: TrainingOptions,
    context_parallel: int,
    attention: str | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One optimiser step; returns the mean loss over the whole batch and the norm of the gradient."""
    processes = accelerator.num_processes // context_parallel
    parts = [batch] if batch.short is None else [batch, batch.short]
    for part in parts:
        if len(part.ids) % (processes * options.accumulation):
            raise UserError(
                f"a batch of {len(part.ids)} sequences cannot be cut into {processes} processes "
                f"times {options.accumulation} micro-batches."
            )
    # Processes are averaged, and texts may have different numbers of targets.
    share = accelerator.num_processes / sum(int((part.targets >= 0).sum()) for part in parts)
    total = torch.zeros((), device=accelerator.device)
    left = len(parts) * options.accumulation
    for part in parts:
        mine = part.part(accelerator.process_index // context_parallel, processes)
        arrays = [mine.ids, mine.targets] if mine.positions is None else [mine.ids, mine.targets, mine.positions]
        moved = [copied(array, accelerator.device).chunk(options.accumulation) for array in arrays]
        kind = {"short": True} if part is batch.short else {}
        for i in range(options.accumulation):
            left -= 1
            tensors = [pieces[i] for pieces in moved]
            if context_parallel > 1 and len(tensors) < 3:
                # Each process has a part of the sequence, and must know which.
                place = torch.arange(tensors[0].shape[1], device=accelerator.device)
                tensors.append(place.expand_as(tensors[0]).clone())
            bounds, longest = documents_within(mine.part(i, options.accumulation), attention)
            documents = {} if bounds is None else {"bounds": copied(bounds, accelerator.device), "longest": longest}
            # Gradients travel between processes with the last micro-batch only, where each has room for all of them.
            quiet = left > 0 and accelerator.distributed_type != DistributedType.FSDP
            with ExitStack() as stack:
                if quiet:
                    stack.enter_context(accelerator.no_sync(model))
                if context_parallel > 1:
                    dims = [1] * len(tensors)
                    stack.enter_context(
                        accelerator.maybe_context_parallel(
                            buffers=tensors, buffer_seq_dims=dims, no_restore_buffers=set(tensors)
                        )
                    )
                loss = model(*tensors, **documents, **kind) * share
                accelerator.backward(loss)
            total += loss.detach()
    limit = options.clip_norm or math.inf
    norm = accelerator.clip_grad_norm_(model.parameters(), limit)
    optimizer.step()
    optimizer.zero_grad()
    return accelerator.reduce(total, "mean"), norm


def _gather(accelerator: Accelerator, prepared: nn.Module, model: PreTrainedModel) -> None:
    """Give the main process the whole weights, where they were shared out."""
    if accelerator.distributed_type != DistributedType.FSDP:
        return
    weights = accelerator.get_state_dict(prepared)
    if not accelerator.is_main_process:
        return
    # A sharded module does not take whole weights as a state; so they take the places of the shards one by one.
    for name, value in weights.items():
        owner, _, key = name.removeprefix("model.").rpartition(".")
        module = model.get_submodule(owner)
        if key in module._parameters:
            shard = module._parameters[key]
            trained = shard is not None and shard.requires_grad
            module._parameters[key] = nn.Parameter(value, requires_grad=trained)
        else:
            module._buffers[key] = value
    model.tie_weights()


def _save(accelerator: Accelerator, state: Path, reached: Mapping[str, float]) -> None:
    accelerator.wait_for_everyone()
    target = checkpoints.place(state, int(reached["step"]))
    partial = state / f".partial-{reached['step']:08d}"
    try:
        with room_for(target):
            accelerator.save_state(str(partial))
    except UserError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (partial / "progress.json").write_text(json.dumps(reached))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        checkpoints.rotate(state)


def _resume(accelerator: Accelerator, state: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Load the newest sound checkpoint of this training; return its step, its loss and the tokens trained so far."""
    if accelerator.is_main_process:
        claim_state(state, identity)
    accelerator.wait_for_everyone()

    def load(checkpoint: Path) -> dict[str, Any]:
        reached: dict[str, Any] = json.loads((checkpoint / "progress.json").read_text())
        accelerator.load_state(str(checkpoint))
        return reached

    return checkpoints.newest(state, load, accelerator.print) or {"step": 0, "loss": math.nan, "tokens": 0}
