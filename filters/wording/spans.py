"""Where in a caption something was found: spans in characters, so that they can be cut out or masked."""

from collections.abc import Sequence
from typing import Final

import polars as pl

SPANS: Final = pl.List(pl.Struct({"kind": pl.String(), "start": pl.UInt32(), "end": pl.UInt32()}))
"""Spans of one caption in order: `text[start:end]` is of that kind, counted in characters (code points) from 0."""

_MARK: Final = "\ufdd0"  # a code point that Unicode reserves for uses like this one
_TABLE: Final = {"row": pl.UInt32, "kind": pl.String, "start": pl.UInt32, "end": pl.UInt32, "match": pl.String}


def find_spans(rows: pl.DataFrame, kinds: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """`row`, `kind`, `start`, `end` and `match` of everything that the pattern of a kind matches in `text`.

    `kinds` are pairs of a name and a pattern that matches no empty text. Matches of one kind do not overlap; those of
    several may. In order of row, start, and the longest first.
    """
    if rows.is_empty():
        return pl.DataFrame(schema=_TABLE)
    # Most kinds are in no text: they are looked for together, since a query of its own takes longer than the search.
    there = rows.select(
        pl.col("text").str.contains(pattern).any().alias(str(place)) for place, (_, pattern) in enumerate(kinds)
    ).row(0)
    # Linear in the text whatever it holds, as Polars' patterns are; a match begins where the text before it ends.
    text = pl.col("text").str.replace_all(_MARK, "\ufffd", literal=True)
    tables = [
        rows.filter(pl.col("text").str.contains(pattern))
        .select(
            "row",
            match=text.str.extract_all(pattern),
            before=text.str.replace_all(pattern, _MARK).str.split(_MARK),
        )
        .with_columns(pl.col("before").list.head(pl.col("match").list.len()))
        .explode("match", "before", empty_as_null=False)
        .with_columns(length=pl.col("match").str.len_chars(), before=pl.col("before").str.len_chars())
        .with_columns(end=(pl.col("before") + pl.col("length")).cum_sum().over("row"))
        .select(
            pl.col("row").cast(pl.UInt32),
            kind=pl.lit(kind),
            start=(pl.col("end") - pl.col("length")).cast(pl.UInt32),
            end=pl.col("end").cast(pl.UInt32),
            match="match",
        )
        for (kind, pattern), found in zip(kinds, there, strict=True)
        if found
    ]
    if not tables:
        return pl.DataFrame(schema=_TABLE)
    return pl.concat(tables).sort("row", "start", "end", descending=[False, False, True], maintain_order=True)


def gather(found: pl.DataFrame) -> pl.DataFrame:
    """Per row its `spans`, the `kind` of the first, and `covered`: the characters inside any span, counted once."""
    reached = pl.col("end").cum_max().shift(1).over("row").fill_null(0)
    fresh = pl.max_horizontal(pl.col("start"), reached)
    new = pl.when(pl.col("end") > fresh).then(pl.col("end") - fresh).otherwise(0)
    return (
        found.with_columns(new=new)
        .group_by("row", maintain_order=True)
        .agg(
            kind=pl.col("kind").first(),
            spans=pl.struct("kind", "start", "end"),
            covered=pl.col("new").sum().cast(pl.UInt32),
        )
    )
