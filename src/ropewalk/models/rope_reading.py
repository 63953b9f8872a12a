"""The rope of a model, read from its configuration. Nothing here needs torch or weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ropewalk.errors import UserError
from ropewalk.models import families
from ropewalk.rope import Rope
from ropewalk.rope.bases import default_rope, dynamic_ntk, ntk, pi
from ropewalk.rope.pairs import longrope, p_rope
from ropewalk.rope.ramps import llama3, yarn
from ropewalk.rope.rope import GLOBAL, as_integer, as_number

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_ORIGINAL, _GREATEST = "original_max_position_embeddings", "max_position_embeddings"

TABLE_KEYS = {"rope_theta", "partial_rotary_factor", "mrope_section", "mrope_interleaved"}
"""Keys of rope parameters that describe the table itself or how positions reach it, whatever the rope."""
SCALING_KEYS = {
    *("rope_type", "type", "factor", "attention_factor", "mscale", "beta_fast", "beta_slow", "truncate", "alpha"),
    *("low_freq_factor", "high_freq_factor", "short_factor", "long_factor", "short_mscale", "long_mscale"),
    *(_ORIGINAL, _GREATEST),
}
"""Keys of rope parameters that describe how the table was lengthened."""
OWN_KEYS = {"mscale_all_dim", "llama_4_scaling_beta"}
"""Keys that families read from there and that scale their attention beside the rope; they are kept as they are."""


@dataclass(frozen=True)
class Site:
    """One place of a model that takes a rope.

    Attributes:
        kind: the type of layers, as the rope parameters call it; empty where all layers share one rope.
        layers: ``global`` or ``local``, what layers of that type are.
        parameters: rope parameters of the configuration, without nulls.
        rotary_dim: rotated dimensions of a head there.
    """

    kind: str
    layers: str
    parameters: Mapping[str, Any]
    rotary_dim: int

    @property
    def base(self) -> float:
        """The base of the table."""
        return float(self.parameters["rope_theta"])


def text_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The configuration of the text model, inside that of a model which also sees or hears."""
    return config.get_text_config(decoder=True)


def text_key(config: PreTrainedConfig) -> str | None:
    """The key under which a configuration holds that of its text model; None where it is one itself."""
    text = text_config(config)
    return None if text is config else next(name for name, value in vars(config).items() if value is text)


def site(config: PreTrainedConfig, layers: str = GLOBAL) -> Site:
    """Where a rope for ``global`` or ``local`` layers goes; one for ``all`` goes to the global ones first.

    Raises:
        UserError: the model rotates nothing, or has no rope of their own for those layers.
    """
    config = text_config(config)
    family, parameters = config.model_type, _parameters(config)
    nested = is_nested(config)
    if layers == "local" and not nested:
        raise UserError(f"the rope is for local layers; model type {family!r} has one rope for all layers.")
    kind = families.labels(config)[layers == "local"] if nested else ""
    if nested and kind in parameters and parameters[kind] is None:
        raise UserError(f"the {kind} layers of model type {family!r} do not rotate; only others take a rope.")
    if nested and not isinstance(parameters.get(kind), Mapping):
        raise UserError(
            f"model type {family!r} has rope parameters for {', '.join(parameters)}; "
            f"none of them is {kind!r}, which a rope for {layers} layers needs."
        )
    own = {key: value for key, value in (parameters[kind] if nested else parameters).items() if value is not None}
    if "rope_theta" not in own:
        raise UserError(f"model type {family!r}: rope_parameters name no rope_theta; expected the base of the table.")
    return Site(kind, "local" if layers == "local" else GLOBAL, own, _rotary_dim(config, kind, own))


def sites(config: PreTrainedConfig, rope: Rope) -> tuple[Site, ...]:
    """All places that take a rope.

    Raises:
        UserError: see :func:`site`.
    """
    if rope.layers != "all":
        return (site(config, rope.layers),)
    return (site(config), site(config, "local")) if is_nested(text_config(config)) else (site(config),)


