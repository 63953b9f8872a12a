"""Ask an engine, and say which rope it applies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ropewalk.doctor import endpoint
from ropewalk.doctor.diagnosis import Diagnosis, diagnose
from ropewalk.doctor.engines import Ask, llama_cpp_engine, transformers_engine
from ropewalk.doctor.probes import FILE, Probe, repeated_numbers
from ropewalk.errors import UserError
from ropewalk.models.sources import ModelSource
from ropewalk.rope import Rope

_BEYOND = 256
"""Tokens beyond the original length, or as many as it has."""


def check(
    target: str,
    *,
    model: str | None = None,
    rope: Rope | None = None,
    length: int | None = None,
    name: str | None = None,
) -> Diagnosis:
    """Say which rope an engine applies.

    Args:
        target: address of an endpoint, a GGUF file, or a checkpoint folder.
        model: a folder of ``ropewalk doctor models``, one of its models, or any model whose weights the engine has;
            that of the target where None.
        rope: what the engine should apply; the model's own where None.
        length: tokens of the longest prompt, for a model that is not a tiny one; where None, up to 256 tokens more
            than the original length, if the model takes as many.
        name: what an endpoint calls the model, where it serves several.

    Raises:
        UserError: something that is asked cannot be: the sentence says what to do.
    """
    served, ask = _engine(target, model, name)
    probe = _probe(model or target, served, rope, length)
    return diagnose([ask(prompt) for prompt in probe.prompts], probe)


def _engine(target: str, model: str | None, name: str | None) -> tuple[str, Ask]:
    """What an engine calls its model, and how it is asked."""
    if target.startswith(("http://", "https://")):
        if model is None:
            raise UserError("an endpoint does not give its weights away: expected --model, the model that it serves.")
        reached = endpoint.connect(target, name)
        return reached.model, reached.ask
    if name is not None:
        raise UserError("--name is what an endpoint calls its model; this target is none.")
    path = Path(target)
    if path.suffix == ".gguf":
        return path.stem, llama_cpp_engine(path)
    if not (path / "config.json").is_file():
        raise UserError(
            f"{target}: no such checkpoint; expected an address (http://…), a .gguf file, or a folder with config.json."
        )
    return path.absolute().name, transformers_engine(path)


def _probe(model: str, served: str, rope: Rope | None, length: int | None) -> Probe:
    known = list(_tiny_models(Path(model)))
    if not known:
        return _probe_of_weights(ModelSource.parse(model), rope, length)
    if rope is not None or length is not None:
        raise UserError(f"{model}: the prompts and ropes of tiny models are fixed; expected no --rope and no --length.")
    called = known if len(known) == 1 else [one for one in known if one.name == Path(served).name]
    if not called:
        raise UserError(
            f"{model} holds {', '.join(sorted(one.name for one in known))}, and the engine calls its model {served!r}; "
            "expected the folder of one of them."
        )
    return Probe.load(called[0])


def _tiny_models(folder: Path) -> Iterator[Path]:
    if (folder / FILE).is_file():
        yield folder
    elif folder.is_dir():
        yield from (path.parent for path in folder.glob(f"*/{FILE}"))


def _probe_of_weights(source: ModelSource, rope: Rope | None, length: int | None) -> Probe:
    """Compute here what a model answers with the right rope and with wrong ones."""
    from ropewalk.doctor.applying import intended
    from ropewalk.doctor.making import probe_of
    from ropewalk.models.configurations import own_rope
    from ropewalk.models.loading import load_model
    from ropewalk.models.tokenizers import load_tokenizer

    meant = own_rope(source)[0] if rope is None else rope
    model, tokenizer = load_model(source, dtype="float32"), load_tokenizer(source)
    original = meant.original_length
    # One less than the model takes, as servers want to generate a token.
    longest = length or min(original + min(_BEYOND, original), intended(model, meant).longest - 1)
    # A rope with two tables is asked about on both sides of the switch.
    lengths = [longest] if meant.static else [min(original, longest) // 2, longest]
    prompts = [repeated_numbers(tokenizer, each) for each in lengths]
    return probe_of(source.name, model, meant, prompts)
