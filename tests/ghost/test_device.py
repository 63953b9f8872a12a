"""A GPU that is none behaves as one, as far as places are concerned."""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from pretended import ITEM, LIST, SIZE, TO_DEVICE, TO_HOST, Attention, MixedDevices, pretended_gpus
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ropewalk.devices import has_gpu
from ropewalk.training import loop


@pytest.fixture
def gpus():
    with pretended_gpus(2) as pretended:
        yield pretended


def places(*tensors) -> set[str]:
    return {str(tensor.device) for tensor in tensors}


def reasons(gpus) -> Counter:
    found = Counter()
    for (reason, _), count in gpus.waits.items():
        found[reason] += count
    return found


def test_it_is_there_in_the_block_and_gone_after_it():
    before = torch.cuda.is_available()
    with pretended_gpus(3):
        assert has_gpu()
        assert torch.cuda.device_count() == 3
        tensor = torch.ones(2).to("cuda")
        assert (str(tensor.device), tensor.is_cuda, tensor.is_cpu) == ("cuda:0", True, False)
    assert torch.cuda.is_available() == before
    assert (str(tensor.device), tensor.is_cuda, tensor.is_cpu) == ("cpu", False, True)
    assert torch.equal(tensor + torch.ones(2), torch.full((2,), 2.0))


@pytest.mark.parametrize("gradients", [True, False])
def test_what_is_computed_from_a_tensor_is_where_it_is(gpus, gradients):
    host = torch.arange(12.0).reshape(3, 4)
    with torch.inference_mode(not gradients):
        there = host.to("cuda")
        made = [
            there[1:],
            there.T.contiguous(),
            there @ there.T,
            F.linear(there, there),
            there.to(torch.bfloat16),
            there.float(),
            there.double().softmax(-1),
            torch.zeros_like(there),
            there.new_zeros(3),
            there.new_tensor([1.0]),
            torch.arange(3, device="cuda"),
            torch.ones(2, device=there.device),
            F.one_hot(there.long()),
            F.cross_entropy(there, torch.tensor([0, 1, 2], device="cuda")),
            torch.as_tensor(host, device="cuda"),
            torch.where(there > 1, there, 0.0),
            copy.deepcopy(there),
            *there.unbind(),
            *there.split(1),
        ]
        assert places(*made) == {"cuda:0"}
        assert places(host, host + 1, there.cpu(), there.to("cpu"), there.to(host)) == {"cpu"}
        assert places(there.to("cuda:1"), host.to(torch.device("cuda", 1)), host.cuda(1)) == {"cuda:1"}
        assert places(host.to("meta")) == {"meta"}
        with torch.device("cuda:1"):
            assert places(torch.empty(3), torch.zeros(2, device="cpu")) == {"cuda:1", "cpu"}
        assert there.to("cuda") is there
        assert np.array_equal(there.cpu().numpy(), host.numpy())


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize(
    "mix",
    [
        lambda one, two: one + two,
        lambda one, two: two.add_(one),
        lambda one, two: one @ two.T,
        lambda one, two: torch.cat([one, two]),
        lambda one, two: F.embedding(two.long(), one),
        lambda one, two: F.linear(one, two),
        lambda one, two: F.scaled_dot_product_attention(one[None, None], two[None, None], two[None, None]),
        lambda one, two: one[:, :1] * two[0, 0] + two,
        lambda one, two: torch.stack([one.sum(), two.sum()]),
    ],
)
def test_tensors_of_two_devices_do_not_meet(gpus, mix, gradients):
    tensors = [torch.ones(3, 3), torch.ones(3, 3, device="cuda:0"), torch.ones(3, 3, device="cuda:1")]
    with torch.inference_mode(not gradients):
        for one in tensors:
            for two in tensors:
                if one is two:
                    mix(one.clone(), one.clone())
                else:
                    with pytest.raises(MixedDevices, match=r"same device.* at test_device\.py:\d+"):
                        mix(one, two)


def test_a_single_number_of_the_cpu_is_read_on_a_gpu_but_not_written_from_there(gpus):
    number, there = torch.tensor(2.0), torch.ones(3, device="cuda")
    assert places(number * there, there / number, there.mul_(number)) == {"cuda:0"}
    with pytest.raises(MixedDevices):
        number += there.sum()
    with pytest.raises(MixedDevices):
        torch.ones(3) * there.sum()


