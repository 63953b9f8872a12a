"""The default study."""

from __future__ import annotations

from typing import Any

from ropewalk.config.checking import check_config
from ropewalk.config.schema import Config

_POSGEN_YARN = {"method": "yarn_written", "beta": 2.0, "mixing": "wavelength"}

_SUBJECTS = [
    {"rope": "yarn"},
    {"rope": "resonance-yarn"},
    {"tuned": "embedded/yarn/long/seed-0"},
    {"tuned": "embedded/resonance-yarn/long/seed-0"},
]

DEFAULTS: dict[str, Any] = {
    "corpora": {
        "books": {"source": "package:books"},
        "government": {"source": "package:government"},
        "mathematics": {"source": "package:mathematics"},
    },
    "extension": {
        "ropes": [
            {"name": "none", "method": "default"},
            {"name": "pi", "method": "pi"},
            {"name": "ntk", "method": "ntk"},
            {"name": "ntk-critical", "method": "ntk_critical"},
            {"name": "ntk-critical-discrete", "method": "ntk_critical", "inverse": "discrete"},
            {"name": "abf-1e6", "method": "abf", "new_base": 1000000.0},
            {"name": "ntk-by-parts", "method": "ntk_by_parts"},
            {"name": "yarn", "method": "yarn"},
            {"name": "yarn-written", "method": "yarn_written"},
            {"name": "dynamic-ntk", "method": "dynamic_ntk", "factor": 2.0},
            {"name": "llama3", "method": "llama3"},
            {"name": "mrrope-uni", "method": "mrrope_uni"},
            {"name": "mrrope-pro", "method": "mrrope_pro"},
            {"name": "p-rope", "method": "p_rope", "p": 0.35},
            {"name": "log-scaling", "method": "log_scaling"},
            {"name": "resonance", "method": "default", "resonance": True},
            {"name": "resonance-yarn", "method": "yarn", "resonance": True},
        ]
    },
    "evaluation": {"copying": {"gaps": [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]}},
    "scaling": {
        "embedded": {
            "sweeps": [
                {"bases": ["beta3"], "log_scaling": True},
                {"bases": ["beta2", "beta1", 1000.0, "original", 100_000.0, 300_000.0, 1_000_000.0]},
                {"bases": ["beta3", 1_000_000.0], "seeds": [1, 2]},
                {"bases": ["original", 300_000.0], "length": 256},
                {"bases": ["beta3"], "steps": 500},
            ]
        }
    },
    "search": {
        "embedded": {
            "factors": [4.0, 8.0],
            "searches": [
                {"sampler": "gp", "space": "ramp"},
                {"sampler": "sobol", "space": "ramp"},
                {"sampler": "evolution", "space": "pairs"},
            ],
            "budget": 48,
            "corpora": ["government", "mathematics"],
            "retrieval": "copy",
        }
    },
    "finetune": {
        "embedded": {
            "ropes": ["yarn", "resonance-yarn"],
            "untuned": ["dynamic-ntk", "ntk"],
            # As many tokens in both, as in the paper.
            "regimes": [
                {"name": "long", "length": 1024, "steps": 25},
                {"name": "short", "length": 128, "steps": 200},
            ],
            "sequences": 8,
            "copy_fraction": 0.25,
            "learning_rate": 5e-4,
        }
    },
    "needle": {
        "embedded": {
            "subjects": [{"rope": "none"}, *_SUBJECTS],
            "tasks": ["digits", "passkey"],
            "lengths": [128, 256, 512, 1024],
            "by": "nll",
        }
    },
    "leval": {
        "embedded": {"subjects": [{"rope": "none"}, *_SUBJECTS[::2]], "context": 1024, "max_new_tokens": 24},
    },
    "posgen": {
        "embedded": {
            "modulus": 7,
            "train_sequences": 1500,
            "validation_sequences": 30,
            "test_sequences": 100,
            "train_length": 32,
            "test_length": 128,
            "hidden_size": 64,
            "heads": 2,
            "head_dim": 32,
            "intermediate_size": 128,
            "steps": 288,
            "batch_size": 24,
            "learning_rate": 0.003,
            "schedule": "one-cycle",
            "dropout": 0.0,
            "validate_every": 32,
            "checkpoint_every": 50,
            "generated_sequences": 50,
            "ropes": [
                {"name": "rope", "method": "default"},
                {"name": "resonance", "method": "default", "resonance": True},
                {"name": "yarn", **_POSGEN_YARN},
                {"name": "resonance-yarn", **_POSGEN_YARN, "resonance": True},
                {"name": "yarn-swapped", **_POSGEN_YARN, "weights": "rope"},
                {"name": "resonance-yarn-swapped", **_POSGEN_YARN, "resonance": True, "weights": "resonance"},
                *(
                    {**rope, "weights": "rope", "brief": True}
                    for rope in (
                        {"name": "pi", "method": "pi"},
                        {"name": "ntk", "method": "ntk"},
                        {"name": "ntk-critical", "method": "ntk_critical"},
                        {"name": "abf-1e6", "method": "abf", "new_base": 1000000.0},
                        {"name": "ntk-by-parts", "method": "ntk_by_parts"},
                        {"name": "yarn-coded", "method": "yarn"},
                        {"name": "dynamic-ntk", "method": "dynamic_ntk"},
                        {"name": "llama3", "method": "llama3"},
                        {"name": "mrrope-uni", "method": "mrrope_uni"},
                        {"name": "mrrope-pro", "method": "mrrope_pro"},
                        {"name": "p-rope", "method": "p_rope", "p": 0.35},
                        {"name": "log-scaling", "method": "log_scaling"},
                        {"name": "resonance-swapped", "method": "default", "resonance": True},
                    )
                ),
            ],
        }
    },
}
"""What the default study sets beyond the defaults of the schema."""


def default_config() -> Config:
    """The default study."""
    return check_config(DEFAULTS)
