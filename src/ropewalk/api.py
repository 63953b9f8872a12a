"""What a program calls: lengthen a loaded model, read a text with it, and what the laws predict.

>>> import ropewalk
>>> from transformers import LlamaConfig, LlamaForCausalLM
>>> sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=64)
>>> model = LlamaForCausalLM(LlamaConfig(max_position_embeddings=128, **sizes)).eval()
>>> model = ropewalk.extend(model, "yarn", factor=4)
>>> model.config.max_position_embeddings, model.config.rope_parameters["rope_type"]
(512, 'yarn')
>>> ropewalk.read(model, range(64)).shape
(63,)
>>> ropewalk.predict(model.config, length=2048)["critical_dimension"]
6
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ropewalk.errors import UserError
from ropewalk.models.rope_reading import read_rope
from ropewalk.rope import Rope, apply
from ropewalk.rope.prediction import Setting
from ropewalk.rope.prediction import predict as _predict

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel


def own_rope(model: PreTrainedModel | PreTrainedConfig, *, length: int | None = None) -> Rope:
    """The rope that a model has by its configuration.

    Args:
        model: a model, or its configuration.
        length: training length in tokens, where the configuration does not say it.

    Raises:
        UserError: it has none, or one that is not known.
    """
    config: Any = getattr(model, "config", model)
    return read_rope(config, length=length)


def extend(
    model: PreTrainedModel, rope: str | Rope, *, length: int | None = None, **parameters: Any
) -> PreTrainedModel:
    """Give a loaded model a longer rope: its buffers now, its configuration for `save_pretrained`.

    It is proved on a few tokens that the logits follow the new rope. The configuration is as it was where an
    error is raised.

    Args:
        model: a causal language model of transformers; is changed, and returned.
        rope: name of a method, as ``yarn``, ``mrrope_pro`` or ``ntk`` (see ``ropewalk.METHODS``), or a rope that was
            made for this model.
        length: context length in tokens that the configuration announces; the factor times the training length where
            None.
        parameters: of the method, as ``factor=4``.

    Raises:
        UserError: the method or its parameters are wrong, the model was lengthened before, or it cannot take the rope.
    """
    from ropewalk.export.target import target_length
    from ropewalk.models.binding import patch
    from ropewalk.models.rope_writing import write_rope

    if isinstance(rope, str):
        own = own_rope(model)
        if own.lengthened_by:
            made = " and ".join(own.lengthened_by)
            raise UserError(f"this model carries a rope made by {made}; methods lengthen an original one.")
        rope = apply(own, rope.replace("-", "_"), **parameters)
    elif parameters:
        raise UserError(f"{', '.join(parameters)}: a rope that is made already takes no parameters of a method.")
    announced = target_length(rope, length)
    write_rope(deepcopy(model.config), rope, announced)  # whether it can be
    patch(model, rope)
    write_rope(model.config, rope, announced)
    return model


def read(
    model: PreTrainedModel, tokens: Sequence[int] | NDArray[Any] | torch.Tensor, *, chunk: int | None = None
) -> NDArray[np.float32]:
    """The negative log-likelihood of each token of a text given all before it, from one causal pass.

    Args:
        model: a causal language model of transformers.
        tokens: token ids, shape (length,).
        chunk: tokens whose logits exist at a time, 1,024 where None; memory, not the result, depends on it.

    Returns:
        Nats, shape (length - 1,): entry i is about token i + 1.

    Raises:
        UserError: the tokens are no vector of at least two, or memory ran out.
    """
    from ropewalk.reading.nll import DEFAULT_CHUNK, token_nll

    ids = np.asarray(tokens.cpu() if hasattr(tokens, "cpu") else list(tokens))
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise UserError(f"tokens have shape {ids.shape} and type {ids.dtype}; expected a vector of whole numbers.")
    return token_nll(model, ids, chunk=DEFAULT_CHUNK if chunk is None else chunk)


def predict(
    model: PreTrainedModel | PreTrainedConfig,
    *,
    length: int | None = None,
    tune_length: int | None = None,
    new_base: float | None = None,
) -> dict[str, Any]:
    """What the published laws say of a model, as `ropewalk predict` prints it; lengths in tokens.

    Args:
        model: a model, or its configuration.
        length: a wanted length, for the bases that reach it.
        tune_length: length of a tuning; that of training where None.
        new_base: base of a tuning; the old one where None.

    Returns:
        Among others ``critical_dimension``, ``limit`` (None where the law names none) and ``target``.

    Raises:
        UserError: a length or the base cannot be what it is.
    """
    own = own_rope(model)
    setting = Setting.of(own.rotary_dim, own.base, own.original_length, tune_length, new_base)
    return _predict(setting, length)
