"""How experts ended with the images of a run: counted from its tables, for summary and report."""

from __future__ import annotations

from typing import Any

import polars as pl

from factory.runs.tables import ExpertState
from factory.work.work import Work


def expert_accounts(work: Work, since_ms: int) -> list[dict[str, Any]]:
    """Of each expert that prompts ask for: `name`, `kind`, images `found`, with `nothing` and `failed`, these by `reasons`, and
    of the images looked at since a time (milliseconds since 1970) their number, `images_now`, and the seconds of work, `seconds_now`.
    """
    return [_account(work, one.name, one.kind, one.fingerprint, since_ms) for one in work.experts]


def _account(work: Work, name: str, kind: str, fingerprint: str, since_ms: int) -> dict[str, Any]:
    rows = work.run.experts(name, fingerprint)
    counted = rows.group_by("state", "reason").agg(
        pl.len().alias("images"),
        (pl.col("created_ms") >= since_ms).sum().alias("now"),
        pl.col("seconds").filter(pl.col("created_ms") >= since_ms).sum().alias("seconds"),
    )
    table = counted.collect(engine="streaming")
    of_state = {state: int(table.filter(pl.col("state") == state)["images"].sum()) for state in ExpertState}
    failed = table.filter(pl.col("state") == ExpertState.failed).sort(["images", "reason"], descending=[True, False])
    return {
        "name": name,
        "kind": kind,
        **{str(state): number for state, number in of_state.items()},
        "reasons": dict(failed.select("reason", "images").iter_rows()),
        "images_now": int(table["now"].sum()),
        "seconds_now": round(float(table["seconds"].sum()), 2),
    }


def account_words(account: dict[str, Any]) -> str:
    """An expert's account in words."""
    images = account["found"] + account["nothing"] + account["failed"]
    words = f"found something in {account['found']:,} of {images:,} images"
    if account["failed"]:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in account["reasons"].items())
        words += f", failed on {account['failed']:,} ({reasons})"
    now = f"{account['images_now']:,} looked at this time" if account["images_now"] else "none looked at this time"
    return f"{words}; {now}" + (f", in {account['seconds_now']:,.0f} s of its workers" if account["images_now"] else "")
