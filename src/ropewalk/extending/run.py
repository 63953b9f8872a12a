"""From a model and a length to an answer: read what it has, try what is worth trying, and say which, in a folder.

The folder is written anew after each document, so that there is an answer early and a better one later. Called again,
it goes on where it was; with a larger budget, from there.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ropewalk.corpora import Corpus
from ropewalk.errors import NoRopeError, UserError
from ropewalk.export.printing import ENGINES
from ropewalk.extending import planning
from ropewalk.extending.candidates import NATIVE, SEARCHED, TUNED, Candidate, candidates, rope_file
from ropewalk.extending.measurements import Log, Measured, Reading, measured
from ropewalk.extending.page import write_page
from ropewalk.extending.planning import Plan
from ropewalk.extending.recommendation import Recommendation, recommend
from ropewalk.extending.serving import engines_told, proved
from ropewalk.extending.texts import count, open_texts
from ropewalk.files import claim_state, only_one, read_json, write_json
from ropewalk.models.configurations import load_config, own_rope
from ropewalk.models.flops import forward_flops
from ropewalk.models.loading import load_model
from ropewalk.models.rope_reading import text_config
from ropewalk.models.sources import ModelSource, training_record, weights_hash
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.options import DTYPE
from ropewalk.progress import Progress, clock
from ropewalk.reading.nll import token_nll
from ropewalk.rope import Rope
from ropewalk.rope.prediction import Setting, predict
from ropewalk.search.objective import Ability, Probe, Reader, ability, make_probes

VERSION = 1
"""Of what is read: readings of another one are begun anew."""
_TIMED = 1024
"""Tokens of the first reading by which time is estimated."""
_TIMED_LONG = 0.5
"""Seconds that it takes at least, or else a longer one is timed: on a GPU short ones take as long as longer ones."""
_MOST = 512
"""Documents to report on, of which no more are prepared: they are kept in memory, and say enough."""
_WRITTEN = 20.0
"""Seconds between two pages."""
_MARGIN = 0.7
"""Share of the bound on short texts that searches keep to: an interval has to lie within it, not a mean."""


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Attributes:
        source: the model.
        length: tokens that it is to read.
        corpora: see :func:`ropewalk.extending.texts.open_texts`.
        engines: that are to be told what to type.
        budget: seconds of reading.
        short_cost: nats a token that texts up to the native length may lose.
        confidence: that no rope is recommended that gains nothing or costs too much.
        native: tokens that the model reads, where its configuration is wrong.
        dtype: of the weights.
    """

    source: ModelSource
    length: int
    corpora: tuple[str, ...]
    engines: tuple[str, ...]
    budget: float
    short_cost: float
    confidence: float
    native: int | None = None
    dtype: str = DTYPE


@dataclass(frozen=True)
class Subject:
    """The model that is to be extended, with its texts.

    Attributes:
        model: loaded.
        weights: hash of its files, or its revision.
        tokenizer: its own.
        rope: its own.
        native_length: tokens that it reads by itself.
        corpora: with documents that are long enough.
        able: which answers it can give.
    """

    model: PreTrainedModel
    weights: str | None
    tokenizer: PreTrainedTokenizerFast
    rope: Rope
    native_length: int
    corpora: dict[str, Corpus]
    able: Ability


def extend(wish: Wish, folder: Path) -> dict[str, Any]:
    """Answer a wish, and write ``answer.json``, ``page.html``, ``front.png``, ropes and a configuration.

    Raises:
        UserError: the model cannot be extended, texts are too short, or the time is not enough for one document.
    """
    for engine in wish.engines:
        if engine not in ENGINES:
            raise UserError(f"--engine {engine!r}: expected one of {', '.join(ENGINES)}.")
    if folder.exists() and any(folder.iterdir()) and not (folder / "state" / "identity.json").is_file():
        raise UserError(f"{folder} holds other files; expected a new folder, or one of this command.")
    rope, notes = own_rope(wish.source, length=wish.native if wish.native else None)
    config = text_config(load_config(wish.source))
    native_length = wish.native or _native_length(rope, config)
    tried = candidates(rope, native_length, wish.length)
    with only_one(folder / "state"):
        tokenizer = load_tokenizer(wish.source)
        trained = training_record(wish.source) is not None
        weights = weights_hash(wish.source)
        corpora = open_texts(wish.corpora, tokenizer, folder / "texts", wish.length, trained=trained)
        claim_state(
            folder / "state",
            {
                "version": VERSION,
                "model": str(wish.source),
                "weights": weights,
                "rope": rope.to_json(),
                "lengths": [native_length, wish.length],
                "texts": {name: corpus.documents["sha256"].tolist() for name, corpus in corpora.items()},
            },
        )
        model = load_model(wish.source, dtype=wish.dtype)
        able = _ability(model, tokenizer, rope.at(native_length), native_length, corpora, folder / "state")
        subject = Subject(model, weights, tokenizer, rope, native_length, corpora, able)
        return _Run(wish, folder, subject, tried, notes).answer()


