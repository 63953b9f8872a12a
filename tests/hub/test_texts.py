"""Data sets of the hub: documents that are tokenised, and questions that are asked."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ropewalk.corpora import Corpus
from ropewalk.errors import PassingError
from ropewalk.models.shape import ModelShape
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.reading.leval.pocket import write_pocket
from ropewalk.reading.options import PocketOptions

BOOKS, REPORTS, PROOFS, QUESTIONS = (
    "emozilla/pg19",
    "ccdv/govreport-summarization",
    "hoskinson-center/proof-pile",
    "L4NLP/LEval",
)

PASSING = PassingError.status


def text(kind: str, number: int) -> str:
    return f"This is {kind} {number}. " + f"It says {number} and nothing more. " * (number % 3 + 1)


def put_table(path: Path, column: str, texts: list[str]) -> None:
    """A Parquet file with a column of texts, between others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = list(range(len(texts)))
    pq.write_table(pa.table({"number": numbers, column: texts, "note": ["not this"] * len(texts)}), path)


def put_books(folder: Path, texts: list[str], shard: int = 6) -> None:
    shards = [texts[start : start + shard] for start in range(0, len(texts), shard)]
    for number, part in enumerate(shards):
        put_table(folder / f"data/train-{number:05d}-of-{len(shards):05d}.parquet", "text", part)
    put_table(folder / "data/test-00000-of-00001.parquet", "text", ["Held out, and not wanted."])


@pytest.fixture(scope="module", autouse=True)
def texts(hub):
    """What is on the hub, by name of the corpus and in its order."""
    texts = {
        "pg19": [text("book", number) for number in range(18)],
        "v1": [text("old book", number) for number in range(3)],
        "govreport": [text("report", number) for number in range(9)],
        "proof-pile": [text("proof", number) for number in range(4)],
    }
    put_books(hub.folder("datasets", BOOKS), texts["pg19"])
    put_books(hub.folder("datasets", BOOKS, "v1"), texts["v1"])
    reports = hub.folder("datasets", REPORTS)
    for number, part in enumerate(("test", "validation", "train")):
        name = f"document/{part}-00000-of-00001.parquet"
        put_table(reports / name, "report", texts["govreport"][number * 3 : number * 3 + 3])
    proofs = hub.folder("datasets", PROOFS) / "test/proofpile_test.jsonl.gz"
    proofs.parent.mkdir()
    first, *others = texts["proof-pile"]
    lines = [{"text": one, "meta": {}} for one in (first, " \n", *others)]
    proofs.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return texts


def options(source: str, **more: object) -> str:
    return json.dumps({"source": source, **more})


def corpus(name: str, folder: Path, **more: object) -> list[object]:
    """The words of a command that tokenises a data set."""
    return ["corpus", "--tokenizer", "byte", "--options", options(f"hub:{name}", **more), "-o", folder]


def documents(folder: Path) -> dict[str, str]:
    """The documents of a corpus by their names, in their order."""
    found, tokenizer = Corpus.open(folder), byte_tokenizer()
    return {name: tokenizer.decode(found.document(name)) for name in found.documents["id"]}


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --------------------------------------------------------------------------------------------------------- documents


def test_books_are_read_in_order_and_their_commit_is_recorded(ropewalk, texts, tmp_path):
    ropewalk.works(*corpus("pg19", tmp_path / "c"))
    wanted = {f"pg19/{number:06d}": one for number, one in enumerate(texts["pg19"])}
    assert list(documents(tmp_path / "c").items()) == list(wanted.items())
    about = json.loads((tmp_path / "c/corpus.json").read_text())
    assert about["source"] == "hub:pg19"
    assert about["provenance"]["dataset"] == BOOKS
    assert about["provenance"]["revision"] == ropewalk.hub.commit("datasets", BOOKS)
    assert ropewalk.hub.sent == [f"data/train-{number:05d}-of-00003.parquet" for number in range(3)]


def test_a_limit_asks_for_the_files_that_it_needs_and_no_more(ropewalk, texts, tmp_path):
    ropewalk.works(*corpus("pg19", tmp_path / "a", limit=5))
    assert list(documents(tmp_path / "a").values()) == texts["pg19"][:5]
    assert ropewalk.hub.sent == ["data/train-00000-of-00003.parquet"]
    ropewalk.works(*corpus("pg19", tmp_path / "b", limit=7))
    assert list(documents(tmp_path / "b").values()) == texts["pg19"][:7]
    assert ropewalk.hub.sent == [f"data/train-{number:05d}-of-00003.parquet" for number in range(2)]


