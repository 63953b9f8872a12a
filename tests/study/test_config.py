"""A fault of a configuration is one sentence with key, value and what is allowed, at every depth."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from ropewalk.options import validate
from ropewalk.study import Config, read_study
from ropewalk.study.reading import read_files
from ropewalk.study.writing import default_yaml, json_schema

CONFIG = Path(__file__).parents[2] / "config"
PRESETS = sorted(path for path in CONFIG.glob("*.yaml") if path.name != "default.yaml")


@pytest.mark.parametrize(
    ("parts", "key", "nearest", "allowed"),
    [
        ({"readngs": {}}, "readngs", "readings", "name, confidence, factor, corpora, ropes, models, readings"),
        ({"corpora__books__surce": "x"}, "corpora.books.surce", "source", "source, revision, text_key, limit"),
        (
            {"models__small__sorce": "x"},
            "models.small.sorce",
            "source",
            "source, revision, length, shape, pretraining, seeds",
        ),
        ({"models__small__shape__layrs": 2}, "models.small.shape.layrs", "layers", "hidden_size, layers, heads"),
        ({"models__small__pretraining__stpes": 2}, "models.small.pretraining.stpes", "steps", "steps, learning_rate"),
        ({"models__small__layout__shrd": 1}, "models.small.layout.shrd", "shard", "checkpoint_every, shard"),
        ({"readings__text__of__0__rops": []}, "readings.text.of.0.rops", "ropes", "models, ropes"),
        ({"readings__text__optons": {}}, "readings.text.optons", "options", "kind, of, corpora, options, report"),
        ({"readings__text__options__documnts": 2}, "readings.text.options.documnts", "documents", "read_to, documents"),
        ({"readings__copying__options__gap": 2}, "readings.copying.options.gap", "gaps", "gaps, samples, seed, dtype"),
        ({"readings__text__report__lenghts": []}, "readings.text.report.lenghts", "lengths", "lengths, reference"),
        ({"tunings__tuned__rops": []}, "tunings.tuned.rops", "ropes", "models, ropes, regimes, seeds"),
        (
            {"tunings__tuned__regimes__long__stps": 2},
            "tunings.tuned.regimes.long.stps",
            "steps",
            "steps, learning_rate",
        ),
        ({"tunings__tuned__options__stps": 2}, "tunings.tuned.options.stps", "steps", "steps, learning_rate"),
        (
            {"tunings__tuned__options__lora": {"rank": 2, "alpa": 1}},
            "tunings.tuned.options.lora.alpa",
            "alpha",
            "rank, alpha, targets, train_whole",
        ),
        ({"sweeps__bases__groups__0__base": []}, "sweeps.bases.groups.0.base", "bases", "bases, length, steps, seeds"),
        ({"sweeps__bases__options__stps": 2}, "sweeps.bases.options.stps", "steps", "steps, learning_rate"),
        (
            {"sweeps__bases__report__tuning_los": 2},
            "sweeps.bases.report.tuning_los",
            "tuning_loss",
            "thresholds, perplexity_ratio",
        ),
        ({"searches__search__kinds__0__samplr": "x"}, "searches.search.kinds.0.samplr", "sampler", "sampler, space"),
        (
            {"searches__search__options__documnts": 2},
            "searches.search.options.documnts",
            "documents",
            "budget, documents",
        ),
        ({"searches__search__report": {"refrence": "x"}}, "searches.search.report.refrence", "reference", "reference"),
        ({"posgen__posgen__options__stpes": 3}, "posgen.posgen.options.stpes", "steps", "modulus, far, near"),
        (
            {"posgen__posgen__ropes__pi__wights": "x"},
            "posgen.posgen.ropes.pi.wights",
            "weights",
            "recipe, weights, brief",
        ),
        (
            {"posgen__posgen__scoring__generated": 1},
            "posgen.posgen.scoring.generated",
            "generated_sequences",
            "generated_sequences",
        ),
        ({"resources": {"tune": {"gpus": 1}}}, "resources.tune.gpus", "gpu", "threads, mem_mb, runtime, gpu"),
        ({"resources": {"tun": {}}}, "resources.tun", "tune", "corpus, pretrain, tune, read, search, posgen"),
    ],
)
def test_a_mistyped_key_is_named_at_every_depth(fault, parts, key, nearest, allowed):
    text = fault(**parts)
    assert text.startswith(f"config key {key!r} is not known (did you mean {nearest!r}?); allowed: ")
    assert allowed in text


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"factor": float("inf")}, "factor' is inf: input should be a finite number."),
        ({"factor": "eight"}, "factor' is 'eight': input should be a valid number"),
        ({"factor": 0.5}, "factor' is 0.5; expected at least 1."),
        ({"confidence": 1}, "confidence' is 1.0; expected above 0 and below 1."),
        ({"models": None}, "models' is None: input should be a valid dictionary."),
        ({"ropes": ["yarn"]}, "ropes' is ['yarn']: input should be a valid dictionary."),
        (
            {"corpora__books": {"source": "packge:books"}},
            "corpora.books': source is 'packge:books'; expected package:books, package:government, "
            "package:mathematics, folder:PATH, hub:pg19, hub:govreport or hub:proof-pile.",
        ),
        ({"corpora__books__limit": 0}, "corpora.books.limit' is 0; expected at least 1."),
        ({"models__small__source": "hub:a/b"}, "models.small': expected either source, or shape and"),
        (
            {"models__big": {"source": "frsh"}},
            "models.big': source is 'frsh'; expected hub:ORGANISATION/NAME, folder:PATH or gguf:PACKAGE/FILE.",
        ),
        ({"models__big": {"source": "hub:a/b", "seeds": [1]}}, "models.big': seeds go with shape"),
        ({"models__small__revision": "abc"}, "models.small': revision goes with source"),
        ({"models__small__seeds": [1, 1]}, "models.small': seeds are 1, 1; expected different ones."),
        ({"models__small__seeds": [-1]}, "models.small.seeds' is -1; expected at least 0."),
        ({"models__small__shape__base": 1}, "models.small.shape.base' is 1.0; expected above 1."),
        ({"models__small__shape__heads": 3}, "models.small.shape': hidden_size 32 over 3 heads gives no"),
        (
            {"models__small__pretraining__steps": "many"},
            "models.small.pretraining.steps' is 'many': input should be a valid integer",
        ),
        (
            {"models__small__pretraining__schedule": "step"},
            "models.small.pretraining.schedule' is 'step': input should be 'cosine', 'linear' or 'constant'.",
        ),
        (
            {"models__small__pretraining__accumulation": 3},
            "models.small.pretraining': accumulation is 3; expected a divisor of batch_size, 4.",
        ),
        (
            {"readings__text__kind": "nul"},
            "readings.text.kind' is 'nul': input should be 'nll', 'copying', 'needle' or 'leval'.",
        ),
        (
            {"readings__copying__of__0__models": "small"},
            "readings.copying.of.0.models' is 'small'; expected a list.",
        ),
        ({"readings__text__options__documents": 0}, "readings.text.options.documents' is 0; expected at least 1."),
        (
            {"readings__text__options__split": "tset"},
            "readings.text.options.split' is 'tset': input should be 'train', 'search', 'selection' or 'test'.",
        ),
        (
            {"readings__text__options__dynamic_lengths": [256]},
            "readings.text.options': dynamic_lengths go to 256; expected at most read_to, 128.",
        ),
        ({"readings__text__report": {}}, "readings.text.report.lengths' is missing; it has no default. (1 more"),
        ({"readings__text__report__lengths": [1]}, "readings.text.report.lengths' is 1; expected at least 2."),
        (
            {"tunings__tuned__regimes__long__length": 60},
            "tunings.tuned.regimes.long': batch_tokens is 128; expected a multiple of the sequence length, 60.",
        ),
        (
            {"tunings__tuned__regimes__long": {"length": 64}},
            "tunings.tuned.regimes.long.steps' is missing; it has no default.",
        ),
        (
            {"tunings__tuned__options__learning_rate": 0},
            "tunings.tuned.options.learning_rate' is 0.0; expected above 0.",
        ),
        (
            {"tunings__tuned__regimes__long__learning_rate": -1},
            "tunings.tuned.regimes.long.learning_rate' is -1.0; expected above 0.",
        ),
        ({"tunings__tuned__seeds": [0, 0]}, "tunings.tuned': seeds are 0, 0; expected different ones."),
        (
            {"readings__facts__options__lengths": 3, "readings__facts__options__by": 3},
            "readings.facts.options.lengths' is 3; expected a list. (1 more faults)",
        ),
        ({"tunings__tuned__seeds": "each"}, "tunings.tuned.seeds' is 'each'; expected a list or 'own'."),
        ({"tunings__tuned__ropes": ["yarn", "yarn"]}, "tunings.tuned': ropes are yarn, yarn; expected different"),
        ({"sweeps__bases__groups__0__length": 1}, "sweeps.bases.groups.0.length' is 1; expected at least 2."),
        ({"sweeps__bases__groups__1__length": 33}, "sweeps.bases': length is 33; expected an even number"),
        (
            {"sweeps__bases__report__thresholds": [0]},
            "sweeps.bases.report.thresholds' is 0.0; expected above 0.",
        ),
        (
            {"searches__search__kinds__0__sampler": "gpp"},
            "searches.search.kinds.0.sampler' is 'gpp': input should be 'gp', 'tpe', 'cma', 'sobol',",
        ),
        (
            {"searches__search__kinds__1__space": "ramp"},
            "searches.search.kinds.1': sampler 'scan' searches the space groups, not ramp.",
        ),
        ({"searches__search__kinds__1__budget": 0}, "searches.search.kinds.1.budget' is 0; expected at least 1."),
        ({"searches__search__factors": [1]}, "searches.search.factors' is 1.0; expected above 1."),
        (
            {"searches__search__kinds": [{"sampler": "gp", "space": "ramp"}] * 2},
            "searches.search': kinds are gp of ramp, gp of ramp; expected different ones.",
        ),
        ({"posgen__posgen__options__modulus": 1}, "posgen.posgen.options.modulus' is 1; expected at least 2."),
        (
            {"posgen__posgen__options__modulus": 3},
            "posgen.posgen.options': modulus 3 has 81 different starts of 4 tokens; expected at least 116,",
        ),
        ({"posgen__posgen__options__test_length": 12}, "posgen.posgen.options': test_length is 12; expected"),
        ({"posgen__posgen__tasks": ["recursiv"]}, "posgen.posgen.tasks.0' is 'recursiv': input should be"),
        (
            {"posgen__posgen__ropes__pi__weights": "b"},
            "posgen.posgen': rope 'pi' is to be read with the weights of 'b'; expected one that models are "
            "trained with: rope.",
        ),
        (
            {"posgen__posgen__ropes__rope__brief": True},
            "posgen.posgen': rope 'rope' is brief and has no weights",
        ),
        (
            {"posgen__posgen__scoring__generated_sequences": 9},
            "posgen.posgen': generated_sequences is 9; expected at most test_sequences, 8.",
        ),
        ({"resources": {"read": {"threads": 0}}}, "resources.read.threads' is 0; expected at least 1."),
    ],
)
def test_a_wrong_value_is_named_at_every_depth(fault, parts, said):
    text = fault(**parts)
    assert text.startswith(f"config key '{said}")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"method": "yran"}, "method is 'yran'; expected one of default, pi, ntk"),
        ({"method": "yarn", "beta": 3}, "yarn has no parameter 'beta'; expected one of factor, beta_fast"),
        ({"method": "yarn", "factor": 0.5}, "yarn: factor is 0.5; expected a number of at least 1"),
        ({"method": "abf"}, "abf needs the parameter 'new_base'"),
    ],
)
def test_a_wrong_recipe_is_named_wherever_it_stands(fault, recipe, said):
    assert fault(ropes__wrong=recipe).startswith(f"config key 'ropes.wrong': {said}")
    text = fault(posgen__posgen__ropes__pi__recipe=recipe)
    assert text.startswith(f"config key 'posgen.posgen.ropes.pi.recipe': {said}")


# What the configuration is read with, and what explains it


def test_a_configuration_is_read_without_torch_and_snakemake():
    code = (
        "import sys, ropewalk.study, ropewalk.study.reading, ropewalk.study.text\n"
        f"study = ropewalk.study.reading.read_files([__import__('pathlib').Path({str(CONFIG / 'embedded.yaml')!r})])\n"
        "assert study.models\n"
        "print(*{'torch', 'snakemake', 'transformers', 'optuna', 'mlflow', 'matplotlib', 'typer'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_the_committed_files_are_those_that_the_options_make():
    assert (CONFIG / "default.yaml").read_text() == default_yaml(), "run `ropewalk config default`"
    assert json.loads((CONFIG / "schema.json").read_text()) == json.loads(json_schema())


def test_the_commented_default_is_the_default():
    assert validate(Config, yaml.safe_load(default_yaml()), "config") == Config()


def test_every_key_of_the_default_has_a_comment_before_it():
    """Also those of rows, which stand in comments themselves: a key is a word with a colon."""
    lines = [line for line in default_yaml().splitlines() if line.strip()]
    found = 0
    for before, line in pairwise(lines):
        text = line.removeprefix("#").lstrip()
        if re.match(r"\w+:( |$)", text) and not text.startswith(("NAME:", "yaml-")) and "# " not in line[1:]:
            found += 1
            assert "# " in before, line
    assert found > 150


def test_the_study_of_the_docs_is_valid():
    text = (CONFIG.parent / "docs/studies.md").read_text()
    example = text.split("# A study of your own")[1].split("```yaml\n")[1].split("```")[0]
    study = read_study(yaml.safe_load(example))
    assert study.readings
    assert study.reports


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_make_rows(preset):
    """Alone, or on top of the embedded study, as their first lines say."""
    study = read_files([CONFIG / "default.yaml", preset])
    assert study.reports
    assert study.config.name != "study"
