from __future__ import annotations

import pytest

from ropewalk.scores import Score


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


@pytest.fixture
def posgen(experiment):
    def made(resonance, name="resonance", **setting):
        """Two ropes on one task, of which Resonance is that much better; ``name`` is what it is called."""
        plain, noise = [0.30, 0.35, 0.28, 0.33, 0.31], [0, 1e-3, -1e-3, 0, 0]
        values = {"rope": plain, name: [a + resonance + b for a, b in zip(plain, noise, strict=True)]}
        rows = [
            Score(quantity="ood_accuracy", value=value, task="chain-of-thought", rope=rope, seed=seed)
            for rope, by_seed in values.items()
            for seed, value in enumerate(by_seed)
        ]
        about = {"layers": 2, "hidden_size": 64, "steps": 300, "batch_size": 24, "modulus": 7}
        about |= {"train_length": 32, "test_length": 128, "seeds": 5} | setting
        recipes = {"rope": "default", name: "resonance"}
        about["ropes"] = [{"rope": rope, "recipe": recipe, "swapped": False} for rope, recipe in recipes.items()]
        return experiment("posgen", about, rows)

    return made


@pytest.mark.parametrize(("gain", "verdict"), [(0.05, "reproduced"), (-0.05, "not reproduced"), (0.0, "undecided")])
def test_ropes_of_posgen_are_paired_by_seed(found, posgen, gain, verdict):
    finding = found("resonance/posgen-chain-of-thought", posgen(gain))
    assert finding.verdict == verdict
    assert finding.decisive.value == pytest.approx(100 * gain, abs=0.05)
    assert "2 layers of width 64" in finding.experiment.scale


def test_cells_of_table_1_are_tried_at_the_scale_of_the_paper_only(found, posgen):
    name = "resonance/table-1-resonance-rope-chain-of-thought"
    assert found(name, posgen(0.43)).verdict == "not tried"
    paper = {"hidden_size": 512, "modulus": 17, "train_length": 64, "test_length": 256, "steps": 11_850}
    finding = found(name, posgen(0.44, **paper))
    assert finding.verdict == "reproduced", "75.25 %, within ten points"


def test_an_interval_has_the_confidence_of_its_experiment(found, posgen):
    wide, narrow = (
        found("resonance/posgen-chain-of-thought", posgen(0.05, confidence=confidence)).decisive
        for confidence in (0.95, 0.5)
    )
    # Student's t of four degrees of freedom.
    assert (wide.high - wide.value) / (narrow.high - narrow.value) == pytest.approx(2.7764 / 0.7407, rel=1e-3)


def test_names_that_people_give_are_no_keys(found, posgen):
    finding = found("resonance/posgen-chain-of-thought", posgen(0.05, name="setting"))
    assert (finding.verdict, finding.decisive.where) == ("reproduced", "setting less rope")