def test_indices_may_come_from_the_cpu_but_not_from_another_gpu(gpus):
    there, host, index = torch.ones(3, device="cuda"), torch.ones(3), torch.tensor([0, 2])
    assert places(there[index], there[[0, 1]], there[np.array([1])], there[index.to("cuda")]) == {"cuda:0"}
    assert reasons(gpus) == {TO_DEVICE: 4}  # three indices, and one that was moved
    there[index] = 0.0
    there[index.to("cuda")] = there[:2].clone()
    for tensor, other in ((host, "cuda"), (there, "cuda:1")):
        with pytest.raises(MixedDevices, match="indices should be"):
            tensor[index.to(other)]
    with pytest.raises(MixedDevices, match="values are on another device"):
        there[index] = host[:2]


@pytest.mark.parametrize("ask", [lambda t: t.numpy(), np.asarray, lambda t: np.zeros(3).__setitem__(slice(None), t)])
def test_numpy_does_not_read_a_gpu(gpus, ask):
    ask(torch.ones(3))
    ask(torch.ones(3, device="cuda").cpu())
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        ask(torch.ones(3, device="cuda"))


def test_random_numbers_are_drawn_by_a_generator_of_the_device(gpus):
    with pytest.raises(MixedDevices, match="generator"):
        torch.randn(3, device="cuda", generator=torch.Generator())


def test_marks_do_not_pass_to_tensors_that_come_later(gpus):
    for _ in range(10):
        there = [torch.ones(64, device="cuda") for _ in range(50)]
        del there
        assert places(*[torch.ones(64) for _ in range(100)]) == {"cpu"}


def test_marks_of_tensors_that_are_gone_are_shed(gpus):
    gpus._shed_at = 100
    kept = torch.ones(2, device="cuda")
    for _ in range(1000):
        torch.ones(2, device="cuda")
    assert len(gpus._marks) < 1000
    assert places(kept) == {"cuda:0"}


WAITING = [
    (lambda t: t.sum().item(), {ITEM: 1}),
    (lambda t: float(t[0]), {ITEM: 1}),
    (lambda t: bool((t > 0).all()), {ITEM: 1}),
    (lambda t: torch.equal(t, t + 1), {ITEM: 1}),
    (lambda t: torch.allclose(t, t), {ITEM: 1}),
    (lambda t: [float(x) for x in t], {ITEM: 3}),
    (lambda t: t.tolist(), {LIST: 1}),
    (lambda t: t.nonzero(), {SIZE: 1}),
    (lambda t: t[t > 1], {SIZE: 1}),
    (lambda t: torch.unique(t), {SIZE: 1}),
    (lambda t: t.cpu(), {TO_HOST: 1}),
    (lambda t: t.to("cpu", torch.float64), {TO_HOST: 1}),
    (lambda t: torch.empty(3).copy_(t), {TO_HOST: 1}),
    (lambda t: t.copy_(torch.ones(3)), {TO_DEVICE: 1}),
    (lambda t: torch.ones(3).to("cuda"), {TO_DEVICE: 1}),
    (lambda t: torch.ones(3).cuda(), {TO_DEVICE: 1}),
    (lambda t: torch.tensor([1.0], device="cuda"), {TO_DEVICE: 1}),
    (lambda t: torch.ones(3).pin_memory().to("cuda", non_blocking=True), {}),
    (lambda t: t.to("cpu", non_blocking=True), {}),
    (lambda t: t.to("cuda:1"), {}),
    (lambda t: t.half().double() * 2 + torch.zeros(3, device="cuda"), {}),
    (lambda t: t.masked_fill(t > 1, 0.0).sum(), {}),
]


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize(("do", "waits"), WAITING)
def test_what_makes_the_host_wait_is_counted(gpus, do, waits, gradients):
    with torch.inference_mode(not gradients):
        there = torch.arange(3.0, device="cuda")
        do(there)
        assert reasons(gpus) == waits


def test_the_host_does_not_wait_for_itself(gpus):
    host = torch.arange(3.0)
    assert (host.sum().item(), host.tolist()[0], len(host.nonzero()), float(host[host > 1])) == (3, 0, 2, 2)
    assert not gpus.waits


