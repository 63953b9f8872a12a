"""Give a loaded model what an engine may apply, right or wrong, and read the log-probabilities of a prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from ropewalk.doctor.faults import Applied, Intended, stretch
from ropewalk.doctor.probes import LogProbs
from ropewalk.errors import UserError
from ropewalk.models import binding
from ropewalk.models.heads import decoder
from ropewalk.models.rope_reading import text_config
from ropewalk.progress import Progress
from ropewalk.rope import Rope

_PRODUCTS = {torch.Tensor.__mul__, torch.Tensor.mul, torch.mul, torch.Tensor.__matmul__, torch.Tensor.matmul}
_PRODUCTS |= {torch.matmul, torch.outer, torch.Tensor.outer}


def intended(model: PreTrainedModel, rope: Rope) -> Intended:
    """What an engine should apply that runs a model with a rope, up to the length that the rope is made for.

    Raises:
        UserError: the configuration does not say how many tokens the model takes.
    """
    longest = getattr(text_config(model.config), "max_position_embeddings", None)
    if not longest:
        raise UserError(f"model type {model.config.model_type!r} does not say max_position_embeddings.")
    latent = _latent(model)
    reach = max(int(longest), round(stretch(rope) * rope.original_length))
    return Intended(rope, reach, latent[0].scaling * math.sqrt(latent[0].qk_head_dim) if latent else 1.0)


def read(
    model: PreTrainedModel,
    meant: Intended,
    candidates: Mapping[str, Callable[[int], Applied]],
    prompts: Sequence[Sequence[int]],
    progress: Progress,
) -> dict[str, list[LogProbs]]:
    """The log-probabilities of prompts by each candidate, one array a prompt.

    Args:
        model: is left with the right rope.
        meant: of this model.
        candidates: what may be applied to a text of so many tokens.
        prompts: token ids.
        progress: is told of each answer.
    """
    found: dict[str, list[LogProbs]] = {name: [] for name in candidates}
    for name, candidate in candidates.items():
        for tokens in prompts:
            with applying(model, meant, candidate(len(tokens))):
                found[name].append(log_probs(model, tokens))
            progress.advance()
    return found


@contextmanager
def applying(model: PreTrainedModel, meant: Intended, applied: Applied) -> Iterator[None]:
    """Apply something to a model within the block; its rope stays bound until the next one is."""
    binding.patch(model, applied.rope)
    modules, latent = binding.rotary_modules(model), _latent(model)
    scales = [module.scaling for module in latent]
    for module, scale in zip(latent, scales, strict=True):
        module.scaling = scale * applied.softmax_factor / meant.softmax_factor
    forwards = [module.forward for module in modules]
    if applied.bfloat16_angles:
        for module in modules:
            module.forward = _rounding(module.forward)
    try:
        yield
    finally:
        for module, scale in zip(latent, scales, strict=True):
            module.scaling = scale
        for module, forward in zip(modules, forwards, strict=True):
            module.forward = forward


@torch.inference_mode()
def log_probs(model: PreTrainedModel, tokens: Sequence[int]) -> LogProbs:
    """The log-probabilities that a model as it is gives to a prompt.

    Raises:
        UserError: its vocabulary has no such token, or what it gives is not a number.
    """
    known = text_config(model.config).vocab_size
    if max(tokens) >= known:
        raise UserError(f"the prompt has token {max(tokens)}, and this model {known} tokens: it is another model.")
    ids = torch.tensor(tokens, device=model.device)
    logits = model(ids[None], use_cache=False).logits[0, :-1]
    found = torch.cat(
        [
            part.double().log_softmax(-1).gather(-1, wanted[:, None])[:, 0]
            for part, wanted in zip(logits.split(512), ids[1:].split(512), strict=True)
        ]
    )
    if not found.isfinite().all():
        raise UserError("the model gives log-probabilities that are not numbers.")
    return found.cpu().numpy()


def _latent(model: PreTrainedModel) -> list[Any]:
    """Modules of latent attention, which scale their logits beside the rope."""
    return [m for m in decoder(model).modules() if hasattr(m, "scaling") and hasattr(m, "qk_head_dim")]


def _rounding(forward: Callable[..., Any]) -> Callable[..., Any]:
    def rounded(*args: Any, **kwargs: Any) -> Any:
        with _BFloat16Products():
            return forward(*args, **kwargs)

    return rounded


class _BFloat16Products(TorchFunctionMode):
    """Products of two tensors as bfloat16 gives them. In a rotary module those are the angles."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        two = len(args) == 2 and all(isinstance(value, torch.Tensor) for value in args)
        if function in _PRODUCTS and two:
            return _rounded(function(*map(_rounded, args), **(kwargs or {})))
        return function(*args, **(kwargs or {}))


def _rounded(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.bfloat16).to(values.dtype)
