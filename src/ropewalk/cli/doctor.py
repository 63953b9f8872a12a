"""`ropewalk doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ropewalk.errors import MISTAKE
from ropewalk.rope import Rope

if TYPE_CHECKING:
    from ropewalk.doctor.diagnosis import Diagnosis

doctor_app = typer.Typer(
    help="Tell whether an engine applies a rope: a server, a GGUF file, or transformers.",
    no_args_is_help=True,
)

_STATUS = {"applies": 0, "fault": 1, "cannot-be-told": MISTAKE}


@doctor_app.command()
def models(
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write, one model in each folder below it")],
    seed: Annotated[int, typer.Option(help="of weights and prompts")] = 0,
) -> None:
    """Make tiny models whose answers tell which rope was applied, with what right and wrong ropes answer.

    Serve one with any engine and ask `ropewalk doctor check http://… --model OUTPUT`. Each is half a megabyte.
    """
    from ropewalk.doctor.making import make_all

    for made in make_all(output, seed):
        print(
            f"{made.name:<17} {made.weights:>7,} weights   bfloat16 changes {made.noise:.3f} nats a token, a wrong "
            f"rope {made.separation:.2f} or more ({' and '.join(made.closest)} are the nearest)"
        )
    print(f"wrote {output}")


@doctor_app.command()
def check(
    target: Annotated[
        str, typer.Argument(help="http://host:port (OpenAI-style), a .gguf file, or a checkpoint folder")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="folder of `doctor models`, one model of it, or any model with the engine's weights"),
    ] = None,
    rope: Annotated[Path | None, typer.Option(help="rope.json that is meant; the model's own where not given")] = None,
    length: Annotated[
        int | None, typer.Option(help="tokens of the prompt; a little more than the original length where not given")
    ] = None,
    name: Annotated[str | None, typer.Option(help="what a server calls the model, where it serves several")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Compare an engine's log-probabilities with those of the right rope and of wrong ones, and say which fits.

    Status 0 where it applies the rope, 1 where a fault was found, 2 where nothing can be told.

    ropewalk doctor check http://localhost:8000 --model tiny
    """
    from ropewalk.doctor.check import check as run

    wanted = None if rope is None else Rope.load(rope)
    found = run(target, model=model, rope=wanted, length=length, name=name)
    if as_json:
        print(json.dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        print(_text(found))
    sys.exit(_STATUS[found.verdict])


def _text(found: Diagnosis) -> str:
    lengths = ", ".join(f"{count:,}" for count in found.tokens)
    lines = [f"asked: prompts of {lengths} tokens; the original length is {found.original_length:,}", ""]
    lines.append("mean difference of log-probabilities, nats a token")
    for name, distance in found.distances.items():
        lines.append(f"  {name:<26} {distance:.4f}{'   would not show' if name in found.hidden else ''}")
    lines.append(f"  {'bfloat16 alone':<26} {found.noise:.4f}")
    verdicts = {"applies": "applies it", "fault": f"FAULT: {' or '.join([found.best, *found.rivals])}"}
    lines += ["", f"{verdicts.get(found.verdict, 'cannot be told')}. {found.said}"]
    if found.margin and found.verdict != "cannot-be-told":
        lines.append(f"It fits better than the next by {found.margin:.3g} nats a token.")
    return "\n".join(lines)
