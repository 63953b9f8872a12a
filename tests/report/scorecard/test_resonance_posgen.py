from __future__ import annotations

import math

import numpy as np
import pytest

from ropewalk.report.scorecard.resonance_posgen import CLAIMS
from ropewalk.scores import Score, number_rows


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        # Figures of the paper, and closed forms worked out apart from this code.
        ("resonance/posgen-pairs", 9, "not reproduced"),
        ("resonance/splits-differ", 1.0, "not reproduced"),
        ("resonance/zero-gap", 0.0, "reproduced"),
        ("resonance/gap-without", 0.642, "reproduced"),
        ("resonance/gap-of-yarn", 3.330 - 3.846, "reproduced"),
    ],
)
def test_what_is_computed_agrees_with_the_paper_and_with_closed_forms(found, name, value, verdict):
    finding = found(name)
    assert finding.verdict == verdict
    assert finding.decisive.value == pytest.approx(value, abs=0.01, rel=2e-3)


PLAIN = (0.30, 0.35, 0.28, 0.33, 0.31)
RECIPES = {"rope": "default", "resonance": "resonance", "yarn": "yarn_written", "yarn-swapped": "yarn_written"}


@pytest.fixture
def posgen(experiment):
    def made(gain, name="resonance", *, task="chain-of-thought", able=PLAIN, rows=(), **setting):
        """Four ropes on one task, of which ``name`` is that much better than the first, the others equal.

        ``able``: seeds that have learned the task, one where the value is not 0; ``rows`` are further ones.
        """
        recipes = {name if rope == "resonance" else rope: recipe for rope, recipe in RECIPES.items()}
        noise = {rope: [0, 1e-3, -1e-3, 0, 0] if rope != "rope" else [0] * 5 for rope in recipes}
        own = [
            Score(quantity=quantity, value=value, task=task, rope=rope, seed=seed)
            for rope in recipes
            for seed, plain in enumerate(PLAIN)
            for quantity, value in (
                ("ood_accuracy", plain + noise[rope][seed] + (gain if rope == name else 0.0)),
                ("competence", 0.97 if able[seed] else 0.9),
            )
        ]
        about = {"layers": 2, "hidden_size": 64, "train_feed_forward": True, "steps": 300, "batch_size": 24}
        about |= {"modulus": 7, "train_length": 32, "test_length": 128, "seeds": 5}
        about |= {"competence": "tokens predicted right", "competence_needed": 0.95} | setting
        about["ropes"] = [
            {"rope": rope, "recipe": recipe, "swapped": rope.endswith("swapped")} for rope, recipe in recipes.items()
        ]
        return experiment("posgen", about, own, rows)

    return made


@pytest.mark.parametrize(("gain", "verdict"), [(0.08, "reproduced"), (-0.08, "not reproduced"), (0.0, "undecided")])
def test_ropes_of_posgen_are_paired_by_seed(found, posgen, gain, verdict):
    finding = found("resonance/posgen-chain-of-thought", posgen(gain))
    assert finding.verdict == verdict
    assert finding.decisive.value == pytest.approx(100 * gain, abs=0.05)
    assert "5 of 5 seeds count" in finding.decisive.where
    assert "2 layers of width 64" in finding.experiment.scale


def test_models_that_have_not_learned_their_task_do_not_count(found, posgen):
    finding = found("resonance/posgen-chain-of-thought", posgen(0.08, able=(1, 0, 1, 1, 0)))
    assert (finding.verdict, finding.decisive.n_seeds) == ("reproduced", 3)
    assert "3 of 5 seeds count" in finding.decisive.where
    finding = found("resonance/posgen-chain-of-thought", posgen(0.08, able=(1, 0, 0, 0, 0)))
    assert finding.verdict == "no verdict"
    assert "0.9, at least 0.95 needed" in finding.why


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.0, "reproduced"), (0.12, "not reproduced"), (-0.12, "not reproduced")]
)
def test_no_gain_on_the_recursive_task_is_asked_both_ways(found, posgen, gain, verdict):
    assert found("resonance/posgen-recursive", posgen(gain, task="recursive")).verdict == verdict


def test_effects_are_those_of_table_1():
    effects = {claim.id.removeprefix("resonance/posgen-"): claim.effect for claim in CLAIMS}
    assert effects["chain-of-thought"] == pytest.approx(75.25 - 69.56)
    assert effects["semi-recursive"] == pytest.approx(29.78 - 17.96)
    assert effects["recursive-yarn-swapped"] == pytest.approx(95.93 - 65.29)
    assert effects["semi-recursive-resonance-yarn-trained"] == pytest.approx(48.46 - 33.70)
    assert effects["recursive-steadier"] == pytest.approx(0.5 * math.log(0.43 / 0.15), abs=1e-3)
    assert "semi-recursive-steadier" not in effects, "its variance grew"


