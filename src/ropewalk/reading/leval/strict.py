"""What the answers are worth when read with care: only an answer that is clearly given counts.

- Options: a letter counts where it stands alone: as all there is, after "answer is" or "answer:", at the start (an
  A with a mark behind it), or in parentheses. A letter inside a word never counts, the article "A" neither. No answer
  is wrong; so are two letters where one is asked for. Where several are right, some of them and no wrong one are worth
  0.25, as in the original.
- Numbers: the last number behind the first "answer is", else the last one before the model goes on by itself; with its
  sign and decimals.
- Code: the result must stand in the same few tokens as in the original, but whole: 1 is not found in 10.
- Topics: the words of the topic must stand in the first line of the response, whole and in order.
- Judgements: exactly one of the words true and false must stand in the first line of each part.
"""

from __future__ import annotations

import re

from ropewalk.reading.leval import parity
from ropewalk.reading.leval.tasks import ExamTask

_LETTERS = r"\(?[A-D]\)?(?:(?:\s*(?:,|and|&|/))+\s*\(?[A-D]\)?|\s*[A-D](?![a-z]))*"
_ALONE = re.compile(rf"\W*({_LETTERS})\W*")
_CUED = re.compile(
    rf"\b(?:answers?|options?|choices?)\b(?:\s+(?:is|are|would be|should be))?\s*:?\s*\W{{0,3}}"
    rf"(?:options?\s+|choices?\s+)?({_LETTERS})(?![\w'’])",
    re.IGNORECASE,
)
_STARTING = re.compile(rf"\W*(?:({_LETTERS})\s*(?:[.):*,]|$)|([B-D])\s)", re.MULTILINE)
_BRACKETED = re.compile(r"\(([A-D])\)|\*\*([A-D])[.)]?\*\*")
_NUMBER = re.compile(r"(?<![\w.])-?\s?\$?\d[\d,]*(?:\.\d+)?|(?<![\w.])-?\.\d+")


def score(task: ExamTask, answer: str, truth: str) -> tuple[float, ...]:
    """Scores of one answer, each 0 to 1: two for a judgement (loyalty and fact), and else one."""
    match task.kind:
        case "choice" | "choices":
            wanted, chosen = set(parity.true_options(truth)), options(answer)
            if chosen == wanted:
                return (1.0,)
            return (0.25 if task.kind == "choices" and chosen and chosen < wanted else 0.0,)
        case "number":
            found, right = number(answer), number(truth)
            return (float(found is not None and found == right),)
        case "code":
            result = parity.plain_code(truth).strip()
            found_text = parity.code_result(answer, result)
            return (float(bool(result) and _stands(result, found_text)),)
        case "topic":
            return (float(_stands(_words(truth), _words(_first_line(answer)))),)
        case "judgement":
            pairs = zip(_judgements(answer), _judgements(truth), strict=True)
            return tuple(float(found is not None and found == right) for found, right in pairs)


def options(answer: str) -> set[str]:
    """The options that a response clearly names; none where it does not."""
    text = answer.split("Question")[0].strip()
    if whole := _ALONE.fullmatch(text):
        return _letters(whole[1])
    cued = [found for found in _CUED.findall(text) if found.isupper() or not found.isalpha()]
    if cued:
        return _letters(cued[-1])
    if start := _STARTING.match(text):
        return _letters(start[1] or start[2])
    return {a or b for a, b in _BRACKETED.findall(text)}


def _letters(text: str) -> set[str]:
    return set(re.findall(r"[A-D]", text.replace("and", "")))


def number(answer: str) -> float | None:
    """The number that a response gives as its answer."""
    own = re.split(r"\n\s*\n\s*Question|\n\s*Question", answer.strip())[0]
    _, cue, behind = own.partition("answer is")
    found = _NUMBER.findall(behind.split("\n")[0]) if cue else []
    found = found or _NUMBER.findall(own)
    return float(re.sub(r"[\s$,]", "", found[-1])) if found else None


def _stands(part: str, text: str) -> bool:
    """True where a part stands whole in a text: no letter or digit goes on at either end of it."""
    if not part:
        return False
    squeezed = " ".join(part.lower().split())
    return re.search(rf"(?<![\w.-]){re.escape(squeezed)}(?!\w|\.\d)", " ".join(text.lower().split())) is not None


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _first_line(text: str) -> str:
    return next(iter(text.strip().split("\n")), "")


def _judgements(answer: str) -> tuple[str | None, str | None]:
    parts = answer.lower().split("[fact:")
    return _judgement(parts[0]), _judgement(parts[1] if len(parts) > 1 else "")


def _judgement(text: str) -> str | None:
    named = set(re.findall(r"\b(true|false)\b", _first_line(text)))
    return named.pop() if len(named) == 1 else None
