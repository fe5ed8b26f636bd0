"""How varied a set of captions is, in one pass over a set of any size: numbers for a report, no scores."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.sets import minhash
from filters.sets.opener_share import openers
from filters.wording.same_text import same_text
from filters.wording.words import ngram, word_table

SKETCH: Final = 2**17
"""Hashes that a count of distinct things keeps: the count is exact up to them, and off by 0.3 % (one standard error) beyond."""
COMPRESSED: Final = 32 * 2**20
"""Bytes of captions, from the first on, that the compression ratio is measured on."""
OPENERS: Final = 2**16
"""Different openers that are counted at a time; the rarest give way, so that the commonest stay."""
PERCENTILES: Final = (5, 50, 95)
_NAME: Final = r"[\p{Ll}\p{N},;:] +(\p{Lu}[\p{L}\p{M}'’\-]+(?: +\p{Lu}[\p{L}\p{M}'’\-]+)*)"


def diversity(batches: Iterable[pl.DataFrame]) -> dict[str, Any]:
    """What the column `text` of all batches together is like; null text does not count.

    - `captions`; `words_mean`, `words_p5`, `words_p50` and `words_p95` of them
    - `distinct_1`, `distinct_2`: different words and pairs of words in a caption, over all (Li et al. 2016, "A
      Diversity-Promoting Objective Function"); falls as a set grows, so compare sets of one size
    - `exact_duplicates`: share of captions that say what another one said before (see `same_text`)
    - `compression_ratio`: bytes over bytes after zlib, captions on lines (Shaib et al. 2024, "Standardizing the
      Measurement of Text Diversity"), of the first 32 MiB; 2 to 3 for varied captions, more for templates
    - `opener`, `opener_share`: the commonest first four words, and their share of the captions that have four
    - `names`: different capitalised words, or runs of them, that follow a word in lower case: an estimate of how many
      entities are named, which misses those at the beginning of a sentence and takes any capitalised word for one

    The values that count different things are exact up to 131,072 of them and estimates beyond (0.3 % standard error).
    Those that have nothing to measure are null. Memory is that of a batch and some 20 MB.
    """
    words, pairs, texts, names = (_Distinct() for _ in range(4))
    captions = written = 0
    lengths = pl.DataFrame(schema={"words": pl.UInt32, "count": pl.UInt32})
    begun = pl.DataFrame(schema={"opener": pl.String, "count": pl.UInt32})
    with_opener = 0
    packer, packed = zlib.compressobj(), 0
    for batch in batches:
        rows = batch.select(pl.col("text").cast(pl.String)).drop_nulls().with_row_index("row")
        captions += rows.height
        table = word_table(rows)
        words.add(table["word"].hash())
        pairs.add(table.select(ngram(2).drop_nulls()).to_series())
        texts.add(same_text(rows["text"]).hash())
        names.add(rows["text"].str.extract_all(_NAME).explode(empty_as_null=False).str.extract(_NAME).hash())
        counts = rows.join(table.group_by("row").agg(words=pl.len()), on="row", how="left")
        lengths = _added(lengths, counts.select(pl.col("words").fill_null(0).cast(pl.UInt32)).to_series())
        first = openers(rows["text"]).drop_nulls()
        with_opener += len(first)
        begun = _added(begun, first).sort("count", "opener", descending=[True, False]).head(OPENERS)
        lines = "".join(f"{text}\n" for text in rows["text"] if written < COMPRESSED).encode()[: COMPRESSED - written]
        written += len(lines)
        packed += len(packer.compress(lines))
    packed += len(packer.flush())
    return {
        "captions": captions,
        **_lengths(lengths),
        "distinct_1": words.share(),
        "distinct_2": pairs.share(),
        "exact_duplicates": 1.0 - share if (share := texts.share()) is not None else None,
        "compression_ratio": written / packed if written else None,
        "opener": begun["opener"][0] if with_opener else None,
        "opener_share": begun["count"][0] / with_opener if with_opener else None,
        "names": round(names.count()),
    }


class _Distinct:
    """How many different hashes were added: the k lowest of them tell (Bar-Yossef et al. 2002)."""

    def __init__(self) -> None:
        self._lowest: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._added = 0

    def add(self, hashes: pl.Series) -> None:
        self._added += len(hashes)
        new = hashes.unique().to_numpy()
        if self._lowest.size == SKETCH:
            new = new[new < self._lowest[-1]]
        self._lowest = minhash.distinct(np.concatenate([self._lowest, new]))[:SKETCH]

    def count(self) -> float:
        if self._lowest.size < SKETCH:
            return float(self._lowest.size)
        return float((SKETCH - 1) * 2.0**64 / float(self._lowest[-1]))

    def share(self) -> float | None:
        return min(1.0, self.count() / self._added) if self._added else None


def _added(counts: pl.DataFrame, values: pl.Series) -> pl.DataFrame:
    """The counts with those of these values added."""
    name = counts.columns[0]
    found = values.alias(name).to_frame().group_by(name).agg(count=pl.len().cast(pl.UInt32))
    return pl.concat([counts, found]).group_by(name).agg(pl.col("count").sum())


def _lengths(lengths: pl.DataFrame) -> dict[str, float | int | None]:
    """Mean and percentiles of the captions' words: the least number that so many per cent do not exceed."""
    names = [f"words_p{percentile}" for percentile in PERCENTILES]
    total = int(lengths["count"].sum())
    if not total:
        return dict.fromkeys(["words_mean", *names])
    ordered = lengths.sort("words").with_columns(reached=pl.col("count").cum_sum())
    mean = int((lengths["words"].cast(pl.UInt64) * lengths["count"]).sum()) / total
    at = [ordered.filter(pl.col("reached") >= total * percentile / 100)["words"][0] for percentile in PERCENTILES]
    return {"words_mean": mean, **dict(zip(names, at, strict=True))}
