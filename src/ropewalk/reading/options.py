"""Options of readings, a class a kind."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal, get_args

from ropewalk.errors import OptionError
from ropewalk.options import DTYPE, Count, Dtype, Options, Range, Seed, Split, Tokens

Puzzle = Literal[
    "single", "passkey", "digits", "multi-key", "multi-value", "variable-tracking", "common-words", "multi-query"
]
LEvalTask = Literal["tpo", "quality", "coursera", "sci_fi", "gsm100", "codeU", "topic_retrieval_longchat"]
Lengths = Annotated[tuple[int, ...], Range(at_least=2)]


@dataclass(frozen=True, kw_only=True)
class NllOptions(Options):
    """The NLL of every token of some documents, from one pass."""

    read_to: Tokens
    """tokens of each document that are read"""
    documents: Count = 12
    """documents of each corpus"""
    split: Split = "test"
    """split of the documents, which are assigned to splits by hash"""
    dynamic_lengths: Lengths = ()
    """lengths in tokens at which a rope that changes with the length is read besides, a pass each"""
    window: Tokens | None = None
    """tokens of a second, short reading of each token, which shows what reading everything costs; none where null"""
    window_stride: Count | None = None
    """tokens between the starts of such windows; half a window where null"""
    chunk: Count = 1024
    """tokens whose logits exist at a time, and that the layers read at a time where memory is short"""
    dtype: Dtype = DTYPE
    """type of the weights; auto is bfloat16 on a GPU and float32 on a CPU"""

    def check(self) -> None:
        longest = max(self.dynamic_lengths, default=0)
        if longest > self.read_to:
            raise OptionError(f"dynamic_lengths go to {longest}; expected at most read_to, {self.read_to}.")
        even = self.window_stride is None
        if self.window is not None and (self.window > self.read_to or (even and self.window % 2)):
            words = "an even number of " if even else ""
            raise OptionError(f"window is {self.window}; expected {words}2 to {self.read_to} tokens.")
        if self.window_stride is not None and self.window_stride >= (self.window or 0):
            raise OptionError(f"window_stride is {self.window_stride}; expected fewer tokens than the window.")

    @property
    def doublings(self) -> list[int]:
        """``read_to``, its half and so on, down to 64 tokens: the lengths in tokens that a single reading tells."""
        lengths = [self.read_to]
        while lengths[-1] // 2 >= 64:
            lengths.append(lengths[-1] // 2)
        return sorted(lengths)


@dataclass(frozen=True, kw_only=True)
class CopyingOptions(Options):
    """Copy accuracy by distance."""

    gaps: Lengths
    """distances in tokens to copy over; the model reads twice as many"""
    samples: Annotated[int, Range(at_least=2)] = 16
    """strings a distance"""
    seed: Seed = 0
    """seed of the strings"""
    dtype: Dtype = DTYPE
    """type of the weights; auto is bfloat16 on a GPU and float32 on a CPU"""

    def check(self) -> None:
        if not self.gaps:
            raise OptionError("gaps is empty; expected at least one distance in tokens.")


@dataclass(frozen=True, kw_only=True)
class NeedleOptions(Options):
    """Facts hidden in long texts, asked for by length and depth."""

    lengths: Lengths
    """tokens of a prompt, its answer included, ascending"""
    tasks: tuple[Puzzle, ...] = ("single", "multi-key", "multi-value", "variable-tracking", "common-words", "passkey")
    """what is hidden and asked; multi-query hides a fact at each depth of one text, which is read once"""
    depths: Annotated[tuple[float, ...], Range(at_least=0, at_most=1)] = (0, 0.25, 0.5, 0.75, 1)
    """where the asked fact stands, as shares of the text, ascending"""
    samples: Count = 12
    """prompts a task, length and depth"""
    by: Literal["generation", "nll"] = "generation"
    """how an answer is judged: by what the model says, or by how likely the right answer is to it, for small models"""
    seed: Seed = 0
    """seed of all prompts, the same for every model and rope"""
    split: Split = "test"
    """split of the documents that facts are hidden in"""
    chunk: Count = 1024
    """tokens that the layers read at a time where memory is short"""
    dtype: Dtype = DTYPE
    """type of the weights; auto is bfloat16 on a GPU and float32 on a CPU"""

    def check(self) -> None:
        if not self.lengths or sorted(set(self.lengths)) != list(self.lengths):
            raise OptionError(f"lengths are {list(self.lengths)}; expected ascending ones.")
        if not self.tasks or not self.depths:
            raise OptionError("tasks and depths: expected at least one of each.")
        if sorted(set(self.depths)) != list(self.depths):
            raise OptionError(f"depths are {list(self.depths)}; expected ascending ones.")

    def cells(self) -> list[tuple[str, int, float]]:
        """Task, length and depth of each cell; a list of words has no depth."""
        every = product(self.tasks, self.lengths, self.depths)
        return [cell for cell in every if cell[0] != "common-words" or cell[2] == self.depths[0]]


@dataclass(frozen=True, kw_only=True)
class PocketOptions(Options):
    """Tasks in the format of L-Eval that are made here, of invented people and places."""

    documents: Count = 3
    """documents of each task"""
    questions: Count = 4
    """questions on each document; topics always have three"""
    words: Annotated[int, Range(at_least=50, at_most=1_000_000)] = 400
    """words of each document, about"""
    seed: Seed = 0
    """seed of names, places and numbers"""


@dataclass(frozen=True, kw_only=True)
class LEvalOptions(Options):
    """Closed-ended tasks of L-Eval: questions on long documents, with answers that are right or wrong."""

    data: str
    """where the documents are: folder:PATH with TASK.jsonl files, hub:L4NLP/LEval, or pocket (made here)"""
    revision: str | None = None
    """revision of the data on the hub; a commit hash pins it"""
    pocket: PocketOptions = PocketOptions()
    """what is made where data is pocket"""
    tasks: tuple[LEvalTask, ...] = get_args(LEvalTask)
    """tasks by the names of their files"""
    context: Tokens = 16_000
    """tokens of a document and its answer together; longer documents are cut"""
    max_new_tokens: Count = 512
    """most tokens of an answer"""
    documents: Count | None = None
    """most documents of each task; all where null"""
    questions: Count | None = None
    """most questions on each document; all where null, and of topics always all three"""
    prompts: str | None = None
    """folder of TASK.toml prompt templates; those of this project where null"""
    parity: bool = False
    """leave the user's turn open where the original does"""
    chunk: Count = 1024
    """tokens of a prompt that the layers read at a time where memory is short"""
    rows: Count = 8
    """questions that are answered together"""
    dtype: Dtype = DTYPE
    """type of the weights; auto is bfloat16 on a GPU and float32 on a CPU"""

    def check(self) -> None:
        kind, colon, name = self.data.partition(":")
        if self.data != "pocket" and not (colon and name and kind in ("folder", "hub")):
            raise OptionError(f"data is {self.data!r}; expected pocket, folder:PATH or hub:L4NLP/LEval.")
        if self.context <= self.max_new_tokens:
            raise OptionError(f"max_new_tokens {self.max_new_tokens} leaves nothing of the context {self.context}.")
        if not self.tasks:
            raise OptionError("tasks is empty; expected at least one.")
