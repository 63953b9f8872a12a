"""`ropewalk budget`."""

from __future__ import annotations

from typing import Annotated

import typer

from ropewalk.cli.options import JsonLayout, JsonOptions, documented, from_json


def budget(
    model: Annotated[str, typer.Argument(help="folder, hub id, config.json, or gguf:PACKAGE/FILE; needs no weights")],
    options: JsonOptions,
    layout: JsonLayout = "{}",
    gpus: Annotated[int, typer.Option(help="GPUs that it would run on")] = 1,
    utilisation: Annotated[float, typer.Option(help="share of their peak that is reached")] = 0.4,
    peak_tflops: Annotated[float, typer.Option(help="of one GPU in bfloat16; 989 is an H100")] = 989.0,
    gpu_memory: Annotated[float, typer.Option(help="GiB of one GPU")] = 80.0,
) -> None:
    """Say what a tuning would cost before anything is spent: memory a GPU, tokens a second, hours."""
    from ropewalk.training.options import Layout, TuningOptions

    given, laid_out = from_json(TuningOptions, options), from_json(Layout, layout, "--layout")

    from ropewalk.models.configurations import load_config
    from ropewalk.models.sources import ModelSource
    from ropewalk.training.budget import budget as run

    config = load_config(ModelSource.parse(model))
    cost = run(config, given, gpus=gpus, layout=laid_out, utilisation=utilisation, peak_flops=peak_tflops * 1e12)
    print(cost.text(gpu_memory))


Budget = documented("ropewalk.training.options:TuningOptions", "--layout=ropewalk.training.options:Layout")
"""The command, whose help lists the keys of its options."""
