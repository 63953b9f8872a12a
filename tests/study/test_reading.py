"""A study is read from YAML files as the workflow reads it."""

from __future__ import annotations

import pytest
import yaml

from ropewalk.errors import UserError
from ropewalk.study import read_study
from ropewalk.study.reading import read_files


@pytest.fixture
def write(tmp_path):
    def write(name, values):
        (tmp_path / name).write_text(values if isinstance(values, str) else yaml.safe_dump(values))
        return tmp_path / name

    return write


def test_later_files_go_into_earlier_ones(write, changed):
    first = write("a.yaml", changed())
    second = write("b.yaml", {"factor": 2, "tunings": {"tuned": {"seeds": [5]}}, "ropes": {"pi": "pi"}})
    study = read_files([first, second])
    assert study.models == read_study(changed(factor=2, tunings__tuned__seeds=[5], ropes__pi="pi")).models
    assert "tuned_small_yarn_long_seed-5" in study.models
    assert "tuned_small_yarn_long_seed-0" not in study.models
    assert study.ropes["32-10000-32/yarn"].steps == ({"method": "yarn", "factor": 2.0},)
    assert study.config.corpora.keys() == {"books", "government"}


def test_a_list_is_replaced_and_a_mapping_in_the_place_of_a_value_too(write):
    study = read_files(
        [write("a.yaml", {"corpora": {}, "ropes": {"x": "yarn"}}), write("b.yaml", {"ropes": {"x": {"method": "pi"}}})]
    )
    assert study.config.ropes == {"x": {"method": "pi"}}
    study = read_files(
        [write("c.yaml", {"ropes": {"x": ["yarn", "resonance"]}}), write("d.yaml", {"ropes": {"x": ["pi"]}})]
    )
    assert study.config.ropes == {"x": ["pi"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML: while parsing"),
        ("- yarn", "is no configuration; expected keys such as models and readings"),
        ("", "is no configuration"),
        ("nme: x", r"config key 'nme' is not known \(did you mean 'name'\?\)"),
    ],
)
def test_a_file_that_is_no_study_is_one_sentence(write, text, said):
    with pytest.raises(UserError, match=said) as caught:
        read_files([write("a.yaml", text)])
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none.yaml: no such file; expected the configuration of a study"):
        read_files([tmp_path / "none.yaml"])
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="b.yaml is no YAML"):
        read_files([tmp_path / "b.yaml"])


def test_a_length_of_training_goes_where_the_configuration_is_wrong(write):
    """Qwen 3 says 40,960 and was trained at 32,768: its ropes, searches and probes are told."""
    fetched = {"source": "hub:Qwen/Qwen3-8B", "length": 32_768}
    searches = {
        "searches": {
            "long": {
                "models": ["qwen"],
                "factors": [2],
                "kinds": [{"sampler": "sobol", "space": "ramp"}],
                "seeds": [0],
                "corpora": ["books"],
                "options": {"budget": 8},
                "rivals": ["yarn"],
            }
        }
    }
    values = {
        "name": "q",
        "factor": 2,
        "models": {"qwen": fetched},
        "ropes": {"yarn": "yarn"},
        "corpora": {"books": {"source": "package:books"}},
        **searches,
    }
    study = read_study(values)
    assert {row.table.length for row in study.ropes.values() if row.table.model == "qwen"} == {32_768}
    assert {row.options.length for row in study.searches.values()} == {32_768}
    assert {row.options.length for row in study.readings.values()} == {32_768}
