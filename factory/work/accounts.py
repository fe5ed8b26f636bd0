"""The books of a run: every source row in exactly one state, and the states add up to the rows."""

from __future__ import annotations

import polars as pl

from factory.runs.resolving import STATUS_RANK, status_rank
from factory.runs.tables import Status
from factory.work.plan import Plan


def image_states(plan: Plan) -> dict[str, int]:
    """Source rows by state: ok, truncated, failed, quarantined, pending, and the source_rows they add up to.

    An image with several views or candidates is in its worst state: failed before truncated before ok. `pending` are
    rows that were never reached (an interrupted run). A key that stands in two shards is two rows.
    """
    run = plan.work.run
    if not plan.work.views:
        return _original_states(plan)
    captions = run.captions(plan.work.first_fingerprints).select("shard", "image_key", status_rank().alias("rank"))
    refused = run.quarantine(plan.work.quarantine_fingerprints).select("shard", "image_key", "reason")
    repeated = refused.filter(pl.col("reason") == "duplicate_key").select(pl.len()).collect().item()
    by_image = captions.group_by("shard", "image_key").agg(pl.col("rank").max())
    # An image without a text of its own is none the worse for it where it has captions.
    missed = refused.filter(pl.col("reason") == "no_text").join(by_image, on=["shard", "image_key"], how="semi")
    refused = refused.join(missed, on=["shard", "image_key", "reason"], how="anti")
    blocked = refused.filter(pl.col("reason") != "duplicate_key").select("shard", "image_key").unique()
    by_image = by_image.join(blocked, on=["shard", "image_key"], how="anti")
    counts = dict(by_image.group_by("rank").len().collect().iter_rows())
    states = {str(status): int(counts.get(number, 0)) for status, number in STATUS_RANK.items()}
    states["quarantined"] = repeated + blocked.select(pl.len()).collect().item()
    total = _source_rows(plan)
    reached = sum(states.values())
    states["pending"] = max(0, total - reached) if total is not None else 0
    states["source_rows"] = total if total is not None else reached
    return states


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


def _source_rows(plan: Plan) -> int | None:
    """Rows of the source: as listed, or as counted when its shards were read."""
    if plan.work.limit is not None:
        return plan.source_rows
    known = dict(plan.work.run.shards().select("shard", "rows").iter_rows())
    rows = [listed.rows if listed.rows is not None else known.get(listed.shard.name) for listed in plan.shards]
    return None if any(count is None for count in rows) else sum(count or 0 for count in rows)