def test_cells_of_table_1_are_tried_at_the_size_of_the_paper_only(found, posgen):
    name = "resonance/table-1-resonance-rope-chain-of-thought"
    assert found(name, posgen(0.43)).verdict == "not tried"
    paper = {"hidden_size": 512, "modulus": 17, "train_length": 64, "test_length": 256, "steps": 11_850}
    paper |= {"batch_size": 128}
    finding = found(name, posgen(0.44, **paper))
    assert finding.verdict == "reproduced", "75.25 %, within ten points"
    for other in ({"layers": 6}, {"train_feed_forward": False}):
        assert found(name, posgen(0.44, **paper | other)).verdict == "not tried"
    finding = found("resonance/table-1-yarn-chain-of-thought-swapped", posgen(0.44, **paper))
    assert (finding.verdict, finding.decisive.where) == ("not reproduced", "yarn-swapped; 5 of 5 seeds count")


def test_throughout_is_at_every_validation(found, posgen):
    def losses(*gains):
        return [
            Score(
                quantity="validation_loss", value=value, task="chain-of-thought", rope=rope, seed=seed, steps=10 * step
            )
            for step, gain in enumerate(gains)
            for seed, noise in enumerate([0, 1e-3, -1e-3, 0, 0])
            for rope, value in (("rope", 1 + seed / 10), ("resonance", 1 + seed / 10 + noise - gain))
        ]

    name = "resonance/posgen-chain-of-thought-loss"
    assert found(name, posgen(0.0, rows=losses(0.1, 0.05, 0.2))).verdict == "reproduced"
    finding = found(name, posgen(0.0, rows=losses(0.1, -0.05, 0.2)))
    assert (finding.verdict, len(finding.evidence)) == ("not reproduced", 3)
    assert "step 10" in finding.decisive.where


def test_the_interval_of_a_ratio_of_deviations_covers_it_as_often_as_it_says(found, experiment):
    """Pairs of correlation 0.6, one with half the other's deviation: known by construction, nominal 95 %."""
    rng, inside = np.random.default_rng(0), []
    about = {"competence": "", "competence_needed": 0.5, "parameters": 1, "layers": 2, "hidden_size": 8, "steps": 1}
    about |= {"modulus": 7, "train_length": 4, "test_length": 8}
    about["ropes"] = [{"rope": name, "recipe": RECIPES[name], "swapped": False} for name in ("rope", "resonance")]
    measure = next(claim.measure for claim in CLAIMS if claim.id == "resonance/posgen-recursive-steadier")
    for _ in range(400):
        first = rng.normal(size=8)
        values = {"rope": first, "resonance": 0.5 * (0.6 * first + 0.8 * rng.normal(size=8))}
        rows = [
            Score(quantity=quantity, value=float(value), task="recursive", rope=name, seed=seed)
            for name, by_seed in values.items()
            for seed, number in enumerate(by_seed)
            for quantity, value in (("ood_accuracy", number), ("competence", 1.0))
        ]
        (case,) = measure(experiment("posgen", about, rows))
        inside.append(case.low < math.log(0.5) < case.high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_the_gap_is_asked_of_every_task(found, posgen):
    rows = number_rows("gap_correlation", 0.4, intervals={"seeds": (0.3, 0.5)}, task="recursive", n_seeds=5)
    finding = found("resonance/gap-predicts", posgen(0.0, rows=list(rows)))
    assert (finding.verdict, finding.decisive.where) == ("not reproduced", "recursive")


def test_an_interval_has_the_confidence_of_its_experiment(found, posgen):
    wide, narrow = (
        found("resonance/posgen-chain-of-thought", posgen(0.05, confidence=confidence)).decisive
        for confidence in (0.95, 0.5)
    )
    # Student's t of four degrees of freedom.
    assert (wide.high - wide.value) / (narrow.high - narrow.value) == pytest.approx(2.7764 / 0.7407, rel=1e-3)


def test_names_that_people_give_are_no_keys(found, posgen):
    finding = found("resonance/posgen-chain-of-thought", posgen(0.08, name="setting"))
    assert (finding.verdict, finding.decisive.where) == ("reproduced", "setting less rope; 5 of 5 seeds count")
