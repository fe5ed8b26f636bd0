"""Captions by length, since what a score means shifts with it."""

from typing import Final

import polars as pl

LENGTH_BUCKET: Final = "length bucket"
"""The column of it: no filter can have this name, as the filter `length` has its own."""
EDGES: Final = (8, 16, 32, 64, 128)
"""Most words of each bucket but the last."""


def length_bucket(text: pl.Expr) -> pl.Expr:
    """The bucket of each text, such as "9-16 words"; white space separates words. Null for null."""
    words = text.str.count_matches(r"\S+")
    low = (0, *(edge + 1 for edge in EDGES))
    names = [f"{least}-{most} words" for least, most in zip(low, EDGES, strict=False)]
    bucket = pl.lit(f"{low[-1]}+ words")
    for name, most in zip(reversed(names), reversed(EDGES), strict=True):
        bucket = pl.when(words <= most).then(pl.lit(name)).otherwise(bucket)
    return pl.when(words.is_not_null()).then(bucket)
