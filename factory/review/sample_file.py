"""`factory sample`: a drawn sample as a file to be labelled without the app."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Callable, Sequence
from typing import Final

import polars as pl

from exports.foreign_text import FORMULA
from exports.storage import Storage
from factory.errors import RunError
from factory.review.caption_index import CaptionIndex
from factory.review.sampling import DRAWN, Purpose, items
from factory.runs.by_people import SENTENCE

WRITERS: Final[dict[str, Callable[[pl.DataFrame, io.BytesIO], None]]] = {
    ".csv": lambda rows, file: _without_formulas(rows).write_csv(file),
    ".jsonl": lambda rows, file: rows.write_ndjson(file),
    ".parquet": lambda rows, file: rows.write_parquet(file),
}
SHEET: Final = ".html"
"""A page with the pictures, which gives the labels as CSV."""


def write_sample(
    index: CaptionIndex, to: str, count: int, unit: str, purpose: Purpose, by: Sequence[str], seed: int
) -> int:
    """Draw (see `sampling.draw`) and write DRAWN to a file that is not there yet. Returns how many.

    Raises RunError where the file is there, or of a kind that `factory calibrate` does not read.
    """
    kind = posixpath.splitext(to)[1].lower()
    if kind not in (*WRITERS, SHEET):
        raise RunError(f"--to {to}: samples are written as {', '.join(WRITERS)}, or as a page to label on: {SHEET}")
    storage, name = Storage(posixpath.dirname(to) or "."), posixpath.basename(to)
    if storage.exists(name):
        raise RunError(f"--to {to}: the file is there and may hold labels; choose another name, or move it away")
    drawn = items(index, count, unit, purpose, by, seed)
    if kind == SHEET:
        from factory.review.sheet import sheet

        storage.write_new(name, sheet(index, drawn, unit))
        return drawn.height
    rows = drawn.select(list(DRAWN))
    if unit != SENTENCE:
        rows = rows.drop("start", "sentence")
    buffer = io.BytesIO()
    WRITERS[kind](rows, buffer)
    storage.write_new(name, buffer.getvalue())
    return rows.height


def _without_formulas(rows: pl.DataFrame) -> pl.DataFrame:
    """Texts are only read there, so a quotation mark goes before what a spreadsheet would run; keys stay as they are."""
    names = [name for name in ("text", "sentence") if name in rows.columns]
    return rows.with_columns(
        pl.when(pl.col(name).str.contains(FORMULA))
        .then(pl.concat_str(pl.lit("'"), name))
        .otherwise(pl.col(name))
        .alias(name)
        for name in names
    )
