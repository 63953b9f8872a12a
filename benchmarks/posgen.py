"""PosGen: what stacking, Resonance, and one percent of interval cost.

    uv run python benchmarks/posgen.py [--size embedded|paper] [--models 20] [--steps 10]
    uv run python benchmarks/posgen.py --study results/evidence [--width 5]

The first trains all models as one stack, and the same models one after another, in one run. Printed are trained tokens
per second of both, their ratio, and the share of the machine's own rate of matrix products (float32, a large square
product, measured in the same run) that the arithmetic of each comes to: 6 FLOPs a weight and token, and 6 × layers ×
heads × head dimension × length for causal attention, half of a full one. There is no dropout. One after another is what
a plain training script does; on a CPU it is timed with one thread and with all. Then what Resonance costs: the time to
make its table, once, and that of reading test sequences with it, in turn with plain RoPE's; it is a table of the same
shape, so nothing but noise tells the two apart.

The second reads what a study left behind: for each task the half width of the interval of Resonance RoPE's gain, and
the CPU seconds to bring it to ``--width`` points, since an interval over n seeds is as wide as 1 / √n. A step of two
models, one of each rope, is timed in the same run; validation and tests come on top.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from ropewalk.files import read_json
from ropewalk.posgen.model import StackedDecoder, rotations
from ropewalk.posgen.options import PosGenOptions
from ropewalk.posgen.scoring import predict
from ropewalk.posgen.training import training_losses
from ropewalk.rope import default_rope
from ropewalk.rope.pairs import resonance
from ropewalk.scores import Scores

SIZES = {
    "embedded": PosGenOptions(
        modulus=7,
        hidden_size=64,
        heads=2,
        intermediate_size=128,
        starts="cycled",
        batch_size=8,
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


def resonance_cost(options: PosGenOptions, device: str, repeats: int = 7) -> dict[str, tuple[float, float]]:
    """Seconds to make the table of a rope, and to read 16 test sequences with it; medians, the ropes in turn."""
    plain = default_rope(options.head_dim, options.base, options.train_length)
    ropes = {"RoPE": lambda: plain, "Resonance RoPE": lambda: resonance(plain)}
    decoder = StackedDecoder(options, [0]).to(device)
    tokens = np.random.default_rng(0).integers(0, options.modulus, (16, options.test_length))
    made: dict[str, list[float]] = {name: [] for name in ropes}
    read: dict[str, list[float]] = {name: [] for name in ropes}
    for repeat in range(repeats + 1):
        for name, make in ropes.items():
            start = time.perf_counter()
            rope = make()
            rotations([rope], options.test_length, device)
            middle = time.perf_counter()
            predict(decoder, [0], [rope], tokens, options.given)
            synchronise(device)
            if repeat:
                made[name].append(middle - start)
                read[name].append(time.perf_counter() - middle)
    return {name: (statistics.median(made[name]), statistics.median(read[name])) for name in ropes}


def width_costs(study: Path, width: float) -> list[str]:
    """A line for each task of a study: seeds, half width in points, CPU seconds for it, and for the wanted one."""
    lines = [f"{'task':36}{'seeds':>6}{'± points':>10}{'CPU s':>8}{f'CPU s to ± {width:g}':>18}"]
    for file in sorted(study.glob("reports/posgen/*/scores.json")):
        scores, name = Scores.read(file), file.parent.name
        recipes = {rope["recipe"]: rope["rope"] for rope in scores.setting["ropes"] if not rope["swapped"]}
        about = {"rope": recipes.get("resonance"), "against": recipes.get("default")}
        for row in scores.select(quantity="ood_accuracy_difference", **about):
            if row.low is None or row.high is None:
                continue
            made = read_json(study / f"posgen/{name}/{row.task}/models/training.json", "a PosGen training")["options"]
            options = PosGenOptions(**{**made, "seeds": tuple(made["seeds"])})
            tokens_per_second(options, 2, 1, "cpu")
            start = time.process_time()
            tokens_per_second(options, 2, 18, "cpu")
            seconds = (time.process_time() - start) / 20 * options.steps * len(options.seeds)
            half = 50 * (row.high - row.low)
            needed = seconds * (half / width) ** 2
            lines.append(f"{f'{name}, {row.task}':36}{row.n_seeds:>6}{half:>10.1f}{seconds:>8,.0f}{needed:>18,.0f}")
    return lines


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="embedded")
    parser.add_argument("--models", type=int, default=20, help="models of the stack")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed")
    parser.add_argument("--precision", choices=("highest", "high"), default="highest", help="high is TF32 on a GPU")
    parser.add_argument("--study", type=Path, help="results/NAME of a study whose intervals are priced; trains nothing")
    parser.add_argument("--width", type=float, default=5.0, help="half width to price, in points")
    options = parser.parse_args()
    if options.study:
        print("\n".join(width_costs(options.study, options.width)))
        return
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
    print(f"{'':20}{'make once':>12}{'read':>12}")
    for what, (made, read) in resonance_cost(size, device).items():
        print(f"{what:20}{1e3 * made:>9.2f} ms{1e3 * read:>9.1f} ms")
    if device == "cuda":
        print(f"most memory at a time: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
