from __future__ import annotations

import numpy as np
import pandas as pd

from ropewalk.reading.perplexity import perplexity_table
from ropewalk.report.tables import perplexity_html, perplexity_text, rope_text
from ropewalk.rope import default_rope
from ropewalk.rope.beside_table import self_extend
from ropewalk.rope.pairs import p_rope, resonance
from ropewalk.rope.ramps import yarn


def rows(shift: float) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "corpus": c,
                "document": f"{c}{d}",
                "position": np.arange(1, 32),
                "nll": 2 + shift + 0.1 * d,
                "pass_length": 32,
            }
        )
        for c in ("a", "b")
        for d in range(4)
    ]
    return pd.concat(frames, ignore_index=True)


def test_a_rope_reads_as_text():
    text = rope_text(resonance(yarn(default_rope(128, 10000.0, 4096), factor=8.0)), 32768)
    assert "rotary dimension 128 · base 10000 · trained at 4096 tokens" in text
    assert "yarn(factor=8.0" in text
    assert "→ resonance()" in text
    assert "critical dimension: 92" in text
    assert sum(line.strip()[:2].strip().isdigit() for line in text.splitlines()) == 64
    mapped = rope_text(self_extend(default_rope(64, 10000.0, 128), window=32, group=12), 1024)
    assert "self_extend, window 32, group 12; within 1024 tokens the largest relative position is 115" in mapped
    assert "inf" in rope_text(p_rope(default_rope(64, 10000.0, 128), p=0.5), 256)


def test_tables_say_what_is_better_only_where_zero_is_excluded():
    table = perplexity_table({"base": rows(0), "worse": rows(0.5), "same": rows(0)}, [16, 32], reference="base")
    page = perplexity_html(table, "base", 0.95)
    assert page.count("class=worse") == 2
    assert page.count("class=better") == 0
    assert "base (reference)" in page
    assert "+0.500 [+0.500, +0.500]" in page
    text = perplexity_text(table)
    assert "all (8 documents)" in text
    assert f"{np.exp(2.15):.2f}" in text
