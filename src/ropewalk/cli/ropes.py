"""`ropewalk rope METHOD`, `rope recipe` and `show`."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ropewalk.cli.options import numbers
from ropewalk.errors import UserError
from ropewalk.rope import METHODS, Rope, default_rope
from ropewalk.rope.factor_files import read_factors
from ropewalk.rope.methods import apply, cook
from ropewalk.rope.rope import GLOBAL


class _Methods(TyperGroup):
    """Methods go by their registry names too, which have underscores."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name.replace("_", "-"))


rope_app = typer.Typer(
    cls=_Methods,
    help="Make a rope.json by one of the methods. Start from a model (--model), from a table (--head-dim, --base, "
    "--length), or from another rope (--on), so that methods compose.",
    no_args_is_help=True,
)


@dataclass(frozen=True)
class Start:
    """What a rope starts from, as options give it."""

    model: str | None = None
    revision: str | None = None
    layers: str = GLOBAL
    on: Path | None = None
    head_dim: int | None = None
    base: float | None = None
    length: int | None = None

    def rope(self, method: str) -> Rope:
        """The rope to which a method is applied."""
        table = [value is not None for value in (self.head_dim, self.base)]
        if (self.model is not None) + (self.on is not None) + any(table) != 1:
            raise UserError("a rope starts from one of: --model; --on; or --head-dim, --base and --length together.")
        if self.model is None and self.layers != GLOBAL:
            raise UserError("--layers says which rope of a model to start from; expected --model with it.")
        if self.on is not None:
            if self.length is not None:
                raise UserError("--length: the rope.json of --on has its own; expected it beside --model or a table.")
            return Rope.load(self.on)
        if self.model is not None:
            rope = model_rope(self.model, self.revision, self.layers, self.length)
            if method not in ("default", "resonance", "log_scaling"):
                _check_original(rope, self.model)
            return rope
        if self.head_dim is None or self.base is None or self.length is None:
            raise UserError("a rope that starts from a table needs --head-dim, --base and --length together.")
        return default_rope(self.head_dim, self.base, self.length)


def model_rope(model: str, revision: str | None = None, layers: str = GLOBAL, length: int | None = None) -> Rope:
    """A model's own rope; what a person should know about it goes to the standard error."""
    from ropewalk.models.configurations import own_rope, without_torch
    from ropewalk.models.sources import ModelSource

    without_torch()
    rope, notes = own_rope(ModelSource.parse(model, revision), layers=layers, length=length)
    for note in notes:
        print(f"{model}: {note}", file=sys.stderr)
    return apply(rope, "layers", which=layers) if layers != GLOBAL else rope


def _check_original(rope: Rope, model: str) -> None:
    if carried := rope.lengthened_by:
        raise UserError(
            f"model {model} already carries a rope made by {' and '.join(carried)}; methods lengthen an original one. "
            "Start from its table (--head-dim, --base, --length), or compose on its own rope (`ropewalk rope default`, "
            "then --on)."
        )


_IN_FILES = (
    " Numbers with commas between them, a .csv as LongRoPE has them, or the config.json of a model with factors."
)


