"""A server with the OpenAI API that says what a test wants: a real one, over HTTP."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Answers every chat completion with `reply`: (status, body), or a function of the request that gives them."""

    request_queue_size = 128
    reply: Any = (200, {})
    requests: list[dict[str, Any]]
    models: tuple[str, ...] = ("judge",)
    should_retry = "false"
    content_type = "application/json"

    @property
    def url(self) -> str:
        """What a recipe names."""
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "us"} for name in self.server.models]
        self._send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        reply = self.server.reply
        status, body = reply(request) if callable(reply) else reply
        if isinstance(body, dict) and body.get("model") == "judge" and request.get("model") in self.server.models:
            body = body | {"model": request["model"]}  # it serves several, and says which one answers
        self._send(status, body)

    def _send(self, status: int, body: dict[str, Any] | str) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", self.server.content_type if isinstance(body, str) else "application/json")
        self.send_header("x-should-retry", self.server.should_retry)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a port of its own."""
    served = Server(("127.0.0.1", 0), Handler)
    served.requests = []
    threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


def completion(said: str, tops: dict[str, float] | None) -> tuple[int, dict[str, Any]]:
    """A reply that says this, with the probabilities of its first token's alternatives."""
    top = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in (tops or {}).items()]
    first = {"token": said, "logprob": -0.1, "bytes": None, "top_logprobs": top}
    choice = {
        "index": 0,
        "finish_reason": "length",
        "message": {"role": "assistant", "content": said},
        "logprobs": None if tops is None else {"content": [first]},
    }
    return 200, {"id": "x", "object": "chat.completion", "created": 0, "model": "judge", "choices": [choice]}
