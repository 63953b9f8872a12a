from __future__ import annotations

import pytest

from ropewalk.errors import UserError
from ropewalk.partitions import Partition, partition_of, read_partitions

SAID = """
gpu|2-00:00:00|515000
gpu|2-00:00:00|1030000
cpu*|infinite|192000
debug|30:00|192000+
long|14-00:00:00|192000
"""
KNOWN = read_partitions(SAID.strip())


def test_partitions_are_read_as_sinfo_lists_their_nodes():
    assert {
        "gpu": Partition("gpu", 2 * 24 * 60, 1_030_000),
        "cpu": Partition("cpu", None, 192_000),
        "": Partition("cpu", None, 192_000),
        "debug": Partition("debug", 30, 192_000),
        "long": Partition("long", 14 * 24 * 60, 192_000),
    } == KNOWN


def test_where_none_is_named_it_is_the_default_one_and_of_several_the_tightest():
    assert partition_of(KNOWN, None) == KNOWN["cpu"]
    assert partition_of(KNOWN, "gpu") == KNOWN["gpu"]
    assert partition_of(KNOWN, "gpu,cpu") == Partition("gpu,cpu", 2880, 192_000)
    assert partition_of(KNOWN, "elsewhere") == Partition("elsewhere")
    assert partition_of({}, None) == Partition("")


def test_another_attempt_asks_for_no_more_than_there_is():
    assert KNOWN["gpu"].capped("runtime", 4 * 1440) == 2880
    assert KNOWN["gpu"].capped("mem_mb", 16_000) == 16_000
    assert KNOWN["cpu"].capped("runtime", 10**6) == 10**6


def test_a_first_attempt_beyond_the_partition_is_refused():
    KNOWN["debug"].check("tune", "runtime", 30)
    with pytest.raises(UserError, match=r"'resources\.tune\.runtime' is 240, and the Slurm partition debug has 30 min"):
        KNOWN["debug"].check("tune", "runtime", 240)
