"""One search: a study with a journal that survives everything, and at its end three files.

The journal is Optuna's, append-only, and lies outside the results. A trial that was under way when its process died is
counted as failed; everything else is kept, and the search goes on where it was. Proposals depend on the seed and on
what was tried before, so a search that was interrupted finds what an undisturbed one finds.

What a search is made of (model, documents, space, factor, sampler, seed, objective) names its study inside the journal:
change any of it and a new study begins beside the old.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import psutil
from filelock import FileLock, Timeout
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ropewalk.errors import NoRopeError, UserError
from ropewalk.files import whole_file
from ropewalk.options import plain
from ropewalk.progress import Progress
from ropewalk.rope import Rope
from ropewalk.rope.bases import ntk, ntk_critical, pi
from ropewalk.rope.ramps import mrrope_pro, mrrope_uni, yarn, yarn_written
from ropewalk.rope.rope import FloatArray
from ropewalk.search.by_hand import ByHand
from ropewalk.search.causes import knee_points
from ropewalk.search.objective import Objective, ProbeResults
from ropewalk.search.options import SearchOptions
from ropewalk.search.rivals import PROPOSERS, STARTUP, Tried, best_of, sobol
from ropewalk.search.space import INSIDE, YARN_TEMPERATURE, Space
from ropewalk.search.spaces import Wavelengths

FEWEST = 4
"""Documents that are read to their end for every trial."""
IMPROVEMENT = 0.002
"""Nats by which the best must fall to count as progress."""
PENALTY = 10.0
"""What CMA-ES, which knows no constraints, is told of each nat above the allowed cost."""
STALE = 5.0
"""A trial of another worker is taken for dead after so many times the median duration."""
UNKNOWN = 86_400.0
"""And after so many seconds where none has finished yet."""
CHANGEABLE = ("budget", "patience", "candidates")
"""Options that decide no trial: with others, a study goes on."""


def first_points(space: Space, length: int) -> dict[str, dict[str, float]]:
    """The hand-made ropes that are points of a space, YaRN's first, one of them over-scaled, and knees of both causes.

    A rope whose nearest point is off by more than ``INSIDE`` is left out. Of a hand-made method, all its points; of
    wavelengths, those that are not moved.
    """
    if isinstance(space, ByHand | Wavelengths):
        return space.points
    table, factor = space.table, space.factor
    ropes = {
        "yarn": yarn(table, factor=factor),
        "pi": pi(table, factor=factor),
        "ntk": ntk(table, factor=factor),
        "ntk-critical": ntk_critical(table, factor=factor),
        "yarn-written": yarn_written(table, factor=factor),
        "mrrope-uni": mrrope_uni(table, factor=factor),
        "mrrope-pro": mrrope_pro(table, factor=factor),
        # LongRoPE2 finds that the slow pairs want more than the factor.
        "yarn-over-scaled": yarn(table, factor=1.2 * factor, attention_factor=1 + YARN_TEMPERATURE * math.log(factor)),
    }
    points = {name: space.point(rope) for name, rope in ropes.items() if space.distance(rope) <= INSIDE}
    return points | {f"knee-{k}": point for k, point in enumerate(knee_points(space, length), start=1)}


@dataclass(frozen=True)
class Asked:
    """A trial under way: the ``number`` of trials before it, and the seconds that it took to propose."""

    trial: Trial
    number: int
    seconds: float


class SearchLoop:
    """A study, its space and its objective."""

    def __init__(
        self,
        space: Space,
        options: SearchOptions,
        *,
        length: int,
        identity: Mapping[str, Any],
        journal: Path,
        worker: bool = False,
    ) -> None:
        """Open or begin the study. With :meth:`opened`, which holds the journal, comes the rest.

        Args:
            space: what is searched, made for the space and the factor of the options.
            options: how.
            length: target length in tokens.
            identity: all that decides the outcome, beside the options.
            journal: the file that keeps the trials.
            worker: several processes share the journal; none may believe that it is alone.
        """
        self.space, self.options, self.length, self.journal, self.worker = space, options, length, journal, worker
        self.budget = len(space.points) if isinstance(space, ByHand) else options.budget
        decisive = {name: value for name, value in plain(options).items() if name not in CHANGEABLE}
        self.identity = {**identity, "length": length, "options": decisive}
        self.name = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]
        self.study: Study

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the journal: alone, unless this is one of several workers.

        Raises:
            UserError: another process searches there, or the journal cannot be read or written.
        """
        lock = self._lock = FileLock(self.journal.with_name(f"{self.journal.name}.held"), blocking=self.worker)
        try:
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise UserError(f"{self.journal} is in use by another search; wait for it to end, or stop it.") from None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._begin()
            if self.worker:
                lock.release()
            yield
        finally:
            lock.release()

    def _unusable(self, error: OSError) -> UserError:
        return UserError(f"the journal {self.journal} cannot be used: {error.strerror or error}.")

    def _begin(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Constraints have been set, but CmaEsSampler")
        try:
            if not self.worker:
                _mend(self.journal)
            self.study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(self.journal))),
                study_name=self.name,
                sampler=RandomSampler(seed=0),
                pruner=optuna.pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=FEWEST),
                load_if_exists=True,
            )
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, KeyError) as error:
            raise UserError(f"the journal {self.journal} is damaged ({error}); move it away to begin anew.") from error
        if "identity" not in self.study.user_attrs:
            self.study.set_user_attr("identity", self.identity)
        self._reap()
        if "first" not in self.study.user_attrs:
            self.study.set_user_attr("first", first_points(self.space, self.length))

    def _reap(self) -> None:
        """Count trials whose process is gone as failed; Bayesian optimisation would wait for them for ever."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        durations = [t.duration.total_seconds() for t in self._complete() if t.duration is not None]
        patience = STALE * float(np.median(durations)) if durations else UNKNOWN
        for trial in running:
            started = trial.datetime_start
            age = time.time() - started.timestamp() if started is not None else math.inf
            if self.worker and not (_is_dead(trial.user_attrs.get("worker", "")) or age > patience):
                continue
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _complete(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    @property
    def history(self) -> list[Tried]:
        """The finished trials in the order of their numbers."""
        return [
            Tried(
                t.params,
                t.user_attrs["objective"],
                t.user_attrs["excess"],
                given="origin" in t.user_attrs,
                whole=t.user_attrs["whole"],
            )
            for t in self._complete()
        ]

    def run(
        self, objective: Objective, *, report: Callable[[int, Mapping[str, float]], None] = lambda step, numbers: None
    ) -> None:
        """Try ropes until the budget is used or nothing more is gained.

        Args:
            objective: with one reader for each rope that is to be measured at a time.
            report: called after each trial with the number of finished trials and its numbers.
        """
        history = self.history
        with (
            Progress("search", self.budget, done=len(history), unit="trial") as progress,
            ThreadPoolExecutor(len(objective.readers)) as pool,
        ):
            while len(history) < self.budget and not self._stagnant(history):
                batch: list[Asked] = []
                try:
                    for _ in range(min(len(objective.readers), self.budget - len(history))):
                        batch.append(self._ask(history, len(history) + len(batch)))
                    devices = range(len(batch))
                    measured = list(pool.map(lambda d, asked: self._measure(objective, d, asked), devices, batch))
                except BaseException:
                    for asked in batch:
                        self.study.tell(asked.trial, state=TrialState.FAIL)
                    raise
                for asked, (found, seconds) in zip(batch, measured, strict=True):
                    numbers = self._tell(objective, asked, found, seconds)
                    history = self.history
                    best = best_of(history)
                    if best is not None:
                        numbers["best"] = best
                    report(len(history), numbers)
                    progress.advance(note="none allowed yet" if best is None else f"best {best:+.4f} nats against YaRN")

    def _stagnant(self, history: Sequence[Tried]) -> bool:
        patience = self.options.patience
        if patience is None or len(history) <= max(patience, STARTUP):
            return False
        before, now = best_of(history[:-patience]), best_of(history)
        return before is not None and now is not None and now > before - IMPROVEMENT

    def _ask(self, history: Sequence[Tried], number: int) -> Asked:
        """The next trial with all its values."""
        started = time.monotonic()
        # Workers ask one after the other, so that none is given what another has.
        with self._lock if self.worker else nullcontext():
            if self.worker:
                states = (TrialState.COMPLETE, TrialState.RUNNING)
                number = len(self.study.get_trials(deepcopy=False, states=states))
            origins = list(self.study.user_attrs["first"])
            self.study.sampler = self._sampler(history, number)
            trial = self.study.ask()
            trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
            if number < len(origins):
                trial.set_user_attr("origin", origins[number])
            for p in self.space.parameters:
                if p.integer:
                    trial.suggest_int(p.name, int(p.low), int(p.high), log=p.log)
                else:
                    trial.suggest_float(p.name, p.low, p.high, log=p.log)
        return Asked(trial, number, time.monotonic() - started)

    def _sampler(self, history: Sequence[Tried], number: int) -> BaseSampler:
        """The sampler for one trial, made anew so that it depends on the history and the number alone."""
        seed = int(np.random.SeedSequence([self.options.seed, number]).generate_state(1)[0])
        kind, first = self.options.sampler, list(self.study.user_attrs["first"].values())
        if number < len(first):
            # By number, not by Optuna's enqueue_trial, which would lose the point of a trial that was killed.
            values = first[number]
        elif kind in PROPOSERS:
            values = PROPOSERS[kind](self.space, history, number, self.options.seed)
        elif number < STARTUP:
            values = sobol(self.space, history, number, self.options.seed)
        elif kind == "gp":
            # The same documents and a deterministic model: no noise.
            return GPSampler(seed=seed, n_startup_trials=1, deterministic_objective=True)
        elif kind == "tpe":
            return TPESampler(seed=seed, n_startup_trials=1)
        else:
            return CmaEsSampler(seed=seed, warn_independent_sampling=False)
        return PartialFixedSampler(values, RandomSampler(seed=seed))

    def _measure(self, objective: Objective, device: int, asked: Asked) -> tuple[ProbeResults, float]:
        started, trial = time.monotonic(), asked.trial
        order = np.random.default_rng([self.options.seed, asked.number]).permutation(len(objective.probes))
        rope, reader = self.space.rope(trial.params), objective.readers[device]
        reported: set[int] = set()
        pruned = False

        def go_on(measured: ProbeResults) -> bool:
            nonlocal pruned
            done = np.flatnonzero(measured.done)
            if len(done) < min(FEWEST, len(objective.probes)):
                return True
            if objective.excess(measured) > 0:
                return False
            if not self.options.prune:
                return True
            values = objective.values(measured)
            for k in set(done.tolist()) - reported:
                trial.report(float(values[k]), int(k))
                reported.add(k)
            pruned = trial.should_prune()
            return not pruned

        found = reader.read(rope, order=order.tolist(), go_on=go_on)
        if not pruned and not found.done.all() and objective.excess(found) <= 0:
            # What seemed too costly after a few documents is not after all of them.
            found = reader.read(rope, order=[k for k in order if not found.done[k]], go_on=go_on, known=found)
        if self.options.prune:
            go_on(found)  # so that the best trial has a value for every document
        return found, time.monotonic() - started

    def _tell(self, objective: Objective, asked: Asked, found: ProbeResults, seconds: float) -> dict[str, float]:
        trial = asked.trial
        value, excess = objective.value(found), objective.excess(found)
        documents = int(found.done.sum())
        trial.set_user_attr("measured", found.to_json())
        trial.set_user_attr("seconds", [round(asked.seconds, 4), round(seconds, 4)])
        trial.set_user_attr("excess", excess)
        trial.set_user_attr("whole", bool(found.done.all()))
        trial.set_user_attr("objective", value)
        trial.set_constraint("short", excess)
        # A mean of the documents read so far, not a pruned trial: Bayesian optimisation learns from finished ones only.
        blind = self.options.sampler == "cma"
        told = value + PENALTY * max(0.0, excess) if blind else value
        # Another worker may have taken this one for dead.
        self.study.tell(trial, told, skip_if_finished=self.worker)
        return {
            "objective": value,
            "excess": excess,
            "documents": float(documents),
            "seconds_measuring": seconds,
            "seconds_proposing": asked.seconds,
        }

    def trials(self) -> pd.DataFrame:
        """The trials that count towards the budget, one row each, in order.

        Returns:
            ``number``, ``origin`` (of first points), ``objective`` (nats), ``excess`` (nats a token), ``allowed``,
            ``documents`` (read to their end), ``whole`` (all of them), ``tail``, ``answer``, ``short`` (nats, means),
            ``accuracy``, ``shorts`` and ``tails`` (the same of each document, nan where it was not read),
            ``seconds_proposing``, ``seconds_measuring``, ``best`` (objective of the best allowed one so far that read
            all documents), and a column for each parameter.
        """
        rows: list[dict[str, Any]] = []
        best = math.nan
        for number, trial in enumerate(self._complete()[: self.budget]):
            measured = ProbeResults.from_json(trial.user_attrs["measured"])
            value, excess, whole = (trial.user_attrs[name] for name in ("objective", "excess", "whole"))
            if excess <= 0 and whole:
                best = float(np.fmin(best, value))
            proposing, measuring = trial.user_attrs["seconds"]
            rows.append(
                {
                    "number": number,
                    "origin": trial.user_attrs.get("origin", ""),
                    "objective": value,
                    "excess": excess,
                    "allowed": excess <= 0,
                    "documents": int(measured.done.sum()),
                    "whole": whole,
                    **{name: _mean(values) for name, values in asdict(measured).items()},
                    "shorts": measured.short,
                    "tails": measured.tail,
                    "seconds_proposing": proposing,
                    "seconds_measuring": measuring,
                    "best": best,
                    **trial.params,
                }
            )
        return pd.DataFrame(rows)

    def rope(self, trials: pd.DataFrame, number: int) -> Rope:
        """The rope of a trial."""
        row = trials.iloc[number]
        return self.space.rope({p.name: float(row[p.name]) for p in self.space.parameters})

    def candidates(self, trials: pd.DataFrame) -> list[int]:
        """Numbers of the best trials that are allowed and read all documents, best first.

        Raises:
            NoRopeError: there is none.
        """
        whole = trials[trials["allowed"] & trials["whole"]]
        if whole.empty:
            least = trials["excess"].min()
            raise NoRopeError(
                f"none of {len(trials)} ropes keeps the cost of short texts within its bound; the nearest is "
                f"{least:.4f} nats a token above it. Allow more with short_cost, or more trials with budget."
            )
        return [int(n) for n in whole.sort_values("objective", kind="stable")["number"].head(self.options.candidates)]

    def importances(self) -> dict[str, float]:
        """Share of each parameter in what makes a trial good, by PED-ANOVA; nothing where too few trials differ."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = optuna.importance.get_param_importances(self.study)
            except (ValueError, RuntimeError):
                return {}
        return {name: float(share) for name, share in found.items() if math.isfinite(share)}


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _is_dead(worker: str) -> bool:
    """Whether a process of this machine is gone; of other machines nobody knows."""
    host, _, pid = worker.rpartition(":")
    return host == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))


def _mend(path: Path) -> None:
    """Remove what a killed process left of its last line, and the empty lines that some network file systems leave.

    Either would spoil all that comes after it.
    """
    if not path.is_file():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    lines = [line for line in whole.split(b"\n") if line.strip(b"\0 \r\t")]
    mended = b"".join(line + b"\n" for line in lines)
    if mended != data:
        with whole_file(path) as temporary:
            temporary.write_bytes(mended)
