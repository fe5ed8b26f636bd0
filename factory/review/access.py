"""Who may ask the app: whoever has its token, by the address it was started for, from its own pages.

Another page of the same browser cannot read or change anything: it has no cookie that its requests to us may carry, its
`Origin` is another, and a name that was pointed at this machine (DNS rebinding) is no `Host` of ours.
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN: Final = "token"
COOKIE_S: Final = 30 * 24 * 3600
MAX_BODY: Final = 500_000
"""Bytes of a request's body: the longest caption that somebody may write, each of its characters as four bytes of three signs."""
READ_ONLY: Final = "The server was started with --read-only; nothing can be labelled, decided or changed."
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Access:
    """ASGI middleware: the token, once in the URL and then in a cookie; `Host`, `Origin`, the size of a body, and headers."""

    def __init__(self, app: ASGIApp, token: str, hosts: tuple[str, ...], read_only: str) -> None:
        """`read_only`: why nothing can be changed; '' where it can."""
        self.app = app
        self.token = token
        self.hosts = hosts
        self.read_only = read_only
        self.cookie = f"factory-review-{hosts[0].rpartition(':')[2]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, _with_headers(send))
            return
        await self.app(scope, _limited(receive), _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if headers.get("host", "").lower() not in self.hosts:
            return PlainTextResponse("This is not the address that the app was started for.", 421)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get(TOKEN)
        if given is not None and scope["method"] in ("GET", "HEAD"):
            if not self._is_token(given):
                return PlainTextResponse("The token is not the one of this server; open the address it printed.", 403)
            rest = urlencode([pair for pair in query if pair[0] != TOKEN])
            answer = RedirectResponse(f"{scope['path']}?{rest}" if rest else scope["path"], 303)
            answer.set_cookie(self.cookie, self.token, max_age=COOKIE_S, httponly=True, samesite="lax", path="/")
            return answer
        if not self._is_token(self._cookie(headers)):
            return PlainTextResponse("Open the address that the server printed; it holds the token.", 403)
        if scope["method"] in ("GET", "HEAD"):
            return None
        if self.read_only:
            return PlainTextResponse(self.read_only, 403)
        origin = headers.get("origin", "")
        if origin.partition("://")[2].lower() not in self.hosts:
            return PlainTextResponse("Only the app's own pages may change anything.", 403)
        if int(headers.get("content-length") or 0) > MAX_BODY:
            return PlainTextResponse(f"At most {MAX_BODY:,} bytes.", 413)
        return None

    def _cookie(self, headers: Headers) -> str:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookies[self.cookie].value if self.cookie in cookies else ""

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)  # a page that is whole by itself has a policy of its own
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending


def _limited(receive: Receive) -> Receive:
    """A body that is longer than its header says ends the request."""
    total = 0

    async def receiving() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        return {"type": "http.disconnect"} if total > MAX_BODY else message

    return receiving