def _register(name: str) -> None:
    """Make a subcommand of a method, with the method's own parameters as options."""
    method = METHODS[name]
    lines = inspect.getdoc(method) or ""
    text, _, arguments = lines.partition("Args:")
    notes: dict[str, str] = {}
    for line in arguments.partition("Raises:")[0].splitlines():
        key, colon, note = line.strip().partition(": ")
        if colon and key.isidentifier():
            notes[key] = note
        elif notes and line.strip():
            notes[list(notes)[-1]] += " " + line.strip()

    def command(**options: Any) -> None:
        start = Start(**{field.name: options.pop(field.name) for field in fields(Start)}).rope(name)
        resonant, output = options.pop("resonance"), options.pop("output")
        for key, value in options.items():
            if isinstance(value, str) and key.endswith("_factor"):
                file = Path(value)
                known = file.suffix in (".csv", ".json")
                options[key] = read_factors(file, key) if known else numbers(value, f"--{key.replace('_', '-')}")
        if "at_length" in options:
            options["length"] = options.pop("at_length")
        rope = apply(start, name, **{key: value for key, value in options.items() if value is not None})
        rope = apply(rope, "resonance") if resonant and name != "resonance" else rope
        _write(rope, output)

    shared: dict[str, tuple[Any, Any, str]] = {
        "model": (str | None, None, "the model to start from: folder, config.json, hub id, or gguf:PACKAGE/FILE"),
        "revision": (str | None, None, "revision of a model on the hub"),
        "layers": (str, GLOBAL, "global, local or all: which layers it is for, where a model has ropes by type"),
        "on": (Path | None, None, "rope.json to start from"),
        "head_dim": (int | None, None, "rotated dimensions of a head"),
        "base": (float | None, None, "base of pre-training"),
        "length": (int | None, None, "training length in tokens, of a table, or of a model that does not say it"),
    }
    own: dict[str, tuple[Any, Any, str]] = {}
    for key, parameter in inspect.signature(method, eval_str=True).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        kind = parameter.annotation
        # A vector of numbers is written with commas, since an option takes one value.
        kind = str if "Sequence" in str(kind) or "list" in str(kind) else kind
        kind = str if "Literal" in str(kind) else kind
        needed = parameter.default is inspect.Parameter.empty
        own["at_length" if key == "length" else key] = (
            kind if needed else kind | None,
            ... if needed else parameter.default,
            notes.get(key, "") + (_IN_FILES if key in ("long_factor", "short_factor") else ""),
        )
    last: dict[str, tuple[Any, Any, str]] = {
        "resonance": (bool, False, "round the wavelengths to integers after the method (Resonance RoPE)"),
        "output": (Path | None, None, "rope.json to write; printed where not given"),
    }
    flags = {"output": ("-o", "--output"), "resonance": ("--resonance",)}
    # A switch that is on by default needs a way to turn it off.
    flags |= {key: (f"--{key}/--no-{key}",) for key, (_, default, _) in own.items() if default is True}
    parameters = [
        inspect.Parameter(
            key,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, typer.Option(*flags.get(key, (f"--{key.replace('_', '-')}",)), help=note)],
        )
        for key, (kind, default, note) in {**own, **shared, **last}.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    summary = " ".join(text.split())
    rope_app.command(name.replace("_", "-"), help=summary, short_help=summary.split(". ")[0])(command)


for _name in METHODS:
    _register(_name)


@rope_app.command("recipe")
def recipe(
    steps: Annotated[
        str,
        typer.Argument(help='JSON list of methods with parameters, as [{"method": "yarn", "factor": 8}, "resonance"]'),
    ],
    model: Annotated[
        str | None, typer.Option(help="the model to start from: folder, config.json, hub id, or gguf:PACKAGE/FILE")
    ] = None,
    layers: Annotated[str, typer.Option(help="global, local or all: which layers it is for")] = GLOBAL,
    on: Annotated[Path | None, typer.Option(help="rope.json to start from")] = None,
    head_dim: Annotated[int | None, typer.Option(help="rotated dimensions of a head")] = None,
    base: Annotated[float | None, typer.Option(help="base of pre-training")] = None,
    length: Annotated[
        int | None, typer.Option(help="training length in tokens, of a table, or of a model that does not say it")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="rope.json to write; printed where not given")
    ] = None,
) -> None:
    """Apply several methods one after the other, as the recipes of a study do."""
    from ropewalk.study.recipes import Recipe

    try:
        given = json.loads(steps)
    except json.JSONDecodeError as error:
        raise UserError(f"steps {steps!r}: expected a JSON list of methods ({error}).") from None
    try:
        recipe = Recipe.parse(given) if given != [] else Recipe(())
    except UserError as error:
        raise UserError(f"steps {steps!r}: {error}") from None
    if recipe.start is not None:
        raise UserError(f"steps {steps!r}: expected methods only; a rope starts from --model, --on or a table.")
    # What changes nothing may start from a rope that was lengthened already.
    first = recipe.steps[0]["method"] if recipe.steps else "default"
    start = Start(model, None, layers, on, head_dim, base, length).rope(first)
    _write(cook(start, recipe.steps), output)


def _write(rope: Rope, output: Path | None) -> None:
    if output is None:
        print(json.dumps(rope.to_json(), indent=2))
    else:
        rope.save(output)
        print(f"wrote {output}: {rope.rotary_dim // 2} pairs, attention factor {rope.attention_factor:.4f}")


def show(
    rope: Annotated[Path, typer.Argument(help="a rope.json")],
    figure: Annotated[
        Path | None, typer.Option(help="figure of periods and factors; beside the rope.json where not given")
    ] = None,
    length: Annotated[
        int | None, typer.Option(help="length in tokens for the diagnostics; twice the training length where not given")
    ] = None,
) -> None:
    """Print a rope pair by pair, and draw its periods and factors against the original."""
    from ropewalk.report.figures import draw_ropes
    from ropewalk.report.tables import rope_text

    value = Rope.load(rope)
    print(rope_text(value, length or 2 * value.original_length))
    target = figure or rope.with_suffix(".png")
    draw_ropes({rope.stem: value}, target)
    print(f"\nfigure: {target}")
