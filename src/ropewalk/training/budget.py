"""What a fine-tuning will cost, before anything is spent: memory a GPU, tokens a second, hours.

FLOPs of a forward pass over a sequence of S tokens are 2 N S for N weights in products, and 2 L d S² for causal
attention in L layers of d query dimensions; a backward pass is twice that. Memory follows the tensors that training
keeps: 16 bytes a trained weight (weight, gradient and two moments in float32), the activations, and the logits. Where
weights are shared out (FSDP2), a process also holds whole layers for a while, see :func:`gathered`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ropewalk.errors import UserError
from ropewalk.models.flops import forward_flops
from ropewalk.models.rope_reading import text_config
from ropewalk.training.loop import count_parameters
from ropewalk.training.lora import add_adapters
from ropewalk.training.loss import LOGIT_BYTES
from ropewalk.training.options import Layout, TuningOptions

GIB = 2**30
FITS = 0.92
"""Share of a GPU's memory that a training may be told to take: the rest goes to fragments, kernels and CUDA itself."""
STATE_BYTES = 16
"""Of a trained weight: itself, its gradient and Adam's two moments, in float32."""


@dataclass(frozen=True)
class Budget:
    """What a training costs.

    Attributes:
        parameters: all weights.
        trainable: trained weights.
        tokens: trained tokens.
        sequence_flops: of one sequence, forward and backward, with what is computed twice.
        tokens_per_second: of all GPUs together.
        hours: of the whole training.
        memory: bytes a GPU by what takes them.
    """

    parameters: int
    trainable: int
    tokens: int
    sequence_flops: float
    tokens_per_second: float
    hours: float
    memory: dict[str, float]

    @property
    def gib(self) -> float:
        """GiB a GPU, of everything together."""
        return sum(self.memory.values()) / GIB

    def fits(self, gpu_memory: float) -> bool:
        """Whether GPUs of so many GiB are large enough."""
        return self.gib < FITS * gpu_memory

    def text(self, gpu_memory: float) -> str:
        """The budget as lines for a terminal; ``gpu_memory`` in GiB."""
        verdict = "fits" if self.fits(gpu_memory) else "does not fit"
        lines = [
            f"weights             {self.parameters:>16,}  ({self.trainable:,} trained)",
            f"tokens              {self.tokens:>16,}",
            f"FLOPs a sequence    {self.sequence_flops:>16.3g}",
            f"tokens a second     {self.tokens_per_second:>16,.0f}",
            f"hours               {self.hours:>16.2f}",
            "memory a GPU, GiB",
            *(f"  {name:<30} {size / GIB:>8.2f}" for name, size in self.memory.items()),
            f"  {'together':<30} {self.gib:>8.2f}  {verdict} into {gpu_memory:g} GiB",
        ]
        return "\n".join(lines)


def weight_groups(model: PreTrainedModel) -> list[tuple[int, int]]:
    """Weights, and trained weights, that FSDP2 gathers together: those outside of all layers, then those of each."""
    layers = [one for one in model.modules() if type(one).__name__ in (model._no_split_modules or ())]
    counted = [count_parameters(layer) for layer in layers]
    trained, every = count_parameters(model)
    outside = (every - sum(a for _, a in counted), trained - sum(t for t, _ in counted))
    return [outside, *((a, t) for t, a in counted)]


def gathered(groups: Sequence[tuple[int, int]], *, weight: int = 2, reduced: int = 4) -> float:
    """The most bytes of whole weights and gradients that a process holds at once where they are shared out.

    It is in the backward pass of a layer: the first group stays gathered, the layer's own weights are there and those
    of the next are being gathered, and gradients exist whole until they are summed over the processes, for which they
    are written once more. Or it is at the end, when the gradients of the first group are summed.

    Args:
        groups: weights and trained weights, the first those outside of all layers; see :func:`weight_groups`.
        weight: bytes of a gathered weight, and of its gradient.
        reduced: bytes of a gradient while it is summed.
    """
    (outside, trained), others = groups[0], groups[1:]
    largest = max((every for every, _ in others), default=0)
    most = max((some for _, some in others), default=0)
    in_a_layer = weight * (outside + 2 * largest + trained + most) + reduced * most
    return float(max(in_a_layer, (weight + reduced) * trained))


def budget(
    config: PreTrainedConfig,
    options: TuningOptions,
    *,
    gpus: int,
    layout: Layout,
    utilisation: float = 0.4,
    peak_flops: float = 989e12,
    fused_loss: bool = True,
) -> Budget:
    """What a training costs.

    Args:
        config: of the model; its weights are not needed.
        options: of the tuning.
        gpus: how many.
        layout: how the work is laid out.
        utilisation: share of the peak that is reached, what is computed twice included.
        peak_flops: of one GPU; 989e12 is that of an H100 in dense bfloat16.
        fused_loss: whether the loss is computed without logits.

    Raises:
        UserError: the batch cannot be cut evenly.
    """
    cut, length = layout.context_parallel, options.length
    if gpus % cut or options.sequences % (gpus // cut * options.accumulation):
        raise UserError(
            f"a batch of {options.batch_tokens} tokens in sequences of {length} cannot be cut into {gpus} GPUs in "
            f"groups of {cut} times {options.accumulation} micro-batches."
        )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        if options.lora:
            add_adapters(model, options.lora, 0)
    trainable, parameters = count_parameters(model)
    config = text_config(config)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    # Looking up an embedding multiplies nothing.
    multiplied = parameters if tied else parameters - model.get_input_embeddings().weight.numel()
    forward = forward_flops(config, multiplied, length)
    # Gradients of activations cost a forward pass, and so do those of weights, where these are trained.
    of_weights = 2.0 * min(trainable, multiplied) * length + (forward - 2.0 * multiplied * length)
    flops = 2 * forward + of_weights + (forward if layout.activation_checkpointing else 0.0)
    rate = gpus * peak_flops * utilisation / flops * length
    tokens = options.batch_tokens * options.steps
    here = options.batch_tokens / (gpus * options.accumulation)
    shards = gpus if layout.shard else 1
    layers, hidden = config.num_hidden_layers, config.hidden_size
    # The stream between layers is as wide as the weights: autocast leaves it in float32, shared weights are bfloat16.
    stream = 2.0 if layout.shard else 4.0
    # In the stream's type: two norms and their inputs. In bfloat16: queries, keys, values, attention; four tensors of
    # the feed-forward's width.
    layer = here * (4 * stream * hidden + 2 * (4 * hidden + 4 * config.intermediate_size))
    kept = {
        "layer inputs": stream * layers * here * hidden,
        "activations of one layer": layer,
    }
    logits = 4.0 * here * config.vocab_size
    memory = {
        "weights, gradients, moments": (STATE_BYTES * trainable + 4.0 * (parameters - trainable)) / shards,
        **(
            {"gathered weights, gradients": gathered(weight_groups(model))}
            if layout.shard
            else {"bfloat16 copies of weights": 2.0 * parameters}
        ),
        **(kept if layout.activation_checkpointing else {"activations": layers * layer}),
        "logits": 0.0 if fused_loss else min(logits, float(LOGIT_BYTES)) * 2,
    }
    return Budget(parameters, trainable, tokens, flops, rate, tokens / rate / 3600, memory)
