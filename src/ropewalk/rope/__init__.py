"""Rotary position embeddings as numbers: tables, the methods that lengthen them, theory and diagnostics.

Everything here is NumPy in float64. A :class:`Rope` is a frozen value; a method is a pure function from Rope to Rope,
so methods compose: ``resonance(yarn(default_rope(128, 10000.0, 4096), factor=8))``.
"""

from __future__ import annotations

from ropewalk.rope.bases import default_rope
from ropewalk.rope.methods import METHODS, apply
from ropewalk.rope.rope import Rope, Step
from ropewalk.rope.tables import angles, cos_sin

__all__ = ["METHODS", "Rope", "Step", "angles", "apply", "cos_sin", "default_rope"]
