"""The app in a real Chromium: by keyboard alone, hostile texts, accessibility, a second tab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from exports.local_release import find_release
from factory.calibration.calibrate_run import calibrate_run
from factory.runs.by_people import last_decisions, last_labels
from factory.runs.run import Run
from factory.runs.writer_lock import RunLock
from tests.captioned_run import select_again
from tests.review.conftest import HOSTILE, rewrite_first
from tests.review.served import Served, browser, serious_faults, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def open_app(stack: ExitStack, chromium: Browser, run: Run, **options: Any) -> tuple[Served, BrowserContext, Page]:
    server = stack.enter_context(served(run.url))
    context = chromium.new_context(**options)
    stack.callback(context.close)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(server.address)
    return server, context, page


def test_ten_captions_are_labelled_by_keyboard_alone_and_calibrate(
    chromium: Browser, stack: ExitStack, run: Run
) -> None:
    server, context, page = open_app(stack, chromium, run)
    page.goto(f"{server.base}/label")
    page.keyboard.press("Tab")
    page.locator("input[name=name]").focus()
    page.keyboard.type("Ann")
    page.keyboard.press("Enter")
    page.get_by_text("0 of 120").wait_for()
    page.wait_for_load_state("load")  # keys count from here on
    for number, key in enumerate("1213211212", start=1):
        page.keyboard.press(key)
        page.get_by_text(f"{number} of 120").wait_for()
    page.keyboard.press("z")
    page.get_by_text("9 of 120").wait_for()
    other = context.new_page()  # a second tab of the same person goes on where the first one is
    other.goto(f"{server.base}/label/caption", wait_until="load")
    other.keyboard.press("2")
    other.get_by_text("10 of 120").wait_for()
    labels = last_labels(run)
    assert labels["verdict"].to_list() == [
        "right",
        "wrong",
        "right",
        "unsure",
        "wrong",
        "right",
        "right",
        "wrong",
        "right",
        "wrong",
    ]
    assert set(labels["annotator"]) == {"Ann"}
    assert calibrate_run(run, "review", 0.5, filter_name="token_confidence").calibrations[0].labels.given == 10


def test_a_hostile_caption_does_nothing(chromium: Browser, stack: ExitStack, run: Run) -> None:
    row = rewrite_first(run, text=HOSTILE, image_key='x"><script>document.title="owned"</script>')
    server, _, page = open_app(stack, chromium, run)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for address in ("/?words=owned", "/live"):
        page.goto(server.base + address)
        assert "owned" not in page.title()
    page.goto(f"{server.base}/?words=owned")
    assert page.locator(".caption").first.inner_text().startswith("</p><script>")
    page.locator(".card .open").first.click()
    page.locator("h1").wait_for()
    assert row["image_key"] in page.locator("h1").inner_text()
    assert page.evaluate("document.title").startswith("Image x")
    assert all(url.startswith(server.base) for url in asked)
    assert not any(url.endswith("/x") for url in asked)


def test_an_edit_is_typed_by_keyboard_and_reaches_the_release(
    chromium: Browser, stack: ExitStack, run: Run, raw: dict[str, Any], tmp_path: Path
) -> None:
    server, _, page = open_app(stack, chromium, run)
    page.goto(f"{server.base}/?state=dropped")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.locator(".candidate").first.wait_for()
    page.wait_for_load_state("load")
    key = page.locator("h1 bdi").inner_text()
    page.keyboard.press("j")
    page.keyboard.press("i")  # writes in the first candidate's text
    page.keyboard.press("Control+a")
    page.keyboard.type("A person wrote this.")
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("Ann")
    page.keyboard.press("Enter")
    page.get_by_text("edited by a person from number 0").wait_for()
    page.wait_for_load_state("load")
    assert last_decisions(run)["decision"].to_list() == ["accepted"]
    page.keyboard.press("n")  # the next one, whose name is known now
    page.locator("h1 bdi").get_by_text(key).wait_for(state="detached")
    page.wait_for_load_state("load")
    page.keyboard.press("x")
    page.get_by_text("rejected by a person").wait_for()
    raw["select"]["reviewed"] = "first"
    raw["release"] = {"to": str(tmp_path / "released"), "version": "1.0.0", "license": "cc-by-4.0"}
    select_again(run, raw)
    folder = find_release(str(tmp_path / "released" / "1.0.0")).folder
    rows = pl.concat([pl.read_parquet(file) for file in sorted((folder / "data").glob("*.parquet"))])
    assert rows.filter(pl.col("id") == key)["caption"].to_list() == ["A person wrote this."]
    counts = json.loads((folder / "manifest.json").read_text())["counts"]["reviewed"]
    assert (counts["edited"], counts["rejected"]) == (1, 1)


def test_a_server_that_is_killed_and_started_again_loses_no_label(
    chromium: Browser, stack: ExitStack, run: Run
) -> None:
    server, _, page = open_app(stack, chromium, run)
    page.goto(f"{server.base}/label")
    page.locator("input[name=name]").fill("Ann")
    page.keyboard.press("Enter")
    page.get_by_text("0 of 120").wait_for()
    page.wait_for_load_state("load")
    for number, key in enumerate("112", start=1):
        page.keyboard.press(key)
        page.get_by_text(f"{number} of 120").wait_for()
    server.kill()
    page.keyboard.press("1")
    page.get_by_text("The server does not answer").wait_for()
    again = stack.enter_context(served(run.url))
    page.goto(again.address)
    page.goto(f"{again.base}/label/caption")
    page.get_by_text("3 of 120").wait_for()
    page.wait_for_load_state("load")
    page.keyboard.press("1")
    page.get_by_text("4 of 120").wait_for()
    assert last_labels(run)["verdict"].to_list() == ["right", "right", "wrong", "right"]


def test_the_live_page_goes_on_by_itself(chromium: Browser, stack: ExitStack, run: Run) -> None:
    with RunLock(run):
        server, _, page = open_app(stack, chromium, run)
        page.goto(f"{server.base}/live", wait_until="load")
        page.get_by_text("The run is being written").wait_for()
        page.evaluate("window.stays = true")
    page.get_by_text("Nobody is writing this run").wait_for()
    assert page.evaluate("window.stays")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(chromium: Browser, stack: ExitStack, run: Run, scheme: str) -> None:
    server, _, page = open_app(stack, chromium, run, color_scheme=scheme, bypass_csp=True)
    page.goto(f"{server.base}/label")
    page.locator("input[name=name]").fill("Ann")
    page.keyboard.press("Enter")
    page.locator(".verdicts").wait_for()
    page.wait_for_load_state("load")
    page.keyboard.press("1")
    page.get_by_text("1 of 120").wait_for()
    addresses = [
        "/",
        "/?words=nothing+like+this",
        "/label",
        "/label/caption",
        "/label/sentence",
        "/calibrate",
        "/live",
        "/report",
    ]
    page.goto(f"{server.base}/?order=token_confidence")
    addresses.append(page.locator(".card .open").first.get_attribute("href") or "/")
    for address in addresses:
        page.goto(server.base + address)
        assert serious_faults(page) == [], address
