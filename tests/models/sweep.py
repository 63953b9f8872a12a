"""What becomes of every causal family of the installed transformers, tried on a tiny random model of each.

Read against the family's own rotary class, patched, written into the configuration in the field's own names and as
divisors, saved and loaded; logits of all agree. ``python tests/models/sweep.py`` writes docs/families.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from tiny import VOCABULARY, tiny_config, tiny_model
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ropewalk.errors import UserError
from ropewalk.models import binding, families
from ropewalk.models.pieces import reads_in_pieces
from ropewalk.models.rope_reading import is_nested, notes, read_rope, site, text_config, training_length
from ropewalk.models.rope_writing import write_rope
from ropewalk.rope import Rope, methods

PAGE = Path(__file__).parents[2] / "docs/families.md"
FAMILIES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
TOKENS, FACTOR = 160, 4.0
TOLERANCE, LAST_BITS = 1e-5, 3.0
"""Largest difference of a logit, relative to the largest logit; or what so many last bits of all frequencies move."""


@dataclass(frozen=True)
class Outcome:
    """What became of a family: ``supported``, ``read`` (its rope is read, and no more was tried), or ``refused``."""

    status: str
    note: str = ""
    maps: bool = False
    """whether its attention takes a map of positions"""


def tried(family: str) -> Outcome:
    """Try all that is done with a family.

    Raises:
        AssertionError: something that is claimed does not hold.
    """
    try:
        config = tiny_config(family)
    except (ValueError, TypeError, StrictDataclassError) as error:
        try:
            read_rope(CONFIG_MAPPING[family]())
        except UserError as reason:
            return Outcome("refused", str(reason))
        except StrictDataclassError:
            pass
        return Outcome("not tried", f"no tiny configuration is known here ({_first_words(error)})")
    try:
        rope = read_rope(config)
        said = [note for note in notes(config) if not note.startswith("training length")]
    except UserError as error:
        return Outcome("refused", str(error))
    if text_config(config) is not config:
        return Outcome("read", f"as {text_config(config).model_type}, its text model")
    try:
        model = tiny_model(config)
    except (AssertionError, ImportError, ValueError) as error:
        return Outcome("read", f"no tiny model is known here ({_first_words(error)})")
    check_reading(model, config, rope)
    check_global_layers(family, config)
    try:
        check_binding(model, config)
    except UserError as error:
        return Outcome("read", str(error))
    if not reads_in_pieces(model):
        said.append("a text is read at once: in pieces its layers lose their state")
    return Outcome("supported", "; ".join(said).replace("48 tokens", "their window"), takes_maps(model, config))


def _first_words(error: Exception) -> str:
    return " ".join(str(error).split())[:90]


def check_reading(model: Any, config: Any, rope: Rope) -> None:
    """The table that was read is the one in the family's own rotary modules."""
    kind = site(config).kind
    for module in _rotary(model):
        name = f"{kind}_inv_freq" if kind else "inv_freq"
        if hasattr(module, name):
            found = getattr(module, name).double().numpy()
            np.testing.assert_allclose(rope.at(1).inv_freq, found, rtol=2e-6, err_msg=config.model_type)
            factor = getattr(module, f"{kind}_attention_scaling" if kind else "attention_scaling", 1.0)
            np.testing.assert_allclose(rope.attention_factor, factor, rtol=1e-6, err_msg=config.model_type)


def _rotary(model: Any) -> list[Any]:
    try:
        return binding.rotary_modules(model)
    except UserError:
        return []


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    """Logits of one text beyond the training length, shape (1, tokens, vocabulary)."""
    tokens = torch.randint(3, VOCABULARY, (1, TOKENS), generator=torch.Generator().manual_seed(1))
    return model(tokens, use_cache=False).logits


def lengthened(config: Any) -> Iterator[Rope]:
    """Ropes made for a model: one that the field has a name for, one that it has none for, and one for local layers."""
    yield (yarn := methods.yarn(_table(config, "global"), factor=FACTOR, beta_fast=4.0))
    yield methods.resonance(yarn)
    windows = any("sliding" in kind for kind in getattr(config, "layer_types", None) or ())
    if is_nested(config) and windows:
        yield replace(methods.yarn(_table(config, "local"), factor=FACTOR, beta_fast=4.0), layers="local")


def _table(config: Any, layers: str) -> Rope:
    own = site(config, layers)
    table = methods.default_rope(own.rotary_dim, own.base, training_length(config, layers)[0])
    if own.parameters.get("rope_type") == "proportional":
        table = methods.p_rope(table, p=own.parameters.get("partial_rotary_factor", 1.0))
    return table


