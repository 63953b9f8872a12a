"""Cases that were worked out by hand from the rules of the original, one block a rule."""

from __future__ import annotations

import pytest

from ropewalk.reading.leval import parity
from ropewalk.reading.leval.tasks import TASKS, task_of


@pytest.mark.parametrize(
    ("truth", "options"),
    [("A", "A"), ("ABD", "ABD"), ("(B) full text of A", "B"), ("none", "A"), ("", "A"), ("  C. x", "C")],
)
def test_true_options(truth, options):
    assert parity.true_options(truth) == options


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("", "None"),  # no letter of it is an option, so it is wrong
        (" \n", "None"),
        ("AB\n", "A"),  # no substring of ABCD
        ("B", "B"),
        (" C\n", "C"),
        ("AB", "AB"),
        ("BCD", "BCD"),
        ("AC", "A"),  # no substring of ABCD
        ("Answer: C", "A"),  # the A of Answer
        ("Based on the text, C", "B"),
        ("it is (D), not B", "D"),
        ("none of these", "A"),
        ("CD is right", "C"),
    ],
)
def test_single_option(answer, chosen):
    assert parity.single_option(answer) == chosen


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("ABD", "ABD"),
        ("DBA", "ABD"),
        ("BB", "B"),
        ("ACx", "AC"),
        ("A", "A"),
        ("A. first\nC. third", "AC"),
        ("A) x (C) y", "AC"),
        ("The options are B. and D.", "BD"),
        ("B, C.", "BC"),  # the leading B, and C before its full stop
        ("b c", "A"),
        ("", "None"),
        ("BCD", "BCD"),
        ("I. think", "A"),  # a capital that is no option
        ("Xth DBA", "DBA"),  # the first run, in its own order
        (" AB", "AB"),
        ("C. Question 2. A. B.", "C"),
        ("Question 1: B.", "A"),
    ],
)
def test_several_options(answer, chosen):
    assert parity.several_options(answer) == chosen


@pytest.mark.parametrize(
    ("answer", "truth", "score"),
    [
        ("A", "A", 1),
        ("A", "ABD", 0.25),
        ("BA", "AB", 0.25),  # the same letters in another order are only a subset
        ("AC", "ABD", 0),
        ("ABD", "A", 0),
        ("18", "18", 1),
        ("18.0", "18", 1),
        ("", "18", 0),
        ("1", "10", 0),
        ("[10]", "1]", 0),
        ("the result 10 here", "10", 1),  # no number, so containment
        ("110", "x", 0),
        ("The Bees ON a roof", "bees on a roof", 1),
        ("bees on roofs", "bees on a roof", 0),
        ("x\nthe bees\nthe wasps", "bees", 1),
        ("x\nthe bees\nthe wasps", "wasps", 1),
    ],
)
def test_exact_match(answer, truth, score):
    assert parity.exact_match(answer, truth) == score


def test_normalisation_keeps_the_case():
    assert parity.normalised("The  cat, a dog; an  owl.") == "The cat dog owl"
    assert parity.normalised("A") == "A"


@pytest.mark.parametrize(
    ("answer", "digits"),
    [
        ("The answer is 18", "18"),
        ("The answer is $1,234.50.", "1234"),
        ("so.\nThe answer is 5. Question: The answer is 7", "5"),
        ("The answer is unknown", ""),
        ("it makes 3 and 4 so 12 nets\n\nQuestion 99", "12"),
        ("3 + 4 = 7.", "7"),
        ("line 4\n5 nets", "45"),  # only blanks part words
        ("-8", "8"),
        ("none", ""),
    ],
)
def test_number(answer, digits):
    assert parity.number(answer) == digits


def test_code():
    assert parity.plain_code("[ [1, 'a'], [2.0] ]") == "[[1 a][2]]"
    assert parity.plain_code("a\\b  c") == "ab c"
    assert parity.code_result("one two three four five six", "6") == "three four five six"
    assert parity.code_result("The final output. x the final output is 7 8 9 10 11", "6") == " 7 8 9"
    assert parity.code_result("The value of x will be printed", "6") == "value of x "
    assert parity.code_result("a b c d e f g", "[1] [2]") == "c d e f g", "the truth is counted as it was written"
    (right,) = parity.score(TASKS["codeU"], "So the final output of the code is: [3, 4.0]", "[3, 4]")
    assert right == 1
    (flawed,) = parity.score(TASKS["codeU"], "it gives 10 here", "1")
    assert flawed == 1, "1 is contained in 10"
    (early,) = parity.score(TASKS["codeU"], "12 is what I think that this program gives", "12")
    assert early == 0, "only the last four tokens are looked at"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("True [fact: False]", ("true", "false")),
        ("I think it is TRUE. [fact: untrue]", ("true", "true")),
        ("True [fact: true", ("true", "<error>")),  # the last character is taken for a bracket
        ("maybe [fact: False because]", ("<error>", "false")),
        ("False", ("false", "<error>")),
        ("", ("<error>", "<error>")),
        ("false, not true [fact: true] [fact: false]", ("false", "true")),
    ],
)
def test_judgements(answer, found):
    assert parity.judgements(answer) == found


def test_judgements_score_apart():
    assert parity.score(TASKS["sci_fi"], "True [fact: True]", "True [fact: False]") == (1, 0)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/tpo.pred.jsonl", "tpo"),
        ("codellama/quality.jsonl", "quality"),
        ("gsm.jsonl", "gsm100"),
        ("codeU.pred.jsonl", "codeU"),
        ("topic_retrieval_longchat.jsonl", "topic_retrieval_longchat"),
        ("sci_fi/predictions.jsonl", "sci_fi"),
    ],
)
def test_task_of(path, name):
    assert task_of(path).name == name


def test_a_topic_may_stand_in_any_line():
    """The original's script looks at the whole answer since its commit of 9 October 2023."""
    answer = "Sure, here is the topic:\nThe history of tea"
    assert parity.exact_match(answer, "The history of tea") == 1.0