def test_a_wait_is_told_by_the_line_of_the_project(gpus):
    loop._mean([torch.ones((), device="cuda")], "training", 1, 0.1)
    [(reason, place)] = gpus.waits
    lines, first = inspect.getsourcelines(loop._mean)
    assert (reason, place.file, place.function) == (ITEM, "training/loop.py", "_mean")
    assert "float(" in lines[place.line - first]
    assert gpus.waits_by_function() == {(ITEM, "training/loop.py", "_mean"): 1}


def test_gradients_are_where_their_weights_are_and_a_step_does_not_wait(gpus):
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    alone = copy.deepcopy(model)
    model.to("cuda")
    assert places(*model.parameters()) == {"cuda:0"}
    inputs = torch.linspace(-1, 1, 12).reshape(3, 4)
    moved = inputs.to("cuda")
    gpus.waits.clear()
    for one, given, fused in ((model, moved, True), (alone, inputs, False)):
        optimizer = torch.optim.AdamW(one.parameters(), lr=0.1, fused=fused)
        for _ in range(2):
            one(given).square().mean().backward()
            norm = nn.utils.clip_grad_norm_(one.parameters(), 0.5)
            optimizer.step()
            if one is model:
                state = [value for values in optimizer.state.values() for value in values.values()]
                assert places(norm, *state, *(p.grad for p in model.parameters())) == {"cuda:0"}
            optimizer.zero_grad()
    assert not gpus.waits
    for one, other in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.cpu(), other)


def test_what_is_computed_again_for_a_gradient_is_watched_too(gpus):
    calls = []

    def layer(x):
        calls.append(1)
        return (x * torch.ones(3, device="cuda" if len(calls) == 1 else "cpu")).exp() * x

    x = torch.ones(3, device="cuda", requires_grad=True)
    y = checkpoint(layer, x, use_reentrant=False).sum()
    with pytest.raises(MixedDevices):
        y.backward()
    assert len(calls) == 2


def test_lower_precision_is_that_of_the_cpu(gpus):
    there = torch.ones(3, 3, device="cuda")
    assert not torch.is_autocast_enabled("cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.is_autocast_enabled("cuda")
        product = there @ there
        with torch.autocast("cuda", enabled=False):
            assert (there @ there).dtype == torch.float32
    assert (product.dtype, str(product.device)) == (torch.bfloat16, "cuda:0")
    assert gpus.products == {("cuda:0", "bfloat16"): 1, ("cuda:0", "float32"): 1}


def test_threads_of_a_pool_are_watched(gpus):
    def work(device: str) -> str:
        there = torch.ones(3, 3, device=device)
        with pytest.raises(MixedDevices):
            there + torch.ones(3)
        return str((there @ there).device)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, ["cuda:0", "cuda:1"] * 3)) == ["cuda:0", "cuda:1"] * 3
    assert gpus.computed_on() == {"cuda:0", "cuda:1"}


@pytest.mark.parametrize(
    ("dtype", "keys", "heads", "given", "kernel"),
    [
        ("bfloat16", 4, 2, {"is_causal": True}, "flash"),
        ("float16", 6, 2, {}, "flash"),
        ("bfloat16", 4, 1, {"is_causal": True, "enable_gqa": True}, "flash"),
        ("bfloat16", 6, 2, {"is_causal": True}, "efficient"),
        ("bfloat16", 6, 2, {"attn_mask": True}, "efficient"),
        ("float32", 4, 2, {"is_causal": True}, "efficient"),
        ("float32", 4, 1, {"is_causal": True, "enable_gqa": True}, "math"),
        ("bfloat16", 4, 1, {"attn_mask": True, "enable_gqa": True}, "math"),
    ],
)
def test_the_kernel_of_attention_follows_from_what_it_is_given(gpus, dtype, keys, heads, given, kernel):
    query = torch.ones(1, 2, 4, 8, dtype=getattr(torch, dtype), device="cuda")
    key = torch.ones(1, heads, keys, 8, dtype=query.dtype, device="cuda")
    masked = "attn_mask" in given
    if masked:
        given = {**given, "attn_mask": torch.ones(4, keys, dtype=torch.bool, device="cuda")}
    assert places(F.scaled_dot_product_attention(query, key, key, **given)) == {"cuda:0"}
    assert gpus.attention == {Attention(kernel, dtype, 4, keys, masked): 1}
