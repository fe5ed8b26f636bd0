"""Starts the app on this machine."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from factory.errors import RunError
from factory.review.app import ReviewApp
from factory.review.caption_index import CaptionIndex
from factory.review.live import live, prometheus
from factory.runs.run import find_run

if TYPE_CHECKING:
    import uvicorn

    from factory.review.comparing import Comparison

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True)
class Listening:
    """Where the app is to be found. `port` 0 chooses a free one; another `host` than this machine's own lets others in, who
    need the token; `ready` is called with the address, token and all, when the server is about to answer.
    """

    port: int
    ready: Callable[[str], None]
    host: str = LOOPBACK
    metrics_port: int | None = None


def serve(run: str, listening: Listening, read_only: str = "") -> None:
    """Show a run until the process is stopped. `read_only`: why nothing can be changed; '' where it can.

    Raises:
        RunError: no run there, or the port is taken.
    """
    index = CaptionIndex(find_run(run))
    index.rows()
    if listening.metrics_port is not None:
        _serve_metrics(index, listening)
    _serve(lambda token, hosts: ReviewApp(index, token, hosts, read_only).asgi, listening)


def serve_comparison(
    comparison: Comparison,
    listening: Listening,
    blind: bool = True,
    hours: tuple[float | None, float | None] = (None, None),
) -> None:
    """Show the pairs of a comparison until the process is stopped. `hours`: the price of one of a person, and of the judge's machine.
    Raises RunError where the port is taken.
    """
    from factory.review.compare_app import CompareApp

    _serve(lambda token, hosts: CompareApp(comparison, token, hosts, blind, hours).asgi, listening)


def _serve(app: Callable[[str, tuple[str, ...]], Starlette], listening: Listening) -> None:
    opened = _listen(listening.host, listening.port)
    port = int(opened.getsockname()[1])
    token = secrets.token_urlsafe(24)
    server = _server(app(token, _hosts(listening.host, port)))
    opened.listen(128)
    shown = f"[{listening.host}]" if ":" in listening.host else listening.host
    listening.ready(f"http://{shown}:{port}/?token={token}")
    server.run(sockets=[opened])


def _serve_metrics(index: CaptionIndex, listening: Listening) -> None:
    """`/metrics` for Prometheus, without a token: numbers and names of views alone, at an address of its own."""

    def metrics(_: Request) -> PlainTextResponse:
        return PlainTextResponse("\n".join(prometheus(live(index))) + "\n", media_type="text/plain; version=0.0.4")

    opened = _listen(listening.host, listening.metrics_port or 0)
    opened.listen(16)
    server = _server(Starlette(routes=[Route("/metrics", metrics)]))
    threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True).start()


def _server(app: Starlette) -> uvicorn.Server:
    import uvicorn

    options: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False}
    return uvicorn.Server(uvicorn.Config(app, lifespan="on", timeout_graceful_shutdown=3, **options))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise RunError(f"{host}:{port}: cannot listen there ({error.strerror}); choose another --port") from None
    return listening


def _hosts(host: str, port: int) -> tuple[str, ...]:
    """What a browser may call the server."""
    names = [f"[{host}]" if ":" in host else host]
    if is_loopback(host):
        names += ["127.0.0.1", "localhost", "[::1]"]
    return tuple(dict.fromkeys(f"{name}:{port}" for name in names))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
