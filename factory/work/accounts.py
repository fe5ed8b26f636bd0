"""The books of a run: every source row in exactly one state, and the states add up to the rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from factory.images.reasons import Reason
from factory.runs import tables
from factory.runs.hash_sets import is_among
from factory.runs.resolving import STATUS_RANK, status_rank
from factory.runs.tables import Status
from factory.sources.shard_keys import content_hashes, key_hashes
from factory.work.done import caption_pieces
from factory.work.plan import Plan
from factory.work.present import COLUMNS, no_numbers
from factory.work.work import Work

if TYPE_CHECKING:
    from numpy.typing import NDArray


def image_states(plan: Plan) -> dict[str, int]:
    """Source rows by state: ok, truncated, failed, quarantined, pending, and the source_rows they add up to.

    Of the rows that the source has now, under the limit. An image with several views or candidates is in its worst state:
    failed before truncated before ok. `pending` are rows that were never reached (an interrupted run). A key that stands in
    two shards is two rows.

    Args:
        plan: made after captioning (`plan_again`).
    """
    work = plan.work
    if not work.seeing:
        return _original_states(plan)
    assert work.present is not None
    worst = _worst_states(work)
    refused = _refused(work)
    keys = work.present.keys
    counts: Counter[str] = Counter()
    place = np.searchsorted(worst.keys, keys)
    at = np.minimum(place, max(0, len(worst.keys) - 1))
    is_made = worst.keys[at] == keys if len(worst.keys) else np.zeros(len(keys), dtype=bool)
    is_refused = is_among(keys, refused.always) | (~is_made & is_among(keys, refused.unless_made))
    ranks = worst.ranks[at[is_made & ~is_refused]]
    for status, rank in STATUS_RANK.items():
        counts[status] = int((ranks == rank).sum())
    counts[Status.quarantined] = int(is_refused.sum()) + plan.held.repeats
    states = {str(status): counts[status] for status in (*STATUS_RANK, Status.quarantined)}
    total = plan.source_rows
    reached = sum(states.values())
    states["pending"] = max(0, total - reached) if total is not None else 0
    states["source_rows"] = total if total is not None else reached
    return states


def cost(work: Work) -> float | None:
    """What all captions of a run cost, with those that no longer count, in the money of the servers' prices; None for no price."""
    paid = (
        work.run.scan("captions", tables.CAPTIONS).select(pl.col("cost").sum(), told=pl.col("cost").count()).collect()
    )
    return float(paid["cost"][0]) if paid["told"][0] else None


@dataclass(frozen=True)
class _Worst:
    """Hashes of the keys that have captions, sorted, and the rank of the worst of each."""

    keys: NDArray[np.uint64]
    ranks: NDArray[np.int8]


def _worst_states(work: Work) -> _Worst:
    """Of the captions that count; of one that was tried again, the better."""
    frames = []
    first = pl.col("fingerprint").is_in(work.first_fingerprints)
    columns = [*dict.fromkeys([*COLUMNS, "candidate", "status"])]
    for rows in caption_pieces(work.run, columns):
        counted = rows.filter(first & work.counts)
        caption = pl.concat_str("view", pl.col("candidate").cast(pl.String), separator="\x1f").hash(3)
        frames.append(
            counted.select(
                key_hashes(counted["image_key"]).alias("key"), caption.alias("caption"), status_rank().alias("rank")
            )
        )
    if not frames:
        return _Worst(no_numbers(), np.zeros(0, dtype=np.int8))
    every = pl.concat(frames).lazy()
    best = every.group_by("key", "caption").agg(pl.col("rank").min())
    worst = best.group_by("key").agg(pl.col("rank").max()).sort("key").collect(engine="streaming")
    return _Worst(worst["key"].to_numpy(), worst["rank"].to_numpy())


@dataclass(frozen=True)
class _Refused:
    """Hashes of the keys in quarantine; `unless_made`: for want of a text, which is no matter where there are captions."""

    always: NDArray[np.uint64]
    unless_made: NDArray[np.uint64]


def _refused(work: Work) -> _Refused:
    rows = work.run.scan("quarantine", tables.QUARANTINE)
    rows = rows.filter(
        pl.col("fingerprint").is_in(work.quarantine_fingerprints), pl.col("reason") != Reason.duplicate_key
    )
    frame = rows.select("image_key", "image_sha256", "reason").collect(engine="streaming")
    assert work.present is not None
    keys = key_hashes(frame["image_key"]).to_numpy()
    contents = frame.select(content_hashes(pl.col("image_sha256")).alias("content"))["content"].to_numpy()
    is_there = work.present.holds(keys, contents)
    is_textless = (frame["reason"] == Reason.no_text).to_numpy()
    return _Refused(keys[is_there & ~is_textless], keys[is_there & is_textless])


def _original_states(plan: Plan) -> dict[str, int]:
    """The books of a run that only reads the source's own texts, from what was written when each shard was read."""
    names = [listed.shard.name for listed in plan.original_shards]
    read = plan.work.run.originals(plan.work.original_fingerprint).filter(pl.col("shard").is_in(names))
    rows, refused = sum(read["rows"]), sum(read["refused"])
    pending = sum(
        listed.take or listed.rows or 0
        for listed in plan.original_shards
        if listed.shard.name not in set(read["shard"])
    )
    states = {Status.ok: rows - refused, Status.truncated: 0, Status.failed: 0, Status.quarantined: refused}
    return {str(name): number for name, number in states.items()} | {"pending": pending, "source_rows": rows + pending}
