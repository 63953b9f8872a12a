"""What the pages say can be done: links lead somewhere, and commands exist with the options that are given to them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ropewalk.cli import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
CHEAP = ("rope yarn --head-dim", "predict --head-dim", "posgen rows", "zoo list", "doctor models")


def commands(page: Path) -> list[list[str]]:
    """The words of each call of ropewalk in a page's shell blocks, and of those that stand in its text."""
    text = page.read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = []
    for line in lines:
        for call in re.split(r"&&|\|", line.split("  #")[0]):
            words = re.sub(r"^\s*(uv run )?(accelerate launch .* -m ropewalk\.cli|ropewalk)\s+", "ropewalk ", call)
            if words.startswith("ropewalk "):
                found.append([word for word in shlex.split(words)[1:] if word not in ("…", "...")])
    return found


def test_links_lead_somewhere():
    wrong = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            place, _, anchor = link.partition("#")
            if "://" in link or link.startswith("mailto:"):
                continue
            target = page if not place else (page.parent / place)
            if not target.exists():
                wrong.append(f"{page.relative_to(ROOT)}: {link}")
            elif anchor and target.suffix == ".md":
                titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
                if anchor not in slugs:
                    wrong.append(f"{page.relative_to(ROOT)}: {link}")
    assert wrong == []


def test_commands_exist_with_their_options():
    top, wrong, seen = typer.main.get_command(app), [], 0
    for page in PAGES:
        for words in commands(page):
            seen += 1
            command, rest = top, list(words)
            while rest and rest[0] in getattr(command, "commands", {}):
                command = command.commands[rest.pop(0)]
            if page.name == "extending.md" and rest[:1] == ["power"]:
                continue  # the method that this page has its reader write
            if hasattr(command, "commands") and rest != ["--help"]:
                wrong.append(f"{page.name}: ropewalk {' '.join(words)}")
                continue
            known = {"--help"} | {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
            unknown = [word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
            passes = command.context_settings.get("ignore_unknown_options")
            wrong += [f"{page.name}: {words}: {word}" for word in unknown if word not in known and not passes]
    assert wrong == []
    assert seen > 30


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize(
    "words",
    [
        words
        for page in PAGES
        for words in commands(page)
        if any(" ".join(words).startswith(cheap) for cheap in CHEAP) and "--target" not in words
    ],
    ids=" ".join,
)
def test_cheap_commands_run(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
