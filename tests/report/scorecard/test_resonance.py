from __future__ import annotations

import math

import pytest

from ropewalk.scores import Score, number_rows


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        # Figures of the paper, and closed forms worked out apart from this code.
        ("resonance/most-pairs", 46 / 64, "reproduced"),
        ("resonance/no-common-period", 7.058, "reproduced"),
        ("resonance/table-2-7b-32k", 1.00, "undecided"),
        ("resonance/table-2-7b-4k", 0.97, "undecided"),
        ("resonance/table-2-13b-16k", 0.17, "undecided"),
        ("resonance/table-2-13b-4k", 0.81, "undecided"),
    ],
)
def test_what_is_computed_agrees_with_the_paper_and_with_closed_forms(found, name, value, verdict):
    finding = found(name)
    assert finding.verdict == verdict
    assert finding.decisive.value == pytest.approx(value, abs=0.01, rel=2e-3)


def test_the_sampling_error_of_a_published_average_is_about_one_and_a_half_points(found):
    case = found("resonance/table-2-7b-32k").decisive
    assert (case.high - case.value) / 1.96 / math.sqrt(2) == pytest.approx(1.5, abs=0.15)


@pytest.fixture
def leval(experiment):
    def made(above=10.0, seeds=2, **setting):
        """Two tuned models and one that is not; ``above`` says how far the average lies above guessing."""
        models = {"yarn": ("yarn", 4096), "res": ("yarn+resonance", 4096), "plain": ("yarn", None)}
        about = {"pocket": False, "train_length": 4096, "tasks": 6, "competence": "above guessing"} | setting
        about["competence_needed"] = 0.0
        about["models"] = [{"model": name, "recipe": recipe, "tuned_at": at} for name, (recipe, at) in models.items()]
        names = {"task": "average", "scoring": "parity", "model": "res", "against": "yarn"}
        able = [Score(quantity="competence", value=above, model=name) for name in models]
        counts = {"n_documents": 20, "n_seeds": seeds}
        return experiment(
            "leval", about, able, number_rows("difference", 3.0, intervals={"documents": (1.0, 5.0)}, **names, **counts)
        )

    return made


def test_leval_counts_only_where_a_model_can_answer_its_questions(found, leval):
    finding = found("resonance/leval-above-yarn", leval())
    assert (finding.verdict, finding.decisive.where) == ("reproduced", "res less yarn")
    assert found("resonance/leval-above-yarn", leval(pocket=True)).verdict == "not tried"
    unable = found("resonance/leval-above-yarn", leval(above=-1.0))
    assert (unable.verdict, unable.decisive.value) == ("no verdict", 3.0)
    assert "above guessing" in unable.why
    assert "1 seed" in found("resonance/leval-above-yarn", leval(seeds=1)).why


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # Averages as table 2 prints them.
        ("resonance/table-2-above-ntk", 39.06 - 35.47),
        ("resonance/table-2-7b-short-steps", 36.61 - 33.24),
        ("resonance/table-2-13b-long-steps", 39.87 - 41.65),
    ],
)
def test_what_else_table_2_says_is_within_its_sampling_error_too(found, name, value):
    finding = found(name)
    assert finding.claim.kind == "recomputed from print"
    assert finding.verdict == "undecided"
    assert finding.decisive.value == pytest.approx(value, abs=0.01)
