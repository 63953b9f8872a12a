from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import yaml

from ropewalk import config
from ropewalk.config import schema
from ropewalk.errors import UserError

CONFIG = Path(__file__).parent.parent / "config"


def changed(**parts):
    values = yaml.safe_load(config.default_yaml())
    for path, value in parts.items():
        *folders, key = path.split("__")
        here = values
        for folder in folders:
            here = here[folder]
        here[key] = value
    return values


def test_the_committed_files_are_those_that_the_schema_makes():
    assert (CONFIG / "default.yaml").read_text() == config.default_yaml(), "run `ropewalk config default`"
    assert json.loads((CONFIG / "schema.json").read_text()) == json.loads(config.json_schema())


def test_the_commented_default_reads_as_the_default():
    assert config.check_config(yaml.safe_load(config.default_yaml())) == config.default_config()


def test_every_key_of_the_default_has_a_comment():
    lines = config.default_yaml().splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        if line.strip() and not line.strip().startswith(("#", "-")) and "{source:" not in line:
            assert before.strip().startswith("#"), line


def merge(old, new):
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            merge(old[key], value)
        else:
            old[key] = value


@pytest.mark.parametrize("preset", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_are_valid(preset):
    values = yaml.safe_load(config.default_yaml())

    merge(values, yaml.safe_load(preset.read_text()))
    config.check_config(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (changed(evaluaton={}), r"'evaluaton' is not known \(did you mean 'evaluation'\?\); allowed: name, model"),
        (changed(pretraining__stpes=3), r"'pretraining.stpes' is not known \(did you mean 'steps'\?\)"),
        (changed(model__fresh__base=1), r"'model.fresh.base' is 1: input should be greater than 1"),
        (changed(pretraining__steps="many"), r"'pretraining.steps' is 'many': input should be a valid integer"),
        (
            changed(pretraining__schedule="step"),
            r"'pretraining.schedule' is 'step': input should be 'cosine', 'linear'",
        ),
        (changed(evaluation__reference="yran"), r"evaluation.reference: 'yran' is no rope of extension.ropes"),
        (changed(corpora={}), "corpora: expected at least one"),
        (changed(corpora__books={"surce": "package:books"}), r"'corpora.books.surce' is not known .*'source'"),
        (
            changed(extension__ropes=[{"name": "yarn", "method": "yran"}]),
            r"'extension.ropes.0': method 'yran' is not known \(did you mean 'yarn'\?\)",
        ),
        (
            changed(extension__ropes=[{"name": "yarn", "method": "yarn", "beta": 3}]),
            r"method 'yarn' has no parameter 'beta'; it has factor, beta_fast",
        ),
        (
            changed(extension__ropes=[{"name": "yarn", "method": "yarn", "factor": 0.5}]),
            r"'extension.ropes.0': yarn: factor is 0.5; expected",
        ),
        (changed(extension__ropes=[{"name": "yarn", "method": "yarn", "factor": "eight"}]), "factor is 'eight'"),
        (changed(extension__ropes=[{"name": "abf", "method": "abf"}]), "method 'abf' needs the parameter 'new_base'"),
        (changed(extension__ropes=[{"name": "p", "method": "p_rope", "p": 3}]), "p is 3"),
        (changed(extension__factor=float("inf")), "'extension.factor' is inf: input should be a finite number"),
        (
            changed(model__source="frsh"),
            r"'model.source' is 'frsh'; expected fresh \(pre-train a small one\), hub:ORGANISATION/NAME",
        ),
        (changed(model__fresh__heads=3), "hidden_size 128 over 3 heads gives no even head dimension"),
        (changed(pretraining__accumulation=3), "a batch of 16 sequences cannot be cut into 3 parts"),
        (
            changed(corpora__books={"source": "packge:books"}),
            r"'corpora.books.source' is 'packge:books'; expected package:books, package:government",
        ),
        (changed(corpora__all={"source": "package:books"}), "the name 'all' stands for all of them"),
        (changed(evaluation__lengths=[64, 64]), "evaluation.lengths: expected different lengths"),
        (
            changed(extension__ropes=[{"name": "yarn", "method": "yarn"}, {"name": "yarn", "method": "pi"}]),
            "rope name 'yarn' stands for 2 ropes",
        ),
        (
            changed(posgen__embedded__modulus=5),
            r"'posgen.embedded': modulus 5 has 625 different starts of 4 tokens; expected at least 1,630",
        ),
        (changed(posgen__embedded__modulus=1), "'posgen.embedded.modulus' is 1: input should be greater than or equal"),
        (changed(posgen__embedded__train_length=4), "train_length is 4; expected more than the 4 tokens"),
        (changed(posgen__embedded__test_length=32), "test_length is 32; expected more than train_length, 32"),
        (changed(posgen__embedded__tasks=["recursiv"]), r"'posgen.embedded.tasks.0' is 'recursiv'"),
        (changed(posgen__embedded__cycle_momentum=True, posgen__embedded__schedule="constant"), "cycle_momentum needs"),
        (changed(posgen__embedded__seeds=[1]), "'posgen.embedded.seeds' is .1.: list should have at least 2 items"),
        (changed(posgen__embedded__seeds=[1, 1]), "seeds are 1, 1; expected different ones"),
        (changed(posgen__embedded__stpes=3), r"'posgen.embedded.stpes' is not known \(did you mean 'steps'\?\)"),
        (
            changed(posgen__embedded__ropes=[{"name": "a", "method": "default", "weights": "b"}]),
            "rope 'a' is to be read with the weights of 'b'; expected one that models are trained with: there is none",
        ),
        (
            changed(posgen__embedded__ropes=[{"name": "a", "method": "default", "brief": True}]),
            "rope 'a' is brief and has no weights",
        ),
        (
            changed(posgen__embedded__ropes=[{"name": "a", "method": "yarn", "beta": 2}]),
            "method 'yarn' has no parameter 'beta'",
        ),
        (changed(search__embedded__factors=[1]), r"'search.embedded.factors.0' is 1: input should be greater than 1"),
        (changed(search__embedded__seeds=[1, 1]), "seeds are 1, 1; expected different ones"),
        (
            changed(search__embedded__searches=[{"sampler": "evolution", "space": "ramp"}]),
            "sampler 'evolution' searches the space pairs, not ramp",
        ),
        (
            changed(search__embedded__corpora=["goverment"]),
            "search.embedded.corpora: 'goverment' is no corpus of this study",
        ),
    ],
)
def test_a_fault_is_one_sentence_with_key_value_and_what_is_allowed(values, message):
    with pytest.raises(UserError, match=message) as caught:
        config.check_config(values)
    assert "\n" not in str(caught.value)


