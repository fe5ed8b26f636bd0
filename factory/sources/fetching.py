"""Fetches images by their addresses of the web: bounded in bytes, time and requests per host; private addresses refused.

An address comes from a stranger's table, so each connection is made to an address of the network that was looked at first: that of
a redirect and of a name that resolves to this machine or its network too. Proxies of the environment are not used: they would
hide where a request goes.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, MaxRetryError

from factory.sources.inside import Unusable
from factory.sources.source import printable

AGENT: Final = "caption-factory (image captioning)"
TRY_AGAIN: Final = (429, 500, 502, 503, 504)
MAX_REDIRECTS: Final = 5
LONGEST_WAIT_S: Final = 30
"""That a server may ask for before the next try."""
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_CHUNK: Final = 1 << 16


class Refused(HTTPError):
    """An address of the network that no row may name."""


def _allowed(address: str, loopback: bool) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if found in _NAT64:
        found = ipaddress.ip_address(int(found) & 0xFFFFFFFF)
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    if mapped is not None:
        found = mapped
    return (loopback and found.is_loopback) or (found.is_global and not found.is_multicast)


class _Looked:
    """A connection to an address that was looked at before."""

    loopback = False
    _dns_host: str

    def _new_conn(self) -> socket.socket:
        name, port = self._dns_host, self.port  # type: ignore[attr-defined]
        try:
            known = [entry[4][0] for entry in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError):
            return super()._new_conn()  # type: ignore[misc, no-any-return]  # which says that there is no such name
        if not all(_allowed(str(one), self.loopback) for one in known):
            raise Refused(f"{name} is at a private or local address ({known[0]}), which is not asked")
        try:
            self._dns_host = str(known[0])
            return super()._new_conn()  # type: ignore[misc, no-any-return]
        finally:
            self._dns_host = name


def _pools(loopback: bool) -> dict[str, Any]:
    plain = type("_Plain", (_Looked, HTTPConnection), {"loopback": loopback})
    secret = type("_Secret", (_Looked, HTTPSConnection), {"loopback": loopback})
    return {
        "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_SecretPool", (HTTPSConnectionPool,), {"ConnectionCls": secret}),
    }


class Fetcher:
    """Fetches addresses; may be used by many threads. Holds connections, so it is made in the process that uses it."""

    def __init__(self, timeout_s: float, retries: int, per_host_per_s: float, loopback: bool) -> None:
        self.timeout_s = timeout_s
        self.gap_s = 1 / per_host_per_s
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()
        retry = urllib3.Retry(
            total=retries + MAX_REDIRECTS,
            connect=retries,
            read=retries,
            status=retries,
            other=0,
            redirect=MAX_REDIRECTS,
            status_forcelist=TRY_AGAIN,
            backoff_factor=0.5,
            backoff_max=LONGEST_WAIT_S,
            retry_after_max=LONGEST_WAIT_S,
            raise_on_status=False,
        )
        self._pool = urllib3.PoolManager(
            64, maxsize=8, retries=retry, timeout=urllib3.Timeout(connect=min(10.0, timeout_s), read=timeout_s)
        )
        self._pool.pool_classes_by_scheme = _pools(loopback)

    def get(self, url: str, max_bytes: int) -> bytes:
        """The bytes at an address.

        Raises:
            Unusable: 'missing' where it is no address or there is nothing, 'too_many_bytes', or 'unreadable': perhaps another time.
        """
        try:
            parsed = urllib3.util.parse_url(url)
        except HTTPError:
            raise Unusable("missing", f"no address of the web: {printable(url)}") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise Unusable("missing", f"no address of the web: {printable(url)}")
        self._wait_for(parsed.host)
        try:
            return self._get(url, max_bytes)
        except (HTTPError, OSError, ValueError) as error:
            cause: BaseException = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            while isinstance(cause, HTTPError) and not isinstance(cause, Refused) and cause.__cause__ is not None:
                cause = cause.__cause__
            refused = isinstance(cause, Refused)
            raise Unusable(
                "missing" if refused else "unreadable", f"{printable(url)}: {type(cause).__name__}: {cause}"
            ) from None

    def _get(self, url: str, max_bytes: int) -> bytes:
        end = time.monotonic() + self.timeout_s
        answer = self._pool.request("GET", url, preload_content=False, headers={"User-Agent": AGENT})
        try:
            if answer.status != 200:
                gone = answer.status not in TRY_AGAIN
                raise Unusable(
                    "missing" if gone else "unreadable", f"{printable(url)}: the server says {answer.status}"
                )
            pieces, size = [], 0
            for piece in answer.stream(_CHUNK):
                size += len(piece)
                if size > max_bytes:
                    raise Unusable("too_many_bytes", f"{printable(url)}: more than {max_bytes:,} bytes")
                if time.monotonic() > end:
                    raise Unusable("unreadable", f"{printable(url)}: not whole after {self.timeout_s:g} s")
                pieces.append(piece)
            return b"".join(pieces)
        finally:
            answer.close()

    def _wait_for(self, host: str) -> None:
        """Until this host may be asked again."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next.get(host, 0.0))
            self._next[host] = at + self.gap_s
        time.sleep(at - now)
