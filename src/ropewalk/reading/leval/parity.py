"""The scores of L-Eval's own script, rule by rule and flaw by flaw, so that published numbers come out again.

Flaws that are kept on purpose: a response without any option counts as A; the first A, B, C or D of a response is its
option even inside a word ("Answer: C" is A); a result counts as right where it is merely contained ("1" in "10"); an
answer to a sum loses its sign. `strict` does without them.
"""

from __future__ import annotations

import re
import string

from ropewalk.reading.leval.tasks import ExamTask

OPTIONS = "ABCD"
ERROR = "<error>"
FILLERS = ("will be", "of the code", "is", "would be", "the value of", "the result of", "printed")
FINAL = "the final output"
SPARE_TOKENS = 3
"""Tokens of a response to a code question that are looked at beyond as many as the result has."""


def score(task: ExamTask, answer: str, truth: str) -> tuple[float, ...]:
    """Scores of one answer, each 0 to 1: two for a judgement (loyalty and fact), and else one."""
    match task.kind:
        case "choice":
            return (exact_match(single_option(answer), true_options(truth)),)
        case "choices":
            return (exact_match(several_options(answer), true_options(truth)),)
        case "number":
            return (exact_match(number(answer), number(truth)),)
        case "code":
            return (exact_match(code_result(answer, truth), plain_code(truth)),)
        case "topic":
            return (exact_match(answer, truth),)
        case "judgement":
            pairs = zip(judgements(answer), judgements(truth), strict=True)
            return tuple(exact_match(found, wanted) for found, wanted in pairs)


def exact_match(answer: str, truth: str) -> float:
    """Options: 1 where equal, 0.25 where only right ones are among them; numbers: equality; else containment."""
    wanted, found = normalised(truth), normalised(answer)
    if all(char in OPTIONS for char in wanted):
        if found == wanted:
            return 1.0
        return 0.25 if set(found) <= set(wanted) else 0.0
    try:
        return float(float(answer) == float(truth))
    except ValueError:
        return float(_squeezed(truth) in _squeezed(answer))


def normalised(text: str) -> str:
    """Without punctuation, lower-case articles and doubled spaces; the case stays."""
    bare = "".join(char for char in text if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _squeezed(text: str) -> str:
    return text.lower().replace(" ", "")


def true_options(truth: str) -> str:
    """The options that the first word of a truth names; A where it names none."""
    first = next(iter(truth.split()), "")
    return "".join(char for char in first if char in OPTIONS) or "A"


def single_option(answer: str) -> str:
    """What counts as chosen where exactly one option is right."""
    plain = _plain_answer(answer)
    if plain is not None:
        return plain
    first = next((char for char in answer if char in OPTIONS), None)
    return first or _standing_options(answer)


def several_options(answer: str) -> str:
    """What counts as chosen where several options may be right."""
    plain = _plain_answer(answer)
    return _standing_options(answer) if plain is None else plain


def _plain_answer(answer: str) -> str | None:
    """An answer that is taken as it stands: none at all, or a piece of "ABCD", so that "BCD" stands and "AC" not."""
    if not answer.strip():
        return "None"
    return answer if answer in OPTIONS else None


def _standing_options(answer: str) -> str:
    leading = _first_run(answer) if answer[:1] in set(OPTIONS) else ""
    if len(leading) > 1:
        return "".join(sorted(set(leading)))
    # Models go on with questions of their own.
    response = answer.removeprefix(leading).split("Question")[0]
    standing = "".join(re.findall(r"\s*[A-Z](?=[\s.)])", response)) + leading
    chosen = "".join(sorted(set(standing) & set(OPTIONS)))
    return chosen or _first_run(response) or "A"


def _first_run(text: str) -> str:
    """The first unbroken run of option letters, in its own order."""
    found = re.search(f"[{OPTIONS}]+", text)
    return found[0] if found else ""


def number(answer: str) -> str:
    """The digits of the answer to a sum, up to a point; empty where there are none."""
    found = re.search(r"The answer is (\S+)", answer)
    if found:
        token = found[1]
    else:
        words = reversed(answer.split("\n\n")[0].split(" "))
        token = next((word for word in words if any(char.isdigit() for char in word)), "")
    return "".join(char for char in token.split(".")[0] if char.isdigit())


def plain_code(text: str) -> str:
    """What a program prints, in one way of writing."""
    text = re.sub(r"\s+", " ", text)
    for old in (",", "'", "\\", ".0"):
        text = text.replace(old, "")
    for old, new in (("] [", "]["), ("[ [", "[["), ("] ]", "]]")):
        text = text.replace(old, new)
    return text


def code_result(answer: str, truth: str) -> str:
    """The few tokens of a response that may be the result.

    Args:
        answer: as it was generated.
        truth: the right result, whose number of tokens says how many are looked at.
    """
    response = plain_code(answer)
    for filler in FILLERS:
        response = response.replace(filler, "")
    count = len(truth.split()) + SPARE_TOKENS
    _before, found, after = response.rpartition(FINAL)
    # Space at either end makes an empty token, which counts.
    tokens = re.split(r"\s+", after)
    tokens = tokens[:count] if found else tokens[-count:]
    return " ".join(tokens)


def judgements(answer: str) -> tuple[str, str]:
    """Loyalty and fact, each true, false or an error."""
    parts = answer.lower().split("[fact:")
    # The original has no rule for a response that lacks the second part; it is an error here.
    # Its last character is taken for the closing bracket, whatever it is.
    return _judgement(parts[0]), _judgement(parts[1][:-1] if len(parts) > 1 else "")


def _judgement(text: str) -> str:
    for word in text.split():
        for value in ("true", "false"):
            if value in word:
                return value
    return ERROR
