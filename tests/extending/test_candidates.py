from __future__ import annotations

import numpy as np
import pytest
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from ropewalk.errors import UserError
from ropewalk.extending.candidates import candidates
from ropewalk.rope import apply, default_rope


def test_the_own_rope_comes_first_and_the_others_lengthen_it():
    native, *others = candidates(default_rope(64, 1e4, 2048), 2048, 8192)
    assert (native.name, native.rope.recipe) == ("native", "default")
    assert [one.name for one in others] == ["yarn", "mrrope-pro", "ntk"]
    # YaRN by transformers.
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048, "rope_theta": 1e4}
    config = LlamaConfig(hidden_size=64, num_attention_heads=1, rope_parameters=scaling)
    table, factor = ROPE_INIT_FUNCTIONS["yarn"](config, "cpu")
    np.testing.assert_allclose(others[0].rope.inv_freq, table.numpy(), rtol=1e-6)
    assert others[0].rope.attention_factor == pytest.approx(factor)


def test_a_model_that_was_lengthened_goes_on_from_there():
    own = apply(default_rope(64, 5e5, 8192), "llama3", factor=8.0)
    native, yarned, *_ = candidates(own, 131_072, 262_144)
    assert native.rope == own
    fast = own.turns > 1000
    np.testing.assert_array_equal(yarned.rope.inv_freq[fast], own.inv_freq[fast])
    np.testing.assert_allclose(yarned.rope.inv_freq[-1], own.inv_freq[-1] / 2)


def test_a_rope_that_follows_the_length_has_another_table_for_short_texts():
    own = apply(default_rope(64, 1e4, 2048), "dynamic_ntk", factor=2.0)
    native = candidates(own, 4096, 8192)[0]
    assert native.short is not None
    assert native.short == own.at(4096)
    assert native.rope == own.at(8192)


def test_a_length_within_the_native_one_and_no_rotation_are_refused():
    with pytest.raises(UserError, match="--length 2048: the model says that it reads 2048 tokens"):
        candidates(default_rope(64, 1e4, 2048), 2048, 2048)
    with pytest.raises(UserError, match="rotates nothing"):
        candidates(apply(default_rope(64, 1e4, 2048), "p_rope", p=0.0), 2048, 4096)
