from __future__ import annotations

import numpy as np
import pytest
import torch

from ropewalk.doctor.faults import FAULTS, RIGHT, Intended, _to_bfloat16, hypotheses
from ropewalk.rope import Rope, default_rope
from ropewalk.rope.bases import pi
from ropewalk.rope.pairs import longrope
from ropewalk.rope.ramps import llama3, yarn


def plain(base: float = 500_000.0, original: int = 256) -> Rope:
    return default_rope(64, base, original)


def at(rope: Rope, length: int = 1000) -> dict:
    meant = Intended(rope, 1024)
    return {name: made(length) for name, made in hypotheses(meant, {length}).items()}


def test_every_fault_says_what_it_is_and_what_to_do():
    for name, fault in FAULTS.items():
        assert fault.said[0].islower(), name
        assert not fault.said.endswith("."), name
        assert fault.mend.endswith("."), name


def test_faults_of_yarn():
    rope = yarn(plain(), factor=4.0, beta_fast=16.0, beta_slow=2.0)
    found = at(rope)
    assert set(found) == {RIGHT, *FAULTS} - {"short-table-for-long", "long-table-for-short"}
    table = plain().inv_freq
    assert np.array_equal(found["ignored"].rope.inv_freq, table)
    assert found["ignored"].rope.attention_factor == 1
    assert np.allclose(found["linear-instead"].rope.inv_freq, table / 4)
    exchanged = found["wrong-ramp-exchanged"].rope.inv_freq
    assert exchanged[0] == pytest.approx(table[0] / 4)
    assert exchanged[-1] == pytest.approx(table[-1])
    assert np.allclose(found["wrong-ramp-defaults"].rope.inv_freq, yarn(plain(), factor=4.0).inv_freq)
    other = yarn(plain(original=1024), factor=4.0, beta_fast=16.0, beta_slow=2.0)
    assert np.allclose(found["original-length-misread"].rope.inv_freq, other.inv_freq)
    other = yarn(plain(10_000.0), factor=4.0, beta_fast=16.0, beta_slow=2.0)
    assert np.allclose(found["base-ignored"].rope.inv_freq, other.inv_freq)
    assert found["base-ignored"].rope.base == rope.base
    assert found["attention-factor-dropped"].rope.attention_factor == 1
    assert found["attention-factor-squared"].rope.attention_factor == pytest.approx(rope.attention_factor**2)
    assert found["bf16-angles"].bfloat16_angles


def test_only_what_differs_is_a_fault():
    assert set(at(plain(10_000.0))) == {RIGHT, "bf16-frequencies", "bf16-angles"}
    assert set(at(pi(plain(), factor=4.0))) == {RIGHT, "ignored", "base-ignored", "bf16-frequencies", "bf16-angles"}
    of_llama3 = at(llama3(plain(), factor=8.0))
    assert {"original-length-misread", "linear-instead"} <= set(of_llama3)
    assert not {"wrong-ramp-defaults", "wrong-ramp-exchanged", "attention-factor-dropped"} & set(of_llama3)


def test_two_tables_may_be_taken_at_the_wrong_length():
    rope = longrope(plain(), long_factor=[4.0] * 32, short_factor=[1.0] * 32, factor=4.0)
    assert "short-table-for-long" not in at(rope, 200)
    assert np.array_equal(at(rope, 200)["long-table-for-short"].rope.inv_freq, plain().inv_freq / 4)
    assert "long-table-for-short" not in at(rope, 1000)
    assert np.array_equal(at(rope, 1000)["short-table-for-long"].rope.inv_freq, plain().inv_freq)


def test_of_equal_faults_the_first_stands():
    rope = longrope(plain(), long_factor=[4.0] * 32, short_factor=[1.0] * 32)
    # Without a factor of attention, the short table for a long text is no scaling at all.
    assert "ignored" in at(rope)
    assert "short-table-for-long" not in at(rope)


def test_latent_attention_scales_beside_the_rope():
    meant = Intended(yarn(plain(), factor=4.0, attention_factor=1.0), 1024, softmax_factor=1.3)
    found = {name: made(1000) for name, made in hypotheses(meant, {1000}).items()}
    assert found[RIGHT].softmax_factor == found["wrong-ramp-exchanged"].softmax_factor == 1.3
    assert found["ignored"].softmax_factor == found["attention-factor-dropped"].softmax_factor == 1
    assert found["attention-factor-squared"].softmax_factor == pytest.approx(1.69)


def test_rounding_is_that_of_bfloat16():
    values = np.random.default_rng(0).uniform(1e-6, 1, 1000)
    assert np.array_equal(_to_bfloat16(values), torch.tensor(values).float().bfloat16().double().numpy())
