from __future__ import annotations

import numpy as np

from ropewalk.rope import Rope, methods


def test_log_scaling_keeps_the_table(llama2: Rope) -> None:
    rope = methods.log_scaling(llama2)
    assert rope.log_scaling_length == 4096
    assert np.array_equal(rope.inv_freq, llama2.inv_freq)


def test_the_layers_of_a_rope_survive_what_comes_after(llama2: Rope) -> None:
    rope = methods.yarn(methods.layers(llama2, which="local"), factor=4)
    assert rope.layers == "local"
    assert np.array_equal(rope.inv_freq, methods.yarn(llama2, factor=4).inv_freq)
    dynamic = methods.layers(methods.dynamic_ntk(llama2, factor=2), which="all")
    assert dynamic.at(20_000).layers == "all"
