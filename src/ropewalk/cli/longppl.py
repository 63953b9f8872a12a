"""`ropewalk longppl`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import Confidence, by_name, integers, open_corpora
from ropewalk.options import CONFIDENCE
from ropewalk.rope import Rope

longppl_app = typer.Typer(
    help="Perplexity over the tokens that only a long context tells. They are found in `ropewalk read nll` with "
    "a window of 5120 and a window_stride of 1024, as published, or smaller ones for smaller models.",
    no_args_is_help=True,
)

Keys = Annotated[Path, typer.Option("-o", "--output", help="parquet file of key tokens to write")]


@longppl_app.command()
def keys(
    file: Annotated[Path, typer.Argument(help="nll.parquet of the evaluator model, measured with a window")],
    output: Keys,
    alpha: Annotated[float, typer.Option(help="nats that a key token costs more with the window alone")] = 2.0,
    beta: Annotated[float, typer.Option(help="log-likelihood that it has at least with the whole text")] = -2.0,
) -> None:
    """Find the tokens that a model predicts well from the whole text, and much worse from a window."""
    from ropewalk.reading.longppl import key_tokens, keys_metadata, write_keys
    from ropewalk.reading.nll_file import read_nll

    rows, measured = read_nll(file)
    found = key_tokens(rows, alpha, beta)
    write_keys(output, found, keys_metadata(measured, alpha, beta))
    documents = len(found.groupby(["corpus", "document"], observed=True))
    print(f"{len(found):,} key tokens of {len(rows):,}, in {documents} documents")


@longppl_app.command()
def transfer(
    keys: Annotated[Path, typer.Argument(help="key tokens of `ropewalk longppl keys`")],
    from_model: Annotated[str, typer.Option(help="model whose tokenizer they were found with")],
    from_corpus: Annotated[list[Path], typer.Option(help="corpus folder that they were found in; repeat it for more")],
    to_model: Annotated[str, typer.Option(help="model whose tokenizer they are wanted for")],
    to_corpus: Annotated[list[Path], typer.Option(help="the same corpus, tokenised by that; repeat it for more")],
    output: Keys,
) -> None:
    """Carry key tokens over to another tokenizer, by the characters that they stand for."""
    from ropewalk.models.sources import ModelSource
    from ropewalk.models.tokenizers import load_tokenizer
    from ropewalk.reading import longppl

    rows, about = longppl.read_keys(keys)
    old, new = open_corpora(from_corpus), open_corpora(to_corpus)
    tokenizers = [load_tokenizer(ModelSource.parse(model)) for model in (from_model, to_model)]
    for corpora, tokenizer, model in ((old, tokenizers[0], from_model), (new, tokenizers[1], to_model)):
        for corpus in corpora.values():
            corpus.check_tokenizer(tokenizer, model)
    found = longppl.transfer(rows, old, tokenizers[0], new, tokenizers[1])
    fingerprints = {name: new[name].info["tokenizer"]["fingerprint"] for name in about["tokenizers"] if name in new}
    longppl.write_keys(output, found, {**about, "tokenizers": fingerprints, "transferred_to": to_model})
    print(f"{len(rows):,} key tokens became {len(found):,}")


@longppl_app.command()
def table(
    files: Annotated[list[Path], typer.Argument(help="nll.parquet files, each in a folder named after its rope")],
    keys: Annotated[Path, typer.Option(help="key tokens of `ropewalk longppl keys`")],
    lengths: Annotated[str, typer.Option(help="lengths in tokens, with commas between them")],
    reference: Annotated[str | None, typer.Option(help="rope that the others are compared with")] = None,
    confidence: Confidence = CONFIDENCE,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV to write; printed where not given")] = None,
) -> None:
    """Read LongPPL at any lengths from nll.parquet files, with intervals over documents and paired differences."""
    from ropewalk.files import whole_file
    from ropewalk.reading.longppl import check_same_tokens, longppl_table, read_keys
    from ropewalk.reading.nll_file import read_nll
    from ropewalk.report.tables import perplexity_text

    found, about = read_keys(keys)
    folders = by_name([file.absolute().parent for file in files], "measurements")
    subjects, dynamic = {}, []
    for name, file in zip(folders, files, strict=True):
        subjects[name], measured = read_nll(file)
        check_same_tokens(about, measured, name)
        dynamic += [] if Rope.from_json(measured["rope"]).static else [name]
    wanted = integers(lengths, "--lengths")
    result = longppl_table(subjects, found, wanted, reference=reference, dynamic=dynamic, confidence=confidence)
    if output is None:
        print(perplexity_text(result, "longppl"))
        return
    with whole_file(output) as temporary:
        result.to_csv(temporary, index=False, float_format="%.6g")
