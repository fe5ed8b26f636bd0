"""Rows of a source as a run reads them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from exports.storage import Storage
from factory.recipe import Recipe
from factory.sources import open_source
from factory.sources.source import SourceRow
from tests.recipes import demo_recipe

LIMIT = 1_000_000


def rows_of(source: dict[str, Any], scratch: Path, max_bytes: int = LIMIT) -> list[SourceRow]:
    """All rows of a source. A shard that says how many rows it has, has so many."""
    recipe = Recipe.model_validate(demo_recipe(source=source))
    opened = open_source(recipe, Storage(str(scratch / "scratch")))
    found: list[SourceRow] = []
    for shard in opened.shards():
        rows = list(opened.read(shard, max_bytes))
        assert shard.rows in (None, len(rows))
        found += rows
    return found


def picture(colour: str, form: str = "PNG") -> bytes:
    """A small image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), colour).save(buffer, form)
    return buffer.getvalue()
