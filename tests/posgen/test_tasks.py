from __future__ import annotations

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.posgen.tasks import KINDS, Task


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("recursive", "2 0 3 1 6 3 6 2 3 0 4 2"),
        ("chain-of-thought", "2 0 3 1 6 5 0 6 6 0 0 1"),
        ("semi-recursive", "2 0 3 1 6 5 5 2 1 4 1 0"),
    ],
)
def test_figure_2_of_the_paper(kind, row):
    made = Task(kind, modulus=7).rows([2, 0, 3, 1], 12)
    assert " ".join(map(str, made[0])) == row


def slowly(kind: str, start: list[int], length: int, m: int, j: int, k: int) -> list[int]:
    """The rule as the paper says it, one token after the other."""
    x = list(start)
    while len(x) < length:
        near = x[len(x) - k :]
        if kind == "recursive":
            far = x[len(x) - k - j : len(x) - k]
        elif kind == "chain-of-thought":
            far = x[:j]
        else:
            p = (len(x) - (j + k)) // 2
            far = x[p : p + j]
        x.append((sum(near) + sum(far)) % m)
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("m", "j", "k"), [(17, 1, 3), (2, 1, 1), (11, 3, 2), (5, 2, 4)])
def test_any_modulus_and_any_counts(kind, m, j, k):
    starts = np.random.default_rng(0).integers(0, m, size=(5, j + k))
    made = Task(kind, m, j, k).rows(starts, 60)
    assert made.tolist() == [slowly(kind, start, 60, m, j, k) for start in starts.tolist()]


def test_short_cuts_that_follow_from_the_rules():
    """Two consecutive sums differ by two tokens, so recursive and chain-of-thought need no sum of four."""
    starts = np.random.default_rng(1).integers(0, 17, size=(50, 4))
    recursive = Task("recursive").rows(starts, 256)
    assert (recursive[:, 5:] == (2 * recursive[:, 4:-1] - recursive[:, :-5]) % 17).all()
    chain = Task("chain-of-thought").rows(starts, 256)
    assert (chain[:, 5:] == (2 * chain[:, 4:-1] - chain[:, 1:-4]) % 17).all()
    semi = Task("semi-recursive").rows(starts, 256)
    same = semi[:, 5:] == (2 * semi[:, 4:-1] - semi[:, 1:-4]) % 17
    assert same[:, ::2].all(), "every second token, where the pointer did not move"
    assert abs(same[:, 1::2].mean() - 1 / 17) < 0.01, "the others are at chance"


def test_periods_modulo_17():
    starts = np.random.default_rng(2).integers(0, 17, size=(20, 4))
    chain = Task("chain-of-thought").rows(starts, 500)
    assert (chain[:, 96 + 4 :] == chain[:, 4:-96]).all()
    recursive = Task("recursive").rows(starts, 4912 + 50)
    assert (recursive[:, 4912:] == recursive[:, :50]).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Task("recursiv"), "task is 'recursiv'; expected one of recursive"),  # type: ignore[arg-type]
        (lambda: Task("recursive", 1), "modulus is 1; expected a whole number of at least 2"),
        (lambda: Task("recursive", near=0), "near is 0"),
        (lambda: Task("recursive", 7).rows([1, 2, 3], 12), "a start has 3 tokens; expected 4"),
        (lambda: Task("recursive", 7).rows([1, 2, 3, 7], 12), "a start holds 7; expected tokens 0 to 6"),
        (lambda: Task("recursive", 7).rows([1, 2, 3, 4], 3), "length is 3"),
    ],
)
def test_impossible_tasks_are_named(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()
