"""How far a run is, from its tables and lock alone: for a page, and for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from factory.review.caption_index import CaptionIndex
from factory.runs import tables
from factory.runs.run import METRICS
from factory.runs.writer_lock import is_locked

LAST: Final = 6
"""Captions shown as the last ones."""
RECENT_PARTS: Final = 20
"""The rate is that of the newest parts."""


@dataclass(frozen=True)
class Live:
    """Counts of a run at this moment. `rate`: captions per second over the newest parts; None where there is no telling.

    `states`: view -> state -> captions; `shards` read to their end and `rows` in them; `quarantined`: reason -> images.
    """

    running: bool
    captions: int
    kept: int | None
    rate: float | None
    newest_ms: int | None
    states: dict[str, dict[str, int]]
    quarantined: dict[str, int]
    shards: int
    rows: int
    scored: dict[str, tuple[int, int]]  # filter -> parts scored, parts
    warnings: tuple[str, ...]
    last: pl.DataFrame


def live(index: CaptionIndex) -> Live:
    """Look at the run now."""
    index.look_again()
    rows = index.rows()
    run = index.run
    counts = rows.group_by("view", "status").len().sort("len", descending=True)
    states: dict[str, dict[str, int]] = {}
    for view, status, number in counts.iter_rows():
        states.setdefault(str(view), {})[str(status)] = number
    refused = run.quarantine(index.work.quarantine_fingerprints).group_by("reason").len().sort("len", descending=True)
    shards = run.shards()
    rate, newest = _rate(index)
    parts = run.parts("captions")
    metrics: dict[str, Any] = run.read_json(METRICS) or {}
    return Live(
        running=is_locked(run),
        captions=rows.height,
        kept=int(rows["kept"].sum() or 0) if rows["kept"].count() else None,
        rate=rate,
        newest_ms=newest,
        states=states,
        quarantined=dict(refused.collect().iter_rows()),
        shards=shards.height,
        rows=int(shards["rows"].sum() or 0),
        scored={one.name: (len(run.scored(one.name, one.fingerprint)), len(parts)) for one in index.work.scorers},
        warnings=tuple(metrics.get("selection", {}).get("warnings", [])),
        last=rows.filter(pl.col("part") >= max(0, len(parts) - 1)).tail(LAST),
    )


def _rate(index: CaptionIndex) -> tuple[float | None, int | None]:
    parts = index.run.parts("captions")[-RECENT_PARTS:]
    if not parts:
        return None, None
    paths = [f"captions/{part}.parquet" for part in parts]
    made = tables.completed(index.run.storage.scan(paths), tables.CAPTIONS).select("created_ms")
    first, last, count = made.select(
        pl.col("created_ms").min().alias("first"), pl.col("created_ms").max().alias("last"), pl.len()
    ).collect().row(0)  # fmt: skip
    seconds = (last - first) / 1000
    return (count / seconds if seconds > 0 else None), last


def prometheus(now: Live) -> Iterator[str]:
    """The same in the text format of Prometheus, a line each."""
    yield "# TYPE factory_running gauge"
    yield f"factory_running {int(now.running)}"
    yield "# TYPE factory_captions gauge"
    for view, states in now.states.items():
        for state, number in states.items():
            yield f'factory_captions{{view="{_label(view)}",state="{_label(state)}"}} {number}'
    yield "# TYPE factory_quarantined_images gauge"
    for reason, number in now.quarantined.items():
        yield f'factory_quarantined_images{{reason="{_label(reason)}"}} {number}'
    yield "# TYPE factory_shards_read gauge"
    yield f"factory_shards_read {now.shards}"
    yield "# TYPE factory_source_rows_read gauge"
    yield f"factory_source_rows_read {now.rows}"
    if now.rate is not None:
        yield "# TYPE factory_captions_per_second gauge"
        yield f"factory_captions_per_second {now.rate:.4f}"
    yield "# TYPE factory_scored_parts gauge"
    for name, (done, _) in now.scored.items():
        yield f'factory_scored_parts{{filter="{_label(name)}"}} {done}'


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
