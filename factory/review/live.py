"""How far a run is, from its tables and lock alone: for a page, and for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from factory.errors import RunError
from factory.review.caption_index import CaptionIndex
from factory.runs import tables
from factory.runs.run import METRICS, PROGRESS, Run
from factory.runs.writer_lock import is_locked

LAST: Final = 6
"""Captions shown as the last ones."""
WHILE_CAPTIONING: Final = (
    "detail", "done", "total", "images_per_s", "tokens_per_s", "left_s", "engine_deaths", "last_words",
)  # fmt: skip
"""Of `Progress.now`, what is there only while a run captions."""
STALE_S: Final = 60.0
"""What a run said of itself longer ago is nothing that goes on."""
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
    now: Mapping[str, Any]  # of a running run, as `Progress.now` has it; else empty

    @property
    def stages(self) -> list[Mapping[str, Any]]:
        """`name` and `seconds` of what the run did so far; the last goes on."""
        return list(self.now.get("stages", ()))

    @property
    def engines(self) -> list[Mapping[str, Any]]:
        """`model`, `waiting` rows and the `most` it is given at once, of each running engine."""
        return list(self.now.get("engines", ()))

    @property
    def left(self) -> str | None:
        """Time until all is captioned, in words; None where nothing tells."""
        seconds = self.now.get("left_s")
        return None if seconds is None else in_words(seconds)


def in_words(seconds: float) -> str:
    """A duration: '2 h 5 min', '3 min 20 s', '12 s'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


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
    running = is_locked(run)
    now = dict.fromkeys(WHILE_CAPTIONING) | (_now(run) if running else {})
    return Live(
        running=running,
        captions=rows.height,
        kept=int(rows["kept"].sum() or 0) if rows["kept"].count() else None,
        rate=now.get("images_per_s") or rate,
        newest_ms=newest,
        states=states,
        quarantined=dict(refused.collect().iter_rows()),
        shards=shards.height,
        rows=int(shards["rows"].sum() or 0),
        scored={one.name: (len(run.scored(one.name, one.fingerprint)), len(parts)) for one in index.work.scorers},
        warnings=(*_trouble(now), *metrics.get("selection", {}).get("warnings", ())),
        now=now,
        last=rows.filter(pl.col("part") >= max(0, len(parts) - 1)).tail(LAST),
    )


def _now(run: Run) -> dict[str, Any]:
    """What the running process says of itself; nothing where what lies there is older, of one that was killed."""
    try:
        found = run.read_json(PROGRESS)
    except RunError:
        return {}
    return found if isinstance(found, dict) and time.time() - found.get("at", 0) < STALE_S else {}


def _trouble(now: Mapping[str, Any]) -> Iterator[str]:
    deaths = now["engine_deaths"]
    if deaths:
        yield f"Engines died {deaths:,} times and were started again. The last words: {now.get('last_words') or 'none'}"


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
    if now.stages:
        yield "# TYPE factory_stage_seconds gauge"
        yield f'factory_stage_seconds{{stage="{_label(now.stages[-1]["name"])}"}} {now.stages[-1]["seconds"]}'
    gauges = {"factory_seconds_left": "left_s", "factory_tokens_per_second": "tokens_per_s", "factory_images_done": "done",
              "factory_images_total": "total", "factory_engine_deaths": "engine_deaths"}  # fmt: skip
    for gauge, name in gauges.items():
        if now.now.get(name) is not None:
            yield f"# TYPE {gauge} gauge"
            yield f"{gauge} {now.now[name]:.6g}"
    if now.engines:
        yield "# TYPE factory_engine_waiting_rows gauge"
        for number, engine in enumerate(now.engines):
            yield f'factory_engine_waiting_rows{{engine="{number}",model="{_label(model_name(engine["model"]))}"}} {engine["waiting"]}'


def model_name(name: str) -> str:
    """A model for people: of a directory its last part."""
    is_path = name.startswith(("/", ".", "~")) or "://" in name
    return name.rstrip("/").rsplit("/", 1)[-1] if is_path else name


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
