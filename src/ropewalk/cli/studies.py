"""`ropewalk study` and `ropewalk config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import GPU_MEMORY, PEAK_TFLOPS, UTILISATION, GpuMemory, PeakTflops, Utilisation
from ropewalk.errors import MISTAKE

config_app = typer.Typer(help="The configuration: every key explained, and its schema.", no_args_is_help=True)


@config_app.command("default")
def config_default() -> None:
    """Print config/default.yaml, which explains every key."""
    from ropewalk.study.writing import default_yaml

    print(default_yaml(), end="")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the configuration."""
    from ropewalk.study.writing import json_schema

    print(json_schema(), end="")


def study(
    configs: Annotated[
        list[Path], typer.Argument(help="YAML of a study, as config/embedded.yaml; later files go on top")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    results: Annotated[Path, typer.Option(help="folder of all results, to say what stands")] = Path("results"),
    cost: Annotated[
        bool, typer.Option("--cost", help="say instead what its tunings will cost; status 2: too much")
    ] = False,
    utilisation: Utilisation = UTILISATION,
    peak_tflops: PeakTflops = PEAK_TFLOPS,
    gpu_memory: GpuMemory = GPU_MEMORY,
) -> None:
    """Print the tables of a study: its ropes, models and readings, what each is made of, and what stands already."""
    from ropewalk.study.reading import read_files
    from ropewalk.study.text import study_json, study_text

    given = read_files(configs)
    if cost:
        from ropewalk.cli.costs import costs_text, study_costs

        costs = study_costs(given, utilisation=utilisation, peak_flops=peak_tflops * 1e12)
        print(costs_text(costs, gpu_memory))
        raise typer.Exit(MISTAKE if any(one.faults(gpu_memory) for one in costs) else 0)
    print(study_json(given, results) if as_json else study_text(given, results))
