"""Options say what cannot be, and stand alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ropewalk.errors import OptionError
from ropewalk.search.options import ONLY_SPACE, ProbeOptions, SearchOptions, SearchReportOptions
from ropewalk.search.rivals import PROPOSERS
from ropewalk.search.space import SPACES


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"factor": 1.0}, "factor is 1.0; expected above 1"),
        ({"budget": 0}, "budget is 0; expected at least 1"),
        ({"patience": 0}, "patience is 0; expected at least 1"),
        ({"candidates": 0}, "candidates is 0; expected at least 1"),
        ({"short_cost": -1.0}, "short_cost is -1.0; expected at least 0"),
        ({"retrieval": "needles"}, "retrieval is 'needles'; expected one of needle, copy, none"),
        ({"sampler": "grid"}, "sampler is 'grid'; expected one of gp, tpe"),
        ({"sampler": "evolution"}, "sampler 'evolution' searches the space pairs, not ramp"),
        ({"sampler": "scan"}, "sampler 'scan' searches the space groups, not ramp"),
    ],
)
def test_a_search_that_cannot_be(options, said):
    with pytest.raises(OptionError, match=said):
        SearchOptions(**{"factor": 4.0, **options})


@pytest.mark.parametrize("factors", [[], [2.0, 2.0], [4.0, 0.5]])
def test_a_probe_reads_beyond_the_training_length(factors):
    with pytest.raises(OptionError, match="factors is"):
        ProbeOptions(factors=factors)


def test_a_report_is_not_certain():
    with pytest.raises(OptionError, match="confidence is 1.0; expected above 0 and below 1"):
        SearchReportOptions(experiment="search", confidence=1.0)


def test_every_sampler_and_space_can_be_asked_for():
    for sampler in ("gp", "tpe", "cma", *PROPOSERS):
        assert SearchOptions(factor=2.0, sampler=sampler, space=ONLY_SPACE.get(sampler, "ramp")).sampler == sampler
    for space in SPACES:
        assert SearchOptions(factor=2.0, space=space).space == space


def test_options_import_quickly():
    script = "import sys, ropewalk.search.options; print(*{'torch', 'optuna', 'pydantic', 'scipy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == ""
