from __future__ import annotations

import copy

import pytest
import yaml

from ropewalk.errors import UserError
from ropewalk.study import read_study

STUDY = """
name: small
factor: 4
corpora:
  books: {source: package:books}
  government: {source: package:government}
models:
  small:
    shape: {hidden_size: 32, layers: 1, heads: 1, kv_heads: 1, intermediate_size: 32, length: 32}
    pretraining: {steps: 20, batch_size: 4, learning_rate: 0.002}
ropes:
  none: default
  yarn: yarn
  dynamic: {method: dynamic_ntk, factor: 2}
readings:
  text:
    kind: nll
    of: [{models: [small], ropes: [none, yarn, dynamic]}]
    options: {read_to: 128, documents: 3, dynamic_lengths: [32, 64]}
    report: {lengths: [32, 128], reference: yarn}
  copying:
    kind: copying
    of: [{models: [small], ropes: [yarn]}]
    options: {gaps: [8, 32], samples: 4}
  facts:
    kind: needle
    of: [{models: [tuned], ropes: [own, none]}]
    options: {tasks: [digits], lengths: [48, 96], samples: 3, by: nll}
tunings:
  tuned:
    models: [small]
    ropes: [yarn, none]
    untuned: [dynamic]
    regimes:
      long: {length: 64, steps: 6}
      short: {length: 32, steps: 12}
    seeds: [0, 1]
    options: {batch_tokens: 128, learning_rate: 0.0005}
    read_as: text
sweeps:
  bases:
    models: [small]
    options: {steps: 12, batch_tokens: 128, learning_rate: 0.001}
    groups:
      - {bases: [beta3], log_scaling: true}
      - {bases: [1000000.0], length: 64, seeds: [0, 1]}
    read_as: text
    copy_as: copying
searches:
  search:
    models: [small]
    factors: [2, 4]
    kinds: [{sampler: sobol, space: ramp}, {sampler: scan, space: groups, budget: 9}]
    options: {budget: 6, documents: 2, retrieval: copy}
    rivals: [yarn, dynamic]
    test_documents: 2
posgen:
  posgen:
    tasks: [recursive]
    options:
      modulus: 7
      train_sequences: 100
      validation_sequences: 8
      test_sequences: 8
      train_length: 12
      test_length: 24
      head_dim: 8
      seeds: [0, 1]
    scoring: {generated_sequences: 4}
    ropes:
      rope: {recipe: default}
      pi: {recipe: pi, weights: rope}
"""
"""A study with every kind of row."""


@pytest.fixture
def changed():
    """The configuration of a study with some keys changed: ``tunings__tuned__seeds=[3]``."""

    def change(**parts):
        values = yaml.safe_load(STUDY)
        for path, value in parts.items():
            *folders, key = path.split("__")
            here = values
            for folder in folders:
                here = here[int(folder)] if isinstance(here, list) else here.setdefault(folder, {})
            here[int(key) if isinstance(here, list) else key] = copy.deepcopy(value)
        return values

    return change


@pytest.fixture
def make(changed):
    """The tables of a study with some keys changed."""
    return lambda **parts: read_study(changed(**parts))


@pytest.fixture
def fault(make):
    """The sentence with which a study with some keys changed is refused."""

    def refuse(**parts):
        with pytest.raises(UserError) as caught:
            make(**parts)
        text = str(caught.value)
        assert "\n" not in text
        assert text.startswith("config")
        assert text.endswith((".", "faults)"))
        return text

    return refuse
