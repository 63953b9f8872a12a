"""Have a model answer the tasks; killed and called again, it goes on after the last document it answered."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ropewalk.errors import UserError
from ropewalk.files import claim_state, only_one, whole_file, whole_folder, whole_lines, write_json
from ropewalk.models import binding
from ropewalk.models.loading import load_model
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.sources import ModelSource, gguf_path, training_record, weights_hash
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.options import plain
from ropewalk.progress import Progress
from ropewalk.reading.generation import generate, stop_tokens
from ropewalk.reading.leval.data import DataSource, ExamDocument, load_task
from ropewalk.reading.leval.pocket import write_pocket
from ropewalk.reading.leval.prompting import Fitted, Prompter, fit, load_template, say_where_no_chat, shared_length
from ropewalk.reading.leval.tasks import ExamTask, task_named
from ropewalk.reading.options import LEvalOptions
from ropewalk.rope import Rope

TOGETHER = 32
"""Questions up to which documents of one text are answered together, so that the text is read once for all."""


def read_leval(
    source: ModelSource,
    rope: Rope,
    options: LEvalOptions,
    *,
    columns: Mapping[str, Any],
    state: Path,
    folder: Path,
    brought: Path | None = None,
) -> None:
    """Answer the tasks that the options name, those of the pocket edition made on the spot; see :func:`predict`.

    Args:
        brought: folder that the data were brought into; they are looked for where the options say where None.
    """
    if options.data != "pocket":
        data = DataSource("folder", str(brought)) if brought else DataSource.parse(options.data, options.revision)
        predict(source, rope, data, options, columns=columns, state=state, folder=folder)
        return
    with tempfile.TemporaryDirectory() as made:
        write_pocket(Path(made) / "pocket", options.pocket)
        data = DataSource("folder", f"{made}/pocket")
        predict(source, rope, data, options, columns=columns, state=state, folder=folder)


def predict(
    source: ModelSource,
    rope: Rope | None,
    data: DataSource,
    options: LEvalOptions,
    *,
    columns: Mapping[str, Any],
    state: Path,
    folder: Path,
) -> None:
    """Write ``TASK.jsonl`` for each task, in the original's format, and ``reading.json``.

    Args:
        source: the model.
        rope: bound to it; its own where None. One that changes with the length is fixed at that of each prompt.
        data: the tasks.
        options: which tasks, and how they are answered.
        columns: what the row is called in tables; answers have the key ``ROPE_pred``.
        state: folder of the answers so far; removed at the end.
        folder: where to write, whole or not at all.

    Raises:
        UserError: a task, a template or the model cannot be read, the rope does not fit, or memory runs out.
    """
    wanted = {one: _limited(task_named(one), load_task(data, task_named(one)), options) for one in options.tasks}
    templates = {
        one: load_template(task_named(one), options.prompts and Path(options.prompts)) for one in options.tasks
    }
    name = columns.get("rope", "model")
    settings = {
        "model": _place(source),
        "weights": weights_hash(source),
        "training": training_record(source),
        "rope": rope.to_json() if rope is not None else None,
        "name": name,
        "documents": {one: _digest(documents) for one, documents in wanted.items()},
        "templates": {one: asdict(template) for one, template in templates.items()},
        # Where questions and prompts lie changes no answer; what they hold is told above.
        "options": {k: v for k, v in plain(options).items() if k not in ("data", "pocket", "prompts", "chunk", "rows")},
    }
    with only_one(state):
        claim_state(state, settings)
        tokenizer, model = load_tokenizer(source), load_model(source, dtype=options.dtype)
        say_where_no_chat(tokenizer)
        own = _own_rope(model) if rope is None else None
        # A rope of the model that does not change is left as transformers made it.
        used = own if own is not None and not own.static else rope
        answerer = _Answerer(model, tokenizer, used, options)
        total = sum(len(document.questions) for documents in wanted.values() for document in documents)
        kept = {one: _kept(state / f"{one}.jsonl", documents) for one, documents in wanted.items()}
        with Progress("L-Eval", total, done=sum(map(len, kept.values())), unit="answer") as progress:
            for one, documents in wanted.items():
                prompter = Prompter(tokenizer, templates[one], options.parity)
                lines = answerer.lines(task_named(one), prompter, documents, kept[one], f"{name}_pred")
                with (state / f"{one}.jsonl").open("a", encoding="utf-8") as file:
                    for answered in lines:
                        # One write a document: what a kill leaves of it is seen by its missing end.
                        file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in answered))
                        file.flush()
                        progress.advance(len(answered), note=task_named(one).title)
        with whole_folder(folder) as out:
            for one in wanted:
                shutil.copyfile(state / f"{one}.jsonl", out / f"{one}.jsonl")
            provenance = {
                "data": options.data,
                "ropewalk": version("ropewalk"),
                "transformers": version("transformers"),
                "device": model.device.type,
                "dtype": str(model.dtype).removeprefix("torch."),
                "chat_template": tokenizer.chat_template is not None,
                "own_rope": own.to_json() if own is not None else None,
                "model": str(source),
                "columns": dict(columns),
            }
            write_json(out / "reading.json", {**settings, **provenance})
        shutil.rmtree(state)


def _limited(task: ExamTask, documents: list[ExamDocument], options: LEvalOptions) -> list[ExamDocument]:
    # The three questions on a conversation stay together: scorers tell them apart by their places in the file.
    questions = None if task.kind == "topic" else options.questions
    return [
        ExamDocument(one.text, one.questions[:questions], one.answers[:questions])
        for one in documents[: options.documents]
    ]


def _digest(documents: Sequence[ExamDocument]) -> str:
    """What tells documents and questions from others, without a copy of them."""
    return hashlib.sha256(json.dumps([asdict(document) for document in documents]).encode()).hexdigest()


def _place(source: ModelSource) -> str:
    """The source by a name that does not depend on where the command is called."""
    if source.kind == "hub":
        return str(source)
    return f"{source.kind}:{_local(source).resolve()}"


def _local(source: ModelSource) -> Path:
    return gguf_path(source.name) if source.kind == "gguf" else Path(source.name)


def _own_rope(model: PreTrainedModel) -> Rope | None:
    """The rope of the model's configuration; None where this project cannot compute it, as transformers can."""
    try:
        return read_rope(model.config)
    except UserError:
        return None


