"""The configuration becomes rows: any model with any rope, ids that are unique, and one sentence for a fault."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import yaml

from ropewalk.errors import ConfigError
from ropewalk.labels import labels
from ropewalk.reading.options import NeedleOptions
from ropewalk.search.options import SearchOptions
from ropewalk.study import Study

TABLES = ("corpora", "ropes", "models", "readings", "searches", "posgen", "reports")
FOUND = "search_small_sobol-ramp_2x_seed-0"


def tables(study: Study):
    return {name: getattr(study, name) for name in TABLES}


def differences(one: Study, other: Study):
    """Ids of the rows of each table that are new, gone or changed."""
    found = {}
    for name, rows in tables(one).items():
        others = getattr(other, name)
        ids = {id_ for id_ in {*rows, *others} if rows.get(id_) != others.get(id_)}
        if ids:
            found[name] = ids
    return found


# What a study can hold


def test_every_row_stands_under_its_id_and_names_rows_that_exist(make):
    study = make()
    for rows in tables(study).values():
        assert rows, "this study has every kind of row"
        assert all(row.id == id_ for id_, row in rows.items())
    for rope in study.ropes.values():
        assert rope.rope is None or rope.rope in study.ropes
        assert rope.search is None or rope.search in study.searches
    for model in study.models.values():
        assert set(model.corpora) <= set(study.corpora)
        assert (model.kind == "tune") == (model.base in study.models) == (model.rope in study.ropes)
    for reading in study.readings.values():
        assert reading.model in study.models
        assert reading.rope in study.ropes
        assert set(reading.corpora) <= set(study.corpora)
        assert study.ropes[reading.rope].table == study.models[reading.model].table
    for report in study.reports.values():
        assert set(report.readings) <= set(study.readings)
        assert set(report.searches) <= set(study.searches)
        assert set(report.tasks) <= set(study.posgen)


def test_a_rope_may_be_a_file(make):
    study = make(
        ropes__file=[{"file": "my/rope.json"}],
        ropes__rounded=[{"file": "my/rope.json"}, "resonance"],
        readings__copying__of__0__ropes=["file", "rounded"],
    )
    one, two = (study.ropes[f"32-10000-32/{name}"] for name in ("file", "rounded"))
    assert (one.file, one.steps) == ("my/rope.json", ())
    assert (two.file, two.steps) == ("my/rope.json", ({"method": "resonance"},))
    assert {"copying_small_file", "copying_small_rounded"} <= set(study.readings)


def test_a_rope_may_be_a_list_of_methods_and_takes_the_factor_of_the_study(make):
    study = make(
        ropes__both=["yarn", "resonance"],
        ropes__mine=[{"method": "yarn", "factor": 3}, "resonance"],
        readings__copying__of__0__ropes=["both", "mine"],
    )
    assert study.ropes["32-10000-32/both"].steps == ({"method": "yarn", "factor": 4.0}, {"method": "resonance"})
    assert study.ropes["32-10000-32/mine"].steps == ({"method": "yarn", "factor": 3}, {"method": "resonance"})


@pytest.mark.parametrize("name", ["search", FOUND])
def test_what_a_search_found_is_a_rope_for_every_reading(make, name):
    """By the name of its experiment, which stands for all, or by its id."""
    study = make(
        readings__copying__of__0__ropes=[name],
        readings__facts__of=[{"models": ["small", "tuned_small_yarn_long_seed-0"], "ropes": [name]}],
        readings__text__of__0__ropes=["yarn", name],
    )
    ids = [id_ for id_ in study.searches if id_ == name or name == "search"]
    assert len(ids) == (4 if name == "search" else 1)
    for id_ in ids:
        rope = study.ropes[f"32-10000-32/{id_}"]
        assert (rope.search, rope.steps) == (id_, ())
        for reading in (f"copying_small_{id_}", f"facts_tuned_small_yarn_long_seed-0_{id_}", f"text_small_{id_}"):
            assert study.readings[reading].rope == rope.id


def test_a_found_rope_with_another_method_on_top_is_a_rope(make):
    study = make(
        ropes__rounded=[{"found": FOUND}, "resonance"],
        readings__copying__of__0__ropes=["rounded"],
        tunings__tuned__ropes=["rounded"],
    )
    rope = study.ropes["32-10000-32/rounded"]
    found = study.ropes[rope.rope]
    assert (found.search, found.steps) == (FOUND, ())
    assert (rope.search, rope.steps) == (None, ({"method": "resonance"},))
    assert study.models["tuned_small_rounded_long_seed-0"].rope == rope.id


def test_a_found_rope_is_tuned_with_and_asked_for_needles(make):
    study = make(tunings__tuned__ropes=[FOUND])
    model = study.models[f"tuned_small_{FOUND}_long_seed-0"]
    assert study.ropes[model.rope].search == FOUND
    reading = study.readings[f"facts_{model.id}_{FOUND}"]
    assert isinstance(reading.options, NeedleOptions)
    assert reading.rope == model.rope


def test_a_rope_may_start_from_a_rope(make):
    study = make(
        ropes__rounded=[{"rope": "yarn"}, "resonance"],
        ropes__again=[{"rope": "rounded"}, {"method": "log_scaling", "length": 64}],
        readings__copying__of__0__ropes=["again"],
    )
    again = study.ropes["32-10000-32/again"]
    rounded = study.ropes[again.rope]
    assert [step["method"] for step in (*again.steps, *rounded.steps)] == ["log_scaling", "resonance"]
    assert study.ropes[rounded.rope].steps == ({"method": "yarn", "factor": 4.0},)


def test_grids_of_models_ropes_regimes_and_seeds(make):
    study = make(models__small__seeds=[3, 4], readings__text__report__reference="small_seed-3_yarn")
    trained = [row for row in study.models.values() if row.kind == "pretrain"]
    assert [(row.id, row.options.seed) for row in trained] == [("small_seed-3", 3), ("small_seed-4", 4)]
    assert replace(trained[0].options, seed=4) == trained[1].options
    cells = list(product(("long", "short"), ("small_seed-3", "small_seed-4"), ("yarn", "none"), (0, 1)))
    tuned = [row for row in study.models.values() if row.columns.get("experiment") == "tuned"]
    assert [tuple(row.columns[key] for key in ("regime", "base_model", "tuned_rope", "seed")) for row in tuned] == cells
    assert [(row.options.length, row.options.steps) for row in tuned] == [(64, 6)] * 8 + [(32, 12)] * 8
    searched = [(row.model, row.options.factor, row.options.sampler) for row in study.searches.values()]
    assert searched == list(product(("small_seed-3", "small_seed-4"), (2.0, 4.0), ("sobol", "scan")))
    assert {row.options.budget for row in study.searches.values() if row.options.sampler == "scan"} == {9}
    assert {row.options.budget for row in study.searches.values() if row.options.sampler == "sobol"} == {6}
    swept = {(row.base, row.columns["base"], row.options.length, row.options.seed) for row in study.models.values()
             if row.columns.get("experiment") == "bases"}  # fmt: skip
    assert len(swept) == 2 * 3
    assert {row[2] for row in swept if row[1] == 1e6} == {64}
    # Models that differ in their seed alone are pooled.
    assert len(study.reports["finetune/tuned"].readings) == 2 * (2 * 2 * 2 + len({"yarn", "none", "ntk"}))
    assert set(study.reports["search/search"].searches) == set(study.searches)


def test_each_model_lends_its_own_seed_to_what_is_made_of_it(make):
    groups = [{"bases": ["beta3"], "log_scaling": True, "seeds": "own"}]
    study = make(
        models__small__seeds=[3, 4],
        readings__text__report__reference="small_seed-3_yarn",
        tunings__tuned__seeds="own",
        sweeps__bases__groups=groups,
        searches__search__seeds="own",
    )
    tuned = {(row.base, row.options.seed) for row in study.models.values() if row.kind == "tune"}
    assert tuned == {("small_seed-3", 3), ("small_seed-4", 4)}
    assert {(row.model, row.options.seed) for row in study.searches.values()} == tuned
    assert "tuned_small_seed-4_yarn_long_seed-4" in study.models
    assert sum("log-scaled" in id_ and id_.endswith("nll") for id_ in study.readings) == 2


def test_a_fetched_model_has_no_seed_to_lend(make):
    readings = {"copying": {"kind": "copying", "of": [{"models": ["theirs"], "ropes": ["yarn"]}]}}
    parts = {"readings": readings, "sweeps": {}, "searches": {}, "posgen": {}}
    with pytest.raises(ConfigError, match=r"tunings\.tuned': seeds is 'own', and theirs was not trained here; exp"):
        make(
            models={"theirs": {"source": "hub:a/b"}},
            tunings__tuned__models=["theirs"],
            tunings__tuned__seeds="own",
            tunings__tuned__read_as=None,
            **parts,
        )


def test_each_model_is_read_with_what_was_found_for_it(make):
    study = make(
        models__small__seeds=[3, 4],
        readings__text__report__reference="small_seed-3_yarn",
        readings__copying__of=[{"models": ["small", "tuned_small_seed-4_yarn_long_seed-0"], "ropes": ["search"]}],
    )
    read = {(row.model, study.ropes[row.rope].search) for row in study.readings.values() if row.kind == "copying"
            and study.ropes[row.rope].search}  # fmt: skip
    expected = {(search.model, search.id) for search in study.searches.values()}
    of_tuned = {("tuned_small_seed-4_yarn_long_seed-0", id_) for model, id_ in expected if model == "small_seed-4"}
    assert read == expected | of_tuned


def test_a_tuned_model_is_read_with_another_rope_and_tuned_again(make, changed):
    again = {**changed()["tunings"]["tuned"], "models": ["tuned_small_yarn_long_seed-1"], "ropes": ["dynamic"]}
    again["regimes"] = {"more": {"length": 64, "steps": 3}}
    study = make(tunings__again=again, readings__facts__of=[{"models": ["again"], "ropes": ["own", "yarn"]}])
    model = study.models["again_tuned_small_yarn_long_seed-1_dynamic_more_seed-0"]
    assert model.base == "tuned_small_yarn_long_seed-1"
    assert model.columns["base_model"] == "small"
    assert study.ropes[model.rope].name == "dynamic"
    own, other = (study.readings[f"facts_{model.id}_{rope}"] for rope in ("dynamic", "yarn"))
    assert own.rope == model.rope
    assert study.ropes[other.rope].name == "yarn"
    # Its report compares it with the model that it was tuned from, by the name of a rope.
    report = study.reports["finetune/again"]
    assert report.options.reference == "dynamic"
    assert study.readings[report.readings[0]].model == model.base
    assert len(report.readings) == 1 + 2  # the untuned rope is the tuned one here


def test_models_that_are_fetched_have_their_own_tokenizer_and_table(make):
    study = make(
        models__big={"source": "hub:someone/big", "revision": "abc"},
        readings__text__of=[{"models": ["small"], "ropes": ["yarn"]}, {"models": ["big"], "ropes": ["own", "yarn"]}],
        readings__text__report__reference="small_yarn",
    )
    assert study.readings["text_big_yarn"].corpora == ("big/books", "big/government")
    assert study.readings["text_small_yarn"].corpora == ("byte/books", "byte/government")
    assert study.corpora["big/books"].tokenizer == "big"
    assert study.ropes["big/yarn"].table.model == "big"
    assert study.ropes["big/own"].steps == ()


def test_one_rope_regime_and_seed_in_two_experiments_are_two_models(make, changed):
    other = {**changed()["tunings"]["tuned"], "options": {"batch_tokens": 256, "learning_rate": 0.1}}
    study = make(tunings__other=other, readings__facts__of=[{"models": ["tuned", "other"], "ropes": ["own"]}])
    one, two = (study.models[f"{name}_small_yarn_long_seed-0"] for name in ("tuned", "other"))
    assert (one.columns["regime"], one.columns["seed"], one.rope) == (
        two.columns["regime"],
        two.columns["seed"],
        two.rope,
    )
    assert one.options != two.options
    names = labels([study.readings[id_].columns for id_ in study.reports["needle/facts"].readings])
    assert len(set(names)) == len(names) == 16
    assert {"yarn_long_seed-0_tuned", "yarn_long_seed-0_other"} <= set(names)


@pytest.mark.parametrize("name", ["reference", "setting", "own", "none", "all", "seed"])
def test_a_regime_may_have_any_name(make, name):
    study = make(tunings__tuned__regimes={name: {"length": 64, "steps": 6}})
    assert study.models[f"tuned_small_yarn_{name}_seed-0"].columns["regime"] == name


def test_models_of_a_chain_may_be_named_by_ids(make, changed):
    """An experiment that needs what is under way is no circle for one that does not need it."""
    plain = {
        **changed()["tunings"]["tuned"],
        "regimes": {"r": {"length": 64, "steps": 1}},
        "seeds": [0],
        "ropes": ["yarn"],
    }
    study = make(
        readings__facts__of=[{"models": ["c"]}],
        tunings={
            "c": {**plain, "models": ["b"]},
            "b": {**plain, "models": ["a_small_yarn_r_seed-0"]},
            "a": plain,
        },
    )
    [c] = [row for row in study.models.values() if row.columns.get("experiment") == "c"]
    b = study.models[c.base]
    assert (b.columns["experiment"], b.base) == ("b", "a_small_yarn_r_seed-0")


def test_a_search_of_a_model_that_was_tuned_with_a_found_rope(make, changed):
    later = {**changed()["searches"]["search"], "models": ["tuned"], "rivals": [], "factors": [2]}
    study = make(
        searches={"later": later, "search": changed()["searches"]["search"]},
        tunings__tuned__ropes=[FOUND],
        tunings__tuned__seeds=[0],
    )
    assert {row.model for row in study.searches.values() if row.columns["experiment"] == "later"} == {
        f"tuned_small_{FOUND}_{regime}_seed-0" for regime in ("long", "short")
    }


# Ids


def test_two_rows_of_one_id_are_refused(fault, changed):
    values = changed()
    plain = {**values["tunings"]["tuned"], "read_as": None}
    text = fault(
        models__a_small=values["models"]["small"],
        readings__facts__of=[{"models": ["small"]}],
        tunings={"x": {**plain, "models": ["a_small"]}, "x_a": {**plain, "models": ["small"]}},
    )
    assert text.startswith("config key 'tunings.x_a': two rows have the id 'x_a_small_yarn_long_seed-0' and differ")


def test_the_rope_of_pre_training_in_a_search_is_the_original_one(fault):
    assert "two rows have the id '32-10000-32/none' and differ" in fault(ropes__none="pi")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"ropes__own": "yarn"}, "config key 'ropes.own': 'own' stands for the rope of each model"),
        ({"models__byte": {"source": "hub:a/b"}}, "config key 'models.byte': 'byte' stands for the tokenizer"),
        ({"corpora__all": {"source": "package:books"}}, "the name 'all' stands for all of them"),
        ({"ropes__a b": "yarn"}, "ropes 'a b': expected a name of letters, digits, '_', '-' and '.'"),
        ({"tunings__tuned__regimes": {"a/b": {}}}, "regime 'a/b': expected a name of letters"),
        ({"name": "../x"}, "name is '../x'; expected letters"),
        ({"tunings__small": "tuned"}, "'small' stands in models and in tunings; expected different names"),
    ],
)
def test_names_that_cannot_be(fault, changed, parts, said):
    if "tunings__small" in parts:
        parts = {"tunings__small": changed()["tunings"]["tuned"]}
    assert said in fault(**parts)


# Circles and rows that are missing


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"ropes__a": [{"rope": "a"}, "resonance"]}, "ropes.a needs ropes.a"),
        (
            {"ropes__a": [{"rope": "b"}], "ropes__b": [{"rope": "a"}, "resonance"]},
            "ropes.a needs ropes.b needs ropes.a",
        ),
        (
            {"ropes__a": [{"rope": "b"}], "ropes__b": [{"rope": "a"}], "readings__copying__of__0__ropes": ["b"]},
            "ropes.a needs ropes.b needs ropes.a",
        ),
        ({"tunings__tuned__models": ["tuned"]}, "tunings.tuned needs tunings.tuned"),
        (
            {"tunings__tuned__ropes": ["search"], "searches__search__models": ["tuned"]},
            "tunings.tuned needs searches.search needs tunings.tuned",
        ),
        (
            {"sweeps__bases__models": ["tuned"], "tunings__tuned__models": ["bases"]},
            "tunings.tuned needs sweeps.bases needs tunings.tuned",
        ),
    ],
)
def test_a_circle_is_one_sentence(fault, parts, said):
    assert fault(**parts) == f"config: {said}; expected no circle."


def test_a_tuning_of_one_of_its_own_models_is_refused(fault):
    text = fault(tunings__tuned__models=["tuned_small_yarn_long_seed-0"])
    assert "config key 'tunings.tuned.models': there is no model 'tuned_small_yarn_long_seed-0'" in text


@pytest.mark.parametrize(
    ("parts", "key", "named", "nearest", "allowed"),
    [
        (
            {"readings__copying__of__0__models": ["smal"]},
            "readings.copying.of.models", "model 'smal'", "small", "tuned",
        ),
        ({"readings__copying__of__0__ropes": ["yran"]}, "readings.copying.of.ropes", "rope 'yran'", "yarn", FOUND),
        ({"readings__text__corpora": ["boks"]}, "readings.text.corpora", "corpus 'boks'", "books", "government"),
        ({"tunings__tuned__models": ["smal"]}, "tunings.tuned.models", "model 'smal'", "small", "bases"),
        ({"tunings__tuned__ropes": ["yran"]}, "tunings.tuned.ropes", "rope 'yran'", "yarn", "own"),
        ({"tunings__tuned__untuned": ["yran"]}, "tunings.tuned.untuned", "rope 'yran'", "yarn", "dynamic"),
        ({"tunings__tuned__corpora": ["boks"]}, "tunings.tuned.corpora", "corpus 'boks'", "books", "government"),
        ({"tunings__tuned__read_as": "txt"}, "tunings.tuned.read_as", "readings 'txt' of kind nll", "text", "text"),
        ({"sweeps__bases__models": ["smal"]}, "sweeps.bases.models", "model 'smal'", "small", "tuned"),
        (
            {"sweeps__bases__copy_as": "copyng"},
            "sweeps.bases.copy_as", "readings 'copyng' of kind copying", "copying", "copying",
        ),
        ({"searches__search__models": ["smal"]}, "searches.search.models", "model 'smal'", "small", "tuned"),
        ({"searches__search__corpora": ["boks"]}, "searches.search.corpora", "corpus 'boks'", "books", "government"),
        (
            {"searches__search__rivals": ["yran"]},
            "searches.search.rivals", "'yran' is none of ropes", "yarn", "dynamic",
        ),
        ({"ropes__a": [{"rope": "yran"}]}, "ropes.a", "rope 'yran'", "yarn", "dynamic"),
        ({"ropes__a": [{"found": "serch"}]}, "ropes.a", "search 'serch'", "search", FOUND),
    ],
)  # fmt: skip
def test_a_row_that_does_not_exist_is_one_sentence(fault, parts, key, named, nearest, allowed):
    text = fault(**parts)
    assert text.startswith(f"config key {key!r}: ")
    assert named in text
    assert f"(did you mean {nearest!r}?)" in text
    assert "expected" in text
    assert allowed in text.split("expected", 1)[1]


def test_what_a_rope_starts_from_must_be_of_that_kind(fault):
    assert fault(ropes__a=[{"found": "yarn"}]).startswith(
        "config key 'ropes.a': there is no search 'yarn'; expected one of"
    )
    text = fault(ropes__a=[{"found": "search"}], readings__copying__of__0__ropes=["a"])
    assert "config key 'ropes.a' starts from 'search', which stands for 4 ropes; expected one of " + FOUND in text
    assert "PosGen has a table of its own" in fault(posgen__posgen__ropes__pi__recipe=[{"rope": "yarn"}])


def test_readings_of_the_wrong_kind_are_refused(fault):
    text = fault(tunings__tuned__read_as="copying")
    assert text == (
        "config key 'tunings.tuned.read_as': there are no readings 'copying' of kind nll; expected one of text."
    )


def test_ropes_of_another_table_are_refused(fault, changed):
    other = {**changed()["models"]["small"]}
    other["shape"] = {**other["shape"], "length": 64}
    for name, said in ((FOUND, "found a rope for another rotary table than that of other"),
                       ("search", "'search' searched no rope for the rotary table of other")):  # fmt: skip
        assert said in fault(models__other=other, readings__copying__of=[{"models": ["other"], "ropes": [name]}])


def test_a_study_without_corpora_says_so(fault):
    assert fault(corpora={}) == "config key 'corpora' is empty; expected at least one."


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"readings__copying__of": []}, "config key 'readings.copying': of is empty"),
        ({"readings__copying__of__0__models": []}, "'readings.copying.of.0': models and ropes: expected at least one"),
        ({"readings__copying__of__0__ropes": []}, "'readings.copying.of.0': models and ropes: expected at least one"),
        ({"tunings__tuned__regimes": {}}, "'tunings.tuned': models, ropes, regimes and seeds: expected at least one"),
        ({"sweeps__bases__groups": []}, "'sweeps.bases': models, groups, and in each bases and seeds"),
        ({"sweeps__bases__groups__0__bases": []}, "'sweeps.bases': models, groups, and in each bases and seeds"),
        ({"searches__search__models": []}, "'searches.search': models is empty; expected at least one"),
        ({"searches__search__kinds": []}, "'searches.search': kinds is empty; expected at least one"),
    ],
)
def test_tables_without_rows_are_refused(fault, parts, said):
    assert said in fault(**parts)


# Lengths, options and what changes with them


def test_another_reported_length_changes_reports_only(make):
    """Nothing that reads or trains a model is told how a report shows it."""
    for parts in ({"readings__text__report__lengths": [64]}, {"readings__text__report__lengths": [32, 64, 100, 128]}):
        assert differences(make(), make(**parts)) == {"reports": {"perplexity/text", "finetune/tuned"}}
    assert make(**parts).reports["perplexity/text"].options.lengths == (32, 64, 100, 128)
    assert make(**parts).reports["finetune/tuned"].options.lengths == (32, 64, 100, 128)


def test_another_reference_or_confidence_changes_reports_only(make):
    assert differences(make(), make(readings__text__report__reference="none")) == {"reports": {"perplexity/text"}}
    every = set(make().reports) - {"predictions/bases"}
    assert differences(make(), make(confidence=0.9)) == {"reports": every}
    assert differences(make(), make(searches__search__report={"reference": "dynamic"})) == {
        "reports": {"search/search"}
    }


LONG = {f"tuned_small_{rope}_long_seed-{seed}" for rope in ("yarn", "none") for seed in (0, 1)}


@pytest.mark.parametrize(
    ("parts", "changes"),
    [
        ({"tunings__tuned__regimes__long": {"length": 64, "steps": 7}}, {"models": LONG}),
        ({"readings__facts__options__samples": 4}, {"readings": "facts_"}),
        ({"readings__text__options__dynamic_lengths": [32]}, {"readings": {"text_small_dynamic"}}),
        ({"models__small__pretraining__steps": 21}, {"models": {"small"}}),
        ({"models__small__layout": {"checkpoint_every": 5}}, {"models": {"small"}}),
        ({"searches__search__kinds__1__budget": 8}, {"searches": "search_small_scan-groups_"}),
        ({"searches__search__test_documents": 3}, {"readings": "search_probe_"}),
        ({"sweeps__bases__groups__1__seeds": [0]}, {"models": "bases_small_base-1000000_length-64_steps-12_seed-1",
            "readings": "bases_small_base-1000000_length-64_steps-12_seed-1", "reports": {"scaling/bases"}}),
        ({"posgen__posgen__scoring__generated_sequences": 5}, {"posgen": {"posgen/recursive"}}),
        ({"corpora__books__limit": 5}, {"corpora": {"byte/books"}}),
        ({"ropes__unused": "pi"}, {}),
        ({"resources": {"tune": {"gpu": 2}}}, {}),
        ({"ropes__dynamic": {"method": "dynamic_ntk", "factor": 3}}, {"ropes": {"32-10000-32/dynamic"}}),
    ],
)  # fmt: skip
def test_a_change_changes_its_own_rows_alone(make, parts, changes):
    """What follows from a row is the workflow's to rerun; rows beside it stay what they are."""
    found = differences(make(), make(**parts))
    assert set(found) == set(changes)
    for table, ids in changes.items():
        if isinstance(ids, str):
            every = {id_ for id_ in getattr(make(), table) if id_.startswith(ids)}
            assert every
            assert found[table] == every
        else:
            assert found[table] == ids