def is_nested(config: PreTrainedConfig) -> bool:
    """Whether each type of layers has rope parameters of its own."""
    return any(isinstance(value, Mapping) for value in (getattr(config, "rope_parameters", None) or {}).values())


def _parameters(config: PreTrainedConfig) -> Mapping[str, Any]:
    family = config.model_type
    if family in families.OWN_TABLES:
        return {"rope_type": "default", "rope_theta": families.OWN_TABLES[family]}
    parameters = getattr(config, "rope_parameters", None)
    if not parameters:
        raise UserError(f"model type {family!r} has no rotary position embedding in its configuration.")
    if off := families.switched_off(config):
        raise UserError(f"this {family!r} model rotates nothing: {off}.")
    return dict(parameters)


def head_dim(config: PreTrainedConfig, kind: str = "") -> int:
    """Number of dimensions of a head, in layers of a type where they differ.

    Raises:
        UserError: the configuration does not say it.
    """
    layer = _layer(config, kind)
    if given := getattr(layer, "head_dim", None):
        return int(given)
    width, heads = getattr(layer, "hidden_size", None), getattr(layer, "num_attention_heads", None)
    if not width or not heads:
        raise UserError(f"model type {layer.model_type!r} does not say how many dimensions a head has.")
    return int(width) // int(heads)


def _layer(config: PreTrainedConfig, kind: str) -> PreTrainedConfig:
    """The configuration of layers of a type, in a model whose layers differ in size."""
    text: Any = text_config(config)
    if not getattr(text, "is_heterogeneous", False):
        return text
    kind = kind or families.labels(text)[0]
    return text.per_layer_config[kind if kind in text.layer_types else 0]


def _rotary_dim(config: PreTrainedConfig, kind: str, parameters: Mapping[str, Any]) -> int:
    layer, width = _layer(config, kind), head_dim(config, kind)
    # Latent attention rotates a part of each head that stands beside the rest of it.
    latent = getattr(layer, "qk_rope_head_dim", None)
    if latent:
        return int(latent)
    if layer.model_type in families.OWN_TABLES:
        return int(getattr(layer, "rotary_dim", None) or width)
    if parameters.get("rope_type") == "proportional":
        return width
    return int(width * parameters.get("partial_rotary_factor", 1.0))


def training_length(config: PreTrainedConfig, layers: str = GLOBAL) -> tuple[int, str]:
    """The length in tokens that the table was trained at, and the key that says so.

    Raises:
        UserError: no key does, or two contradict each other.
    """
    own, config = site(config, layers), text_config(config)
    greatest = getattr(config, _GREATEST, None)
    if own.parameters.get("rope_type") in ("yarn", "llama3", "longrope"):
        for place, value in (
            (_ORIGINAL, getattr(config, _ORIGINAL, None)),
            (f"rope_parameters.{_ORIGINAL}", own.parameters.get(_ORIGINAL)),
        ):
            if value:
                if greatest and value > greatest:
                    raise UserError(
                        f"{place} is {value} and {_GREATEST} is {greatest}: a model is not trained at more than it "
                        "takes; give the training length (--length)."
                    )
                return int(value), place
    if not greatest:
        raise UserError(f"model type {config.model_type!r} has no {_GREATEST}; give the training length (--length).")
    return int(greatest), _GREATEST