@pytest.mark.parametrize(
    ("name", "more"),
    [("pg19", {"limit": 5}), ("pg19", {"revision": "v1"}), ("govreport", {}), ("proof-pile", {})],
)
def test_a_corpus_is_the_same_again_without_the_hub(ropewalk, tmp_path, name, more):
    ropewalk.works(*corpus(name, tmp_path / "a", **more))
    ropewalk.hub.forget()
    ropewalk.works(*corpus(name, tmp_path / "b", **more), offline=True)
    assert read(tmp_path / "a") == read(tmp_path / "b")
    assert ropewalk.hub.asked == []


def test_a_corpus_of_a_commit_is_the_same_again_without_the_hub(ropewalk, tmp_path):
    commit = ropewalk.hub.commit("datasets", BOOKS, "v1")
    for folder, offline in (("a", False), ("b", True)):
        ropewalk.works(*corpus("pg19", tmp_path / folder, revision=commit), offline=offline)
    assert read(tmp_path / "a") == read(tmp_path / "b")


def test_a_file_that_was_not_fetched_is_one_sentence_without_the_hub(ropewalk, tmp_path):
    ropewalk.works(*corpus("pg19", tmp_path / "a", limit=5))
    said = ropewalk.fails(*corpus("pg19", tmp_path / "b", limit=7), offline=True, status=PASSING)
    assert said.startswith("hub:pg19 (emozilla/pg19 at revision ")
    assert "data/train-00001-of-00003.parquet" in said
    assert not (tmp_path / "b").exists()


def test_a_part_that_was_not_fetched_is_one_sentence_without_the_hub(ropewalk, tmp_path):
    ropewalk.works(*corpus("govreport", tmp_path / "a", limit=2))
    said = ropewalk.fails(*corpus("govreport", tmp_path / "b"), offline=True, status=PASSING)
    assert said.startswith("hub:govreport (ccdv/govreport-summarization at revision ")
    assert "not kept" in said


def test_a_data_set_that_was_never_fetched_is_one_sentence_without_the_hub(ropewalk, tmp_path):
    for name in ("pg19", "proof-pile"):
        said = ropewalk.fails(*corpus(name, tmp_path / "c"), offline=True, status=PASSING)
        assert said.startswith(f"hub:{name} (")
        assert "prefetch" in said
    assert ropewalk.hub.asked == []


def test_an_unknown_revision_of_a_data_set_is_one_sentence(ropewalk, tmp_path):
    said = ropewalk.fails(*corpus("pg19", tmp_path / "c", revision="v9"))
    assert said.startswith("hub:pg19 (emozilla/pg19 at revision v9)")
    assert "no such revision" in said


def test_a_revision_of_a_data_set_is_a_tag_or_a_commit(ropewalk, texts, tmp_path):
    commit = ropewalk.hub.commit("datasets", BOOKS, "v1")
    for revision in ("v1", commit):
        ropewalk.works(*corpus("pg19", tmp_path / revision, revision=revision))
        assert list(documents(tmp_path / revision).values()) == texts["v1"]
    assert read(tmp_path / "v1") == read(tmp_path / commit)
    about = json.loads((tmp_path / "v1/corpus.json").read_text())
    assert about["provenance"]["revision"] == commit


def test_reports_come_from_all_their_parts(ropewalk, texts, tmp_path):
    ropewalk.works(*corpus("govreport", tmp_path / "c"))
    assert list(documents(tmp_path / "c").values()) == texts["govreport"]


def test_proofs_are_read_from_compressed_lines_and_an_empty_one_is_passed_over(ropewalk, texts, tmp_path):
    ropewalk.works(*corpus("proof-pile", tmp_path / "c"))
    assert list(documents(tmp_path / "c").values()) == texts["proof-pile"]
    assert list(documents(tmp_path / "c")) == [f"proof-pile/{number:06d}" for number in (0, 2, 3, 4)]


# --------------------------------------------------------------------------------------------------------- questions


