"""What of a run's fusions is done: whether each fused caption was made from the captions that its inputs have now.

A fused row keeps a hash of the texts that it was made from (`inputs_hash`). It counts while that is the hash of what the views
of its `from` say now; so another caption of an input redoes the fusions of that image, and no others. Held as hashes: some 30
bytes a caption of the views that take part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from factory.recipe import ORIGINAL
from factory.runs.done_set import mixed
from factory.runs.hash_sets import distinct, is_among
from factory.runs.resolving import STATUS_RANK, status_rank
from factory.runs.tables import FALLBACK_CANDIDATE, RUNG_CANDIDATES, Failure, Status
from factory.sources.shard_keys import key_hashes, text_hash
from factory.work.done import caption_pieces
from factory.work.present import COLUMNS, caption_hashes, no_numbers
from factory.work.views import ReadyView
from factory.work.work import Work

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXTS: Final = "texts"
"""The column with the hash of a caption's text."""
_COLUMNS: Final = tuple(dict.fromkeys([*COLUMNS, "candidate", "status", "reason", "text", "unfused"]))
_NOTHING: Final = text_hash(None)
_SCHEMA: Final = pl.Schema(
    {
        "key": pl.UInt64,
        "view": pl.String,
        "candidate": pl.Int16,
        "rank": pl.Int8,
        "unfused": pl.String,
        "reason": pl.String,
        TEXTS: pl.UInt64,
        "inputs_hash": pl.UInt64,
        "caption": pl.UInt64,  # as in `Present.superseded`
        "created_ms": pl.Int64,
        "counts": pl.Boolean,  # as far as is known without its inputs
    }
)


@dataclass(frozen=True, eq=False)
class FusionDone:
    """The images of a fusion, as sorted hashes of their keys.

    `done`: those whose caption is made from what its inputs say now; `open`: those to be made of captions that are there, of which
    `whole` have one of every view that it is made from; `ever`: those that have one of any recipe or input; `failed`: those to
    be made that failed before.
    """

    done: NDArray[np.uint64]
    open: NDArray[np.uint64]
    whole: NDArray[np.uint64]
    ever: NDArray[np.uint64]
    failed: NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class FusionBooks:
    """Of each fusion what is done, and the captions that no longer count, as `Present.superseded` has them."""

    views: dict[str, FusionDone]
    superseded: NDArray[np.uint64]


