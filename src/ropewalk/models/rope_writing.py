"""A rope written into a model's configuration. Nothing here needs torch or weights.

Where transformers has a name for what was done, it is written so: ``yarn``, ``linear``, ``dynamic``, ``llama3``, two
tables as ``longrope``, another base as another base. Every engine reads those. Anything else is ``longrope`` with equal
factors, one divisor a pair, which is static: no engine switches tables in the middle of a text. A native form is
written only if reading it gives the same table back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from ropewalk.errors import UserError
from ropewalk.models import families
from ropewalk.models.rope_reading import SCALING_KEYS, Site, read_rope, sites, text_config
from ropewalk.rope import Rope
from ropewalk.rope.rope import FloatArray, inverse_frequencies

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# A pair that is not rotated has no finite divisor; this one turns it by a millionth of a radian in a million tokens.
UNROTATED_FACTOR = 1e12

_ORIGINAL = "original_max_position_embeddings"
# Two tables whose factors differ by less than this are one: an engine computes them in float32.
_SAME = 1e-9


def check_fits(config: PreTrainedConfig, rope: Rope) -> None:
    """Raise ``UserError`` where a rope was made for another model, or for other layers."""
    for place in sites(config, rope):
        if rope.rotary_dim != place.rotary_dim:
            raise UserError(
                f"the rope rotates {rope.rotary_dim} dimensions of a head; this model rotates {place.rotary_dim}."
            )
        if not math.isclose(rope.base, place.base, rel_tol=1e-6):
            what = "the local layers of this model have" if place.layers == "local" else "this model has"
            raise UserError(f"the rope was made from base {rope.base:g}; {what} base {place.base:g}.")


def divisors(rope: Rope) -> FloatArray:
    """What each original frequency is divided by, shape (pairs,); finite for pairs that do not rotate."""
    return np.where(rope.inv_freq > 0, rope.factors, UNROTATED_FACTOR)


def follows_length(rope: Rope) -> bool:
    """Whether the table follows the length further than one switch at the original one."""
    return any(step.method == "dynamic_ntk" for step in rope.steps)


def two_tables(rope: Rope) -> tuple[FloatArray, FloatArray]:
    """Divisors up to the original length and beyond it, each of shape (pairs,); the same for a static rope."""
    return divisors(rope.at(rope.original_length)), divisors(rope.at(rope.original_length + 1))


def common_base(rope: Rope) -> float | None:
    """The base b' where all pairs turn by b'^(-2i/d), as after NTK-aware scaling; None where they do not."""
    slowest = rope.pairs - 1
    if not rope.static or slowest == 0 or rope.inv_freq[slowest] <= 0:
        return None
    base = float(rope.inv_freq[slowest] ** (-rope.rotary_dim / (2 * slowest)))
    if base <= 1 or not np.allclose(inverse_frequencies(rope.rotary_dim, base), rope.inv_freq, rtol=_SAME, atol=0):
        return None
    return base


def write_rope(config: PreTrainedConfig, rope: Rope, length: int, *, native: bool = True) -> str:
    """Write a rope into a configuration, in place, and return the rope type that it got.

    ``short_mscale`` and ``long_mscale`` repeat the attention factor of ``longrope`` for vLLM and SGLang, which do not
    read ``attention_factor`` there. Keys of the family's own stay.

    Args:
        config: of the model that will use it, or of one that has a text model inside.
        rope: a rope without log-scaled attention.
        length: the context length in tokens that the model is to serve.
        native: take the field's own name for the rope where there is one.

    Raises:
        UserError: the rope was made for another model, or cannot be expressed in a configuration.
    """
    check_fits(config, rope)
    text = text_config(config)
    if text.model_type in families.OWN_TABLES:
        raise UserError(f"model type {text.model_type!r} has no rope parameters in its configuration to write to.")
    if rope.log_scaling_length is not None:
        raise UserError("log-scaled attention cannot be written into a configuration; no engine reads it there.")
    if rope.position_map is not None:
        raise UserError(
            f"a map of positions ({rope.position_map.kind}) cannot be written into a configuration; no engine reads it "
            "there. It can be bound to a loaded model; llama.cpp has flags for self_extend."
        )
    for place in sites(config, rope):
        before = deepcopy(text.rope_parameters)
        for new in _forms(text, place, rope, length) if native else _divided(place, rope, length):
            _put(text, place, new, rope, length)
            if _reads_back(text, place, rope):
                break
            text.rope_parameters = deepcopy(before)
        else:
            raise UserError("a rope that changes with the length cannot be written into this configuration.")
    return str(new["rope_type"])


def written_configuration(config: PreTrainedConfig, rope: Rope, length: int) -> dict[str, Any]:
    """What a rope changes in the configuration of a text model, which is changed in place: keys of transformers 5.

    Raises:
        UserError: the rope was made for another model, or cannot be expressed in a configuration.
    """
    write_rope(config, rope, length)
    text = text_config(config)
    written = {
        "rope_parameters": text.rope_parameters,
        "max_position_embeddings": text.max_position_embeddings,
    }
    if getattr(text, "allow_global_per_layer_attribute_access", False):
        written["allow_global_per_layer_attribute_access"] = True
    if hasattr(type(text), _ORIGINAL):
        # Its class would put a default of its own in the place of a missing key, over the value beside the factors.
        written[_ORIGINAL] = rope.original_length
    return written


def _put(text: PreTrainedConfig, place: Site, new: dict[str, Any], rope: Rope, length: int) -> None:
    text.rope_parameters = {**text.rope_parameters, place.kind: new} if place.kind else new
    if getattr(text, "is_heterogeneous", False) and new["rope_type"] == "longrope":
        # transformers checks the number of divisors against one head dimension for all layers, and refuses to ask for
        # it where they differ, unless told that this is meant.
        text.allow_global_per_layer_attribute_access = True
    # A dynamic rope starts where this length ends.
    text.max_position_embeddings = rope.original_length if new["rope_type"] == "dynamic" else length
    if getattr(text, _ORIGINAL, None):
        setattr(text, _ORIGINAL, rope.original_length)


def _reads_back(text: PreTrainedConfig, place: Site, rope: Rope) -> bool:
    """Whether a configuration that was written gives the rope back, at lengths on both sides of the original one."""
    try:
        found = read_rope(text, layers=place.layers)
    except UserError:
        return False
    if found.original_length != rope.original_length and not (found.static and rope.static):
        return False
    lengths = [rope.original_length] if rope.static else [rope.original_length * n for n in (1, 2, 3)]
    return all(_equal(found.at(length), rope.at(length)) for length in lengths)


def _equal(a: Rope, b: Rope) -> bool:
    factor = math.isclose(a.attention_factor, b.attention_factor, rel_tol=_SAME)
    # Stopped pairs are written with a divisor so large that they stand still.
    return factor and np.allclose(a.inv_freq, b.inv_freq, rtol=_SAME, atol=2 / UNROTATED_FACTOR)


def _forms(text: PreTrainedConfig, place: Site, rope: Rope, length: int) -> Iterator[dict[str, Any]]:
    """Rope parameters that may express a rope, the most native first."""
    kept = _kept(place)
    for native in _native(rope, kept):
        # Such a family scales its attention by the factor, beside the rope.
        moves = "mscale_all_dim" in kept and native.get("factor") != place.parameters.get("factor")
        if not moves and native["rope_type"] not in families.refused_types(text):
            yield native
    yield from _divided(place, rope, length)


def _kept(place: Site) -> dict[str, Any]:
    """What a family keeps in its rope parameters and no rope changes."""
    kept = {key: value for key, value in place.parameters.items() if key not in SCALING_KEYS}
    if place.parameters.get("rope_type", "default") == "default":
        kept.pop("mscale_all_dim", None)  # without effect until now
    return kept


def _native(rope: Rope, kept: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The field's own names for what the steps of a rope say; whether they hold is for the reader to find."""
    original = {_ORIGINAL: rope.original_length}
    if not rope.changes:
        yield kept | {"rope_type": "default"}
    if len(rope.changes) == 1:
        method, params = rope.changes[0].method, dict(rope.changes[0].params)
        match method:
            case "pi":
                yield kept | {"rope_type": "linear", "factor": params["factor"]}
            case "dynamic_ntk":
                yield kept | {"rope_type": "dynamic", "factor": params["factor"]}
            case "yarn":
                own = {name: params[name] for name in ("factor", "beta_fast", "beta_slow")}
                factor = {"attention_factor": float(rope.attention_factor)}
                form = kept | {"rope_type": "yarn", **own, **factor, **original}
                yield form if params["truncate"] else form | {"truncate": False}
            case "llama3":
                yield kept | {"rope_type": "llama3", **params, **original}
    base = common_base(rope)
    if base is not None and rope.attention_factor == 1.0:
        yield kept | {"rope_type": "default", "rope_theta": base}


def _divided(place: Site, rope: Rope, length: int) -> Iterator[dict[str, Any]]:
    """``longrope`` with a divisor for each pair; nothing where the table follows the length further than one switch."""
    if follows_length(rope):
        return
    short, long = (table.tolist() for table in two_tables(rope))
    kept = _kept(place)
    if place.parameters.get("rope_type") == "proportional":
        # All pairs are in the divisors, those that stand still among them.
        kept.pop("partial_rotary_factor", None)
    stretch = max(1.0, length / rope.original_length)
    if "mscale_all_dim" in kept:
        stretch = place.parameters.get("factor", stretch)
    yield kept | {
        "rope_type": "longrope",
        "factor": stretch,
        _ORIGINAL: rope.original_length,
        "short_factor": short,
        "long_factor": long,
        **dict.fromkeys(("attention_factor", "short_mscale", "long_mscale"), float(rope.attention_factor)),
    }
