"""Tiny models, and a small OpenAI-style server that serves one with what is wrong with it."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    from ropewalk.doctor.making import make_all

    folder = tmp_path_factory.mktemp("doctor") / "tiny"
    made = make_all(folder)
    assert all(one.separation >= 8 * one.noise for one in made)
    return folder


@dataclass
class Server:
    """What a server serves, and how it behaves."""

    model: object
    tokenizer: object
    names: tuple[str, ...] = ("llama-yarn",)
    echoes: bool = True
    prompt_logprobs: bool = False
    takes_ids: bool = True
    context: int = 1 << 20
    first: tuple[int, ...] = ()
    shift: int = 0
    log_probabilities: bool = True
    failure: tuple[int, object] | None = None
    address: str = ""
    asked: list[dict] = field(default_factory=list)

    def answer(self, body: dict) -> tuple[int, object]:
        import torch

        self.asked.append(body)
        if self.failure:
            return self.failure
        if body["model"] not in self.names:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        prompt = body["prompt"]
        if isinstance(prompt, list) and not self.takes_ids:
            return 422, {"detail": "prompt: expected text"}
        if body.get("echo") and self.echoes is None:
            return 400, {"error": {"message": "echo is not supported"}}
        ids = prompt if isinstance(prompt, list) else self.tokenizer(prompt)["input_ids"]
        ids = [*self.first, *ids][-self.context :]
        with torch.inference_mode():
            logits = self.model(torch.tensor(ids)[None], use_cache=False).logits[0].float().log_softmax(-1)
        ids.append(int(logits[-1].argmax()))
        values = [None, *(float(logits[i, token]) for i, token in enumerate(ids[1:]))]
        choice: dict = {"text": "x", "logprobs": None}
        texts = [self.tokenizer.decode([(token + self.shift) % 256]) for token in ids]
        if self.log_probabilities and body.get("logprobs") is not None:
            start = 0 if body.get("echo") and self.echoes else len(ids) - 1
            choice["logprobs"] = {"tokens": texts[start:], "token_logprobs": values[start:]}
        if self.prompt_logprobs and body.get("prompt_logprobs") is not None:
            known = [{str(t): {"logprob": v, "rank": 1}} for t, v in zip(ids[:-1], values[:-1], strict=True)]
            choice["prompt_logprobs"] = [None, *known[1:]]
        return 200, {"choices": [choice]}


@pytest.fixture
def serve():
    """Serve a model, as ``with serve(model, names=("a",)) as server``."""
    from ropewalk.models.tokenizers import byte_tokenizer

    tokenizer = byte_tokenizer()

    @contextmanager
    def serving(model=None, **behaviour):
        server = Server(model, tokenizer, **behaviour)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self, status: int, value: object) -> None:
                data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                found = self.path == "/v1/models"
                listed = {"data": [{"id": name} for name in server.names]}
                self.reply(*((200, listed) if found else (404, {"detail": "Not Found"})))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.reply(*server.answer(body))

            def log_message(self, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            http.daemon_threads = True
            threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
            server.address = f"http://127.0.0.1:{http.server_port}"
            yield server
            http.shutdown()

    return serving