@pytest.fixture(scope="module")
def asked(hub, make_model, commands, tmp_path_factory):
    """The words of a command that asks a small model two tasks of the hub."""
    for revision, words in (("main", 50), ("v1", 80)):
        made = PocketOptions(documents=1, questions=2, words=words)
        write_pocket(hub.folder("datasets", QUESTIONS, revision) / "LEval/Exam", made)
    shape = ModelShape(hidden_size=16, layers=1, heads=1, kv_heads=1, intermediate_size=16, length=64)
    model = make_model(shape).name
    rope = tmp_path_factory.mktemp("rope") / "rope.json"
    commands.works("rope", "default", "--model", model, "-o", rope)

    def words(folder: Path, **more: object) -> list[object]:
        wanted = {"tasks": ["tpo", "sci_fi"], "context": 2000, "max_new_tokens": 4}
        given = json.dumps({"data": f"hub:{QUESTIONS}", **wanted, **more})
        return ["read", "leval", "--model", model, "--rope", rope, "--options", given, "-o", folder]

    return words


def test_questions_of_the_hub_are_asked_and_only_the_wanted_tasks_are_fetched(ropewalk, asked, tmp_path):
    ropewalk.works(*asked(tmp_path / "a"))
    assert ropewalk.hub.sent == ["LEval/Exam/tpo.jsonl", "LEval/Exam/sci_fi.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / "a/sci_fi.jsonl").read_text().splitlines()]
    wanted = json.loads((ropewalk.hub.folder("datasets", QUESTIONS) / "LEval/Exam/sci_fi.jsonl").read_text())
    assert [line["query"] for line in lines] == wanted["instructions"]
    assert [line["gt"] for line in lines] == wanted["outputs"]
    ropewalk.hub.forget()
    ropewalk.works(*asked(tmp_path / "b"), offline=True)
    assert read(tmp_path / "a") == read(tmp_path / "b")
    assert ropewalk.hub.asked == []


def test_a_revision_of_questions_is_read(ropewalk, asked, tmp_path):
    for folder, more in (("main", {}), ("tag", {"revision": "v1"})):
        ropewalk.works(*asked(tmp_path / folder, tasks=["tpo"], **more))
    lines = [(tmp_path / folder / "tpo.jsonl").read_text().splitlines()[0] for folder in ("main", "tag")]
    tokens = [json.loads(line)["document_tokens"] for line in lines]
    assert tokens[0] < tokens[1]


def test_all_questions_are_brought_into_a_folder_that_is_read_without_the_hub(ropewalk, asked, tmp_path):
    ropewalk.works("leval", "fetch", f"hub:{QUESTIONS}", "--revision", "v1", "-o", tmp_path / "questions")
    there = read(ropewalk.hub.folder("datasets", QUESTIONS, "v1") / "LEval/Exam")
    found = read(tmp_path / "questions")
    about = json.loads(found.pop("source.json"))
    assert found == there
    assert about == {"kind": "hub", "name": QUESTIONS, "revision": ropewalk.hub.commit("datasets", QUESTIONS, "v1")}
    ropewalk.works(*asked(tmp_path / "a", revision="v1"))
    ropewalk.forget()
    ropewalk.works(*asked(tmp_path / "b", revision="v1"), "--questions", tmp_path / "questions", offline=True)
    assert read(tmp_path / "a") == read(tmp_path / "b")


def test_questions_that_were_never_fetched_are_one_sentence_without_the_hub(ropewalk, asked, tmp_path):
    said = ropewalk.fails(*asked(tmp_path / "a"), offline=True, status=PASSING)
    assert said.startswith("tasks hub:L4NLP/LEval: tpo.jsonl")
    assert ropewalk.hub.asked == []
    assert not (tmp_path / "a").exists()


def test_an_unknown_revision_of_questions_is_one_sentence(ropewalk, asked, tmp_path):
    said = ropewalk.fails(*asked(tmp_path / "a", revision="v9"))
    assert said.startswith("tasks hub:L4NLP/LEval at revision v9: tpo.jsonl")
    assert "no such revision" in said


def test_a_data_set_without_the_questions_is_one_sentence(ropewalk, asked, tmp_path):
    said = ropewalk.fails(*asked(tmp_path / "a", data="hub:emozilla/pg19"))
    assert said.startswith("tasks hub:emozilla/pg19: tpo.jsonl")
    assert "no such file" in said
    said = ropewalk.fails(*asked(tmp_path / "a", data="hub:nobody/nothing"))
    assert said.startswith("tasks hub:nobody/nothing: tpo.jsonl")
    assert "no such data set" in said
