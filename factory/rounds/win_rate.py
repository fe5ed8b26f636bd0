"""How often a judge prefers a round's captions to those of an earlier round, of the same held-out images, asked in both orders."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl

from factory.comparison.pair_judge import ask_pairs
from factory.rounds.evaluation import Interval, Judged
from factory.rounds.loop_file import Wins
from factory.sources.pictures import Pictures

SEED: Final = 20240717


def win_rates(
    now: Judged, before: Judged, pictures: Pictures, wins: Wins, home: Path, quiet: bool = True
) -> dict[str, Any]:
    """Compare two models' captions by a judge, each two of an image side by side in both orders.

    Args:
        now, before: their captions of the held-out images.
        pictures: the held-out images.
        wins: the judge and what it is asked.
        home: where the comparison is kept, an ordinary run a rubric; done once.

    Returns:
        rubric -> mean with its 95 % interval (1: `now` always wins; an image counts once, equal captions one half),
        `images`, `same` (of them with equal captions), `unanswered` (left out), `order_bias` (mean change of the probability of winning
        with the order, in [0, 1]). VILA² asks the same of people and GPT-4V (arXiv 2407.17453).
    """
    both = now.images.join(before.images, on="image_key", suffix="_before").select("image_key", "text", "text_before")
    keys = sorted(both["image_key"].to_list())
    chosen = random.Random(SEED).sample(keys, min(wins.images, len(keys)))
    both = both.filter(pl.col("image_key").is_in(chosen)).sort("image_key")
    differ = both.filter(pl.col("text") != pl.col("text_before"), pl.min_horizontal("text", "text_before") != "")
    empty = both.filter(pl.col("text") != pl.col("text_before"), pl.min_horizontal("text", "text_before") == "")
    same = both.filter(pl.col("text") == pl.col("text_before")).height
    silent = (empty["text"] != "").cast(pl.Float64).to_list()  # a caption wins over none
    found: dict[str, Any] = {}
    for rubric in wins.rubrics if differ.height else ():
        scored = ask_pairs(differ, partial(_beside, pictures), wins.judge, rubric, home, quiet).rows
        answered = scored.drop_nulls("score")
        found[rubric] = {
            **Interval.of([*answered["score"].to_list(), *([0.5] * same), *silent]).as_json(),
            "same": same,
            "unanswered": scored.height - answered.height,
            "order_bias": _rounded(answered["order_bias"].mean()),
        }
    return found


def _beside(pictures: Pictures, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows with their images, wherever in the source these are."""
    shards = {key: listed.shard.name for listed in pictures.shards for key in pictures.keys(listed.shard)}
    places = pl.col("image_key").replace_strict(shards, default="", return_dtype=pl.String)
    yield from pictures.beside(rows.with_columns(places.alias("shard")))


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)