def _native_length(rope: Rope, config: Any) -> int:
    """Tokens that a model reads by itself: those of its training, or those that it was lengthened to."""
    announced = getattr(config, "max_position_embeddings", None) or rope.original_length
    return max(rope.original_length, announced) if rope.lengthened_by else rope.original_length


def _ability(
    model: PreTrainedModel, tokenizer: Any, own: Rope, length: int, corpora: dict[str, Corpus], state: Path
) -> Ability:
    """Which answers the model can give within its own length: hidden facts, else digits to copy, else none."""
    kept = state / "ability.json"
    if kept.is_file():
        return Ability(**read_json(kept, "what the model can answer"))
    # One of each corpus, or three where there is one alone.
    documents = max(1, min(min(count(corpora, "test").values()), 3 // len(corpora)))
    table, found = replace(own, original_length=length), None
    for retrieval in ("needle", "copy"):
        try:
            found = ability(model, tokenizer, table, corpora, split="test", documents=documents, retrieval=retrieval)
        except UserError as error:  # a tokenizer without digits
            found = Ability("none", retrieval, None, f"answers are left out: {error}".rstrip("."))
        if found.retrieval != "none":
            break
    assert found is not None
    write_json(kept, asdict(found))
    return found


class _Run:
    """One run on one subject."""

    def __init__(
        self, wish: Wish, folder: Path, subject: Subject, tried: list[Candidate], notes: Sequence[str]
    ) -> None:
        self.wish, self.folder, self.subject, self.tried, self.notes = wish, folder, subject, tried, list(notes)
        self.state = folder / "state"
        self.log = Log(self.state / "readings.jsonl")
        self.probes = list(self._probes())
        self.not_tried: list[str] = []

    def answer(self) -> dict[str, Any]:
        """Read, search and read on until the time is used or all documents are read."""
        plan = self._plan()
        self._search(plan)
        names = [one.name for one in self.tried]
        known = len(measured(self.log.readings, names).documents)
        written = time.monotonic() - _WRITTEN
        with Progress("reading", len(names) * len(self.probes), done=known * len(names), unit="text") as progress:
            for place, probe in enumerate(self.probes):
                missing = [one for one in self.tried if not self.log.has(one.name, probe.corpus, probe.document)]
                if not missing:
                    continue
                further = int((self.wish.budget - self._spent()) / (len(missing) * self._seconds(plan)))
                if place and not further:
                    break
                # As many as the time is enough for, which is known better the more are read.
                progress.expect(len(names) * min(len(self.probes), place + max(1, further)))
                for one in missing:
                    self._read(one, probe)
                    progress.advance(note=probe.document)
                if time.monotonic() - written >= _WRITTEN:
                    self._write()
                    written = time.monotonic()
        return self._write(last=True)

    def _probes(self) -> Iterator[Probe]:
        """The documents that are reported on, one of each corpus in turn."""
        each = []
        for seed, (name, corpus) in enumerate(self.subject.corpora.items()):
            most = math.ceil(_MOST / len(self.subject.corpora))
            documents = min(most, count(self.subject.corpora, "test")[name])
            each.append(
                make_probes(
                    {name: corpus},
                    self.subject.tokenizer,
                    split="test",
                    documents=documents,
                    train_length=self.subject.native_length,
                    length=self.wish.length,
                    retrieval=self.subject.able.retrieval,
                    seed=seed,
                )
                if documents
                else []
            )
        for turn in range(max(map(len, each))):
            yield from (probes[turn] for probes in each if turn < len(probes))

    def _plan(self) -> Plan:
        """What the time is enough for; of an earlier call with the same budget, what it planned."""
        kept = self.state / "plan.json"
        if kept.is_file() and (known := read_json(kept, "a plan"))["budget"] == self.wish.budget:
            return Plan(**known["plan"])
        choosing, why = self._choosing()
        plan = planning.plan(
            self._seconds(None),
            self.wish.budget,
            ropes=len(self.tried),
            documents=len(self.probes),
            choosing=choosing,
            searches=not why,
            spent=self._spent(),
        )
        # What was found before is not forgotten.
        plan = replace(
            plan,
            tuned=plan.tuned or (self.state / "tuned").is_dir(),
            searched=plan.searched or (self.state / "searched").is_dir(),
        )
        write_json(kept, {"budget": self.wish.budget, "plan": asdict(plan)})
        more = [what for what, wanted in (("YaRN tuned", plan.tuned), ("a search", plan.searched)) if wanted]
        print(
            f"{len(self.tried)} ropes{''.join(f', {each}' for each in more)}, {plan.documents} of {len(self.probes)} "
            f"documents of {self.wish.length:,} tokens: about {clock(plan.seconds)}; one reading takes about "
            f"{clock(plan.reading)}",
            flush=True,
        )
        return plan

    def _choosing(self) -> tuple[int, str]:
        """Documents that a trial of a search reads, or why nothing can be searched."""
        if made := " and ".join(step.method for step in self.subject.rope.changes):
            return (
                0,
                f"searches start from a table of pre-training whose pairs all turn, this one is of {made}",
            )
        if find_spec("optuna") is None:
            return 0, "the package optuna is not installed; ropewalk[study] has it"
        if self.wish.native:
            return 0, "the native length was given by hand"
        corpora = self._searchable()
        if not corpora:
            return 0, f"no corpus has {planning.DOCUMENTS} long documents to search on and as many to select by"
        return planning.DOCUMENTS * len(corpora), ""

    def _searchable(self) -> dict[str, Corpus]:
        corpora = self.subject.corpora
        enough = [count(corpora, split) for split in ("search", "selection")]
        return {
            name: corpus
            for name, corpus in corpora.items()
            if all(counts[name] >= planning.DOCUMENTS for counts in enough)
        }

    def _search(self, plan: Plan) -> None:
        """Add what is found on the documents to choose by, as far as it was planned."""
        _, why = self._choosing()
        for name, folder, wanted, sampler, space in (
            (TUNED, "tuned", plan.tuned, "grid", "yarn"),
            (SEARCHED, "searched", plan.searched, "gp", "ramp"),
        ):
            words = "YaRN with its constants tuned" if sampler == "grid" else "a Bayesian search"
            if not wanted:
                self.not_tried.append(f"{words}: {why or 'the time is not enough for it; a larger --budget goes on'}")
                continue
            if not (self.state / folder / "rope.json").is_file():
                try:
                    self._find(self.state / folder, sampler, space)
                except NoRopeError as error:
                    self.not_tried.append(f"{words}, of which nothing came: {str(error).partition('. ')[0]}")
                    continue
            rope = Rope.load(self.state / folder / "rope.json")
            constants = {key: value for key, value in rope.steps[-1].params.items() if key.startswith("beta")}
            about = ", ".join(f"{key} {value:g}" for key, value in constants.items())
            texts = "on texts to choose by"
            said = f"YaRN with the best of {planning.GRID} pairs of constants {texts}: {about}"
            if sampler != "grid":
                said = f"the best of {planning.TRIALS} trials of Bayesian optimisation {texts}"
            self.tried.append(Candidate(name, rope, said))

    def _find(self, folder: Path, sampler: str, space: str) -> None:
        from ropewalk.search.options import SearchOptions
        from ropewalk.search.run import search

        started = time.monotonic()
        options = SearchOptions(
            factor=self.wish.length / self.subject.native_length,
            sampler=sampler,  # type: ignore[arg-type]
            space=space,  # type: ignore[arg-type]
            budget=planning.TRIALS,
            documents=planning.DOCUMENTS,
            candidates=planning.JUDGED,
            retrieval=self.subject.able.retrieval,
            short_cost=_MARGIN * self.wish.short_cost,
            dtype=self.wish.dtype,  # type: ignore[arg-type]
        )
        search(
            self.wish.source,
            self._searchable(),
            options,
            columns={"search": folder.name},
            journal=folder.with_suffix(".journal"),
            folder=folder,
        )
        write_json(self._searching, {**self._searched(), folder.name: time.monotonic() - started})

    @property
    def _searching(self) -> Path:
        return self.state / "searching.json"

    def _searched(self) -> dict[str, float]:
        """Seconds of each search that has ended."""
        known: dict[str, float] = read_json(self._searching, "seconds") if self._searching.is_file() else {}
        return known

    def _spent(self) -> float:
        """Seconds of all calls so far."""
        return sum(one.seconds for one in self.log.readings) + sum(self._searched().values())

    def _seconds(self, plan: Plan | None) -> float:
        """Of one document with one rope: as read so far, or by a short one."""
        if self.log.readings:
            return float(np.mean([one.seconds for one in self.log.readings]))
        if plan is not None:
            return plan.reading
        model, tokens = self.subject.model, self.probes[0].text

        def timed(length: int) -> float:
            token_nll(model, tokens[:length])  # the first pass of a length is slower
            started = time.monotonic()
            token_nll(model, tokens[:length])
            return time.monotonic() - started

        length = min(_TIMED, len(tokens))
        taken = timed(length)
        while taken < _TIMED_LONG and length < len(tokens):
            length = min(4 * length, len(tokens))
            taken = timed(length)
        weights = model.num_parameters()
        flops = [forward_flops(model.config, weights, many) for many in (length, len(tokens))]
        twice = 2 if self.subject.able.retrieval == "copy" else 1
        return taken * flops[1] / flops[0] * twice

    def _read(self, candidate: Candidate, probe: Probe) -> None:
        """Read one document with one rope."""
        started = time.monotonic()
        reader = Reader(self.subject.model, [probe], self.subject.native_length)
        found = reader.read(candidate.rope)
        short = found.short
        if candidate.short is not None:
            short = reader.read(candidate.short, go_on=lambda _: False).short
        asked = not np.isnan(found.answer[0])
        self.log.add(
            Reading(
                candidate.name,
                probe.corpus,
                probe.document,
                float(short[0]),
                float(found.tail[0]),
                float(found.answer[0]) if asked else None,
                float(found.accuracy[0]) if asked else None,
                time.monotonic() - started,
            )
        )

    def _write(self, *, last: bool = False) -> dict[str, Any]:
        """Write what is known by now, and return it."""
        found = measured(self.log.readings, [one.name for one in self.tried])
        said = recommend(found, self.wish.short_cost, self.wish.confidence)
        ropes = {one.name: one.rope for one in self.tried}
        for name, rope in ropes.items():
            rope.save(self.folder / rope_file(name))
        chosen = None if said.rope is None else ropes[said.rope]
        if chosen is None:
            (self.folder / "rope.json").unlink(missing_ok=True)
        else:
            chosen.save(self.folder / "rope.json")
        told, proof = {}, None
        if chosen is not None:
            told = engines_told(self.wish.source, chosen, self.wish.length, self.wish.engines)
        if last:
            shutil.rmtree(self.folder / "export", ignore_errors=True)
        if chosen is not None and last:
            proof = proved(self.wish.source, chosen, self.wish.length, self.state, self.folder / "export")
        answer = self._answer(found, said, told, proof)
        write_json(self.folder / "answer.json", answer)
        write_page(answer, self.folder)
        return answer

    def _answer(
        self, found: Measured, said: Recommendation, engines: dict[str, Any], proof: dict[str, Any] | None
    ) -> dict[str, Any]:
        about = {one.name: one.about for one in self.tried}
        rope, native = self.subject.rope, self.subject.native_length
        judged = {one.name: one for one in said.judged}
        rows: list[dict[str, Any]] = []
        for k, name in enumerate(found.names):
            one = judged.get(name)
            means = {key: _mean(getattr(found, key)[k]) for key in ("short", "tail", "answer", "accuracy")}
            rows.append(
                {
                    "rope": name,
                    "file": rope_file(name),
                    "about": about[name],
                    **means,
                    "verdict": None if one is None else one.verdict,
                    "gain": None if one is None else _interval(one.gain),
                    "cost": None if one is None else _interval(one.cost),
                }
            )
        laws = predict(Setting.of(rope.rotary_dim, rope.base, native), self.wish.length)
        return {
            "model": str(self.wish.source),
            "weights": self.subject.weights,
            "parameters": self.subject.model.num_parameters(),
            "native_length": native,
            "length": self.wish.length,
            "native_rope": about[NATIVE],
            "answer": said.answer,
            "rope": said.rope,
            "ties": list(said.ties),
            "ropes": rows,
            "documents": list(found.documents),
            "documents_at_hand": len(self.probes),
            "corpora": {name: corpus.info["provenance"] for name, corpus in self.subject.corpora.items()},
            "answers": self.subject.able.reason,
            "comparisons": said.comparisons,
            "confidence": said.confidence,
            "short_cost": self.wish.short_cost,
            "seconds": self._spent(),
            "engines": engines,
            "proof": proof,
            "laws": {key: laws[key] for key in ("critical_dimension", "head_dim", "target")},
            "not_tried": [*self.not_tried, *_NEVER_TRIED],
            "notes": self.notes,
        }


_NEVER_TRIED = (
    "fine-tuning with the longer rope, which usually reads better than any rope without it",
    "ropes that take another table for short texts, which cost those nothing in engines that switch",
    "maps of positions such as Self-Extend, which may be better and which no server of models has",
    "CoPE and DroPE, which want a short training",
)


def _mean(values: np.ndarray) -> float | None:
    return None if not len(values) or np.isnan(values).any() else float(values.mean())


def _interval(value: Any) -> dict[str, float | None]:
    known = {"mean": value.mean, "low": value.low, "high": value.high}
    return {key: None if np.isnan(number) else float(number) for key, number in known.items()}


def default_folder(source: ModelSource, length: int) -> Path:
    """Where an answer goes if nobody says: beside the person, by the model's name and the length."""
    name = Path(source.name).name or "model"
    return Path(f"{name.removesuffix('.gguf')}-{length}")
