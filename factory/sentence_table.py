"""The captions of a run sentence by sentence, with what every filter says of each."""

from __future__ import annotations

import polars as pl

from factory.plan import Plan
from factory.run import SELECTION
from factory.tables import CAPTION_KEY
from filters.sentences import judges_sentences, sentences

SENTENCE_KEY = [*CAPTION_KEY, "start"]


def sentence_table(plan: Plan, keys: pl.DataFrame | None = None) -> pl.DataFrame:
    """One row per sentence: shard, the caption's key, `start`, `end`, `sentence`, `kept` (its caption), and a column per filter.

    A filter that judges sentences gives each its own score; of any other a sentence has the score of its caption. In
    memory as a whole: `keys` (with CAPTION_KEY) says which captions.
    """
    rows = plan.run.captions(plan.caption_prints).select("shard", *CAPTION_KEY, "fingerprint", "text")
    if keys is not None:
        rows = rows.join(keys.lazy().select(CAPTION_KEY).unique(), on=CAPTION_KEY, how="semi")
    captions = rows.drop_nulls("text").collect(engine="streaming").unique(CAPTION_KEY, keep="first")
    decided = plan.run.storage.scan([SELECTION]).select(*CAPTION_KEY, "kept").collect(engine="streaming")
    captions = captions.join(decided.unique(CAPTION_KEY), on=CAPTION_KEY, how="left")
    found = [[(one.start, one.end, one.text) for one in sentences(text)] for text in captions["text"]]
    kind = pl.List(pl.Struct({"start": pl.UInt32, "end": pl.UInt32, "sentence": pl.String}))
    spans = pl.Series("span", [[dict(zip(("start", "end", "sentence"), one, strict=True)) for one in some] for some in found], dtype=kind)  # fmt: skip
    table = captions.drop("text").with_columns(spans).explode("span").drop_nulls("span").unnest("span")
    for scorer in plan.scorers:
        scores = plan.run.scores(scorer.name, scorer.fingerprint)
        mine = scores.rename({"caption_fingerprint": "fingerprint"})
        on = [*CAPTION_KEY, "fingerprint"]
        wanted = mine.join(captions.lazy().select(on), on=on, how="semi")
        table = table.join(wanted.select(*on, pl.col("score").alias(scorer.name)).collect(), on=on, how="left")
        if judges_sentences(scorer.filter) and "sentences" in wanted.collect_schema():
            parts = wanted.select(*on, "sentences").collect().explode("sentences").drop_nulls("sentences")
            own = parts.unnest("sentences").select(*on, "start", pl.col("score").alias("_own"))
            table = table.join(own, on=[*on, "start"], how="left")
            # A caption that was judged by its sentences says nothing of one that was not.
            table = table.with_columns(pl.col("_own").alias(scorer.name)).drop("_own")
    return table.sort(*SENTENCE_KEY)
