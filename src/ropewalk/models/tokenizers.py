"""Tokenizers: that of a model, or one token a byte. Nothing here needs torch."""

from __future__ import annotations

from contextlib import nullcontext

from tokenizers import Tokenizer as BackendTokenizer
from tokenizers import decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

from ropewalk.errors import UserError
from ropewalk.models import gguf
from ropewalk.models.sources import ModelSource, failure

# Bars over weights and shards would stand between the lines of our own progress.
logging.disable_progress_bar()

BYTE = "byte"
"""The name of the byte tokenizer on the command line."""
END_OF_TEXT = "<|endoftext|>"


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, 256 of them, and an end-of-text token: exact on any text, with nothing to train."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = BackendTokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([END_OF_TEXT])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT)


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a model.

    Raises:
        UserError: it cannot be found or read.
    """
    location = source.location
    try:
        with gguf.parsed_once() if source.kind == "gguf" else nullcontext():
            tokenizer = AutoTokenizer.from_pretrained(**location)
    except Exception as error:
        raise failure(source, error) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"model {source}: its tokenizer is {type(tokenizer).__name__}; expected a fast tokenizer.")
    return tokenizer


def digit_tokens(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The token ids of the ten digits.

    Raises:
        UserError: the tokenizer has no token of its own for each digit.
    """
    ids = [tokenizer(digit, add_special_tokens=False)["input_ids"] for digit in "0123456789"]
    if any(len(one) != 1 for one in ids) or len({one[0] for one in ids}) != 10:
        raise UserError(
            "this tokenizer has no single token for each of the ten digits, which copying is measured with."
        )
    return [one[0] for one in ids]
