from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import ropewalk
from ropewalk import api
from ropewalk.errors import UserError

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 128,
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


def test_the_examples_are_true():
    assert doctest.testmod(api).failed == 0
    assert doctest.testmod(api).attempted > 5


def test_importing_it_imports_nothing_heavy():
    script = "import ropewalk, sys; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules); ropewalk.Rope"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_name_is_there():
    assert set(ropewalk.__all__) <= set(dir(ropewalk))
    for name in ropewalk.__all__:
        assert getattr(ropewalk, name) is not None
    with pytest.raises(AttributeError, match="stretch"):
        ropewalk.stretch  # noqa: B018


@pytest.mark.parametrize("given", ["yarn", "mrrope-pro", "rope"])
def test_what_is_saved_computes_what_was_patched(model, tmp_path, given):
    before = ropewalk.read(model, np.arange(48))
    if given == "rope":
        extended = ropewalk.extend(model, ropewalk.apply(ropewalk.own_rope(model), "ntk", factor=2.0))
    else:
        extended = ropewalk.extend(model, given, factor=4)
    after = ropewalk.read(extended, np.arange(48))
    assert extended is model
    assert not np.allclose(before, after, atol=1e-6)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config.max_position_embeddings == (256 if given == "rope" else 512)
    ids = torch.arange(48)
    logits = again(ids[None]).logits[0, :-1]
    # transformers' own pass, and torch's own loss.
    wanted = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none").detach().numpy()
    np.testing.assert_allclose(after, wanted, atol=1e-5)


def test_pairs_that_stood_still_in_training_stand_still():
    """A model that was pre-trained with p-RoPE, as Gemma 4 was, is an original one."""
    carried = {"rope_type": "proportional", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    config = LlamaConfig(**SIZES, rope_parameters=carried)
    rope = ropewalk.own_rope(ropewalk.extend(LlamaForCausalLM(config).eval(), "ntk", factor=4))
    assert (rope.inv_freq[4:] < 1e-9).all()
    np.testing.assert_allclose(rope.inv_freq[:4], 1e4 ** -(np.arange(4) / 8) * 4.0 ** -(np.arange(4) / 7), rtol=1e-6)


def test_it_says_what_is_wrong_and_changes_nothing(model):
    config = model.config.to_dict()
    with pytest.raises(UserError, match="yarrn"):
        ropewalk.extend(model, "yarrn", factor=4)
    with pytest.raises(UserError, match="length is 64"):
        ropewalk.extend(model, "yarn", factor=4, length=64)
    with pytest.raises(UserError, match="must be fixed at one length"):
        ropewalk.extend(model, "dynamic_ntk", factor=4)
    with pytest.raises(UserError, match="takes no parameters"):
        ropewalk.extend(model, ropewalk.own_rope(model), factor=4)
    assert model.config.to_dict() == config
    with pytest.raises(UserError, match=r"shape \(1, 8\)"):
        ropewalk.read(model, torch.arange(8)[None])
    ropewalk.extend(model, "yarn", factor=4)
    with pytest.raises(UserError, match="carries a rope made by yarn"):
        ropewalk.extend(model, "yarn", factor=2)


def test_a_prediction_is_that_of_the_paper():
    # Llama 2 7B: critical dimension 92 (arXiv 2310.05209, section 4.2).
    config = LlamaConfig(max_position_embeddings=4096)
    found = ropewalk.predict(config, length=131_072, tune_length=16_384, new_base=1_000_000)
    assert found["critical_dimension"] == 92
    assert found["target"]["length"] == 131_072
