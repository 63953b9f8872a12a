"""`ropewalk budget`."""

from __future__ import annotations

from typing import Annotated

import typer

from ropewalk.cli.options import (
    GPU_MEMORY,
    PEAK_TFLOPS,
    UTILISATION,
    GpuMemory,
    JsonLayout,
    JsonOptions,
    PeakTflops,
    Utilisation,
    documented,
    from_json,
)


def budget(
    model: Annotated[str, typer.Argument(help="folder, hub id, config.json, or gguf:PACKAGE/FILE; needs no weights")],
    options: JsonOptions,
    layout: JsonLayout = "{}",
    gpus: Annotated[int, typer.Option(help="GPUs that it would run on")] = 1,
    utilisation: Utilisation = UTILISATION,
    peak_tflops: PeakTflops = PEAK_TFLOPS,
    gpu_memory: GpuMemory = GPU_MEMORY,
) -> None:
    """Say what a tuning would cost before anything is spent: memory a GPU, tokens a second, hours.

    `ropewalk study CONFIG --cost` says it of all tunings of a study.
    """
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
