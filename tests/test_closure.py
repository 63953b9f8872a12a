"""A changed file changes the hash of exactly the jobs that run it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from ropewalk.closure import PACKAGE, code_hash, import_closure

ROOT = PACKAGE.parents[1]
JOBS = {
    "tune": "ropewalk.training.tuning",
    "pretrain": "ropewalk.training.pretraining",
    "nll": "ropewalk.reading.document_nll",
    "copying": "ropewalk.reading.copying",
    "needle": "ropewalk.reading.retrieval",
    "leval": "ropewalk.reading.leval.predict",
    "probe": "ropewalk.search.probe",
    "search": "ropewalk.search.run",
    "posgen": "ropewalk.posgen.models",
    "score": "ropewalk.posgen.results",
    "rope": "ropewalk.rope.methods",
    "corpus": "ropewalk.corpora.store",
    "report": "ropewalk.report.perplexity",
    "page": "ropewalk.report.summary",
}


def closure(job: str) -> set[str]:
    return {str(file.relative_to(PACKAGE)) for file in import_closure(JOBS[job])}


@pytest.mark.parametrize(
    ("file", "within", "without"),
    [
        ("training/loss.py", {"tune", "pretrain"}, {"nll", "copying", "needle", "leval", "rope", "corpus", "posgen"}),
        ("training/tuning.py", {"tune"}, {"pretrain", "nll", "probe"}),
        ("reading/leval/pocket.py", {"leval"}, {"nll", "copying", "needle", "probe", "search", "tune", "report"}),
        ("reading/leval/prompts/tpo.toml", {"leval"}, {"nll", "copying", "needle", "tune", "posgen"}),
        ("reading/document_nll.py", {"nll"}, {"tune", "copying", "posgen"}),
        ("rope/methods.py", {"tune", "nll", "rope", "search", "posgen", "leval"}, {"corpus"}),
        ("report/templates/perplexity.j2", {"report", "page"}, {"nll", "tune", "search"}),
        ("search/spaces.py", {"search"}, {"nll", "tune", "needle"}),
        ("posgen/training.py", {"posgen"}, {"tune", "nll", "search"}),
        ("corpora/sources.py", {"corpus"}, {"posgen", "rope"}),
        ("errors.py", set(JOBS), set()),
    ],
)
def test_which_jobs_run_a_file(file, within, without):
    assert (PACKAGE / file).is_file()
    holds = {job for job in JOBS if file in closure(job)}
    assert within <= holds
    assert not without & holds


@pytest.mark.parametrize("job", JOBS)
def test_no_job_runs_the_command_line_or_the_tables_of_a_study(job):
    """What only makes rows and names jobs reruns none; what a row is made of are the params of its job."""
    held = {file for file in closure(job) if file.startswith(("cli/", "tracking/", "study/"))}
    assert held == set()


@pytest.mark.parametrize("job", ["nll", "tune", "leval", "posgen", "report"])
def test_what_a_module_imports_in_a_process_is_in_its_closure(job):
    """The closure is found from the text; an import that runs must not be missing there."""
    code = (
        f"import sys, {JOBS[job]}\n"
        "print(*(module.__file__ for name, module in sys.modules.items() if name.split('.')[0] == 'ropewalk'))"
    )
    files = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert len(files) > 10
    assert files <= set(map(str, import_closure(JOBS[job])))


# In a copy, where files may be changed


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, and the hashes of jobs that a process of its own finds there."""
    shutil.copytree(PACKAGE, tmp_path / "ropewalk", ignore=shutil.ignore_patterns("__pycache__"))

    def hashes(jobs=JOBS, place=tmp_path):
        modules = list(jobs.values())
        code = f"import ropewalk.closure as c; print(c.PACKAGE, *map(c.code_hash, {modules}))"
        environment = {"PYTHONPATH": str(place), "PATH": "/usr/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        shown = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment, cwd=place)
        folder, *found = shown.split()
        assert folder == str(place / "ropewalk")
        return dict(zip(jobs, found, strict=True))

    return tmp_path / "ropewalk", hashes


CHANGED = (
    "training/loss.py",
    "reading/leval/pocket.py",
    "reading/leval/prompts/tpo.toml",
    "report/templates/perplexity.j2",
    "rope/theory.py",
    "posgen/model.py",
    "cli/jobs.py",
    "study/text.py",
)


def test_a_changed_file_changes_the_hashes_of_the_jobs_that_hold_it_and_no_other(copy):
    folder, hashes = copy
    last = hashes()
    for file in CHANGED:
        with (folder / file).open("a") as out:
            out.write("\n# another line\n")
        now = hashes()
        changed = {job for job in JOBS if last[job] != now[job]}
        assert changed == {job for job in JOBS if file in closure(job)}, file
        assert bool(changed) == (not file.startswith(("cli/", "study/")))
        last = now


def test_a_hash_depends_on_the_code_and_not_on_where_it_lies(copy, tmp_path):
    folder, hashes = copy
    jobs = {job: JOBS[job] for job in ("tune", "leval")}
    before = hashes(jobs)
    (tmp_path / "elsewhere").mkdir()
    folder.rename(tmp_path / "elsewhere/ropewalk")
    assert hashes(jobs, tmp_path / "elsewhere") == before
    assert len(set(before.values())) == 2


def test_which_imports_count(copy):
    """Those within functions do, those for type checkers do not; a new data file counts, bytecode does not."""
    folder, hashes = copy
    room = folder / "room"
    (room / "data").mkdir(parents=True)
    for name in ("__init__", "typed", "late", "other", "unused", "named", "nested"):
        (room / f"{name}.py").write_text("x = 1\n")
    (room / "job.py").write_text(
        "from __future__ import annotations\n"
        "import typing\n"
        "from typing import TYPE_CHECKING\n"
        "from ropewalk.room import named\n"
        "if TYPE_CHECKING:\n    from ropewalk.room.typed import x\n"
        "else:\n    import ropewalk.room.other\n"
        "if typing.TYPE_CHECKING:\n    import ropewalk.room.typed\n"
        "def run():\n    from ropewalk.room.late import x\n    return x\n"
        "class A:\n    def f(self):\n        with open('x'):\n            import ropewalk.room.nested\n"
    )
    jobs = {"job": "ropewalk.room.job"}
    last = hashes(jobs)
    for name, counts in (
        ("late.py", True),
        ("other.py", True),
        ("named.py", True),
        ("nested.py", True),
        ("__init__.py", True),
        ("job.py", True),
        ("data/words.txt", True),
        ("typed.py", False),
        ("unused.py", False),
        ("__pycache__/late.pyc", False),
    ):
        (room / name).parent.mkdir(exist_ok=True)
        with (room / name).open("a") as out:
            out.write("# more\n")
        now = hashes(jobs)
        assert (now != last) == counts, name
        last = now


def test_a_renamed_file_is_another_code(copy):
    folder, hashes = copy
    before = hashes({"leval": JOBS["leval"]})
    (folder / "reading/leval/prompts/tpo.toml").rename(folder / "reading/leval/prompts/other.toml")
    assert hashes({"leval": JOBS["leval"]}) != before


# What the workflow asks for


def test_every_module_that_a_rule_hashes_exists_and_every_hash_is_a_param():
    found = set()
    for path in sorted((ROOT / "workflow").rglob("*.smk")):
        text = path.read_text()
        found |= set(re.findall(r'code_hash\(f?"([\w.{}]+)"\)', text))
        for name in re.findall(r"^rule (\w+):", text, re.MULTILINE):
            body = text.split(f"rule {name}:")[1].split("\nrule ")[0].split("\nuse rule ")[0]
            if "ropewalk " in body.split("shell:")[-1]:
                assert "code=" in body, f"{path.name}: {name} does not say its code"
    modules = {name for name in found if "{" not in name}
    assert len(modules) >= 10
    for module in modules:
        assert import_closure(module), f"{module} does not exist"
        assert len(code_hash(module)) == 16


def test_a_module_that_does_not_exist_has_no_files():
    assert import_closure("ropewalk.nothing") == frozenset()
    assert import_closure("numpy") == frozenset()
