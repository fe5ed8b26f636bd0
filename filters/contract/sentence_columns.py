"""The types of the columns that say something of each sentence of a caption."""

from typing import Final

import polars as pl

SENTENCES: Final = pl.List(pl.Struct({"start": pl.UInt32(), "end": pl.UInt32(), "score": pl.Float64()}))
"""The type of the evidence column `sentences`, which every filter that judges sentences by themselves returns: where each
lies in the text, in characters, the end exclusive, and its score in [0, 1] or null where it could not be judged."""


SENTENCE_LOGPROBS: Final = pl.List(
    pl.Struct(
        {"start": pl.UInt32(), "end": pl.UInt32(), "tokens": pl.UInt32(), "mean": pl.Float64(), "min": pl.Float64()}
    )
)
"""The type of the column `sentence_logprobs`: where each sentence lies, as in SENTENCES, how many tokens it has, and the
mean and the least natural log-probability of these, as the captioner wrote them."""
