"""`ropewalk predict`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.ropes import model_rope
from ropewalk.errors import UserError, ValueFault

_OPTIONS = {
    "base": "--base",
    "rotary_dim": "--head-dim",
    "train_length": "--train",
    "original_length": "--train",
    "tune_length": "--tune",
    "target_length": "--target",
    "new_base": "--new-base",
}
"""What a person calls the values that an error speaks of."""


def predict(
    head_dim: Annotated[int | None, typer.Option(help="rotated dimensions of a head")] = None,
    base: Annotated[float | None, typer.Option(help="base of pre-training")] = None,
    train: Annotated[
        int | None, typer.Option(help="length of pre-training in tokens; beside --model where it does not say it")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="these three from a model: folder, config.json, hub id, or gguf:PACKAGE/FILE")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="revision of a model on the hub")] = None,
    tune: Annotated[
        int | None, typer.Option(help="length of tuning in tokens; that of pre-training where not given")
    ] = None,
    new_base: Annotated[float | None, typer.Option(help="base of tuning; the old one where not given")] = None,
    target: Annotated[int | None, typer.Option(help="a wanted length in tokens, for the bases that reach it")] = None,
    figure: Annotated[Path | None, typer.Option(help="figure to draw, as prediction.png")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say how far a model will read with another base, by every published law, without loading its weights.

    For LLaMA-2 tuned at 16,384 tokens with base 1,000,000:

    ropewalk predict --head-dim 128 --base 10000 --train 4096 --tune 16384 --new-base 1000000
    """
    from ropewalk.rope.prediction import Setting
    from ropewalk.rope.prediction import predict as run

    if figure is not None:
        from ropewalk.report.predictions import FIGURE_SUFFIXES

        if figure.suffix.lower() not in FIGURE_SUFFIXES:
            raise UserError(f"--figure {figure}: expected a name that ends in {', '.join(FIGURE_SUFFIXES)}.")
    warnings = []
    if model is not None:
        if head_dim is not None or base is not None:
            raise UserError("a prediction starts from --model, or from --head-dim and --base; not from both.")
        rope = model_rope(model, revision, length=train)
        head_dim, base, train = rope.rotary_dim, rope.base, rope.original_length
        if rope.steps:
            carried = " and ".join(step.method for step in rope.steps)
            warnings.append(f"Model {model} carries a rope made by {carried}; this is about the table before that.")
    if head_dim is None or base is None or train is None:
        raise UserError("a prediction needs --head-dim, --base and --train together, or --model.")
    try:
        setting = Setting.of(head_dim, base, train, tune, new_base)
        result = run(setting, target)
    except ValueFault as fault:
        raise UserError(f"{_OPTIONS.get(fault.name, fault.name)} {fault.said}") from None
    result["warnings"] = warnings + result["warnings"]
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        from ropewalk.report.prediction_text import prediction_text

        print(prediction_text(result))
    if figure is not None:
        from ropewalk.report.predictions import draw_prediction

        draw_prediction(setting, figure, target)
    if not as_json:
        print(f"\nfigure: {figure}" if figure else "\n--figure prediction.png draws it.")
