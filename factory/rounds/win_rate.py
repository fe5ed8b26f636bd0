"""How often a judge prefers a round's captions to those of an earlier round, of the same held-out images, asked in both orders."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final

import polars as pl

from factory.errors import RunError
from factory.pipeline import run_recipe
from factory.recipe import Recipe, recipe_yaml
from factory.rounds.evaluation import Interval, Judged
from factory.rounds.loop_file import Wins
from factory.runs.tables import CAPTION_KEY
from factory.sources.pictures import Pictures
from factory.work.fingerprint import fingerprint

PAIRS: Final = "pairs.parquet"
TEXTS: Final = "captions"
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
        scored = _scored(differ, pictures, wins, rubric, home, quiet)
        answered = scored.drop_nulls("score")
        found[rubric] = {
            **Interval.of([*answered["score"].to_list(), *([0.5] * same), *silent]).as_json(),
            "same": same,
            "unanswered": scored.height - answered.height,
            "order_bias": _rounded(answered["order_bias"].mean()),
        }
    return found


def _scored(differ: pl.DataFrame, pictures: Pictures, wins: Wins, rubric: str, home: Path, quiet: bool) -> pl.DataFrame:
    """image_key, and the probability that `text` wins with its `order_bias`; null where the judge did not answer."""
    asked = {"compare": "candidates", "rubric": rubric, "judge": wins.judge}
    name = fingerprint("wins", [differ.rows(), asked])[:8]
    folder = home / f"wins-{name}"
    pairs = folder / PAIRS
    if not pairs.exists():
        _write_pairs(differ, pictures, pairs)
    recipe = Recipe.model_validate(
        {
            "name": f"wins-{name}",
            "source": {"kind": "parquet", "path": str(pairs), "key": "image_key", "text": TEXTS},
            "original": True,
            "filters": [{"vlm_judge": asked}],
        }
    )
    outcome = run_recipe(recipe, recipe_yaml(recipe), str(folder / "run"), quiet=quiet)
    compared = outcome.work
    (scorer,) = compared.scorers
    scores = compared.run.scores(scorer.name, scorer.fingerprint).select(*CAPTION_KEY, "score", "order_bias").collect()
    texts = compared.captions().select(*CAPTION_KEY, said="text").collect()
    joined = texts.join(scores.unique(CAPTION_KEY, keep="any"), on=CAPTION_KEY, how="left")
    return differ.join(
        joined.select("image_key", "said", "score", "order_bias"),
        left_on=["image_key", "text"],
        right_on=["image_key", "said"],
        how="left",
    )


def _write_pairs(differ: pl.DataFrame, pictures: Pictures, file: Path) -> None:
    """Pictures with both captions as one Parquet file, which appears whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    shards = {key: listed.shard.name for listed in pictures.shards for key in pictures.keys(listed.shard)}
    rows = differ.with_columns(
        pl.col("image_key").replace_strict(shards, default="", return_dtype=pl.String).alias("shard"),
        pl.concat_list("text", "text_before").alias(TEXTS),
    ).with_row_index("row")
    building = file.with_suffix(".building")
    schema = pa.schema({"image_key": pa.string(), "image": pa.binary(), TEXTS: pa.list_(pa.string())})
    with pq.ParquetWriter(building, schema) as writer:
        for batch in pictures.beside(rows):
            if batch["image"].null_count():
                raise RunError(
                    "a held-out image is no longer in the source of evaluate.recipe; put it back, or start a new loop"
                )
            writer.write_table(batch.select(schema.names).to_arrow().cast(schema))
    building.replace(file)


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)