def read_rope(config: PreTrainedConfig, *, layers: str = GLOBAL, length: int | None = None) -> Rope:
    """The rope that a model's configuration describes.

    Args:
        config: of the model, or of one that has a text model inside.
        layers: ``global`` or ``local``, of which layers, where each type has a rope of its own; ``all`` is the global
            one, for all of them.
        length: training length in tokens, where the configuration does not say it or is wrong.

    Raises:
        UserError: the model rotates nothing, or the rope is not one that this project can compute.
    """
    own, text = site(config, layers), text_config(config)
    trained = training_length(config, layers)[0] if length is None else as_integer("length", length, at_least=1)
    rope = default_rope(own.rotary_dim, own.base, trained)
    given, kind = dict(own.parameters), own.parameters.get("rope_type", "default")

    def options(*names: str) -> dict[str, Any]:
        return {name: given[name] for name in names if name in given}

    def factor() -> float:
        if "factor" not in given and kind in ("yarn", "longrope") and getattr(text, _GREATEST, None):
            return max(1.0, text.max_position_embeddings / trained)
        if "factor" not in given:
            raise UserError(f"rope_parameters of type {kind!r} name no factor; expected a number of at least 1.")
        return as_number("rope_parameters.factor", given["factor"])

    match kind:
        case "default":
            pass
        case "linear":
            rope = pi(rope, factor=factor())
        case "proportional":
            rope = p_rope(rope, p=given.get("partial_rotary_factor", 1.0))
            rope = pi(rope, factor=factor()) if "factor" in given else rope
        case "dynamic" if "alpha" in given and text.model_type in families.NTK_ALPHA:
            rope = ntk(rope, factor=as_number("rope_parameters.alpha", given["alpha"]))
        case "dynamic":
            rope = dynamic_ntk(rope, factor=factor())
        case "yarn":
            stretch = factor()
            wanted = options("beta_fast", "beta_slow", "attention_factor")
            # transformers looks for this one beside the types of layers, where none of them puts it.
            wanted |= {} if own.kind else options("truncate")
            if "attention_factor" not in wanted and given.get("mscale") and given.get("mscale_all_dim"):
                wanted["attention_factor"] = _mscale(stretch, given["mscale"]) / _mscale(
                    stretch, given["mscale_all_dim"]
                )
            rope = yarn(rope, factor=stretch, **wanted)
        case "llama3":
            rope = llama3(rope, factor=factor(), **options("low_freq_factor", "high_freq_factor"))
        case "longrope":
            wanted = options("long_factor", "short_factor", "attention_factor")
            if text.model_type in families.REBUILT and "long_mscale" in given:
                wanted["attention_factor"] = given["long_mscale"]
            if "long_factor" not in wanted:
                raise UserError("rope_parameters of type 'longrope' name no long_factor; expected a list of divisors.")
            rope = longrope(rope, factor=factor(), **wanted)
        case _:
            raise UserError(f"model type {text.model_type!r}: rope type {kind!r} is not supported.")
    return replace(rope, layers=layers) if layers != GLOBAL else rope


def _mscale(factor: float, weight: float) -> float:
    """YaRN's temperature with a weight, as DeepSeek has it."""
    return 1.0 if factor <= 1 else 0.1 * float(weight) * math.log(factor) + 1.0


def length_note(length: int, key: str) -> str:
    """Which training length was taken, and which key says so."""
    return f"training length {length:,} tokens, from {key}"


def notes(config: PreTrainedConfig, *, layers: str = GLOBAL, length: int | None = None) -> list[str]:
    """What a person should know about the rope of a model, one sentence each: never changed without a word."""
    own, text = site(config, layers), text_config(config)
    said = []
    if length is None:
        trained, key = training_length(config, layers)
        said.append(length_note(trained, key))
        stretch = own.parameters.get("factor")
        if own.parameters.get("rope_type") == "linear" and stretch:
            said.append(
                f"a linear rope by {stretch:g} does not say whether {_GREATEST} is before or after it: the training "
                f"length may be {round(trained / stretch):,} (--length says so)"
            )
    window = families.reach(text)
    if window is not None and layers != "local":
        said.append(
            f"no rotated layer looks further than {window:,} tokens, so that a longer rope changes nothing here"
        )
    if "mrope_section" in own.parameters:
        said.append("a rope over several axes, which are equal for text: read as an ordinary one")
    for key in sorted(OWN_KEYS):
        if own.parameters.get(key):
            said.append(f"{key} scales attention beside the rope, and is kept as it is")
    unknown = sorted(set(own.parameters) - TABLE_KEYS - SCALING_KEYS - OWN_KEYS)
    if unknown:
        said.append(f"unknown in rope_parameters, kept and not used: {', '.join(unknown)}")
    return said
