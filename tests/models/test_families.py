from __future__ import annotations

import pytest

from ropewalk.models import families
from sweep import FAMILIES, PAGE, page, tried


@pytest.mark.slow  # builds some four hundred tiny models
def test_every_causal_family_is_supported_or_refused_for_a_reason(monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    outcomes = {family: tried(family) for family in FAMILIES}
    assert sum(outcome.status == "supported" for outcome in outcomes.values()) >= 100
    assert all(outcome.note for outcome in outcomes.values() if outcome.status != "supported")
    assert PAGE.read_text() == page(outcomes), "docs/families.md is old: python tests/models/sweep.py"


def test_facts_are_about_families_that_there_are():
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    named = {*families.OWN_TABLES, *families.REBUILT, *families.NTK_ALPHA, *families._LABELS, *families._SWITCHES}
    assert named | families._UNROTATED_GLOBALS <= set(CONFIG_MAPPING_NAMES)
