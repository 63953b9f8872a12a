"""Training speed: our loop against transformers' Trainer with the same model, data and settings, in one run.

    uv run python benchmarks/finetune.py                                    # a small model on a CPU
    uv run python benchmarks/finetune.py --config config.json --length 8192 --sequences 8 --steps 20     # on a GPU

Both train all weights of the same random model with AdamW, without accumulation, in bfloat16 on a GPU and float32 on a
CPU. Printed are tokens a second, the share of the peak (--peak-tflops; three forward passes' FLOPs a step, without what
is computed again), their ratio, and the losses.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, Trainer, TrainingArguments

from ropewalk.models.flops import forward_flops
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.shape import ModelShape
from ropewalk.training.batches import Batch
from ropewalk.training.loop import train
from ropewalk.training.options import Layout, TrainingOptions

SMALL = ModelShape(hidden_size=256, layers=4, heads=4, kv_heads=4, intermediate_size=688, length=512)


class Texts(Dataset):
    """The same sequences for both, in order."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = torch.from_numpy(ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


def fresh(options: argparse.Namespace) -> PreTrainedModel:
    if options.config is None:
        return fresh_llama(SMALL, options.vocabulary, seed=0)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(options.config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="config.json of a model; a small Llama where not given")
    parser.add_argument("--vocabulary", type=int, default=8192, help="of the small model")
    parser.add_argument("--length", type=int, default=512, help="tokens in a sequence")
    parser.add_argument("--sequences", type=int, default=8, help="in a step")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--activation-checkpointing", action="store_true")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="989 is an H100; of no meaning on a CPU")
    given = parser.parse_args()
    model = fresh(given)
    vocabulary = model.config.vocab_size
    ids = np.random.default_rng(0).integers(0, vocabulary, (given.steps * given.sequences, given.length))
    weights = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    flops = 3 * forward_flops(model.config, weights, given.length) * given.sequences * given.steps
    tokens = ids.size
    gpu = torch.cuda.is_available()

    def show(name: str, seconds: float, loss: float) -> float:
        share = f"{flops / seconds / (given.peak_tflops * 1e12):6.1%} of the peak" if gpu else "(CPU)"
        print(f"{name:<10} {tokens / seconds:>12,.0f} tokens/s  {share}  last loss {loss:.4f}")
        return tokens / seconds

    def warm_up(step: int) -> Batch:
        return Batch(ids[: given.sequences])

    layout = Layout(checkpoint_every=10**6, activation_checkpointing=given.activation_checkpointing)
    with tempfile.TemporaryDirectory() as folder:
        common = {"learning_rate": 1e-4, "warmup_steps": 0, "schedule": "constant", "weight_decay": 0.0}
        train(fresh(given), warm_up, TrainingOptions(steps=2, **common), state=Path(folder) / "w", identity={})
        options = TrainingOptions(steps=given.steps, **common)

        def batches(step: int) -> Batch:
            return Batch(ids[step * given.sequences : (step + 1) * given.sequences])

        ours = train(model, batches, options, state=Path(folder) / "s", identity={}, layout=layout)
        mine = show("ropewalk", tokens / (ours.tokens_per_second or 1), ours.final_loss)

        arguments = TrainingArguments(
            output_dir=f"{folder}/trainer",
            per_device_train_batch_size=given.sequences,
            max_steps=given.steps,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            adam_beta2=0.95,
            bf16=gpu,
            use_cpu=not gpu,
            gradient_checkpointing=given.activation_checkpointing,
            logging_steps=10**6,
            save_strategy="no",
            report_to=[],
            dataloader_drop_last=True,
            disable_tqdm=True,
        )
        trainer = Trainer(model=fresh(given), args=arguments, train_dataset=Texts(ids))
        trainer._get_train_sampler = lambda *_: None  # in order, as ours
        start = time.perf_counter()
        result = trainer.train()
        theirs = show("Trainer", time.perf_counter() - start, result.training_loss)
    print(f"ratio      {mine / theirs:.2f}   (losses: ours over the last steps, the Trainer's over all)")


if __name__ == "__main__":
    main()
