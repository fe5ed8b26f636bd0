"""The app in a real Chromium: by keyboard alone, hostile texts, accessibility, a second tab."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from factory.calibration.calibrate_run import calibrate_run
from factory.runs.by_people import last_decisions, last_labels
from factory.runs.run import Run
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


def test_an_edit_is_typed_and_kept(chromium: Browser, stack: ExitStack, run: Run) -> None:
    _, _, page = open_app(stack, chromium, run)
    page.locator(".card .open").first.click()
    page.get_by_text("Edit", exact=True).first.click()
    form = page.locator(".editing form").first
    form.locator("input[name=name]").fill("Ann")
    form.locator("textarea").fill("A person wrote this.")
    form.get_by_role("button", name="Keep the edited text").click()
    page.get_by_text("edited by a person from number 0").wait_for()
    assert last_decisions(run)["decision"].to_list() == ["accepted"]


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
    addresses = ["/", "/?words=nothing+like+this", "/label", "/label/caption", "/label/sentence", "/calibrate", "/live"]
    page.goto(f"{server.base}/?order=token_confidence")
    addresses.append(page.locator(".card .open").first.get_attribute("href") or "/")
    for address in addresses:
        page.goto(server.base + address)
        assert serious_faults(page) == [], address
