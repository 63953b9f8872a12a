from __future__ import annotations

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.reading.needle import QUALITIES, THINGS, hide

TEXT = np.frombuffer(b"the tide went out and came in again. " * 60, dtype=np.uint8).astype(np.int64)
TOKENIZER = byte_tokenizer()
TEXT = np.array(TOKENIZER(bytes(TEXT.astype(np.uint8)).decode())["input_ids"])


def test_the_fact_is_asked_for_at_the_end():
    hay = hide(TOKENIZER, TEXT, 800, deepest=0.5, rng=np.random.default_rng(0))
    words = TOKENIZER.decode(hay.tokens)
    answer = TOKENIZER.decode(hay.tokens[-hay.answer :])
    assert len(hay.tokens) == 800
    assert words.count(answer.strip()) == 2
    name = words.split("the code of the ")[1].split(" is")[0]
    assert TOKENIZER.decode(hay.tokens[hay.question :]).endswith(f"The code of the {name} is{answer}")
    assert abs(words.index("Note this down") / 800 - hay.depth) < 0.01


def test_depths_spread_up_to_the_deepest():
    depths = [hide(TOKENIZER, TEXT, 800, deepest=0.4, rng=np.random.default_rng(n)).depth for n in range(40)]
    assert max(depths) <= 0.4
    assert max(depths) > 0.3
    assert min(depths) < 0.1


def test_parts_use_words_of_their_own():
    def names(part):
        found = (
            hide(TOKENIZER, TEXT, 800, deepest=0.5, rng=np.random.default_rng(n), part=part, parts=4) for n in range(30)
        )
        return {TOKENIZER.decode(h.tokens).split("the code of the ")[1].split(" is")[0] for h in found}

    words = [{word for name in names(part) for word in name.split()} for part in range(4)]
    assert all(not words[a] & words[b] for a in range(4) for b in range(a))
    assert not set(QUALITIES) & set(THINGS)


def test_a_text_without_room_is_refused():
    with pytest.raises(UserError, match="length is 100 tokens; a fact, its question and its answer alone take"):
        hide(TOKENIZER, TEXT, 100, deepest=0.5, rng=np.random.default_rng(0))
