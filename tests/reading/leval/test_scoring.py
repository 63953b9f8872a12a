from __future__ import annotations

import json

import pytest

from ropewalk.errors import UserError
from ropewalk.reading.leval.scoring import check_same_questions, score_file


@pytest.fixture
def write(tmp_path):
    def make(name, pairs, **extra):
        lines = [{"query": f"q{i}", "gt": gt, "x_pred": pred, **extra} for i, (gt, pred) in enumerate(pairs)]
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return make


def test_choice(write):
    scored = score_file(write("tpo.pred.jsonl", [("A", ""), ("B", "Based on this, C"), ("C", "C"), ("C", "Answer: C")]))
    assert scored.score() == 50.0
    assert scored.score("strict") == 50.0


def test_several_options_are_rounded_to_four_decimals(write):
    path = write("coursera.jsonl", [("AB", "A"), ("ABD", "A. B. D."), ("C", "D")])
    assert score_file(path).score() == 41.6667


def test_judgements_are_the_mean_of_their_two_parts(write):
    pairs = [("True [fact: False]", "True [fact: True]"), ("False [fact: True]", "no [fact: True]")]
    path = write("sci_fi.jsonl", pairs)
    scored = score_file(path)
    assert scored.parts() == {"loyalty": 50.0, "fact": 50.0}
    assert scored.score() == 50.0


def test_topics_come_in_turn(write):
    pairs = [("bees", "Bees!"), ("old boats", "boats"), ("rye", "rye"), ("bats", "bats"), ("oak", "oak"), ("x", "y")]
    scored = score_file(write("topic_retrieval_longchat.jsonl", pairs))
    assert scored.parts() == {"first": 100.0, "second": 50.0, "third": 50.0}
    assert scored.score() == 66.6667


def test_sums(write):
    scored = score_file(write("gsm100.jsonl", [("18", "The answer is $18."), ("3", "-3"), ("7", "no idea")]))
    assert scored.score() == 66.6667
    assert scored.score("strict") == 33.3333


def test_documents_are_what_is_resampled(write, tmp_path):
    lines = [{"gt": "A", "m_pred": "A" if d < 3 else "B", "document": d} for d in range(8) for _ in range(4)]
    (tmp_path / "tpo.jsonl").write_text("\n".join(map(json.dumps, lines)))
    scored = score_file(tmp_path / "tpo.jsonl")
    assert scored.interval().count == 8
    assert scored.interval().mean == pytest.approx(scored.score()) == 37.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"gt": "A", "x_pred": "A"}\n{"gt": ', r"tpo.jsonl:2 is no JSON"),
        ("[1]", r"tpo.jsonl:1 holds a list"),
        ('{"gt": "A"}', r"tpo.jsonl:1 has no key that contains '_pred'"),
        ('{"x_pred": "A"}', r"tpo.jsonl:1 has no key 'gt'"),
        ('{"gt": "A", "x_pred": null}', r"tpo.jsonl:1 x_pred is None; expected a text"),
        ("\n\n", r"tpo.jsonl holds no lines"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, message):
    (tmp_path / "tpo.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        score_file(tmp_path / "tpo.jsonl")


def test_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        score_file(tmp_path / "tpo.jsonl")
    with pytest.raises(UserError, match=r"answers\.jsonl: its name tells no task"):
        score_file("answers.jsonl")


def test_line_ends_of_unicode_part_no_lines(tmp_path):
    (tmp_path / "tpo.jsonl").write_text(json.dumps({"gt": "A", "x_pred": "A\u2028B"}, ensure_ascii=False))
    assert len(score_file(tmp_path / "tpo.jsonl").items) == 1


def test_other_questions_are_refused(write):
    one = score_file(write("tpo.jsonl", [("A", "A")]))
    other = score_file(write("b_tpo.jsonl", [("B", "A")]))
    check_same_questions({"one": one, "again": one})
    with pytest.raises(UserError, match="tpo: other answers other questions than one"):
        check_same_questions({"one": one, "other": other})
