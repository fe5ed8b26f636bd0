"""How far a run is, from its tables and lock file alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from factory.runs.run import METRICS, RECIPE_LOCK, Run
from factory.runs.writer_lock import is_locked
from factory.sources.shard_keys import DUPLICATE


@dataclass(frozen=True)
class RunStatus:
    """Counts of a run. `views`: view -> state -> images; `quarantined`: reason -> images."""

    url: str
    name: str
    running: bool
    views: dict[str, dict[str, int]]
    quarantined: dict[str, int]
    metrics: dict[str, Any] | None

    def summary(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "run": self.url,
            "name": self.name,
            "running": self.running,
            "views": self.views,
            "quarantined": self.quarantined,
            "last": self.metrics,
        }

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"{self.name} in {self.url}: {'running' if self.running else 'not running'}"]
        for view, states in self.views.items():
            lines.append(
                f"  view {view}: "
                + (", ".join(f"{number:,} {state}" for state, number in states.items()) or "no captions yet")
            )
        if self.quarantined:
            listed = ", ".join(f"{number:,} {reason}" for reason, number in self.quarantined.items())
            lines.append(f"  quarantined: {sum(self.quarantined.values()):,} ({listed})")
        if self.metrics:
            selection = self.metrics.get("selection", {})
            lines.append(f"  selection: {selection.get('kept', 0):,} of {selection.get('captions', 0):,} captions kept")
            if self.metrics.get("release"):
                lines.append(f"  release: {self.metrics['release']['url']}")
        return lines


def run_status(run: Run) -> RunStatus:
    """Count a run's rows under the fingerprints of its last recipe."""
    lock = run.read_json(RECIPE_LOCK)
    views: dict[str, dict[str, int]] = {}
    for name, view in lock["views"].items():
        rows = run.captions(list(view["captions"].values())).filter(pl.col("view") == name)
        rank = pl.col("status").replace_strict({"ok": 0, "truncated": 1, "failed": 2}, return_dtype=pl.Int8).max()
        states = (
            rows.group_by("shard", "image_key")
            .agg(rank.alias("rank"))
            .group_by("rank")
            .len()
            .sort("rank")
            .collect(engine="streaming")
        )
        views[name] = {("ok", "truncated", "failed")[place]: number for place, number in states.iter_rows()}
    fingerprints = [*{view["image"] for view in lock["views"].values()}, DUPLICATE]
    refused = run.quarantine(fingerprints).group_by("reason").len().sort("len", descending=True).collect()
    return RunStatus(run.url, lock["name"], is_locked(run), views, dict(refused.iter_rows()), run.read_json(METRICS))
