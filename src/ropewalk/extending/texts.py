"""The texts that ropes are read on: some to choose by, the others to report on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from ropewalk.corpora import Corpus
from ropewalk.corpora.sources import PACKAGES
from ropewalk.corpora.store import build
from ropewalk.errors import UserError

CHOOSING = 4
"""One in so many documents is kept to choose ropes by, in turn for searching and for selecting; the rest reports."""


def open_texts(
    wanted: Sequence[str], tokenizer: PreTrainedTokenizerFast, folder: Path, length: int, *, trained: bool
) -> dict[str, Corpus]:
    """The corpora with those of their documents that are long enough, dealt out to ``search``, ``selection``, ``test``.

    Args:
        wanted: folders of texts, corpus folders, or sources such as ``package:books``; embedded texts where empty.
        tokenizer: of the model.
        folder: where texts are kept as tokens.
        length: tokens that a document has to have.
        trained: the model may have been trained on documents of the split ``train``, which are left out.

    Raises:
        UserError: a corpus cannot be read, or none has a document that is long enough.
    """
    embedded = [f"package:{name}" for name, text in PACKAGES.items() if all(map(find_spec, text.needs))]
    found, longest = {}, 0
    for one in wanted or embedded:
        name, corpus = _open(one, tokenizer, folder)
        if name in found:
            raise UserError(f"two corpora are called {name}; expected folders of different names.")
        longest = max(longest, int(corpus.documents["length"].max()))
        dealt = _dealt(corpus, length - (corpus.bos_id is not None), trained)
        if len(dealt.documents):
            found[name] = dealt
    if not found:
        raise UserError(
            f"no text has {length} tokens (the longest of {', '.join(wanted or embedded)} has {longest}); expected "
            f"longer texts {'in' if wanted else 'by'} --corpus, or a smaller --length."
        )
    return found


def _open(wanted: str, tokenizer: PreTrainedTokenizerFast, folder: Path) -> tuple[str, Corpus]:
    place = Path(wanted)
    if (place / "corpus.json").is_file():
        corpus = Corpus.open(place)
        corpus.check_tokenizer(tokenizer, "that is to be extended")
        return place.absolute().name, corpus
    source = f"folder:{wanted}" if place.is_dir() else wanted
    if not place.is_dir() and ":" not in wanted:
        raise UserError(f"--corpus {wanted}: no such folder; expected texts, a corpus, or a source as package:books.")
    name = place.absolute().name if place.is_dir() else wanted.partition(":")[2].strip("/").rpartition("/")[2]
    return name, build(source, tokenizer, folder / name)


def _dealt(corpus: Corpus, length: int, trained: bool) -> Corpus:
    """A corpus with its long documents alone, which are split anew.

    The splits of a corpus keep six in ten documents for training, of which nothing is done here.
    """
    table = corpus.documents
    long = table[(table["length"] >= length) & ~((table["split"] == "train") & trained)].sort_values("sha256")
    # A text that is there twice would be chosen by and reported on.
    long = long.drop_duplicates("sha256").reset_index(drop=True)
    places = long.index.to_numpy()
    splits = ["test"] * len(long)
    for place in places[CHOOSING - 1 :: CHOOSING]:
        splits[place] = "selection" if (place // CHOOSING) % 2 else "search"
    return replace(corpus, documents=long.assign(split=splits))


def count(corpora: Mapping[str, Corpus], split: str) -> dict[str, int]:
    """How many documents each corpus has for a purpose."""
    return {name: int((corpus.documents["split"] == split).sum()) for name, corpus in corpora.items()}
