"""Sets that people captioned in part: their captions are the view `original`, all of them, and a model fills only the gaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from factory.outcome import Outcome
from factory.recipe import Recipe
from tests import pictures
from tests.fake_captions import plan_of, run_fake

IMAGES = 8


def put_source(folder: Path, texts: list[list[str] | None]) -> dict[str, Any]:
    """A recipe over images with these captions by hand."""
    rows = [
        {"id": f"{number:02d}", "image": pictures.encoded(pictures.picture(40 + number, 30), "PNG"), "captions": some}
        for number, some in enumerate(texts)
    ]
    pl.DataFrame(rows, schema={"id": pl.String, "image": pl.Binary, "captions": pl.List(pl.String)}).write_parquet(
        folder / "images.parquet"
    )
    view = {"name": "filled", "model": "demo:small", "prompts": ["Describe the image."], "where": "missing"}
    source = {"kind": "parquet", "path": str(folder / "images.parquet"), "text": "captions", "key": "id"}
    return {"name": "gaps", "source": source, "original": True, "views": [view]}


def by_view(outcome: Outcome) -> dict[str, list[str]]:
    """The keys of the captions that are kept, by view, one a caption."""
    kept = outcome.work.run.storage.scan(["selection.parquet"]).filter("kept").sort("image_key").collect()
    return {str(view): rows["image_key"].to_list() for (view,), rows in kept.group_by("view")}


def test_only_the_gaps_are_captioned_and_every_caption_by_hand_is_a_candidate(tmp_path: Path) -> None:
    by_hand = [["One.", "Two.", "Three."] if number % 2 else None for number in range(IMAGES)]
    raw, out = put_source(tmp_path, by_hand), str(tmp_path / "run")
    outcome, made = run_fake(raw, out)
    assert made == IMAGES // 2
    gaps, told = ([f"{number:02d}" for number in range(first, IMAGES, 2)] for first in (0, 1))
    assert by_view(outcome) == {"filled": gaps, "original": [key for key in told for _ in range(3)]}
    assert outcome.accounts["ok"] == IMAGES
    again = plan_of(raw, out)
    assert [(view.reused, view.to_caption) for view in again.counts] == [(IMAGES // 2, 0)]
    assert not again.open_shards
    assert not again.engine_needs


def test_a_gap_that_people_filled_is_theirs(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    run_fake(put_source(tmp_path, [None] * IMAGES), out)
    outcome, made = run_fake(put_source(tmp_path, [["By hand."], *[None] * (IMAGES - 1)]), out)
    assert made == 0
    assert by_view(outcome)["original"] == ["00"]
    assert "00" not in by_view(outcome)["filled"]


def test_a_gap_needs_what_it_is_a_gap_of(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set original: true"):
        Recipe.model_validate(put_source(tmp_path, [None]) | {"original": False})