def check_global_layers(family: str, config: Any) -> None:
    """What is said of how far rotated layers look holds, seen on a model of global layers alone."""
    types = list(dict.fromkeys(getattr(config, "layer_types", None) or ()))
    narrow = [kind for kind in types if "sliding" in kind or "chunked" in kind]
    wide = [kind for kind in types if "full" in kind]
    if not narrow or not wide or is_nested(config):
        return
    count = len(config.layer_types)
    alone = tiny_config(family, layer_types=[wide[0]] * count)
    if getattr(alone, "no_rope_layers", None):
        alone.no_rope_layers = [int(kind != wide[0]) for kind in alone.layer_types]
    try:
        binding.patch(tiny_model(alone), next(lengthened(alone)))
        follows = True
    except UserError:
        follows = False
    claimed = families.reach(config) is None
    assert follows == claimed, f"{family}: global layers {'rotate' if follows else 'do not rotate'}"


def check_binding(model: Any, config: Any) -> None:
    """A patched model, its two written configurations, and what is loaded of them give the same logits."""
    weights = model.state_dict()
    for rope, native in ((rope, native) for rope in lengthened(config) for native in (True, False)):
        binding.patch(model, replace(rope, inv_freq=rope.inv_freq * (1 + np.finfo(np.float32).eps)))
        nudged = logits(model)
        binding.patch(model, rope)
        patched = logits(model)
        # Some families amplify the last bit of a frequency more than others.
        tolerance = max(TOLERANCE, LAST_BITS * _difference(nudged, patched))
        written = deepcopy(config)
        kind = write_rope(written, rope, int(FACTOR * rope.original_length), native=native)
        other = AutoModelForCausalLM.from_config(written, dtype=torch.float32).eval()
        other.load_state_dict(weights)
        _agree(logits(other), patched, tolerance, f"{config.model_type}: written as {kind}")
    with tempfile.TemporaryDirectory() as folder:
        other.save_pretrained(folder)
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    _agree(logits(loaded), patched, tolerance, f"{config.model_type}: saved and loaded")


def takes_maps(model: Any, config: Any) -> bool:
    """Whether a map of positions can be bound; where it can, that of no window is position interpolation."""
    table = _table(config, "global")
    try:
        binding.patch(model, methods.leaky_rerope(table, window=0, group=FACTOR))
    except UserError:
        binding.patch(model, table)
        return False
    mapped = logits(model)
    binding.patch(model, methods.pi(table, factor=FACTOR))
    _agree(mapped, logits(model), 1e-3, f"{config.model_type}: mapped")
    binding.patch(model, table)
    own = _difference(logits(model), mapped)
    assert own > 1e-2, f"{config.model_type}: a map moves logits by {own:.3g} of the largest alone"
    return True


def _agree(found: torch.Tensor, wanted: torch.Tensor, tolerance: float, what: str) -> None:
    difference = _difference(found, wanted)
    assert difference <= tolerance, f"{what}, a logit differs by {difference:.3g} of the largest"


def _difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def page(outcomes: dict[str, Outcome]) -> str:
    """docs/families.md."""
    counts = {status: sum(o.status == status for o in outcomes.values()) for status in _TITLES}
    lines = [
        "# Families of models",
        "",
        f"Every causal family of transformers {transformers.__version__}, tried on a tiny random model of each: the "
        "rope is read and compared with the family's own rotary class, bound, proved to move logits, written into the "
        "configuration in the field's own names and as divisors, saved and loaded; logits of all of them agree. Layers "
        "with windows that have a rope of their own are tried with one too. Made by `python tests/models/sweep.py`.",
        "",
        ", ".join(f"{count} {_TITLES[status]}" for status, count in counts.items() if count) + ".",
    ]
    for status, title in _TITLES.items():
        rows = {family: o.note for family, o in outcomes.items() if o.status == status}
        if not rows:
            continue
        lines += ["", f"## {title[0].upper()}{title[1:]}", ""]
        plain = [family for family, note in rows.items() if not note]
        if plain:
            lines += [", ".join(f"`{family}`" for family in plain) + ".", ""]
        noted = {family: note for family, note in rows.items() if note}
        mapped = [family for family, o in outcomes.items() if o.status == status and o.maps]
        if mapped:
            names = ", ".join(f"`{family}`" for family in mapped)
            lines += [f"Their attention takes maps of positions too (Self-Extend and others): {names}.", ""]
        if status == "refused" and noted:
            without = [family for family, note in noted.items() if "has no rotary position embedding" in note]
            lines += ["Without a rotary embedding: " + ", ".join(f"`{family}`" for family in without) + ".", ""]
            noted = {family: note for family, note in noted.items() if family not in without}
        if noted:
            lines += ["| family | |", "| --- | --- |", *(f"| `{name}` | {note} |" for name, note in noted.items())]
    return "\n".join(lines).rstrip() + "\n"


_TITLES = {
    "supported": "supported",
    "read": "read only",
    "refused": "refused",
    "not tried": "not tried",
}


def main() -> None:
    outcomes = {}
    for family in FAMILIES:
        outcomes[family] = tried(family)
        print(family, outcomes[family].status, outcomes[family].note, file=sys.stderr)
    PAGE.write_text(page(outcomes))


if __name__ == "__main__":
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    torch.set_num_threads(1)
    main()