def test_a_new_row_changes_no_other(make):
    study, more = make(), make(
        readings__copying__of__0__ropes=["yarn", "none"], tunings__tuned__seeds=[0, 1, 2], ropes__pi="pi"
    )  # fmt: skip
    for name, rows in tables(study).items():
        for id_, row in rows.items():
            assert name == "reports" or getattr(more, name)[id_] == row
    assert "copying_small_none" in more.readings
    assert "tuned_small_none_short_seed-2" in more.models


def test_lengths_that_were_not_read_cannot_be_reported(fault):
    assert fault(readings__text__report__lengths=[32, 129]) == (
        "config key 'readings.text.report.lengths' is [32, 129]; expected different lengths up to read_to, 128."
    )
    assert "expected different lengths" in fault(readings__text__report__lengths=[])
    assert "expected different lengths" in fault(readings__text__report__lengths=[32, 32])
    text = fault(readings__text__report__reference="yran")
    assert text == "config key 'readings.text.report.reference' is 'yran'; expected one of none, yarn, dynamic."


def test_a_sweep_reads_beyond_its_tuning_lengths(fault):
    assert "the tuning length 128 is not below read_to of readings.text, 128" in fault(
        sweeps__bases__groups__1__length=128
    )


def test_what_a_study_decides_is_no_option(fault):
    for parts, key in (
        ({"tunings__tuned__options__seed": 3}, "tunings.tuned.options.seed"),
        ({"tunings__tuned__regimes__long__seed": 3}, "tunings.tuned.regimes.long.seed"),
        ({"sweeps__bases__options__length": 64}, "sweeps.bases.options.length"),
        ({"searches__search__options__factor": 3}, "searches.search.options.factor"),
        ({"searches__search__report": {"confidence": 0.9}}, "searches.search.report.confidence"),
        ({"readings__text__report__experiment": "x"}, "readings.text.report.experiment"),
    ):
        text = fault(**parts)
        assert text.startswith(f"config key {key!r} is decided elsewhere; allowed here: ")
        assert key.rpartition(".")[2] not in text.split("allowed here: ")[1].rstrip(".").split(", ")


