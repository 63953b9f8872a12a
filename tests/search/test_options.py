"""Options say what cannot be, and stand alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ropewalk.errors import OptionError
from ropewalk.search import options
from ropewalk.search.by_hand import BY_HAND
from ropewalk.search.options import ProbeOptions, SearchOptions, SearchReportOptions
from ropewalk.search.rivals import PROPOSERS
from ropewalk.search.spaces import SPACES


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"factor": 1.0}, "factor is 1.0; expected above 1"),
        ({"budget": 0}, "budget is 0; expected at least 1"),
        ({"patience": 0}, "patience is 0; expected at least 1"),
        ({"candidates": 0}, "candidates is 0; expected at least 1"),
        ({"short_cost": -1.0}, "short_cost is -1.0; expected at least 0"),
        ({"retrieval": "needles"}, "retrieval is 'needles'; expected one of needle, copy, none"),
        ({"sampler": "bayes"}, "sampler is 'bayes'; expected one of gp, tpe"),
        (
            {"sampler": "grid"},
            "sampler 'grid' with the space ramp: grid, and it alone, tries the constants of hand-made",
        ),
        ({"space": "yarn"}, "sampler 'gp' with the space yarn: grid, and it alone, tries"),
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
        space = "groups" if sampler == "scan" else "ramp"
        assert SearchOptions(factor=2.0, sampler=sampler, space=space).sampler == sampler
    for space in SPACES:
        assert SearchOptions(factor=2.0, space=space).space == space
    assert set(options.BY_HAND) == set(BY_HAND)
    for space in BY_HAND:
        assert SearchOptions(factor=2.0, sampler="grid", space=space).space == space


def test_options_import_quickly():
    script = "import sys, ropewalk.search.options; print(*{'torch', 'optuna', 'pydantic', 'scipy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == ""
