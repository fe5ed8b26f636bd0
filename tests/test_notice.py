"""Who named an address is told how a run ended; an address that does not answer changes nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import factory

heard: list[dict[str, Any]] = []


class Listener(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    heard.clear()
    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret"
    server.shutdown()
    server.server_close()


def captions(folder: Path) -> Path:
    file = folder / "captions.txt"
    file.write_text("a red ball on grass\n")
    return file


def test_the_end_is_told_with_what_came_out(address: str, tmp_path: Path) -> None:
    factory.filter(captions(tmp_path), tmp_path / "run", quiet=True, notify=address)
    assert [(one["event"], one["command"]) for one in heard] == [("finished", "filter")]
    assert "1 read, 1 kept" in heard[0]["text"]


def test_a_failure_is_told_and_still_raised(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_WEBHOOK", address)
    file = captions(tmp_path)
    with pytest.raises(factory.FactoryError):
        factory.filter(file, file / "below-a-file", quiet=True)
    assert [one["event"] for one in heard] == ["failed"]


def test_an_address_that_does_not_answer_is_a_line_without_the_address(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = factory.filter(captions(tmp_path), tmp_path / "run", quiet=True, notify="http://127.0.0.1:9/secret")
    assert outcome.selection["kept"] == 1
    told = capfd.readouterr().err
    assert "did not take the notice" in told
    assert "secret" not in told


def test_an_address_that_is_none_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(factory.FactoryError, match="http"):
        factory.filter(captions(tmp_path), tmp_path / "run", quiet=True, notify="file:///etc/passwd")
    assert not (tmp_path / "run").exists()
