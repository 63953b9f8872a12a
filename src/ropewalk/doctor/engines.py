"""Engines that run in this process: plain transformers on a checkpoint, and llama.cpp on a GGUF file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ropewalk.doctor.probes import LogProbs, Prompt
from ropewalk.errors import UserError
from ropewalk.models.gguf import open_gguf

Ask = Callable[[Prompt], LogProbs]
"""What an engine answers to a prompt, nats, shape (tokens - 1,)."""


def transformers_engine(folder: Path) -> Ask:
    """What plain ``AutoModelForCausalLM.from_pretrained`` computes of a checkpoint.

    Raises:
        UserError: it cannot be loaded, or has another vocabulary.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from ropewalk.doctor.applying import log_probs
    from ropewalk.models.sources import ModelSource, failure

    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=False).eval()
    except Exception as error:
        raise failure(ModelSource("folder", str(folder)), error) from error
    return lambda prompt: log_probs(model, prompt.tokens)


def llama_cpp_engine(file: Path) -> Ask:
    """What llama.cpp computes of a GGUF file, each prompt in a context of its own length.

    Raises:
        UserError: llama-cpp-python is not installed, the file is no GGUF file or llama.cpp cannot load it.
    """
    open_gguf(file)  # which says in one sentence what is wrong with a file; llama.cpp does not
    try:
        import llama_cpp
    except ImportError:
        raise UserError(
            f"{file}: asking a GGUF file needs llama-cpp-python (`uv sync --extra llama-cpp`), or serve it and give "
            "the address."
        ) from None

    def ask(prompt: Prompt) -> LogProbs:
        count = len(prompt.tokens)
        try:
            model = llama_cpp.Llama(
                str(file),
                n_ctx=count,
                n_batch=count,
                # Those of the file, as in llama.cpp's own programs, in the place of llama-cpp-python's defaults.
                yarn_beta_fast=-1.0,
                yarn_beta_slow=-1.0,
                logits_all=True,
                verbose=False,
            )
        except Exception as error:
            raise UserError(f"{file}: llama.cpp cannot load it: {' '.join(str(error).split())[:200]}") from error
        if max(prompt.tokens) >= model.n_vocab():
            raise UserError(f"{file} has {model.n_vocab()} tokens, and the prompt others: it is another model.")
        model.eval(list(prompt.tokens))
        logits = model.scores[: count - 1].astype(np.float64)
        model.close()
        logits -= logits.max(-1, keepdims=True)
        found: LogProbs = logits[np.arange(count - 1), prompt.tokens[1:]] - np.log(np.exp(logits).sum(-1))
        if not np.isfinite(found).all():
            raise UserError(f"{file}: llama.cpp gives log-probabilities that are not numbers.")
        return found

    return ask
