"""`ropewalk export` and `ropewalk verify-export`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.cli.options import JsonColumns, mapping
from ropewalk.errors import UserError
from ropewalk.rope import Rope


def _print_engines(wanted: bool) -> None:
    if wanted:
        from ropewalk.export.engines import engines_text

        print(engines_text())
        raise typer.Exit


def export(
    rope: Annotated[Path, typer.Argument(help="a rope.json")],
    model: Annotated[str, typer.Option(help="folder, hub id, a .gguf file, or gguf:PACKAGE/FILE")],
    to: Annotated[str | None, typer.Option("--to", help="hf (transformers, vLLM, SGLang) or gguf (llama.cpp)")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="folder, or file.gguf, to write")] = None,
    print_for: Annotated[
        str | None,
        typer.Option("--print", help="write nothing; print what to type for transformers, vllm, sglang or llama.cpp"),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(help="context length in tokens to announce; factor times original length where not given"),
    ] = None,
    fold_temperature: Annotated[
        bool, typer.Option("--fold-temperature", help="move the attention factor into the weights (hf)")
    ] = False,
    prove: Annotated[
        bool,
        typer.Option("--prove", help="compare logits as verify-export does; OUTPUT is a folder of export and proof"),
    ] = False,
    columns: JsonColumns = "{}",
    revision: Annotated[str | None, typer.Option(help="revision of a model on the hub")] = None,
    engines: Annotated[
        bool, typer.Option("--engines", is_eager=True, callback=_print_engines, help="say which engine honours what")
    ] = False,
) -> None:
    """Write a model that unmodified transformers, vLLM or llama.cpp run with a rope, or print what to type for it.

    A checkpoint is copied with a new configuration. A GGUF file is copied with its quantised weights; a checkpoint of
    Llama, Qwen 2, Qwen 3 or Phi-3 becomes a GGUF file in float32. `ropewalk verify-export` then proves it on logits.

    ropewalk export rope.json --model Qwen/Qwen3-8B --print vllm
    """
    if print_for is not None:
        _print(print_for, rope, model, revision, length, writes=to or output or prove or fold_temperature)
        return
    if to is None or output is None:
        raise UserError("expected --to and --output, to write an export, or --print, to see what to type.")
    from ropewalk.export.prove import export as run
    from ropewalk.export.prove import export_proved
    from ropewalk.models.sources import ModelSource

    if mapping(columns) and not prove:
        raise UserError("--columns are written beside a proof; expected --prove with them.")
    value, source = Rope.load(rope), ModelSource.parse(model, revision)
    wanted: dict[str, Any] = {"length": length, "fold_temperature": fold_temperature}
    if prove:
        written, proof = export_proved(source, value, to, output, columns=mapping(columns), **wanted)
        engine = proof.engine or "no engine at hand: tensors and keys were read back"
        print(f"proved, {engine}: {proof.criterion}")
    else:
        written = run(source, value, to, output, **wanted)
    print(f"wrote {written.path}: {value.pairs} pairs, context length {written.length:,} tokens")
    for note in written.notes:
        print(note)
    if written.applies_to_model:
        print("The model itself gets the same rope with what `--print ENGINE` in the place of --to and -o shows.")


def _print(engine: str, rope: Path, model: str, revision: str | None, length: int | None, *, writes: Any) -> None:
    from ropewalk.models.configurations import without_torch

    without_torch()
    from ropewalk.export.printing import printed
    from ropewalk.models.sources import ModelSource

    if writes:
        raise UserError("--print writes nothing; expected no --to, --output, --prove or --fold-temperature with it.")
    told = printed(ModelSource.parse(model, revision), Rope.load(rope), engine, length=length)
    print(told.text)
    for note in told.notes:
        print(f"note: {note}", file=sys.stderr)


def verify_export(
    export: Annotated[Path, typer.Argument(help="the folder or the .gguf file that `export` wrote")],
    rope: Annotated[Path, typer.Option(help="the rope.json that it was made with")],
    model: Annotated[str, typer.Option(help="the model that it was made from")],
    revision: Annotated[str | None, typer.Option(help="revision of a model on the hub")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Compare the logits of an export in its engine with those of the model patched with the rope here.

    Status 1 where they differ by more than 1e-4 (transformers) or 5e-3 (llama.cpp, float32), or than three last bits of
    the frequencies would make them where that is more, as in long texts. A quantised GGUF file passes where its
    correlation is at most three times as far from 1 as the same weights show with their first rope.
    """
    from ropewalk.export.verify import verify
    from ropewalk.models.sources import ModelSource

    result = verify(export, Rope.load(rope), ModelSource.parse(model, revision))
    if as_json:
        print(json.dumps(result.to_json(), indent=2, allow_nan=False))
    elif result.engine is None:
        print("llama-cpp-python is not installed, so logits were not verified; tensor and keys were read back.")
    else:
        print(f"engine               {result.engine}")
        print(f"max |difference|     {result.max_difference:.3g}")
        print(f"correlation          {result.correlation:.8f}")
        beyond = f"{result.positions_beyond} beyond the original length of {result.original_length:,}"
        print(f"positions            {result.positions} of {result.tokens:,} tokens, {beyond}")
    if not as_json:
        for fault in result.faults:
            print(fault)
        print(f"{'agrees' if result.passed else 'DIFFERS'}: {result.criterion}")
    sys.exit(0 if result.passed else 1)