# Bases and numbers


@pytest.mark.parametrize("written", ["1e6", "1.0e+6", "1000000", "1_000_000.0"])
def test_a_number_that_yaml_reads_as_text_is_a_number(make, written):
    """YAML 1.1 has no 1e6; whoever writes one means a number."""
    value = yaml.safe_load(written)
    study = make(sweeps__bases__groups__0__bases=[value], readings__copying__of__0__ropes=["abf"],
                 ropes__abf=yaml.safe_load(f"{{method: abf, new_base: {written}}}"),
                 tunings__tuned__options__learning_rate=yaml.safe_load("5e-4"))  # fmt: skip
    assert study.ropes["32-10000-32/base-1000000"].steps == ({"method": "abf", "new_base": 1e6},)
    assert study.ropes["32-10000-32/abf"].steps == ({"method": "abf", "new_base": 1e6},)
    assert study.models["tuned_small_yarn_long_seed-0"].options.learning_rate == 5e-4


@pytest.mark.parametrize("base", [1, 0, -5.0, "0.5", "beta4", float("inf"), True])
def test_bases_that_cannot_be_are_named(fault, base):
    text = fault(sweeps__bases__groups__0__bases=[base])
    assert "'sweeps.bases" in text
    assert "number" in text


def test_named_bases_need_a_table(fault, make):
    big = {"models__big": {"source": "hub:a/big"}, "sweeps__bases__models": ["big"], "sweeps__bases__groups": [
        {"bases": ["beta1"], "length": 64}, {"bases": ["original"], "length": 64}]}  # fmt: skip
    assert "the base 'original' of a model that is not made here is not known" in fault(**big)
    study = make(**big, sweeps__bases__table={"head_dim": 32, "base": 5e5, "length": 32})
    assert {row.columns["base"] for row in study.models.values() if row.base == "big"} == {40.0, 500000.0}
    assert "predictions/bases" in study.reports
    big["sweeps__bases__groups"] = [{"bases": [1e5]}]
    assert "needs its length in tokens, or a table" in fault(**big)


