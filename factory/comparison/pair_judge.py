"""A vision-language model is shown two captions beside their image, in both orders, and says which is better."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from factory.errors import RunError
from factory.pipeline import run_recipe
from factory.recipe import Recipe, recipe_yaml
from factory.runs.run import Run
from factory.runs.tables import CAPTION_KEY
from factory.work.fingerprint import fingerprint

PAIRS: Final = "pairs.parquet"
TEXTS: Final = "captions"
SECONDS: Final = "asked.json"

Images = Callable[[pl.DataFrame], Iterator[pl.DataFrame]]
"""Gives rows back, a few at a time, with the column `image` (the bytes; null where the image is gone)."""


@dataclass(frozen=True)
class AskedPairs:
    """What a judge said of pairs of captions.

    `rows`: image_key, text, text_before, `score` (the probability that `text` wins, mean of both orders), `order_bias` (how much it
    changes with the order); both in [0, 1], null where the judge did not answer. `seconds` that asking took, without the engine's
    start; None where that was not measured.
    """

    rows: pl.DataFrame
    seconds: float | None


def ask_pairs(
    pairs: pl.DataFrame, images: Images, judge: str | dict[str, Any], rubric: str, home: Path, quiet: bool = True
) -> AskedPairs:
    """Ask a judge about pairs of captions, once: what it said is kept and read again.

    Args:
        pairs: image_key, text, text_before; one row an image, both texts there and different.
        images: the pictures of these rows.
        judge: as of the filter vlm_judge.
        rubric: as of the filter vlm_judge with `compare: candidates`.
        home: where the comparison is kept, an ordinary run.

    Raises:
        RunError: an image is gone. FactoryError: the judge cannot be asked.
    """
    asked = {"compare": "candidates", "rubric": rubric, "judge": judge}
    name = fingerprint("wins", [pairs.select("image_key", "text", "text_before").rows(), asked])[:8]
    folder = home / f"wins-{name}"
    file = folder / PAIRS
    if not file.exists():
        _write_pairs(pairs, images, file)
    recipe = Recipe.model_validate(
        {
            "name": f"wins-{name}",
            "source": {"kind": "parquet", "path": str(file), "key": "image_key", "text": TEXTS},
            "original": True,
            "filters": [{"vlm_judge": asked}],
        }
    )
    is_new = not (folder / "run").exists()
    outcome = run_recipe(recipe, recipe_yaml(recipe), str(folder / "run"), quiet=quiet)
    work = outcome.work
    seconds = outcome.seconds["score"] - outcome.after.get("start", 0.0)
    took = _remembered(work.run, max(0.0, seconds) if is_new else None)
    (scorer,) = work.scorers
    scores = work.run.scores(scorer.name, scorer.fingerprint).select(*CAPTION_KEY, "score", "order_bias").collect()
    texts = work.captions().select(*CAPTION_KEY, said="text").collect()
    joined = texts.join(scores.unique(CAPTION_KEY, keep="any"), on=CAPTION_KEY, how="left")
    rows = pairs.join(
        joined.select("image_key", "said", "score", "order_bias"),
        left_on=["image_key", "text"],
        right_on=["image_key", "said"],
        how="left",
    )
    return AskedPairs(rows, took)


def _remembered(run: Run, seconds: float | None) -> float | None:
    """Of the first time: later ones only read what was said then. None where that was broken off, and so not measured."""
    known = run.read_json(SECONDS)
    if known is None:
        known = {"seconds": None if seconds is None else round(seconds, 3)}
        run.write_json(SECONDS, known)
    return None if known["seconds"] is None else float(known["seconds"])


def _write_pairs(pairs: pl.DataFrame, images: Images, file: Path) -> None:
    """Pictures with both captions as one Parquet file, which appears whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    rows = pairs.with_columns(pl.concat_list("text", "text_before").alias(TEXTS)).with_row_index("row")
    building = file.with_suffix(".building")
    schema = pa.schema({"image_key": pa.string(), "image": pa.binary(), TEXTS: pa.list_(pa.string())})
    with pq.ParquetWriter(building, schema) as writer:
        for batch in images(rows):
            if batch["image"].null_count():
                raise RunError(
                    "an image of the comparison is no longer in its source; put it back, or compare captions of images that are there"
                )
            writer.write_table(batch.select(schema.names).to_arrow().cast(schema))
    building.replace(file)
