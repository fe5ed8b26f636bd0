"""What the report says of images that were not released as they were selected."""

from __future__ import annotations

import html
from pathlib import Path

import polars as pl
import pytest

from factory.outcome import LEFT_OUT
from tests.captioned_run import captioned
from tests.recipes import DEMO

VIEWS = [
    {**DEMO["views"][0], "name": "short", "prompts": [{"text": "Say it short."}]},
    {**DEMO["views"][0], "name": "long", "prompts": [{"text": "Say it at length."}]},
]


@pytest.mark.parametrize(("without", "reason"), [("chosen", "no_text_chosen"), ("leave_out", "no_text_leave_out")])
def test_the_report_says_of_an_image_without_a_text_what_became_of_it(
    tmp_path: Path, without: str, reason: str
) -> None:
    rule = {"rule": "replace", "view": "long"}
    run, _ = captioned(
        tmp_path,
        views=VIEWS,
        source={"kind": "demo", "scenes": 30, "seed": 3},
        select={"require": {"token_confidence": 0.6}},
        release={"to": str(tmp_path / "set"), "caption": rule, "without": without, "license": "cc0-1.0"},
    )
    released = pl.read_parquet(tmp_path / "set" / "1.0.0" / "data" / "*.parquet").height
    chosen = pl.read_parquet(tmp_path / "run" / "selection.parquet").filter("kept")["image_key"].n_unique()
    lacking = run.read_json("metrics.json")["left_out"][reason]
    assert 0 < lacking < chosen
    assert released == chosen - (lacking if without == "leave_out" else 0)
    page = html.unescape((tmp_path / "run" / "report.html").read_text())
    assert f"{lacking} {LEFT_OUT[reason]}." in page
    assert "not in the release" not in page
