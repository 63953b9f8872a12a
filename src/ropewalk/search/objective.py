"""What a search makes small, measured on one resident model whose rope is patched for each trial.

For each document k of a split, cut to the target length L':

- its tail: the mean NLL of the tokens beyond the training length L;
- an answer: the NLL of something that only the distant context can tell, a fact hidden in the text (``needle``) or
  the last digits of a periodic string (``copy``), which small models can do too;
- its short part: the mean NLL of its first L tokens, which says what the rope costs where the model needed none.

The value of document k is 1 × (answer − that of YaRN as coded) + 0.5 × (tail − that of YaRN as coded), both in nats and
no more than 1.5 above YaRN, so that one document at which a rope fails altogether does not drown the others. The
objective is their mean; differences from the same documents take out what is peculiar to a document. A rope is allowed
if its short part costs no more nats, against the original rope, than a bound: by default what YaRN costs and 0.02 more.

The weights and the bound follow what LongRoPE2 (arXiv 2502.20082) reports of answers and documents as guides; the ORoPE
paper's own objective could not be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ropewalk.corpora.splits import SPLITS
from ropewalk.corpora.store import Corpus
from ropewalk.errors import NoRoomError, UserError
from ropewalk.models import binding
from ropewalk.models.rope_reading import text_config
from ropewalk.models.tokenizers import digit_tokens
from ropewalk.reading.copying import SCORED
from ropewalk.reading.needle import hide
from ropewalk.reading.nll import check_memory, chunk_logits, memory_errors, rows_at_once, texts
from ropewalk.rope import Rope
from ropewalk.rope.ramps import yarn
from ropewalk.rope.rope import FloatArray
from ropewalk.search.options import Retrieval
from ropewalk.search.value import document_values

SLACK = 0.02
"""Nats a token that the short part may cost more than with YaRN, where no bound is given."""
ABLE = 0.5
"""Share of answer tokens that a model must get right at its training length for answers to be of use beyond it."""
GPU_TOKENS = 65_536
"""Tokens in a forward pass on a GPU, where one document has no more."""
LOGIT_BYTES = 2**28
"""Memory for the float32 logits of one chunk."""


@dataclass(frozen=True)
class Probe:
    """What is read for one document.

    Attributes:
        corpus: where the document comes from.
        document: its id.
        text: token ids, shape (target length,).
        tail_stop: index after the last token that counts as tail.
        answer: tokens at the end of ``text`` that are an answer; 0 where the answer is in ``string``, or there is none.
        string: a periodic string of digits, shape (target length,), or None.
    """

    corpus: str
    document: str
    text: np.ndarray
    tail_stop: int
    answer: int = 0
    string: np.ndarray | None = None


@dataclass(frozen=True)
class ProbeResults:
    """Nats a token of each document, shape (documents,); nan where it was not measured.

    Attributes:
        short: of the first tokens, up to the training length.
        tail: of the tokens beyond it.
        answer: of the answer.
        accuracy: share of answer tokens that were the model's first choice.
    """

    short: FloatArray
    tail: FloatArray
    answer: FloatArray
    accuracy: FloatArray

    @property
    def done(self) -> np.ndarray:
        """Which documents were read to their end."""
        return ~np.isnan(self.tail)

    def to_json(self) -> dict[str, list[float | None]]:
        return {
            # To the last bit: a search that goes on must see what it saw before.
            name: [None if math.isnan(x) else float(x) for x in values]
            for name, values in asdict(self).items()
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[float | None]]) -> ProbeResults:
        return cls(**{name: np.array([math.nan if x is None else x for x in values]) for name, values in value.items()})


def copy_string(symbols: Sequence[int], period: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """A string of random symbols that repeats with ``period``: token ids, shape (length,)."""
    return np.resize(rng.choice(np.asarray(symbols), size=period), length)


def make_probes(
    corpora: Mapping[str, Corpus],
    tokenizer: PreTrainedTokenizerFast,
    *,
    split: str,
    documents: int,
    train_length: int,
    length: int,
    retrieval: Retrieval,
    seed: int = 0,
) -> list[Probe]:
    """The probes of a split: ``documents`` of each corpus, in the order of their hash.

    Facts and strings depend on the seed and on the split, and their words come from a part of the lists that no other
    split uses. Facts stand at most so deep that more than the training length lies between them and the question;
    strings repeat with a period of half or a quarter of the length.

    Args:
        corpora: by name, tokenised by ``tokenizer``.
        tokenizer: of the model.
        split: of the documents.
        documents: of each corpus.
        train_length: L, in tokens.
        length: in tokens; at least 32.
        retrieval: which answers to ask for.
        seed: of facts and strings.

    Raises:
        UserError: a corpus has too few documents of that length, or the tokenizer lacks what the answers need.
    """
    part = SPLITS.index(split)
    symbols = digit_tokens(tokenizer) if retrieval == "copy" else []
    probes = []
    for k, text in enumerate(texts(corpora, split=split, documents=documents, length=length)):
        rng = np.random.default_rng([seed, part, k])
        if retrieval == "needle":
            deepest = max(0.0, 1 - train_length / length)
            hay = hide(tokenizer, text.tokens, length, deepest=deepest, rng=rng, part=part, parts=len(SPLITS))
            probes.append(Probe(text.corpus, text.document, hay.tokens, hay.question, hay.answer))
        else:
            string = copy_string(symbols, length // (2 if k % 2 else 4), length, rng) if retrieval == "copy" else None
            probes.append(Probe(text.corpus, text.document, text.tokens, length, string=string))
    return probes


class Reader:
    """Reads probes with any rope on one model.

    A document is read once, for its short part and its tail together; where the tail is not wanted, only its first
    tokens are read.
    """

    def __init__(self, model: PreTrainedModel, probes: Sequence[Probe], train_length: int) -> None:
        """Keep the probes on the model's device.

        Raises:
            UserError: the memory cannot hold one document.
        """
        self.model, self.probes, self.train_length = model, tuple(probes), train_length
        self.length = len(probes[0].text)
        self.rows = rows_at_once(model.device, self.length, GPU_TOKENS)
        self.chunk = max(1, min(self.length, LOGIT_BYTES // (4 * text_config(model.config).vocab_size * self.rows)))
        check_memory(model, self.length, self.chunk, rows=self.rows)
        self.text = torch.from_numpy(np.stack([probe.text for probe in probes])).to(model.device)
        strings = [probe.string for probe in probes if probe.string is not None]
        self.strings = torch.from_numpy(np.stack(strings)).to(model.device) if strings else None

    @torch.inference_mode()
    def read(
        self,
        rope: Rope,
        *,
        order: Sequence[int] | None = None,
        go_on: Callable[[ProbeResults], bool] = lambda _: True,
        known: ProbeResults | None = None,
    ) -> ProbeResults:
        """Measure a rope.

        Args:
            rope: a static rope of the model's table.
            order: of the documents; by default as they are.
            go_on: asked before each batch with what is known so far; once it says no, no further tail or answer is
                read, only short parts.
            known: what was measured of this rope before, to which this is added.
        """
        binding.patch(self.model, rope)
        count = len(self.probes)
        nothing = np.full(count, math.nan)
        before = known or ProbeResults(nothing, nothing, nothing, nothing)
        values = {name: array.copy() for name, array in vars(before).items()}
        measured = ProbeResults(**values)  # a view: it fills as the batches are read
        wanted = True
        places = np.arange(count) if order is None else np.asarray(order, dtype=int)
        with memory_errors(self.length):
            for batch in np.array_split(places, math.ceil(len(places) / self.rows)):
                wanted = self._read_batch(batch, values, measured, wanted, go_on)
        return measured

    def _read_batch(
        self,
        batch: np.ndarray,
        values: Mapping[str, FloatArray],
        measured: ProbeResults,
        wanted: bool,
        go_on: Callable[[ProbeResults], bool],
    ) -> bool:
        wanted = wanted and go_on(measured)
        # Off the device at once: each look at a number there waits for it.
        read = self._predict(self.text[batch, : None if wanted else self.train_length])
        nll, right = (numbers.cpu() for numbers in read)
        values["short"][batch] = nll[:, : self.train_length - 1].mean(1)
        if not np.isfinite(values["short"][batch]).all():
            raise UserError(
                f"the model's NLL on texts of {self.train_length} tokens is no number: its weights are damaged "
                f"or too large for {str(self.model.dtype).removeprefix('torch.')}."
            )
        if not wanted:
            return False
        for row, k in enumerate(batch):
            probe = self.probes[k]
            # Entry i is about token i + 1.
            values["tail"][k] = float(nll[row, self.train_length - 1 : probe.tail_stop - 1].mean())
            if probe.answer:
                values["answer"][k] = float(nll[row, -probe.answer :].mean())
                values["accuracy"][k] = float(right[row, -probe.answer :].mean())
        if self.strings is not None:
            strings = self.strings[batch]
            logits = self.model(input_ids=strings, use_cache=False, logits_to_keep=SCORED + 1).logits[:, :-1]
            nll, right = _against(logits, strings[:, -SCORED:])
            values["answer"][batch], values["accuracy"][batch] = nll.mean(1).cpu(), right.mean(1).cpu()
        return True

    def _predict(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """NLL of all tokens but the first, and whether each was the first choice, shape (rows, tokens - 1) both."""
        parts = []
        for start, stop, logits in chunk_logits(self.model, ids, self.chunk):
            parts.append(_against(logits, ids[:, start + 1 : stop + 1]))
            del logits  # before the next chunk has its own
        nll, right = zip(*parts, strict=True)
        return torch.cat(nll, 1), torch.cat(right, 1)


def _against(logits: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """NLL of ``ids``, shape (rows, tokens), under logits, and whether each had the highest, as 0 and 1."""
    nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids.flatten(), reduction="none")
    return nll.view(ids.shape), (logits.argmax(-1) == ids).float()


@dataclass(frozen=True)
class Ability:
    """Whether a model can give answers at its training length.

    Attributes:
        retrieval: the answers that are used: those asked for, or none.
        asked: the answers that were asked for.
        accuracy: share of answer tokens that it gets right at its training length; None where it was not asked.
        reason: a sentence for people.
    """

    retrieval: Retrieval
    asked: Retrieval
    accuracy: float | None
    reason: str


def ability(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    table: Rope,
    corpora: Mapping[str, Corpus],
    *,
    split: str,
    documents: int,
    retrieval: Retrieval,
    seed: int = 0,
) -> Ability:
    """Ask a model with its own rope for answers at its training length.

    Args:
        model: any causal language model.
        tokenizer: of the model.
        table: the model's own rope.
        corpora: by name, tokenised by ``tokenizer``.
        split: of the documents.
        documents: of each corpus.
        retrieval: which answers to ask for.
        seed: of facts and strings.

    Raises:
        UserError: the corpora have too few documents.
    """
    length = table.original_length
    if retrieval == "none":
        return Ability("none", "none", None, "answers are not asked for")
    try:
        probes = make_probes(
            corpora,
            tokenizer,
            split=split,
            documents=documents,
            train_length=length // 2,
            length=length,
            retrieval=retrieval,
            seed=seed,
        )
    except NoRoomError as error:
        return Ability("none", retrieval, None, f"answers are left out: at the training length, {error}".rstrip("."))
    accuracy = float(Reader(model, probes, length // 2).read(table.at(length)).accuracy.mean())
    share = f"{accuracy:.0%} of the answer's tokens right at its training length of {length} tokens"
    if accuracy < ABLE:
        reason = f"answers are left out: the model gets {share}, fewer than {ABLE:.0%}"
        return Ability("none", retrieval, accuracy, reason)
    return Ability(retrieval, retrieval, accuracy, f"answers count: the model gets {share}")


class Objective:
    """The objective on the documents of one split.

    Attributes:
        probes: what is read for each document.
        short_cost: the largest allowed cost of the short part, nats a token.
        reference: YaRN as coded at this factor, measured.
        original: nats of the short parts with the original rope, shape (documents,).
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        table: Rope,
        factor: float,
        short_cost: float | None,
        known: Mapping[str, Any] | None = None,
    ) -> None:
        """Measure what ropes are compared with, unless it is known.

        Args:
            readers: of the same probes, one for each device.
            table: the rope of pre-training.
            factor: s, target length over pre-training length.
            short_cost: nats a token that the short part may cost against the original rope; where None, what YaRN costs
                and ``SLACK`` more.
            known: what :meth:`to_json` of the same objective gave before.
        """
        self.readers, self.probes = tuple(readers), readers[0].probes
        if known is None:
            self.reference = readers[0].read(yarn(table, factor=factor))
            self.original = readers[0].read(table, go_on=lambda _: False).short
        else:
            self.reference = ProbeResults.from_json(known["reference"])
            self.original = np.array(known["original"], dtype=np.float64)
        yarn_costs = float((self.reference.short - self.original).mean())
        self.short_cost = max(0.0, yarn_costs) + SLACK if short_cost is None else short_cost

    def to_json(self) -> dict[str, Any]:
        """What ropes are compared with."""
        return {"reference": self.reference.to_json(), "original": self.original.tolist()}

    def values(self, measured: ProbeResults) -> FloatArray:
        """The value of each document, in nats; below 0 is better than YaRN; nan where it was not read to its end."""
        return document_values(measured.tail, measured.answer, self.reference.tail, self.reference.answer)

    def value(self, measured: ProbeResults) -> float:
        """The objective: the mean over the documents that were read to their end, in nats."""
        return float(np.nanmean(self.values(measured)))

    def excess(self, measured: ProbeResults) -> float:
        """By how much the short part costs more than is allowed, in nats a token; at most 0 is allowed."""
        return float(np.nanmean(measured.short - self.original)) - self.short_cost
