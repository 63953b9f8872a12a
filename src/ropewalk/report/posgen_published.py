"""What Resonance RoPE (arXiv 2403.00071) prints of PosGen."""

from __future__ import annotations

TASKS = {"recursive": "Recursive", "chain-of-thought": "Chain of thought", "semi-recursive": "Semi-recursive"}
PUBLISHED = {
    "RoPE": (65.29, 69.56, 17.96),
    "Resonance RoPE": (62.64, 75.25, 29.78),
    "YaRN": (95.93, 98.71, 33.70),
    "Resonance YaRN": (98.30, 99.58, 48.46),
}
"""Accuracy in percent beyond the training length, in the order of TASKS: table 1."""
PUBLISHED_VARIANCES = {
    "RoPE": (0.43, 0.33, 0.03),
    "Resonance RoPE": (0.15, 0.10, 0.07),
    "YaRN": (0.04, 0.00, 0.04),
    "Resonance YaRN": (0.00, 0.00, 0.03),
}
"""Variances over five seeds, what table 1 prints behind ±; the unit is not said."""
