"""Starts the app on this machine."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable
from typing import Final

from factory.errors import RunError
from factory.review.app import ReviewApp
from factory.review.caption_index import CaptionIndex
from factory.runs.run import find_run

LOOPBACK: Final = "127.0.0.1"


def serve(
    run: str,
    port: int,
    host: str = LOOPBACK,
    read_only: bool = False,
    token: str | None = None,
    ready: Callable[[str], None] = print,
) -> None:
    """Show a run until the process is stopped.

    Args:
        run: a run directory.
        port: 0 chooses a free one.
        host: the address to listen at. Another than this machine's own is reachable by others, who need the token.
        read_only: nothing can be changed.
        token: what a browser must know; drawn anew where unset.
        ready: called with the address, token and all, when the server answers.

    Raises:
        RunError: no run there, or the port is taken.
    """
    import uvicorn

    index = CaptionIndex(find_run(run))
    index.rows()
    listening = _listen(host, port)
    port = int(listening.getsockname()[1])
    token = token or secrets.token_urlsafe(24)
    app = ReviewApp(index, token, _hosts(host, port), read_only)
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app.asgi, log_level="warning", access_log=False, server_header=False, lifespan="on", timeout_graceful_shutdown=3
    )
    listening.listen(128)
    ready(f"http://{shown}:{port}/?token={token}")
    uvicorn.Server(config).run(sockets=[listening])


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
