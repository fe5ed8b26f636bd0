"""How varied a run's captions are, all of them and those kept."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from factory.runs.run import SELECTION
from factory.runs.tables import CAPTION_KEY
from factory.work.work import Work

VARIETY_CAPTIONS: Final = 50_000
VARIETY: Final = {
    "words_p5": "shortest 5 % have up to (words)",
    "words_p50": "half have up to",
    "words_p95": "95 % have up to",
    "distinct_1": "different words, of all words",
    "distinct_2": "different word pairs, of all pairs",
    "exact_duplicates": "repeat another caption",
    "compression_ratio": "compression",
    "names": "different names of people and places",
    "opener_share": "share of the commonest beginning",
    "opener": "which is",
}


def variety(work: Work, metrics: dict[str, Any]) -> list[dict[str, str]]:
    """How varied the captions are, all of them and those kept, each by a sample of the same size."""
    from filters.sets.diversity import diversity

    kept = int(metrics["selection"].get("kept", 0))
    total = int(metrics["selection"].get("captions", 0))
    size = min(VARIETY_CAPTIONS, kept)
    if not size:
        return []
    keys = ["shard", *CAPTION_KEY]
    identity = pl.concat_str(keys, separator="\x1f").hash(29).alias("identity")
    decided = work.run.storage.scan([SELECTION]).select(identity, "kept")
    texts = work.captions().select(identity, "text")
    drawn = pl.col("identity") / 2.0**64
    chosen = {
        "all captions": decided.filter(drawn < size / total),
        "kept": decided.filter("kept", drawn < size / kept),
    }
    table = []
    for name, rows in chosen.items():
        sample = rows.collect(engine="streaming")["identity"]
        found = diversity(
            [texts.filter(pl.col("identity").is_in(sample.implode())).select("text").collect(engine="streaming")]
        )
        shown = {column: found[column] for column in VARIETY}
        table.append({"captions": name} | {VARIETY[column]: _shown(value) for column, value in shown.items()})
    return table


def _shown(value: float | int | str | None) -> str:
    if value is None:
        return ""
    return (
        f"{value:.3g}"
        if isinstance(value, float) and value < 10
        else f"{value:,.0f}"
        if not isinstance(value, str)
        else value
    )
