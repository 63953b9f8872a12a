"""Low-rank adapters (Hu et al., LoRA, arXiv 2106.09685) on the projections of a model, and back into its weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from ropewalk.errors import UserError
from ropewalk.training.options import AdapterOptions


def add_adapters(model: PreTrainedModel, options: AdapterOptions, seed: int) -> Any:
    """Put adapters into a model, in place; only they are trainable then.

    Returns:
        What :func:`merge` needs.

    Raises:
        UserError: the model has no layers of these names, or the package ``peft`` is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UserError("LoRA needs the package peft; install it, or train all weights.") from None
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=list(options.targets))  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:
            raise UserError(f"LoRA targets {', '.join(options.targets)}: {str(error).split('.')[0]}.") from None
    for wanted in options.train_whole:
        whole = [p for name, p in model.named_parameters() if wanted in name and "lora_" not in name]
        if not whole:
            raise UserError(f"LoRA: no parameter's name contains {wanted!r}, which was to be trained whole.")
        for parameter in whole:
            parameter.requires_grad_(True)
    return adapted


def merge(adapted: Any) -> PreTrainedModel:
    """The model with its adapters in its weights: an ordinary checkpoint, which every engine reads."""
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged
