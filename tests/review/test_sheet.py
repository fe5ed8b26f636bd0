"""A sample as one HTML file: labelled in a browser without the app, by keyboard; it gives what `factory calibrate` takes."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from factory.calibration.calibrate_run import calibrate_run
from factory.runs.run import Run
from tests.command import succeed
from tests.review.conftest import HOSTILE, rewrite_first
from tests.review.served import browser, serious_faults


def test_a_sheet_is_one_file_that_loads_nothing(run: Run, tmp_path: Path) -> None:
    rewrite_first(run, text=HOSTILE, image_key='x" onload="y')
    said = succeed("sample", run.url, "-n", "200", "--by", "view,length", "--to", tmp_path / "sheet.html")
    assert "--labels labels.csv" in said
    page = (tmp_path / "sheet.html").read_text()
    assert "default-src 'none'; img-src data:" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<script>document" not in page
    assert 'onload="y' not in page.replace('" onload="y"', "&")
    assert page.count("<article") == 121  # the key of one of two candidates was changed
    assert page.count("data:image/jpeg;base64,") >= 119
    assert run.storage.full() not in page


def test_a_sheet_for_an_audit_has_kept_captions_only(run: Run, tmp_path: Path) -> None:
    succeed("sample", run.url, "-n", "30", "--for", "audit", "--unit", "sentence", "--to", tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("<article") == 30
    assert "Is the marked sentence true" in page


def test_a_sheet_is_labelled_by_keyboard_and_calibrates(run: Run, tmp_path: Path) -> None:
    rewrite_first(run, text=HOSTILE)
    succeed("sample", run.url, "-n", "120", "--to", tmp_path / "sheet.html")
    with browser() as chromium:
        context = chromium.new_context(accept_downloads=True)
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "sheet.html").as_uri())
        for key in "12131221121":
            page.keyboard.press(key)
        page.keyboard.press("z")
        page.get_by_text("10 of 120 labelled").wait_for()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("2")
        page.get_by_text("10 of 120 labelled").wait_for()
        with page.expect_download() as download:
            page.keyboard.press("d")
        download.value.save_as(tmp_path / "labels.csv")
        page.reload()
        page.get_by_text("10 of 120 labelled").wait_for()  # the browser kept them
        assert "owned" not in page.title()
        assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
        context.close()
        page = chromium.new_page(bypass_csp=True)
        page.goto((tmp_path / "sheet.html").as_uri())
        assert serious_faults(page) == []
    labels = pl.read_csv(tmp_path / "labels.csv")
    assert labels["label"].to_list() == [1, 0, 1, None, 1, 0, 0, 1, 1, 0]
    made = calibrate_run(run, str(tmp_path / "labels.csv"), 0.5, filter_name="token_confidence")
    assert made.calibrations[0].labels.given == 10
