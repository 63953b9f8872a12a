"""A stand-in for the Hugging Face hub on loopback, and the commands of this project run against it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from ropewalk import resident, warm
from ropewalk.errors import MISTAKE

# --------------------------------------------------------------------------------------------------------------- hub


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    headers: dict[str, str]


class Refusal(Exception):
    """What is not given, by the code that the hub's client knows it by."""

    def __init__(self, status: int, code: str, said: str) -> None:
        super().__init__(said)
        self.answer = Answer(status, b"", {"X-Error-Code": code, "X-Error-Message": said})


class Hub(ThreadingHTTPServer):
    """Serves the folder ``ROOT/models|datasets/ORG/NAME/REVISION`` as the hub does.

    A revision, branch or tag, is a folder by its name, and also goes by its commit, the hash of what it holds.

    Attributes:
        gated: the token that opens each gated repository.
        cut: paths of files of which half is sent before the line goes dead, once.
        asked: method and path of each request so far.
        sent: path of each file in its repository whose bytes were asked for, in that order.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.gated: dict[str, str] = {}
        self.cut: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.sent: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def folder(self, kind: str, name: str, revision: str = "main") -> Path:
        """The folder of a revision, made where there is none."""
        folder = self.root / kind / name / revision
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def commit(self, kind: str, name: str, revision: str = "main") -> str:
        """The commit that a branch or tag stands for."""
        return _commit(self.root / kind / name / revision)

    def forget(self) -> None:
        """Count from nothing again."""
        self.asked.clear()
        self.sent.clear()


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _commit(folder: Path) -> str:
    return hashlib.sha1(repr([(name, _etag(data)) for name, data in _files(folder).items()]).encode()).hexdigest()


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def _json(value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.asked.append((self.command, unquote(url.path)))
        self.sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.query = parse_qs(url.query)
        try:
            status, body, headers = self._answer(url.path)
        except Refusal as refusal:
            status, body, headers = refusal.answer
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        path = unquote(url.path).partition("/resolve/")[2].partition("/")[2]
        if path in self.server.cut:
            self.server.cut.remove(path)
            body, self.close_connection = body[: len(body) // 2], True
        self.wfile.write(body)

    do_HEAD = do_POST = do_GET

    def log_message(self, *words: Any) -> None:
        """Say nothing."""

    def _answer(self, path: str) -> Answer:
        repository = r"(?P<name>[^/]+/[^/]+)"
        routes = {
            rf"/api/(?P<kind>models|datasets)/{repository}(/revision/(?P<revision>[^/]+))?": self._info,
            rf"/api/(?P<kind>models|datasets)/{repository}/tree/(?P<revision>[^/]+)(/(?P<path>.+))?": self._tree,
            rf"/api/(?P<kind>models|datasets)/{repository}/paths-info/(?P<revision>[^/]+)": self._paths,
            rf"/((?P<kind>datasets)/)?{repository}/resolve/(?P<revision>[^/]+)/(?P<path>.+)": self._file,
        }
        for route, answer in routes.items():
            if found := re.fullmatch(route, path):
                parts = {key: unquote(value) for key, value in found.groupdict().items() if value}
                return answer(self._revision(**parts), parts)
        raise Refusal(404, "EntryNotFound", "Sorry, we can't find the page you are looking for.")

    def _revision(self, name: str, kind: str = "models", revision: str = "main", **_: str) -> Path:
        """The folder of a revision by its name or its commit."""
        repository = self.server.root / kind / name
        if not repository.is_dir():
            raise Refusal(401, "RepoNotFound", "Invalid username or password.")
        for folder in repository.iterdir():
            if revision in (folder.name, _commit(folder)):
                return folder
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def _info(self, folder: Path, parts: dict[str, str]) -> Answer:
        name, when = parts["name"], "2026-01-01T00:00:00.000Z"
        siblings = [{"rfilename": path} for path in _files(folder)]
        gated = "manual" if name in self.server.gated else False
        about = {"id": name, "sha": _commit(folder), "siblings": siblings, "gated": gated, "private": False}
        return _json({**about, "tags": [], "downloads": 0, "likes": 0, "createdAt": when, "lastModified": when})

    def _tree(self, folder: Path, parts: dict[str, str]) -> Answer:
        inside = f"{parts['path']}/" if "path" in parts else ""
        found = [entry for entry in _entries(folder) if entry["path"].startswith(inside)]
        if not found:
            raise Refusal(404, "EntryNotFound", f"{parts['path']} does not exist on {parts['revision']}")
        if self.query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
            found = [entry for entry in found if "/" not in entry["path"].removeprefix(inside)]
        return _json(found)

    def _paths(self, folder: Path, parts: dict[str, str]) -> Answer:
        wanted = json.loads(self.sent)["paths"] if self.sent[:1] == b"{" else parse_qs(self.sent.decode())["paths"]
        return _json([entry for entry in _entries(folder) if entry["path"] in wanted])

    def _file(self, folder: Path, parts: dict[str, str]) -> Answer:
        self._open_gate(parts["name"])
        commit, path = {"X-Repo-Commit": _commit(folder)}, parts["path"]
        data = _files(folder).get(path)
        if data is None:
            refusal = Refusal(404, "EntryNotFound", "Entry not found")
            refusal.answer.headers.update(commit)  # the client remembers what is not there, by commit
            raise refusal
        if self.command == "GET":
            self.server.sent.append(path)
        headers = {**commit, "ETag": f'"{_etag(data)}"', "Accept-Ranges": "bytes"}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
            return Answer(
                206, data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}
            )
        return Answer(200, data, headers)

    def _open_gate(self, name: str) -> None:
        """Files of a gated repository are for those with its token; what it holds may be seen by all."""
        token, given = self.server.gated.get(name), self.headers.get("Authorization")
        if token is None or given == f"Bearer {token}":
            return
        restricted = f"Access to model {name} is restricted"
        if given is None:
            said = "You must have access to it and be authenticated to access it. Please log in."
            raise Refusal(401, "GatedRepo", f"{restricted}. {said}")
        said = f"and you are not in the authorized list. Visit {self.server.url}/{name} to ask for access."
        raise Refusal(403, "GatedRepo", f"{restricted} {said}")


def _entries(folder: Path) -> list[dict[str, Any]]:
    files = _files(folder)
    above = sorted({parent.as_posix() for name in files for parent in Path(name).parents} - {"."})
    return [
        *({"type": "directory", "path": name, "oid": _etag(name.encode()), "size": 0} for name in above),
        *({"type": "file", "path": name, "oid": _etag(data), "size": len(data)} for name, data in files.items()),
    ]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One hub for all tests."""
    hub = Hub(tmp_path_factory.mktemp("hub"))
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture(scope="module")
def hub(served: Hub) -> Hub:
    """The hub, empty: each file of tests puts its own repositories there."""
    shutil.rmtree(served.root)
    served.gated.clear()
    return served


