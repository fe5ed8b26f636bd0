"""Which captions people label: a random draw, as `factory calibrate` needs it, or one for looking at what is published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import polars as pl

from factory.errors import RunError
from factory.review.caption_index import CaptionIndex
from factory.review.caption_rows import Caption, captions_of
from factory.runs.by_people import CAPTION, SENTENCE
from factory.runs.tables import EDIT_CANDIDATES
from filters.wording.length_bucket import LENGTH_BUCKET, length_bucket
from filters.wording.sentences import sentences

Purpose = Literal["calibrate", "audit"]
STRATA: Final = ("view", "length")
MOST: Final = 20_000
"""Captions that one draw may have: they are in memory, with their texts."""
READ_AT_ONCE: Final = 2_000
SENTENCE_IMAGES: Final = 4
"""Sentences are drawn from the captions of so many times as many images, so that a long caption's have their share."""

DRAWN: Final = pl.Schema(
    {
        "image_key": pl.String,
        "view": pl.String,
        "candidate": pl.Int16,
        "start": pl.UInt32,  # of the sentence; null: the whole caption
        "sentence": pl.String,
        "text": pl.String,
        "label": pl.Boolean,  # to be filled in: true or 1, false or 0, empty where nobody can tell
    }
)


def draw(
    index: CaptionIndex, count: int, purpose: Purpose = "calibrate", by: Sequence[str] = (), seed: int = 0
) -> pl.DataFrame:
    """`count` rows of the index, or as many as there are, each of another image, in a random order.

    Args:
        purpose: `calibrate` draws from every caption that the recipe accepts, kept or not, since a threshold is proven for all
            of them; `audit` from those that are kept. What a person edited is in neither.
        by: strata, `view` and `length`. For `calibrate` each has its share of all, so that the draw stands for the run; for
            `audit` each has as many as another.
        seed: another one gives another draw; the same gives the same.

    Raises:
        RunError: nothing to draw from, or `by` names something else.
    """
    unknown = [name for name in by if name not in STRATA]
    if unknown:
        raise RunError(f"--by {unknown[0]}: strata are {', '.join(STRATA)}")
    if not 1 <= count <= MOST:
        raise RunError(f"draw between 1 and {MOST:,} captions, not {count:,}")
    rows = index.rows().filter(pl.col("candidate") < EDIT_CANDIDATES)
    accepted = pl.col("status").cast(pl.String).is_in(index.work.recipe.select.accept)
    rows = rows.filter(pl.col("kept") if purpose == "audit" else accepted)
    if rows.is_empty():
        what = "kept" if purpose == "audit" else "accepted by its recipe"
        raise RunError(f"{index.run.url} has no caption that is {what}, so there is nothing to label")
    if "length" in by:
        rows = rows.join(_lengths(index), on=["part", "row"], how="left")
    order = pl.col("identity").hash(seed).alias("order")
    rows = rows.with_columns(order).sort("order").unique("image", keep="first", maintain_order=True)
    if not by:
        return rows.head(count).drop("order")
    columns = [LENGTH_BUCKET if name == "length" else name for name in by]
    parts = rows.partition_by(columns, maintain_order=True)
    sizes = [part.height for part in parts]
    shares = _proportional(sizes, count) if purpose == "calibrate" else _even(sizes, count)
    drawn = pl.concat([part.head(share) for part, share in zip(parts, shares, strict=True)])
    return drawn.sort("order").drop("order", *([LENGTH_BUCKET] if "length" in by else []))


def _lengths(index: CaptionIndex) -> pl.DataFrame:
    """(part, row, length bucket) of every caption."""
    pieces = []
    for number, name in enumerate(index.part_names()):
        scan = index.run.storage.scan([f"captions/{name}.parquet"]).select(
            length_bucket(pl.col("text")).alias(LENGTH_BUCKET)
        )
        pieces.append(
            scan.with_row_index("row").collect(engine="streaming").with_columns(pl.lit(number, pl.UInt16).alias("part"))
        )
    return pl.concat(pieces).with_columns(pl.col("row").cast(pl.UInt32))


def _proportional(sizes: list[int], count: int) -> list[int]:
    """Shares of `count` that add up to it, as large as the strata are (largest remainders)."""
    total = sum(sizes)
    count = min(count, total)
    exact = [size * count / total for size in sizes]
    shares = [math.floor(one) for one in exact]
    left = sorted(range(len(sizes)), key=lambda place: exact[place] - shares[place], reverse=True)
    for place in left[: count - sum(shares)]:
        shares[place] += 1
    return shares


def _even(sizes: list[int], count: int) -> list[int]:
    """As many of each; what a small stratum lacks, the others give."""
    shares = [0] * len(sizes)
    left = min(count, sum(sizes))
    while left:
        open_places = [place for place, size in enumerate(sizes) if shares[place] < size]
        each = max(1, left // len(open_places))
        for place in open_places:
            more = min(each, sizes[place] - shares[place], left)
            shares[place] += more
            left -= more
    return shares


# --- what is labelled --------------------------------------------------------------------------------------------------


def items(
    index: CaptionIndex,
    count: int,
    unit: str = CAPTION,
    purpose: Purpose = "calibrate",
    by: Sequence[str] = (),
    seed: int = 0,
) -> pl.DataFrame:
    """What one labels, as DRAWN with `shard` and `fingerprint`: captions, or sentences (`unit`), each of another image."""
    wanted = count if unit == CAPTION else min(MOST, count * SENTENCE_IMAGES)
    rows = draw(index, wanted, purpose, by, seed)
    read = [_read(index, rows.slice(start, READ_AT_ONCE)) for start in range(0, rows.height, READ_AT_ONCE)]
    captions = [caption for part in read for caption in part]
    found = pl.DataFrame(
        [_row(caption, None, None) for caption in captions]
        if unit == CAPTION
        else [_row(caption, one.start, one.text) for caption in captions for one in sentences(caption.text)],
        schema={**DRAWN, "shard": pl.String, "fingerprint": pl.String},
        orient="row",
    )
    if unit == SENTENCE:
        order = pl.concat_str("image_key", "view", "candidate", "start", separator="\x1f").hash(seed)
        found = found.sort(order).unique("image_key", keep="first", maintain_order=True)
    return found.head(count)


def _read(index: CaptionIndex, rows: pl.DataFrame) -> list[Caption]:
    return captions_of(index, rows)


def _row(caption: Caption, start: int | None, sentence: str | None) -> dict[str, object]:
    return {
        "image_key": caption.image_key,
        "view": caption.view,
        "candidate": caption.candidate,
        "start": start,
        "sentence": sentence,
        "text": caption.text,
        "label": None,
        "shard": caption.shard,
        "fingerprint": caption.fingerprint,
    }