def standing(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """The caption of each image that a fusion takes: of those of the first try that stand the best, then the first.

    Args:
        rows: of one view, with `candidate`, `rank` (of its state), `unfused`, `created_ms` and the column `key`.
        key: identifies the image.
    """
    taken = rows.filter(
        pl.col("rank") < STATUS_RANK[Status.failed],
        pl.col("candidate") < RUNG_CANDIDATES,
        pl.col("unfused").is_null() | (pl.col("candidate") == FALLBACK_CANDIDATE),
    )
    return taken.sort("rank", "candidate", "created_ms").unique(key, keep="first", maintain_order=True)


def inputs_hashes(texts: Sequence[pl.Series]) -> pl.Series:
    """`inputs_hash` of each image, of the hashes of its inputs' texts: a series for each view of `from`, null where it has none."""
    first, *others = (one.fill_null(_NOTHING).to_numpy() for one in texts)
    return pl.Series("expected", mixed(first, *others), dtype=pl.UInt64)


def text_hashes(texts: pl.Series) -> pl.Series:
    """The hash of each text, `text_hash`."""
    return pl.Series(TEXTS, [text_hash(text) for text in texts], dtype=pl.UInt64)


def fusion_books(work: Work) -> FusionBooks:
    """Look through the captions of a run for those that take part in its fusions. `work.present` knows what else counts."""
    names = {name for ready in work.fusions for name in (ready.name, *ready.view.made_from)}
    pieces = [_hashed(work, piece.filter(pl.col("view").is_in(names))) for piece in caption_pieces(work.run, _COLUMNS)]
    rows = pl.concat([_SCHEMA.to_frame(), *pieces])
    counted = rows.filter("counts")
    views: dict[str, FusionDone] = {}
    stale: list[NDArray[np.uint64]] = []
    for ready in work.fusions:
        expected = _expected(counted, ready)
        mine = counted.filter(pl.col("view") == ready.name)
        mine = mine.join(expected, on="key", how="left", maintain_order="left")
        is_current = pl.col("inputs_hash").eq_missing(pl.col("expected"))
        old = mine.filter(~is_current)["caption"]
        stale.append(old.to_numpy())
        is_old = (pl.col("view") == ready.name) & pl.col("caption").is_in(old.unique().implode())
        counted = counted.filter(~is_old)
        ever = rows.filter(pl.col("view") == ready.name)["key"]
        views[ready.name] = _done(ready, mine.filter(is_current), expected, ever)
    return FusionBooks(views, distinct(np.concatenate(stale)) if stale else no_numbers())


def _hashed(work: Work, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows as _SCHEMA has them."""
    return rows.with_columns(
        text_hashes(rows["text"]),
        key=key_hashes(rows["image_key"]),
        rank=status_rank(),
        caption=pl.Series(caption_hashes(rows), dtype=pl.UInt64),
        counts=work.counts,
    ).select(_SCHEMA.names())


def _expected(rows: pl.DataFrame, ready: ReadyView) -> pl.DataFrame:
    """Of each image that has a caption to be made from: `key`, the hash of its inputs, and whether it has one of every view."""
    joined: pl.DataFrame | None = None
    for place, name in enumerate(ready.view.made_from):
        mine = standing(rows.filter(pl.col("view") == name), "key").select("key", pl.col(TEXTS).alias(str(place)))
        joined = mine if joined is None else joined.join(mine, on="key", how="full", coalesce=True)
    assert joined is not None
    is_there = [pl.col(str(place)).is_not_null() for place, name in enumerate(ready.view.made_from) if name != ORIGINAL]
    hashes = inputs_hashes([joined[str(place)] for place in range(len(ready.view.made_from))])
    return joined.select("key", hashes, whole=pl.all_horizontal(is_there) if is_there else pl.lit(True))


def _done(ready: ReadyView, rows: pl.DataFrame, expected: pl.DataFrame, ever: pl.Series) -> FusionDone:
    """`rows`: those that are made from what is expected."""
    is_failed = pl.col("rank") == STATUS_RANK[Status.failed]
    by_model = pl.col("candidate").filter(~is_failed, pl.col("candidate") < FALLBACK_CANDIDATE).n_unique()
    nothing_to_do = (pl.col("candidate") == FALLBACK_CANDIDATE) | pl.col("reason").eq_missing(
        pl.lit(Failure.no_input.value)
    )
    ended = rows.group_by("key").agg(done=(by_model >= ready.view.sampling.n) | nothing_to_do.any())
    done = distinct(ended.filter("done")["key"].to_numpy())
    open_ = expected.filter(~pl.Series(is_among(expected["key"].to_numpy(), done), dtype=pl.Boolean))
    failed = distinct(rows.filter(is_failed)["key"].to_numpy())
    return FusionDone(
        done,
        distinct(open_["key"].to_numpy()),
        distinct(open_.filter("whole")["key"].to_numpy()),
        distinct(ever.to_numpy()),
        failed[~is_among(failed, done)],
    )


def fusion_counts(work: Work) -> dict[str, dict[str, Any]]:
    """Of each fusion its images: `from`; `fused`, those with a fused caption that stands; `fallback`, whose caption the others
    have, and `unfused`, how many of them for each reason; `failed`, those with none.
    """
    rows = work.captions().filter(pl.col("view").is_in([ready.name for ready in work.fusions]))
    is_fallback = pl.col("candidate") == FALLBACK_CANDIDATE
    is_told = pl.col("status") != Status.failed
    images = rows.filter(pl.col("candidate") < RUNG_CANDIDATES).group_by("view", "image_key").agg(
        fused=(is_told & pl.col("unfused").is_null()).any(), unfused=pl.col("unfused").filter(is_fallback).first()
    )  # fmt: skip
    state = pl.when("fused").then(pl.lit("fused")).otherwise(pl.col("unfused").fill_null("failed"))
    told = images.group_by("view", state.alias("state")).len().sort("len", "state", descending=[True, False])
    found = told.collect(engine="streaming").rows()
    counts = {}
    for ready in work.fusions:
        mine = {state: number for view, state, number in found if view == ready.name}
        counts[ready.name] = {
            "from": list(ready.view.made_from),
            "fallback": ready.view.unfused,
            "fused": mine.pop("fused", 0),
            "failed": mine.pop("failed", 0),
            "unfused": mine,
        }
    return counts


def fusion_lines(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What `fusion_counts` found, in words."""
    lines = []
    for view, found in counts.items():
        fallen, failed = sum(found["unfused"].values()), found["failed"]
        why = ", ".join(f"{number:,} {reason}" for reason, number in found["unfused"].items())
        lines.append(
            f"{view}: {found['fused']:,} of {found['fused'] + fallen + failed:,} captions made from {', '.join(found['from'])}"
            + (f"; {fallen:,} images have that of {found['fallback']} instead ({why})" if fallen else "")
            + (f"; {failed:,} have none" if failed else "")
        )
    return lines


def fusion_lineage(row: Mapping[str, Any]) -> str:
    """What a row of tables.CAPTIONS says of its fusion, in words; "" for the caption of another view."""
    parents = " and ".join(f"{one['view']} #{one['candidate']}" for one in row.get("parents") or ())
    if not parents:
        return ""
    why = f"{row['unfused']}{': ' + row['detail'] if row['detail'] else ''}" if row.get("unfused") else ""
    if why and row["candidate"] == FALLBACK_CANDIDATE:
        return f"stands for what was to be made from {parents} ({why})"
    return f"made from {parents}" + (f", does not stand ({why})" if why else "")
