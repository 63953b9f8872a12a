"""Ask an OpenAI-style endpoint for the log-probabilities of the tokens of a prompt.

Servers differ in what they take: token ids or text, ``echo`` or vLLM's ``prompt_logprobs``. The ways are tried in this
order, and the first that is answered serves for all prompts. One token is generated and thrown away, since not every
server takes ``max_tokens`` of 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np

from ropewalk.doctor.probes import LogProbs, Prompt
from ropewalk.errors import PassingError, UserError

_TIMEOUT = httpx2.Timeout(300.0, connect=10.0)
"""In seconds. A long prompt may take minutes; being answered at all does not."""
_MARKS = str.maketrans("", "", " \n▁Ġ")

Answer = Mapping[str, Any]


class _NotSo(Exception):
    """A server does not answer in this way; the words say why, and another way may do."""


@dataclass
class Endpoint:
    """A model that a server serves.

    Attributes:
        address: of its API, without ``/completions``.
        model: what the server calls it.
    """

    address: str
    model: str
    _client: httpx2.Client = field(repr=False)
    _way: tuple[_Way, bool] | None = None

    def ask(self, prompt: Prompt) -> LogProbs:
        """The log-probabilities of a prompt, nats, shape (tokens - 1,).

        Raises:
            PassingError: the endpoint does not answer.
            UserError: it gives no log-probabilities, or those of another text.
        """
        if self._way is not None:
            way, as_ids = self._way
            try:
                return self._ask(prompt, way, as_ids=as_ids)
            except _NotSo as error:
                raise UserError(f"{self.address}: {error}") from None
        reasons: list[str] = []
        for as_ids in (True, False):
            for way in _WAYS:
                try:
                    found = self._ask(prompt, way, as_ids=as_ids)
                except _NotSo as error:
                    reasons.append(str(error))
                    continue
                self._way = way, as_ids
                return found
        said = "; ".join(dict.fromkeys(reasons))
        raise UserError(
            f"{self.address} gives no log-probabilities of a prompt ({said}); doctor needs a server whose "
            "/v1/completions takes echo with logprobs, or prompt_logprobs. vLLM's does; those of llama.cpp do not: "
            "give the GGUF file instead."
        )

    def _ask(self, prompt: Prompt, way: _Way, *, as_ids: bool) -> LogProbs:
        sent = {"model": self.model, "prompt": list(prompt.tokens) if as_ids else prompt.text}
        body = {**sent, "max_tokens": 1, "temperature": 0, **way.options}
        answer = _request(self._client, "POST", f"{self.address}/completions", body)
        values = way.read(answer, prompt)
        wanted = len(prompt.tokens)
        if len(values) == wanted - 1:
            raise UserError(
                f"{self.address} leaves one token of the prompt out, as llama-cpp-python does, which also gives each "
                "of the others the log-probability of the next place: give the GGUF file instead of its address."
            )
        if len(values) < wanted:
            raise UserError(
                f"{self.address} cut the prompt: {len(values)} tokens came back of {wanted} that were sent; start it "
                f"with a context of at least {wanted + 1} tokens."
            )
        if len(values) > wanted:
            raise UserError(
                f"{self.address} reads {len(values)} tokens where {wanted} were sent: it adds tokens of its own or has "
                "another vocabulary; serve the same model, with its own tokenizer."
            )
        found = [math.nan if value is None else float(value) for value in values[1:]]
        if not all(map(math.isfinite, found)):
            raise UserError(f"{self.address} gives log-probabilities that are not numbers; its model is damaged.")
        return np.array(found)


@dataclass(frozen=True)
class _Way:
    """A way to ask for log-probabilities, and to read the answer: one value a token, the first of them None."""

    options: Mapping[str, Any]
    read: Callable[[Answer, Prompt], Sequence[float | None]]


def connect(address: str, model: str | None = None) -> Endpoint:
    """Reach an endpoint and find out what its model is called.

    Args:
        address: ``http://host:port``, with or without ``/v1``.
        model: what the server calls the model, where it serves several.

    Raises:
        PassingError: it does not answer.
        UserError: it serves no such model, or several.
    """
    address = address.rstrip("/").removesuffix("/completions")
    address = address if address.endswith("/v1") else f"{address}/v1"
    client = httpx2.Client(timeout=_TIMEOUT)
    try:
        listed = _request(client, "GET", f"{address}/models")
    except _NotSo as error:
        raise UserError(f"{address} is no OpenAI-style endpoint: {error}.") from None
    names = [str(one.get("id")) for one in listed.get("data") or [] if isinstance(one, Mapping)]
    if model is None and len(names) != 1:
        raise UserError(f"{address} serves {', '.join(names) or 'no model'}; expected --name, one of them.")
    if model is not None and names and model not in names:
        raise UserError(f"{address} serves no model {model!r}; it has {', '.join(names)}.")
    return Endpoint(address, model or names[0], client)


def _request(client: httpx2.Client, method: str, url: str, body: Any = None) -> Answer:
    try:
        answer = client.request(method, url, json=body)
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
        raise UserError(f"{url}: expected an address such as http://localhost:8000/v1.") from None
    except httpx2.TimeoutException:
        raise PassingError(f"{url} did not answer in time; is the server busy, or still loading?") from None
    except httpx2.HTTPError as error:
        raise PassingError(f"{url} cannot be reached: {error or type(error).__name__}; is the server up?") from None
    try:
        value = answer.json()
    except ValueError:
        value = None
    if answer.status_code in (429, 502, 503, 504):
        raise PassingError(f"{url} failed with status {answer.status_code}: {_message(value) or answer.text[:200]}")
    if answer.status_code in (401, 403):
        raise UserError(f"{url} wants a key (status {answer.status_code}); start the server without one.")
    if answer.status_code >= 400:
        raise _NotSo(f"status {answer.status_code}, {_message(value) or 'without a word'}")
    if not isinstance(value, Mapping):
        raise _NotSo("what it answers is no JSON object")
    return value


def _message(value: Any) -> str:
    """What an error says, in the shapes in which servers say it."""
    if isinstance(value, Mapping):
        error = value.get("error") or value.get("detail") or value.get("message") or ""
        return _message(error) if isinstance(error, Mapping) else " ".join(str(error).split())[:200].rstrip(".")
    return ""


def _choice(answer: Answer) -> Mapping[str, Any]:
    choices = answer.get("choices")
    if not choices or not isinstance(choices[0], Mapping):
        raise _NotSo("an answer without choices")
    choice: Mapping[str, Any] = choices[0]
    return choice


def _from_echo(answer: Answer, prompt: Prompt) -> Sequence[float | None]:
    given = _choice(answer).get("logprobs") or {}
    values = given.get("token_logprobs")
    if not values:
        raise _NotSo("an answer without log-probabilities")
    if len(values) == 1 and len(prompt.tokens) > 1:
        raise _NotSo("echo was passed over")
    # The prompt begins with a token that nothing foretells; the last one was generated.
    values = values[:-1]
    tokens = given.get("tokens") or []
    if len(tokens) == len(values) + 1 == len(prompt.tokens) + 1:
        _check_text("".join(map(str, tokens[:-1])), prompt)
    return values


def _from_prompt_logprobs(answer: Answer, prompt: Prompt) -> Sequence[float | None]:
    given = _choice(answer).get("prompt_logprobs")
    if not given:
        raise _NotSo("an answer without prompt_logprobs")
    if len(given) != len(prompt.tokens):
        return [None] * len(given)  # counted by the caller
    values: list[float | None] = [None]
    for token, known in zip(prompt.tokens[1:], given[1:], strict=True):
        if not known or str(token) not in known:
            raise UserError("the endpoint read other tokens than were sent: it serves a model of another vocabulary.")
        values.append(known[str(token)]["logprob"])
    return values


def _check_text(text: str, prompt: Prompt) -> None:
    """Raise ``UserError`` where the tokens of a server make another text; special tokens may come before it."""
    read, sent = text.translate(_MARKS), prompt.text.translate(_MARKS)
    if not read.endswith(sent):
        raise UserError(
            "the endpoint reads the tokens that were sent as another text: it serves a model of another vocabulary; "
            "serve the one that is given by --model."
        )


_WAYS = (
    _Way({"echo": True, "logprobs": 1}, _from_echo),
    _Way({"prompt_logprobs": 0}, _from_prompt_logprobs),
)
