"""Recipes: what a person writes, what a job gets, and the rope that comes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from ropewalk.errors import UserError
from ropewalk.rope import apply, default_rope
from ropewalk.rope.methods import cook
from ropewalk.study import read_study
from ropewalk.study.recipes import Recipe

CONFIG = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        ("yarn", [{"method": "yarn"}]),
        ({"method": "yarn", "factor": 4}, [{"method": "yarn", "factor": 4}]),
        (["yarn", "resonance"], [{"method": "yarn"}, {"method": "resonance"}]),
        ([{"method": "abf", "new_base": "1e6"}], [{"method": "abf", "new_base": 1e6}]),
        ({"method": "yarn", "factor": "2.5E+0"}, [{"method": "yarn", "factor": 2.5}]),
        (("pi",), [{"method": "pi"}]),
    ],
)
def test_a_recipe_is_a_method_or_a_list_of_them(written, steps):
    recipe = Recipe.parse(written)
    assert recipe.start is None
    assert list(recipe.steps) == recipe.to_json() == steps


@pytest.mark.parametrize("kind", ["file", "rope", "found"])
def test_a_recipe_may_start_from_something(kind):
    recipe = Recipe.parse([{kind: "x"}, "resonance"])
    assert recipe.start == (kind, "x")
    assert recipe.steps == ({"method": "resonance"},)
    assert Recipe.parse([{kind: "x"}]).steps == ()
    assert Recipe.parse({kind: "x"}).start == (kind, "x")


def test_the_factor_of_a_study_serves_where_a_method_takes_one_and_names_none():
    steps = Recipe.parse(["yarn", {"method": "dynamic_ntk", "factor": 2}, "default", "resonance"]).at(8.0).steps
    assert [step.get("factor") for step in steps] == [8.0, 2, None, None]
    assert [step["method"] for step in steps] == ["yarn", "dynamic_ntk", "default", "resonance"]


def test_a_cooked_rope_is_what_its_methods_make():
    table = default_rope(64, 1e4, 128)
    made = cook(table, Recipe.parse(["yarn", "resonance"]).at(4.0).steps)
    assert made == apply(apply(table, "yarn", factor=4.0), "resonance")
    assert not np.array_equal(made.inv_freq, apply(table, "yarn", factor=4.0).inv_freq)
    assert cook(table, ()) == table


def test_a_recipe_says_its_methods():
    assert Recipe.parse(["yarn", "resonance"]).method == "yarn+resonance"
    assert Recipe.parse({"file": "x"}).method == "default"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "None is no method; expected a name"),
        (3, "3 is no method"),
        ([], "a recipe is empty"),
        ([["yarn"]], r"\['yarn'\] is no method"),
        ({"method": ["yarn"]}, "is no method; expected a name"),
        ({"method": 3}, "is no method; expected a name"),
        (
            {"rop": "yarn"},
            r"is no method; expected \{method: NAME\} or one of \{file: PATH\}, \{rope: NAME\}, \{found:",
        ),
        ({"rope": "a", "found": "b"}, "is no method; expected"),
        ({"file": None}, "is no method; expected"),
        (["yarn", {"rope": "a"}], "is no method; expected a name"),
        ("yran", r"method is 'yran'; expected one of .* \(did you mean 'yarn'\?\)"),
        ({"method": "yarn", "beta": 3}, "yarn has no parameter 'beta'; expected one of factor, beta_fast"),
        ({"method": "yarn", "factor": "eight"}, "yarn: factor is 'eight'; expected a number"),
        ({"method": "abf"}, "abf needs the parameter 'new_base'"),
        ({"method": "p_rope", "p": 3}, "p_rope: p is 3; expected a fraction"),
        (["yarn", {"method": "pi", "factor": 0.5}], "pi: factor is 0.5"),
    ],
)
def test_a_recipe_that_cannot_be(written, said):
    with pytest.raises(UserError, match=said) as caught:
        Recipe.parse(written)
    assert "\n" not in str(caught.value)


def test_a_list_of_factors_says_how_many_pairs_there_are():
    assert Recipe.parse({"method": "longrope", "long_factor": [2.0] * 16}).steps[0]["method"] == "longrope"
    with pytest.raises(UserError, match="one divisor per pair"):
        Recipe.parse([{"method": "longrope", "long_factor": [2.0] * 16, "short_factor": [1.0] * 8}])


def test_the_released_yarn_of_posgen_is_that_of_its_code():
    """Wavelengths up to pair 10 are kept, pairs 11 and 12 are mixed, and all others are divided by 257/65."""
    preset = yaml.safe_load((CONFIG / "h100.yaml").read_text())
    study = read_study({key: preset[key] for key in ("name", "posgen")})
    row = study.ropes["posgen/released/yarn"]
    made = cook(default_rope(row.table.head_dim, row.table.base, row.table.length), row.steps)
    expected = [83.79, 111.73, 198.41, 395.84, 1047.61, 1397.01]
    assert made.wavelengths[9:15] == pytest.approx(expected, abs=0.01)
    assert made.attention_factor == pytest.approx(1.1375, abs=5e-5)
