"""Lists of addresses: what is fetched, what is refused, and what a dead link becomes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from factory.recipe import UrlsSource
from factory.sources.fetching import _allowed
from factory.sources.source import SourceRow
from factory.sources.urls import UrlImages

IMAGE = b"\x89PNG and so on"


class Web(BaseHTTPRequestHandler):
    asked: dict[str, int] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        count = self.asked[self.path] = self.asked.get(self.path, 0) + 1
        if self.path.startswith("/flaky") and count == 1:
            return self.answer(503)
        if self.path.startswith("/gone"):
            return self.answer(404)
        if self.path.startswith("/broken"):
            return self.answer(500)
        if self.path.startswith("/inside"):
            return self.answer(302, location="http://169.254.169.254/latest")
        if self.path.startswith("/large"):
            return self.answer(200, b"x" * 5_000)
        return self.answer(200, IMAGE)

    def answer(self, status: int, content: bytes = b"", location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def web() -> Iterator[str]:
    Web.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def rows(path: Path, **settings: object) -> list[SourceRow]:
    whole: dict[str, object] = {"path": str(path), "allow_loopback": True, "per_host_per_s": 1000, "retries": 1}
    source = UrlImages(UrlsSource(**{**whole, **settings}))  # type: ignore[arg-type]
    return [row for shard in source.shards() for row in source.read(shard, 1_000)]


def test_each_link_is_an_image_or_a_row_with_its_reason(web: str, tmp_path: Path) -> None:
    names = ["good", "flaky", "gone", "broken", "inside", "large"]
    lines = [{"url": f"{web}/{name}", "caption": f"of {name}", "id": name} for name in names]
    lines += [{"url": "file:///etc/passwd", "caption": "a file", "id": "file"}, {"url": None, "id": "empty"}]
    file = tmp_path / "list.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {row.key: row for row in rows(file, key="id")}
    assert list(found) == [*names, "file", "empty"]
    assert {key: row.problem for key, row in found.items()} == {
        "good": None,
        "flaky": None,
        "gone": "missing",
        "broken": "unreadable",
        "inside": "missing",
        "large": "too_many_bytes",
        "file": "missing",
        "empty": "missing",
    }
    assert found["good"].data == found["flaky"].data == IMAGE
    assert found["good"].text == "of good"
    assert "404" in found["gone"].detail
    assert "private or local" in found["inside"].detail


def test_this_machine_is_not_asked_unless_it_is_allowed(web: str, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(f"{web}/good\n{web.replace('127.0.0.1', 'localhost')}/good\n")
    found = rows(file, allow_loopback=False)
    assert [row.problem for row in found] == ["missing", "missing"]
    assert Web.asked == {}


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1",
     "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1"],
)  # fmt: skip
def test_private_addresses_are_refused(address: str) -> None:
    assert not _allowed(address, loopback=False)
    assert _allowed("1.1.1.1", loopback=False)
    assert _allowed("127.0.0.1", loopback=True)
