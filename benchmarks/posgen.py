"""PosGen training: all models as one stack against the same models one after another, in one run.

    uv run python benchmarks/posgen.py [--size embedded|paper] [--models 20] [--steps 10]

Printed are trained tokens per second of both, their ratio, and the share of the machine's own rate of matrix products
(float32, a large square product, measured in the same run) that the arithmetic of each comes to: 6 FLOPs a weight and
token, and 6 × layers × heads × head dimension × length for causal attention, half of a full one. There is no dropout.
One after another is what a plain training script does; on a CPU it is timed with one thread and with all.
"""

from __future__ import annotations

import argparse
import time

import torch

from ropewalk.posgen.model import StackedDecoder, rotations
from ropewalk.posgen.options import PosGenOptions
from ropewalk.posgen.training import training_losses
from ropewalk.rope import default_rope

SIZES = {
    "embedded": PosGenOptions(
        modulus=7,
        hidden_size=64,
        heads=2,
        head_dim=32,
        intermediate_size=128,
        starts="cycled",
        batch_size=24,
        train_length=32,
    ),
    "paper": PosGenOptions(),
}
"""Sizes; the tokens themselves are drawn at random."""


def flops(options: PosGenOptions) -> float:
    """Floating-point operations of one trained token."""
    attention = 6.0 * options.layers * options.heads * options.head_dim * options.train_length
    # All but the norms are matrices; the embedding is the output projection too, and looking it up is free.
    return 6.0 * sum(p.numel() for p in StackedDecoder(options, [0]).parameters() if p.shape[1] > 1) + attention


def tokens_per_second(options: PosGenOptions, models: int, steps: int, device: str) -> float:
    """Rate of a stack, in trained tokens of all its models, after two steps to warm up."""
    batch, length = options.batch_size, options.train_length
    decoder = StackedDecoder(options, range(models)).to(device)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4, fused=True)
    rotation = rotations([default_rope(options.head_dim, options.base, length)] * models, length, device)
    tokens = torch.randint(0, options.modulus, (models, batch, length), device=device)
    start = 0.0
    for step in range(steps + 2):
        if step == 2:
            synchronise(device)
            start = time.perf_counter()
        training_losses(decoder, rotation, tokens, options.given).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    synchronise(device)
    return models * batch * length * steps / (time.perf_counter() - start)


def product_rate(device: str, repeats: int = 10) -> float:
    """Floating-point operations a second of a large square matrix product in float32."""
    size = 8192 if device == "cuda" else 2048
    a, b = torch.randn(2, size, size, device=device)
    a @ b
    synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        a @ b
    synchronise(device)
    return 2.0 * size**3 * repeats / (time.perf_counter() - start)


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="embedded")
    parser.add_argument("--models", type=int, default=20, help="models of the stack")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed")
    parser.add_argument("--precision", choices=("highest", "high"), default="highest", help="high is TF32 on a GPU")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision(options.precision)
    size = SIZES[options.size]
    threads = torch.get_num_threads()
    # A stack takes as many tokens a step as `models` single steps, so both are timed for the same number of tokens.
    single = options.steps * options.models
    ceiling = product_rate(device)
    lines = [("one stack", threads, tokens_per_second(size, options.models, options.steps, device))]
    for count in [threads] if device == "cuda" else sorted({1, threads}):
        torch.set_num_threads(count)
        lines.append(("one after another", count, tokens_per_second(size, 1, single, device)))
    name = torch.cuda.get_device_name() if device == "cuda" else f"{threads} CPU threads"
    print(f"torch {torch.__version__} on {name}, products in float32 ({options.precision})")
    print(f"{options.models} models of the {options.size} size")
    print(f"large matrix products: {ceiling / 1e9:,.0f} GFLOP/s")
    print(f"{'':20}{'threads':>9}{'tokens/s':>12}{'of the rate':>13}{'ratio':>8}")
    for what, count, rate in lines:
        share = rate * flops(size) / ceiling
        print(f"{what:20}{count:>9}{rate:>12,.0f}{share:>13.0%}{lines[0][2] / rate:>8.2f}")
    if device == "cuda":
        print(f"most memory at a time: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
