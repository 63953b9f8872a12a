"""Does a model find again what stands far back? Tasks by length and depth, answered or scored by NLL.

A small model cannot answer in words, but the NLL of the right answer tells whether it was found: against the same
prompt without the facts, which shows what the answer costs that nobody told.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ropewalk.corpora import Corpus
from ropewalk.errors import UserError
from ropewalk.files import claim_state, only_one, whole_folder, whole_lines, write_json
from ropewalk.intervals import CONFIDENCE, FEWEST_RESAMPLED, quantile_interval
from ropewalk.metrics import write_metrics
from ropewalk.models import binding
from ropewalk.models.loading import load_model
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.progress import Progress
from ropewalk.reading.generation import generate, stop_tokens
from ropewalk.reading.identity import reading_identity
from ropewalk.reading.nll import DEFAULT_CHUNK, check_memory, memory_errors, prefill, rows_at_once, texts
from ropewalk.reading.options import NeedleOptions
from ropewalk.reading.puzzles import PUZZLES, Prompt, make_prompt, multi_query
from ropewalk.rope import Rope
from ropewalk.scores import Score, Scores

EFFECTIVE = 0.85
"""Share of the score at the shortest length that a length must reach to count as usable (NoLiMa, arXiv 2502.05167)."""
ABLE = 0.5
"""Score at the shortest length below which a model cannot do a task at all, so that no length is usable."""
SPARE_TOKENS = 16
"""Tokens that a generated answer may have more than the right one."""
GPU_TOKENS = 8192
"""Tokens in a forward pass on a GPU, where one prompt has no more."""


def read_needles(
    source: ModelSource,
    rope: Rope,
    corpora: Mapping[str, Corpus],
    options: NeedleOptions,
    *,
    columns: Mapping[str, Any],
    state: Path,
    folder: Path,
) -> None:
    """Write ``answers.jsonl``, ``needle.csv``, ``scores.json`` and ``metrics.jsonl``, all or none.

    Killed and called again, it goes on after the last finished cell.

    Args:
        source: the model.
        rope: bound to it.
        corpora: text to hide facts in, tokenised by the model's tokenizer.
        options: what is asked.
        columns: what the row is called in tables.
        state: folder of the answers so far; removed at the end.
        folder: where to write.

    Raises:
        UserError: a corpus was tokenised by another tokenizer or has too few long documents, or a length is too short
            for a task.
    """
    tokenizer = load_tokenizer(source)
    for corpus in corpora.values():
        corpus.check_tokenizer(tokenizer, source)
    longest = max(options.lengths)
    wanted = -(-options.samples // len(corpora))
    # A document of each corpus in turn, so that every length and depth of a sample hides in one text.
    found = texts(corpora, split=options.split, documents=wanted, length=longest)
    documents = [found[(i % len(corpora)) * wanted + i // len(corpora)] for i in range(options.samples)]
    prompts = {
        cell: [prompt_of(tokenizer, options, cell, i, documents[i].tokens) for i in range(options.samples)]
        for cell in options.cells()
    }
    identity = reading_identity(source, rope, options, corpora)
    with only_one(state):
        claim_state(state, identity)
        rows = _answers(source, tokenizer, rope, options, prompts, state / "answers.jsonl")
        answers = pd.DataFrame(rows)
        with whole_folder(folder) as out:
            answers.to_json(out / "answers.jsonl", orient="records", lines=True)
            summary(answers).to_csv(out / "needle.csv", index=False, float_format="%.6g")
            Scores({"stage": "needle", **columns}, scores(answers)).write(out / "scores.json")
            write_json(out / "reading.json", {**identity, "columns": dict(columns)})
            by_length: dict[int, dict[str, float]] = {}
            for row in answers.groupby(["length", "task"])["score"].mean().reset_index().to_dict("records"):
                by_length.setdefault(int(row["length"]), {})[str(row["task"])] = float(row["score"])
            write_metrics(out / "metrics.jsonl", by_length)
        shutil.rmtree(state)


def prompt_of(
    tokenizer: PreTrainedTokenizerFast,
    options: NeedleOptions,
    cell: tuple[str, int, float],
    sample: int,
    text: np.ndarray,
) -> Prompt:
    """One prompt: its puzzle depends on task and sample alone, so that lengths and depths are compared on the same."""
    task, length, depth = cell
    rng = np.random.default_rng([options.seed, list(PUZZLES).index(task), sample])
    if task == "multi-query":
        puzzle = multi_query(rng, options.depths, options.depths.index(depth))
    else:
        puzzle = PUZZLES[task](rng)
    seed = int(rng.integers(2**31))
    try:
        return make_prompt(tokenizer, puzzle, text, length=length, depth=depth, seed=seed)
    except UserError as error:
        raise UserError(f"task {task}: {error}") from None


def _answers(
    source: ModelSource,
    tokenizer: PreTrainedTokenizerFast,
    rope: Rope,
    options: NeedleOptions,
    prompts: Mapping[tuple[str, int, float], Sequence[Prompt]],
    kept: Path,
) -> list[dict[str, Any]]:
    """The rows of all cells; those that an earlier, killed run finished are read from the file ``kept``."""
    rows = whole_lines(kept)
    # Whole cells only.
    rows = rows[: len(rows) // options.samples * options.samples]
    kept.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    done = {(row["task"], row["length"], row["depth"]) for row in rows}
    left = [cell for cell in prompts if cell not in done]
    if not left:
        return rows
    model = load_model(source, dtype=options.dtype)
    check_memory(model, max(options.lengths), options.chunk)
    controls: dict[tuple[str, int], np.ndarray] = {}
    said: dict[tuple[str, int, float, int], str] = {}
    bound = None
    with (
        Progress("needles", len(prompts), done=len(prompts) - len(left), unit="cell") as progress,
        kept.open("a") as file,
    ):
        for task, length, depth in left:
            if bound != length:
                binding.patch(model, rope.at(length))
                bound = length
            asked = prompts[task, length, depth]
            cell = [
                {"task": task, "length": length, "depth": depth, "sample": i, "answer": list(prompt.parts)}
                for i, prompt in enumerate(asked)
            ]
            if options.by == "generation":
                for i, (row, prompt) in enumerate(zip(cell, asked, strict=True)):
                    if (task, length, depth, i) not in said:
                        # Questions on one text are answered together; the text is read once for all of them.
                        alike = options.depths if task == "multi-query" else [depth]
                        together = [prompts[task, length, each][i] for each in alike]
                        answered = _said(model, tokenizer, together, options.chunk)
                        said |= {(task, length, each, i): one for each, one in zip(alike, answered, strict=True)}
                    words = said.pop((task, length, depth, i))
                    row |= {"said": words, "score": found_share(words, prompt.parts)}
            else:
                if (task, length) not in controls and asked[0].control is not None:
                    without = [prompt.control for prompt in asked if prompt.control is not None]
                    controls[task, length] = answer_nll(model, without, [p.answer for p in asked], options.chunk)[0]
                nll, right = answer_nll(model, [p.tokens for p in asked], [p.answer for p in asked], options.chunk)
                control = controls.get((task, length))
                for i, row in enumerate(cell):
                    row |= {"score": float(right[i]), "nll": float(nll[i])}
                    row["control_nll"] = None if control is None else float(control[i])
            rows += cell
            file.writelines(json.dumps(row) + "\n" for row in cell)
            file.flush()
            mean = float(np.mean([row["score"] for row in cell]))
            progress.advance(note=f"{task} · {length} tokens · depth {depth:g} · {mean:.2f}")
    return rows


@torch.inference_mode()
def answer_nll(
    model: PreTrainedModel, prompts: Sequence[np.ndarray], answers: Sequence[int], chunk: int = DEFAULT_CHUNK
) -> tuple[np.ndarray, np.ndarray]:
    """How well the end of each prompt is predicted.

    Args:
        model: a causal language model with a static rope.
        prompts: token ids of one length, shape (length,) each.
        answers: tokens of each answer, at the end of its prompt.
        chunk: tokens that go through the model at a time.

    Returns:
        Nats a token of each answer, and the share of its tokens that were the model's first choice, both of shape
        (prompts,).
    """
    keep, length = max(answers), len(prompts[0])
    nll, right = [], []
    size = rows_at_once(model.device, length, GPU_TOKENS)
    with memory_errors(length):
        for first in range(0, len(prompts), size):
            ids = torch.from_numpy(np.stack(prompts[first : first + size])).to(model.device)
            logits = _last_logits(model, ids, keep, chunk).float()
            targets = ids[:, -keep:]
            losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
            hits = logits.argmax(-1) == targets
            for row, count in enumerate(answers[first : first + size]):
                nll.append(float(losses[row, -count:].mean()))
                right.append(float(hits[row, -count:].float().mean()))
    return np.array(nll), np.array(right)


def _last_logits(model: PreTrainedModel, ids: torch.Tensor, keep: int, chunk: int) -> torch.Tensor:
    """The logits that predict the last ``keep`` tokens, shape (rows, keep, vocabulary); no others are kept."""
    if ids.shape[1] <= chunk:
        logits: torch.Tensor = model(input_ids=ids[:, :-1], use_cache=False, logits_to_keep=keep).logits
        return logits
    cut = ids.shape[1] - 1 - keep
    cache = prefill(model, ids[:, :cut], chunk)
    last: torch.Tensor = model(input_ids=ids[:, cut:-1], past_key_values=cache, use_cache=True).logits
    return last


def _said(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Prompt], chunk: int
) -> list[str]:
    """What the model says to prompts, which are read once as far as they begin alike."""
    asked = [prompt.tokens[: len(prompt.tokens) - prompt.answer] for prompt in prompts]
    shared = min(len(ids) - prompt.question for ids, prompt in zip(asked, prompts, strict=True))
    differ = np.flatnonzero(np.ptp(np.stack([ids[:shared] for ids in asked]), axis=0))
    shared = int(differ[0]) if len(differ) else shared
    found = generate(
        model,
        asked[0][:shared],
        [ids[shared:] for ids in asked],
        max_new_tokens=max(prompt.answer for prompt in prompts) + SPARE_TOKENS,
        stop=stop_tokens(model, tokenizer),
        chunk=chunk,
    )
    return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in found]


def found_share(said: str, parts: Sequence[str]) -> float:
    """The share of the parts that stand in an answer as words of their own."""
    return float(np.mean([re.search(rf"(?<!\w){re.escape(part)}(?!\w)", said) is not None for part in parts]))


def summary(answers: pd.DataFrame) -> pd.DataFrame:
    """Means by task, length and depth: ``score`` and, where they were measured, ``nll`` and ``control_nll``."""
    measured = [name for name in ("score", "nll", "control_nll") if name in answers]
    return answers.groupby(["task", "length", "depth"], sort=False)[measured].mean().reset_index()


def by_sample(answers: pd.DataFrame) -> pd.DataFrame:
    """Scores of one task averaged over depths: a row a sample, a column a length."""
    return answers.pivot_table(index="sample", columns="length", values="score", aggfunc="mean")


def effective_length(lengths: Sequence[int], scores: np.ndarray) -> np.ndarray:
    """The longest length up to which all scores reach 85 % of that at the shortest, in tokens; 0 where none does.

    Args:
        lengths: ascending.
        scores: shape (…, lengths).
    """
    enough = (scores >= EFFECTIVE * scores[..., :1]) & (scores[..., :1] >= ABLE)
    reached = np.cumprod(enough, axis=-1).sum(axis=-1)
    return np.array([0, *lengths])[reached]


def effective_interval(
    answers: pd.DataFrame, confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[int, float, float]:
    """The effective length of one task with its bootstrap interval over samples; nan for fewer than six."""
    table = by_sample(answers)
    values, lengths = table.to_numpy(), [int(length) for length in table.columns]
    point = int(effective_length(lengths, values.mean(axis=0)))
    if len(values) < FEWEST_RESAMPLED:
        return point, float("nan"), float("nan")
    places = np.random.default_rng(seed).integers(0, len(values), size=(2000, len(values)))
    draws = effective_length(lengths, values[places].mean(axis=1)).astype(float)
    return point, *quantile_interval(draws, len(values), confidence)


def scores(answers: pd.DataFrame) -> tuple[Score, ...]:
    """The numbers of a measurement in the tracking UI: by task, the score at each length and the effective length."""
    found = []
    for task, rows in answers.groupby("task", sort=False):
        for length, value in rows.groupby("length")["score"].mean().items():
            found.append(Score(quantity="score", value=float(value), task=str(task), length=int(str(length))))
        usable = float(effective_interval(rows)[0])
        found.append(Score(quantity="effective_length", value=usable, task=str(task)))
    return tuple(found)