def test_the_factor_of_the_study_serves_where_a_rope_has_none():
    ropes = {rope.name: rope for rope in config.default_config().extension.ropes}
    assert ropes["yarn"].parameters(8.0) == {"factor": 8.0}
    assert ropes["dynamic-ntk"].parameters(8.0) == {"factor": 2.0}
    assert ropes["none"].parameters(8.0) == {}


def test_the_released_yarn_of_posgen_is_that_of_its_code():
    """Wavelengths up to pair 10 are kept, pairs 11 and 12 are mixed, and all others are divided by 257/65."""
    from ropewalk.rope.methods import apply, default_rope

    preset = yaml.safe_load((CONFIG / "h100.yaml").read_text())
    released = config.check_config(changed(posgen=preset["posgen"])).used_posgen["released"]
    [yarn] = [rope for rope in released.ropes if rope.name == "yarn"]
    made = apply(default_rope(64, released.base, yarn.original_length), yarn.method, **yarn.parameters(released.factor))
    expected = [83.79, 111.73, 198.41, 395.84, 1047.61, 1397.01]
    assert made.wavelengths[9:15] == pytest.approx(expected, abs=0.01)
    assert made.attention_factor == pytest.approx(1.1375, abs=5e-5)


def test_posgen_has_the_same_defaults_everywhere():
    """The schema, the command line and the options of the stage say them each for itself."""
    from ropewalk.cli.posgen import train
    from ropewalk.posgen.data import DataOptions
    from ropewalk.posgen.model import DecoderShape
    from ropewalk.posgen.training import TrainingOptions

    command = inspect.signature(train).parameters
    options = {
        field.name: field.default for kind in (DataOptions, DecoderShape, TrainingOptions) for field in fields(kind)
    }
    options["data_seed"] = options.pop("seed")
    named = {name: field.default for name, field in schema.PosGen.model_fields.items() if name in command}
    named = {name: value for name, value in named.items() if name not in ("seeds",)}
    for name, default in named.items():
        assert command[name].default == default, name
        if name in options:
            assert options.pop(name) == default, name
    assert not options, "options that the configuration does not have"


def test_searches_have_the_same_defaults_everywhere():
    from ropewalk.cli.search import search, search_compare
    from ropewalk.config.search import SearchKind
    from ropewalk.search.objective import ObjectiveOptions
    from ropewalk.search.samplers import SAMPLERS
    from ropewalk.search.space import SPACES
    from ropewalk.search.study import SearchOptions

    command = inspect.signature(search).parameters
    shared = {name: field.default for name, field in schema.Search.model_fields.items() if name in command}
    options = {
        f.name: f.default for kind in (SearchOptions, ObjectiveOptions) for f in fields(kind) if f.name != "seed"
    }
    assert {"budget", "documents", "retrieval", "short_cost", "prune", "patience", "candidates"} <= set(shared)
    for name, default in shared.items():
        if name != "corpora":
            assert command[name].default == default, name
            assert options.get(name, default) == default, name
    tested = schema.Search.model_fields["test_documents"].default
    assert inspect.signature(search_compare).parameters["documents"].default == tested
    kinds = SearchKind.model_fields
    assert set(get_args(kinds["sampler"].annotation)) == set(SAMPLERS)
    assert set(get_args(kinds["space"].annotation)) == set(SPACES)


def test_the_study_of_the_readme_is_valid():
    text = (CONFIG.parent / "README.md").read_text()
    example = text.split("## A study of your own")[1].split("```yaml\n")[1].split("```")[0]
    values = yaml.safe_load(config.default_yaml())
    merge(values, yaml.safe_load(example))
    assert config.check_config(values).used_search["mine"].budget == 64


def test_a_configuration_is_read_without_torch():
    code = "import sys, ropewalk.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("base", [1, 0, -5.0, True, "0.5", "beta4", None, float("inf")])
def test_bases_that_cannot_be_are_named(base):
    values = changed(scaling__embedded__sweeps=[{"bases": [base]}])
    with pytest.raises(UserError, match=rf"base {base!r}: expected a number above 1, or one of original, beta0"):
        config.check_config(values)
