from __future__ import annotations

import pytest

from ropewalk.reading.leval import strict
from ropewalk.reading.leval.tasks import TASKS


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B. by hand", "B"),
        ("**C**", "C"),
        ("B by boat", "B"),
        ("A by boat", ""),
        ("ABD", "ABD"),
        ("A, C and D", "ACD"),
        ("Answer: C", "C"),
        ("The correct answer is (D) by boat.", "D"),
        ("The answer is C.", "C"),
        ("The answers are A and B.", "AB"),
        ("Based on the text, C", ""),
        ("A dog barked.", ""),
        ("The answer is a dog", ""),
        ("", ""),
        ("Clearly", ""),
        ("it must be (C), since", "C"),
        ("C\nQuestion 2: A", "C"),
    ],
)
def test_options(answer, chosen):
    assert strict.options(answer) == set(chosen)


@pytest.mark.parametrize(
    ("task", "answer", "truth", "scores"),
    [
        ("tpo", "", "A", (0,)),
        ("tpo", "A and B", "A", (0,)),
        ("coursera", "A", "AB", (0.25,)),
        ("coursera", "none", "AB", (0,)),
        ("gsm100", "The answer is -3", "3", (0,)),
        ("gsm100", "The answer is $1,234.50", "1234.5", (1,)),
        ("gsm100", "The answer is 1234.50.", "1234", (0,)),
        ("gsm100", "3 + 4 = 7.\n\nQuestion: and 8?", "7", (1,)),
        ("gsm100", "", "7", (0,)),
        ("codeU", "it gives 10", "1", (0,)),
        ("codeU", "it gives [1, 2].", "[1, 2]", (1,)),
        ("codeU", "it gives 1.5", "1", (0,)),
        ("topic_retrieval_longchat", "The first topic: Keeping bees.", "keeping bees", (1,)),
        ("topic_retrieval_longchat", "beekeeping\nkeeping bees", "keeping bees", (0,)),
        ("sci_fi", "untrue [fact: False]", "True [fact: False]", (0, 1)),
        ("sci_fi", "True or False [fact: True", "True [fact: False]", (0, 0)),
    ],
)
def test_each_kind(task, answer, truth, scores):
    assert strict.score(TASKS[task], answer, truth) == scores


@pytest.mark.parametrize("answer", ["A" + ", " * 5000, " " * 5000 + "A", "(" * 5000, "answer " * 3000, "A " * 5000])
def test_strange_answers_take_no_time(answer):
    for task in TASKS.values():
        strict.score(task, answer, "A")