def _kept(path: Path, documents: Sequence[ExamDocument]) -> list[dict[str, Any]]:
    """The answers in a file on all groups of documents that it holds whole; the file is cut to them.

    A group is answered again as a whole: batches of other questions may round otherwise.
    """
    whole: list[dict[str, Any]] = []
    lines = whole_lines(path)
    end = 0
    for group in _groups(documents):
        end += sum(len(documents[place].questions) for place in group)
        if end > len(lines):
            break
        whole = lines[:end]
    with whole_file(path) as temporary:
        temporary.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in whole), encoding="utf-8")
    return whole


def _groups(documents: Sequence[ExamDocument]) -> list[list[int]]:
    """Places of documents that are answered together: neighbours of one text, as the worked examples of gsm100."""
    groups: list[list[int]] = []
    count = 0
    for place, document in enumerate(documents):
        count += len(document.questions)
        if groups and document.text == documents[place - 1].text and count <= TOGETHER:
            groups[-1].append(place)
        else:
            groups.append([place])
            count = len(document.questions)
    return groups


@dataclass(frozen=True)
class _Answerer:
    """Answers questions with one model."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    rope: Rope | None
    options: LEvalOptions

    def lines(
        self,
        task: ExamTask,
        prompter: Prompter,
        documents: Sequence[ExamDocument],
        kept: Sequence[Mapping[str, Any]],
        key: str,
    ) -> Iterator[list[dict[str, Any]]]:
        """The lines of each group of documents that has none yet."""
        done = max((int(line["document"]) for line in kept), default=-1)
        # The last text is remembered, since the next group may have it too; cutting it once is enough.
        fitted: tuple[str, Fitted] | None = None
        for group in _groups(documents):
            text = documents[group[0]].text
            if group[-1] <= done or not any(documents[place].questions for place in group):
                continue
            if fitted is None or fitted[0] != text:
                room = self.options.context - self.options.max_new_tokens
                fitted = text, fit(self.tokenizer, text, room, keeps_end=task.keeps_end)
            yield self._answer(task, prompter, {place: documents[place] for place in group}, fitted[1], key)

    def _answer(
        self, task: ExamTask, prompter: Prompter, documents: Mapping[int, ExamDocument], fitted: Fitted, key: str
    ) -> list[dict[str, Any]]:
        asked = [
            (place, number, question, truth)
            for place, document in documents.items()
            for number, (question, truth) in enumerate(zip(document.questions, document.answers, strict=True))
        ]
        prompts = [prompter.ids(fitted.text, question) for _, _, question, _ in asked]
        answers = self._texts(prompts)
        if task.kind == "judgement":
            facts = self._texts([prompter.ids_alone(question) for _, _, question, _ in asked])
            pairs = zip(answers, facts, strict=True)
            answers = [f"{loyalty.strip()} [fact: {fact.strip()}]" for loyalty, fact in pairs]
        return [
            {
                "query": question,
                "gt": truth,
                key: answer,
                # The original scores no line without it.
                "evaluation": "exam",
                "task": task.name,
                "document": place,
                "question": number,
                "document_tokens": fitted.tokens,
                "prompt_tokens": len(prompt),
                "cut": fitted.cut,
            }
            for (place, number, question, truth), prompt, answer in zip(asked, prompts, answers, strict=True)
        ]

    def _texts(self, prompts: Sequence[np.ndarray]) -> list[str]:
        """Answers to prompts; what these start with in common is read once, unless the rope depends on the length."""
        if self.rope is None or self.rope.static:
            found = self._generated(prompts, self.rope)
        else:
            found = [text for one in prompts for text in self._generated([one], self.rope.at(len(one)))]
        return [str(self.tokenizer.decode(ids, skip_special_tokens=True)) for ids in found]

    def _generated(self, prompts: Sequence[np.ndarray], rope: Rope | None) -> list[np.ndarray]:
        if rope is not None:
            binding.patch(self.model, rope)
            binding.check_float32(self.model)
        shared = shared_length(prompts)
        return generate(
            self.model,
            prompts[0][:shared],
            [one[shared:] for one in prompts],
            max_new_tokens=self.options.max_new_tokens,
            stop=stop_tokens(self.model, self.tokenizer),
            chunk=self.options.chunk,
            rows=self.options.rows,
        )
