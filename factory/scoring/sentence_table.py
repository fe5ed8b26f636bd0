"""The captions of a run sentence by sentence, with what every filter says of each."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from factory.runs.run import SELECTION
from factory.runs.tables import CAPTION_KEY
from factory.work.scorer import Scorer
from factory.work.work import Work
from filters.calibration.calibration import Calibration
from filters.wording.length_bucket import LENGTH_BUCKET, length_bucket
from filters.wording.sentences import sentences

SENTENCE_KEY = [*CAPTION_KEY, "start"]
_ON = [*CAPTION_KEY, "fingerprint"]


def sentence_table(work: Work, keys: pl.DataFrame | None = None) -> pl.DataFrame:
    """One row per sentence: shard, the caption's key, what is known of it (`rung`, `cut_from`, `status`, LENGTH_BUCKET, and `kept`,
    null where nothing is decided), `start`, `end`, `sentence`, and a column per filter.

    A filter that judges sentences gives each its own score; of any other a sentence has the score of its caption. In
    memory as a whole: `keys` (with CAPTION_KEY) says which captions.
    """
    rows = work.captions()
    if keys is not None:
        rows = rows.join(keys.lazy().select(CAPTION_KEY).unique(), on=CAPTION_KEY, how="semi")
    length = length_bucket(pl.col("text")).alias(LENGTH_BUCKET)
    rows = rows.select("shard", *_ON, "rung", "cut_from", "status", length, "text").drop_nulls("text")
    captions = rows.collect(engine="streaming")
    captions = captions.unique(CAPTION_KEY, keep="first")
    if work.run.storage.exists(SELECTION):
        decided = work.run.storage.scan([SELECTION]).select(*_ON, "kept").collect(engine="streaming")
        captions = captions.join(decided.unique(_ON), on=_ON, how="left")
    else:
        captions = captions.with_columns(kept=pl.lit(None, pl.Boolean))
    table = by_sentence(captions)
    for scorer in work.scorers:
        table = _with_scores(table, scorer, work.run.scores(scorer.name, scorer.fingerprint))
    return table.sort(*SENTENCE_KEY)


def sentences_of_part(work: Work, part: str, captions: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The same of some captions of one part (CAPTION_KEY, `fingerprint`, `text`), with a column for each of these filters."""
    table = by_sentence(captions.select(*_ON, "text").drop_nulls("text"))
    for scorer in work.scorers:
        if scorer.name in names:
            try:
                scores = work.run.storage.scan([f"scores/{scorer.name}/{part}.{scorer.fingerprint}.parquet"])
                scores.collect_schema()
            except FileNotFoundError:
                table = table.with_columns(pl.lit(None, pl.Float64).alias(scorer.name))
                continue
            table = _with_scores(table, scorer, scores)
    return table


def by_sentence(captions: pl.DataFrame) -> pl.DataFrame:
    """Rows with `text` -> a row for each of their sentences, with `start`, `end` and `sentence` instead of it."""
    kind = pl.List(pl.Struct({"start": pl.UInt32, "end": pl.UInt32, "sentence": pl.String}))
    found = [
        [{"start": one.start, "end": one.end, "sentence": one.text} for one in sentences(text)]
        for text in captions["text"]
    ]
    spans = captions.drop("text").with_columns(pl.Series("span", found, dtype=kind))
    return spans.explode("span").drop_nulls("span").unnest("span")


def _with_scores(table: pl.DataFrame, scorer: Scorer, scores: pl.LazyFrame) -> pl.DataFrame:
    wanted = scores.rename({"caption_fingerprint": "fingerprint"})
    wanted = wanted.join(table.lazy().select(_ON).unique(), on=_ON, how="semi")
    if scorer.filter.judges_sentences and "sentences" in wanted.collect_schema():
        # A caption that was judged by its sentences says nothing of one that was not.
        parts = wanted.select(*_ON, "sentences").unique(_ON, keep="any").collect()
        own = parts.explode("sentences").drop_nulls("sentences").unnest("sentences")
        own = own.select(*_ON, "start", pl.col("score").alias(scorer.name))
        return table.join(own, on=[*_ON, "start"], how="left", maintain_order="left")
    whole = wanted.select(*_ON, pl.col("score").alias(scorer.name)).unique(_ON, keep="any").collect()
    return table.join(whole, on=_ON, how="left", maintain_order="left")


def least_by_caption(
    work: Work, part: str, captions: pl.DataFrame, reference: str, calibration: Calibration
) -> pl.Series:
    """The score of each caption by a calibration of sentences: that of its least sentence; null where it has none."""
    table = sentences_of_part(work, part, captions, calibration.reads).with_columns(
        calibration.score().alias(reference)
    )
    worst = table.group_by(*CAPTION_KEY, "fingerprint").agg(
        pl.when(pl.col(reference).is_null().any()).then(None).otherwise(pl.col(reference).min()).alias(reference)
    )
    return captions.join(worst, on=[*CAPTION_KEY, "fingerprint"], how="left", maintain_order="left")[reference]