# ---------------------------------------------------------------------------------------------------------- commands


class Commands:
    """Runs ``ropewalk`` in processes that know the hub, or that are offline and have what was fetched before.

    Importing torch takes longer than any command here: on Linux a process that has done so forks for each command, one
    for those online and one for the others.
    """

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub, self.home = hub, folder / "home"
        self.resident: dict[bool, tuple[subprocess.Popen[bytes], str]] = {}

    def __call__(
        self, *words: object, offline: bool = False, cold: bool = False, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; a cold one imports what it needs for itself."""
        environment = self.environment(offline=offline, cold=cold) | variables
        command = [sys.executable, "-m", "ropewalk.warm", *map(str, words)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def environment(self, *, offline: bool = False, cold: bool = False) -> dict[str, str]:
        """The environment of a process that asks this hub or, offline, nobody: the client reads it when imported."""
        away = re.compile(rf"HF_|{warm.VARIABLE}$|.*_proxy$", re.IGNORECASE)
        environment = {
            **{key: value for key, value in os.environ.items() if not away.match(key)},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            # A process that has seen a GPU could not fork.
            "CUDA_VISIBLE_DEVICES": "",
            "ROPEWALK_DEVICE": "cpu",
            "MLFLOW_TRACKING_URI": "",
            "HF_ENDPOINT": self.hub.url,
            "HF_HOME": str(self.home),
            "HF_HUB_OFFLINE": str(int(offline)),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        if sys.platform == "linux" and not cold:
            if offline not in self.resident:
                self.resident[offline] = resident.start(environment)
            environment[warm.VARIABLE] = self.resident[offline][1]
        return environment

    def works(self, *words: object, **how: Any) -> str:
        """What a command that does its work prints."""
        done = self(*words, **how)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def fails(self, *words: object, status: int = MISTAKE, **how: Any) -> str:
        """The one sentence of a command that cannot do its work, and ends with a status."""
        done = self(*words, **how)
        assert done.returncode == status, done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        _, _, sentence = done.stderr.rpartition("ropewalk: ")
        sentence = sentence.strip()
        assert "\n" not in sentence, sentence
        assert sentence.endswith("."), sentence
        assert not re.search(r"[.!?] +[A-Z]", sentence), f"more than a sentence: {sentence}"
        return sentence

    def forget(self) -> None:
        """Remove what was fetched."""
        shutil.rmtree(self.home, ignore_errors=True)

    def stop(self) -> None:
        for process, _ in self.resident.values():
            process.terminate()
            process.wait()


@pytest.fixture(scope="session")
def commands(served: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Runs ``ropewalk``, for fixtures; a test takes ``ropewalk``."""
    made = Commands(served, tmp_path_factory.mktemp("commands"))
    yield made
    made.stop()


@pytest.fixture
def ropewalk(commands: Commands) -> Commands:
    """Runs ``ropewalk``, with nothing fetched so far and nothing asked."""
    commands.forget()
    commands.hub.forget()
    return commands