def test_log_scaled_readings_are_of_their_own_group(make):
    study = make()
    ids = {id_ for id_ in study.readings if "log-scaled" in id_}
    assert ids == {f"bases_small_base-5_length-32_steps-12_seed-0_log-scaled_{kind}" for kind in ("nll", "copying")}
    rope = study.ropes[study.readings[min(ids)].rope]
    assert rope.steps == ({"method": "log_scaling", "length": 32},)
    assert study.ropes[rope.rope].steps == ({"method": "abf", "new_base": 5.0},)


def test_models_of_one_table_make_one_report_of_a_sweep(make):
    study = make(models__small__seeds=[3, 4], readings__text__report__reference="small_seed-3_yarn")
    ids = study.reports["scaling/bases"].readings
    of = {study.models[study.readings[each].model].columns["base_model"] for each in ids}
    assert of == {"small_seed-3", "small_seed-4"}
    shape = {"hidden_size": 32, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate_size": 32, "length": 32}
    other = {"shape": {**shape, "base": 2e4}, "pretraining": {"steps": 2, "batch_size": 4, "learning_rate": 0.002}}
    apart = make(models__other=other, sweeps__bases__models=["small", "other"])
    assert {"scaling/bases_32-10000-32", "scaling/bases_32-20000-32"} <= set(apart.reports)


def test_a_sweep_reads_its_models_before_they_are_tuned(make, fault):
    plain = [each for each in make().reports["scaling/bases"].readings if "bases_small_own" in each]
    assert plain == ["bases_small_own_nll"]
    study = make(sweeps__bases__dynamic="dynamic", sweeps__bases__pairs=4)
    rows = [study.readings[each] for each in study.reports["scaling/bases"].readings]
    before = {row.id.removeprefix("bases_small_"): row for row in rows if row.model == "small"}
    assert before["own_nll"].options.window == 32
    [dynamic] = [row for row in before.values() if row.columns["rope"] == "dynamic"]
    assert dynamic.options.dynamic_lengths == (32, 64)
    assert dynamic.id == "text_small_dynamic", "which another experiment reads too"
    # 3 of 16 pairs turn within 32 tokens; four are divided or not at a time, counted from there.
    factors = {
        id_: study.ropes[row.rope].steps[0]["long_factor"] for id_, row in before.items() if "long_factor" in
        (study.ropes[row.rope].steps or ({},))[0]
    }  # fmt: skip
    assert factors["bases_divided-from-3_nll"] == [1.0] * 3 + [4.0] * 13
    assert factors["bases_divided-before-3_nll"] == [4.0] * 3 + [1.0] * 13
    assert factors["bases_divided-from-7_nll"] == [1.0] * 7 + [4.0] * 9, "those from 3 on but for four"
    assert factors["bases_toggled-7-11_nll"] == [1.0] * 3 + [4.0] * 4 + [1.0] * 4 + [4.0] * 5
    assert len({tuple(one) for one in factors.values()}) == len(factors)
    assert "made by dynamic_ntk alone" in fault(sweeps__bases__dynamic="yarn")


def test_a_tuning_of_two_experiments_is_made_and_read_once_where_both_call_it_the_same(make, changed):
    tuned = changed()["tunings"]["tuned"]
    regimes = {**tuned["regimes"], "brief": tuned["regimes"]["short"]}
    study = make(tunings__again={**tuned, "regimes": regimes, "ropes": ["yarn", "dynamic"]})
    added = {row.id for row in study.models.values() if row.columns.get("experiment") == "again"}
    dynamic = {f"again_small_dynamic_{regime}_seed-{seed}" for regime in regimes for seed in (0, 1)}
    assert added == {*dynamic, "again_small_yarn_brief_seed-0", "again_small_yarn_brief_seed-1"}
    shared = {"text_tuned_small_yarn_long_seed-0_yarn", "text_tuned_small_yarn_short_seed-1_yarn"}
    assert shared <= {*study.reports["finetune/again"].readings} & {*study.reports["finetune/tuned"].readings}
    # It goes by the id that it would have had, too; and in another order of experiments.
    facts = [{"models": ["again_small_yarn_long_seed-0", "tuned_small_yarn_short_seed-1"], "ropes": ["own"]}]
    tunings = {"tuned": tuned, "again": {**tuned, "ropes": ["yarn", "dynamic"]}}
    for ordered in (tunings, dict(reversed(tunings.items()))):
        asked = make(tunings=ordered, readings__facts__of=facts)
        read = {asked.readings[each].model for each in asked.reports["needle/facts"].readings}
        first = next(iter(ordered))
        assert read == {f"{first}_small_yarn_long_seed-0", f"{first}_small_yarn_short_seed-1"}
    # With another option, both are made.
    other = make(tunings__again={**tuned, "options": {**tuned["options"], "weight_decay": 0.5}})
    assert "again_small_yarn_long_seed-0" in other.models


# Searches and PosGen


def test_found_ropes_and_rivals_are_probed_at_every_doubling(make):
    study = make()
    probes = [study.readings[id_] for id_ in study.reports["search/search"].readings]
    assert {reading.kind for reading in probes} == {"probe"}
    assert all(reading.options.factors == [2.0, 4.0] for reading in probes)
    assert [(reading.columns["method"], reading.columns["factor"]) for reading in probes[:4]] == [
        ("none", None), ("yarn", 2.0), ("dynamic", None), ("yarn", 4.0)]  # fmt: skip
    assert {reading.columns["search"] for reading in probes[4:]} == set(study.searches)
    assert study.ropes["32-10000-32/yarn-2x"].steps == ({"method": "yarn", "factor": 2.0},)
    for search in study.searches.values():
        assert isinstance(search.options, SearchOptions)
        assert search.options.retrieval == "copy"


def test_a_grid_is_searched_once_and_a_kind_may_have_seeds_of_its_own(make):
    kinds = [
        {"sampler": "gp", "space": "ramp"},
        {"sampler": "sobol", "space": "ramp", "seeds": [7]},
        {"sampler": "grid", "space": "yarn"},
    ]
    study = make(searches__search__kinds=kinds, searches__search__seeds=[1, 2], searches__search__factors=[2])
    seeds = [(row.options.sampler, row.options.seed) for row in study.searches.values()]
    assert seeds == [("gp", 1), ("gp", 2), ("sobol", 7), ("grid", 1)]


def test_models_of_other_tables_have_a_report_of_their_own(make):
    other = {
        "shape": {"hidden_size": 32, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate_size": 32, "length": 64},
        "pretraining": {"steps": 20, "batch_size": 4, "learning_rate": 0.002},
    }
    study = make(models__other=other, searches__search__models=["small", "other"])
    reports = {name: report for name, report in study.reports.items() if name.startswith("search/")}
    assert list(reports) == ["search/search_small", "search/search_other"]
    for name, report in reports.items():
        models = {study.searches[id_].model for id_ in report.searches}
        assert models == {study.readings[id_].model for id_ in report.readings} == {name.removeprefix("search/search_")}


def test_a_search_of_two_experiments_is_made_once_and_tested_in_both(make, changed):
    first = changed()["searches"]["search"]
    kinds = [{"sampler": "sobol", "space": "ramp"}, {"sampler": "gp", "space": "ramp"}]
    study = make(searches={"search": first, "second": {**first, "kinds": kinds, "test_documents": 1}})
    names = {name for name in study.searches if "sobol" in name}
    assert names == {f"search_small_sobol-ramp_{factor}x_seed-0" for factor in (2, 4)}
    report = study.reports["search/second"]
    assert {name for name in report.searches if "sobol" in name} == names
    assert len(report.searches) == 4
    tested = study.readings[f"second_probe_small_{FOUND}"]
    assert tested.columns["method"] == "sobol/ramp"
    # On as many documents, ropes of both are read once.
    alike = make(searches={"search": first, "second": {**first, "kinds": kinds}})
    assert not [name for name in alike.readings if name.startswith("second_probe") and "gp-ramp" not in name]
    assert f"search_probe_small_{FOUND}" in alike.reports["search/second"].readings
    # Another option makes it another search.
    other = {**first, "kinds": kinds, "options": {**first["options"], "documents": 1}}
    assert "second_small_sobol-ramp_2x_seed-0" in make(searches={"search": first, "second": other}).searches


def test_searches_without_rivals_are_not_tested(make):
    study = make(searches__search__rivals=[])
    assert "search/search" not in study.reports
    assert not [reading for reading in study.readings.values() if reading.kind == "probe"]
    assert study.ropes[f"32-10000-32/{FOUND}"].search == FOUND


def test_a_posgen_experiment_trains_some_ropes_and_puts_others_into_their_place(make):
    study = make(posgen__posgen__ropes__brief={"recipe": ["yarn", "resonance"], "weights": "rope", "brief": True})
    [task] = study.posgen.values()
    assert task.trained == ("posgen/posgen/rope",)
    assert task.swapped == (("posgen/posgen/pi", "rope"),)
    assert task.brief == (("posgen/posgen/brief", "rope"),)
    # The factor is how much longer the test is.
    assert study.ropes["posgen/posgen/brief"].steps[0] == {"method": "yarn", "factor": 2.0}
    assert study.ropes["posgen/posgen/pi"].table.length == 12


def test_faults_of_a_configuration_are_of_one_type(make):
    with pytest.raises(ConfigError):
        make(readings__copying__of__0__models=["smal"])
    with pytest.raises(ConfigError):
        make(confidence=2)


# Measures and exports


WINDOWS = {
    "kind": "nll",
    "of": [{"models": ["small"], "ropes": ["yarn"]}],
    "options": {"read_to": 128, "documents": 3, "window": 32},
    "report": {"lengths": [128], "reference": "yarn"},
}
MEASURES = {"nll": "text", "keys": "windows", "facts": "facts", "lengths": [64, 128], "reference": "yarn"}


def test_measures_take_the_readings_of_other_experiments(make):
    study = make(readings__windows=WINDOWS, measures__both=MEASURES)
    report = study.reports["measures/both"]
    expected = [
        study.reports["perplexity/text"].readings,
        ("windows_small_yarn",),
        study.reports["needle/facts"].readings,
    ]
    assert report.readings == tuple(id_ for ids in expected for id_ in ids)
    assert (report.options.lengths, report.options.reference) == ((64, 128), "yarn")
    assert "perplexity/windows" not in study.reports, "a single reading has nothing to be compared with"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keys": "text"}, "'measures.both.keys': 'text' stands for 3 readings with the window None; expected one"),
        ({"lengths": [32, 128]}, r"'measures.both.lengths' is [32, 128]; expected lengths beyond the window, 32"),
        ({"facts": "text"}, "'measures.both.facts': there are no readings 'text' of kind needle"),
        ({"nll": "nothing"}, "'measures.both.nll': there are no readings 'nothing' of kind nll"),
    ],
)
def test_measures_that_cannot_be_taken(fault, changes, said):
    assert said in fault(readings__windows=WINDOWS, measures__both={**MEASURES, **changes})


def test_an_export_is_of_one_model_with_one_rope(make, fault):
    row = make(exports__long={"model": "small", "rope": FOUND, "to": "gguf"}).exports["long"]
    assert (row.model, row.rope, row.to) == ("small", f"32-10000-32/{FOUND}", "gguf")
    several = {"exports__long": {"model": "tuned", "rope": "yarn"}}
    assert "config key 'exports.long.model': 'tuned' stands for 8 models; expected one of" in fault(**several)
