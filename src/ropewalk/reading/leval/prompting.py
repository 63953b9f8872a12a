"""Prompts from documents and questions, and documents cut to the length that a context leaves them."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from ropewalk.errors import UserError
from ropewalk.reading.leval.tasks import ExamTask

WORDS_A_STEP = 250
"""Words fewer that each further try to fit a document keeps."""
_END = "\u241d\u241dend\u241d\u241d"
"""Stands in no document; marks where the user's turn ends."""
_NAMES = re.compile(r"\{(document|question)\}")


@dataclass(frozen=True)
class Template:
    """How the prompts of a task are worded.

    Attributes:
        system: what the model is told first.
        user: the user's turn, with ``{document}`` and ``{question}``.
        unclosed: in parity the user's turn stays open.
        system_alone: of the second prompt of a judgement, which has no document.
        user_alone: likewise, with ``{question}``.
        turned: words of the question, and what stands for them in the second prompt.
    """

    system: str
    user: str
    unclosed: bool = False
    system_alone: str = ""
    user_alone: str = ""
    turned: tuple[str, str] = ("", "")


def load_template(task: ExamTask, folder: str | Path | None = None) -> Template:
    """The template of a task, from a folder of TOML files named after tasks or from those of this project.

    Raises:
        UserError: the file is missing, no TOML, or lacks a key.
    """
    path = Path(folder) / f"{task.name}.toml" if folder is not None else None
    name = str(path or f"{task.name}.toml")
    try:
        shipped = resources.files("ropewalk.reading.leval") / "prompts" / f"{task.name}.toml"
        values = tomllib.loads((path or shipped).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{name}: no such file; expected the prompt template of {task.name}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{name} is damaged or no TOML: {error}.") from None
    return _template(name, task, values)


def _template(name: str, task: ExamTask, values: dict[str, Any]) -> Template:
    twice = task.kind == "judgement"
    needed = ("system", "user", *(("system_alone", "user_alone", "turned") if twice else ()))
    known = asdict(Template("", ""))
    for key in needed:
        if key not in values:
            raise UserError(f"{name} has no key {key!r}; expected {', '.join(needed)}.")
    for key, value in values.items():
        if key not in known:
            raise UserError(f"{name} has an unknown key {key!r}; expected {', '.join(known)}.")
        if key == "turned":
            if not isinstance(value, list) or [type(one) for one in value] != [str, str]:
                raise UserError(f"{name} turned is {value!r}; expected a list of two texts.")
        elif type(value) is not type(known[key]):
            raise UserError(f"{name} {key} is {value!r}; expected a {type(known[key]).__name__}.")
    for key, places in (("user", ("document", "question")), ("user_alone", ("question",) if twice else ())):
        for place in places:
            if f"{{{place}}}" not in values[key]:
                raise UserError(f"{name} {key} lacks {{{place}}}; expected the place where it stands.")
    return Template(**{**values, **({"turned": tuple(values["turned"])} if "turned" in values else {})})


@dataclass(frozen=True)
class Prompter:
    """Makes the token ids of prompts.

    Attributes:
        tokenizer: of the model; its chat template is used where it has one.
        template: of the task.
        parity: leave the user's turn open where the original does.
    """

    tokenizer: PreTrainedTokenizerFast
    template: Template
    parity: bool = False

    def ids(self, document: str, question: str) -> np.ndarray:
        """The prompt for a question on a document, shape (length,)."""
        user = _filled(self.template.user, document, question)
        return self._encoded(self.template.system, user, unclosed=self.parity and self.template.unclosed)

    def ids_alone(self, question: str) -> np.ndarray:
        """The prompt for a judgement without the document, shape (length,)."""
        old, new = self.template.turned
        return self._encoded(
            self.template.system_alone, _filled(self.template.user_alone, "", question.replace(old, new))
        )

    def _encoded(self, system: str, user: str, *, unclosed: bool = False) -> np.ndarray:
        if self.tokenizer.chat_template is None:
            ids = self.tokenizer(f"{system}\n\n{user}")["input_ids"]
        else:
            # Chat templates write the special tokens themselves.
            ids = self.tokenizer(self._chat(system, user, unclosed), add_special_tokens=False)["input_ids"]
        return np.array(ids, dtype=np.int64)

    def _chat(self, system: str, user: str, unclosed: bool) -> str:
        content = user + _END if unclosed else user
        try:
            text = self._rendered(
                [{"role": "system", "content": system}, {"role": "user", "content": content}], unclosed
            )
        except TemplateError:
            text = ""
        if system.strip() not in text:  # a family without a system role, which refuses it or leaves it out
            text = self._rendered([{"role": "user", "content": f"{system}\n\n{content}"}], unclosed)
        return text.partition(_END)[0] if unclosed else text

    def _rendered(self, messages: list[dict[str, str]], unclosed: bool) -> str:
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=not unclosed))


def say_where_no_chat(tokenizer: PreTrainedTokenizerFast) -> None:
    """Tell once that prompts are plain text."""
    if tokenizer.chat_template is None:
        print("ropewalk: the tokenizer has no chat template; prompts are laid out as plain text.", file=sys.stderr)


def _filled(template: str, document: str, question: str) -> str:
    # In one pass, since a document may hold the marks itself.
    return _NAMES.sub(lambda found: document if found[1] == "document" else question, template)


def shared_length(prompts: Sequence[np.ndarray]) -> int:
    """How many tokens all prompts start with in common, at most all but the last of the shortest.

    Prompts are encoded whole and compared afterwards, so that no token differs from that of the whole prompt.
    """
    shortest = min(map(len, prompts))
    if len(prompts) == 1:
        return shortest - 1
    first = prompts[0][:shortest]
    same = np.logical_and.reduce([first == prompt[:shortest] for prompt in prompts])
    return min(shortest - 1, shortest if same.all() else int(np.argmin(same)))


@dataclass(frozen=True)
class Fitted:
    """A document that fits: its text, its tokens (those at its beginning that stand for no text included), and
    whether it was cut."""

    text: str
    tokens: int
    cut: bool


def fit(tokenizer: PreTrainedTokenizerFast, document: str, max_length: int, *, keeps_end: bool = False) -> Fitted:
    """Cut a document as the original does: to so many words as tokens are allowed, then to 250 fewer until it fits.

    Args:
        tokenizer: counts the tokens.
        document: words are what stands between single spaces.
        max_length: tokens allowed.
        keeps_end: drop words at the start instead of at the end.

    Raises:
        UserError: not even an empty document fits.
    """

    def tokens(text: str) -> int:
        return len(tokenizer(text, verbose=False)["input_ids"])

    if tokens("") > max_length:
        raise UserError(f"{max_length} tokens are left for a document; expected at least {tokens('') + 1}.")
    words, count = document.split(" "), tokens(document)
    if count <= max_length:
        return Fitted(document, count, False)

    def kept(number: int) -> str:
        return " ".join(words[max(0, len(words) - number) :] if keeps_end else words[:number])

    for number in range(max_length, 0, -WORDS_A_STEP):
        if number >= len(words):
            continue  # nothing is cut yet, so nothing needs counting
        count = tokens(kept(number))
        if count <= max_length:
            return Fitted(kept(number), count, True)
    # The original is left without a rule for contexts that are so short; as many words as fit are kept.
    low, high = 0, min(len(words), max_length)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if tokens(kept(middle)) <= max_length else (low, middle - 1)
    return Fitted(kept(low), tokens(kept(low)), True)
