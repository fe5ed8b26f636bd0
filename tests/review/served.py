"""The review app as a process of its own, and a browser to look at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Served:
    """A running server. `said`: its line; `address` holds the token, `base` does not."""

    def __init__(self, process: subprocess.Popen[str], said: str) -> None:
        self.process = process
        self.said = said
        self.address = address = said.split()[-1]
        self.base = address.partition("/?")[0]

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


@contextmanager
def served(*arguments: str | Path, command: str = "review") -> Iterator[Served]:
    """`factory review ARGUMENTS` on a free port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "factory", command, *map(str, arguments), "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert process.stdout is not None
    try:
        line = next((line for line in process.stdout if "http://" in line), None)
        assert line is not None, "the server ended before it answered"
        yield Served(process, line)
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium of this machine. Skips the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    path = os.environ.get("FACTORY_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium here: apt install chromium, or name one in FACTORY_CHROMIUM")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


def serious_faults(page: Page) -> list[str]:
    """What axe-core finds on a page (whose context bypasses CSP) that is serious or critical, with the elements."""
    package = pytest.importorskip("axe_core_python", reason="the package axe-core-python is not installed")
    page.evaluate((Path(package.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['html']}" for one in serious for node in one["nodes"]]
