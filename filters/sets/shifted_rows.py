"""Captions that stand some rows away from the image they were made for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from filters.contract.filter import SetFilter
from filters.sets.spill import reslice
from filters.wording.words import WORD

WINDOW: Final = 256
"""Rows that are judged together."""
BLOCK: Final = 32 * WINDOW
_FEWEST: Final = 16  # rows of a window that have to have both a caption and a text of their image
_BUCKETS: Final = 2**20  # in which words are counted, by their hashes
_SAYS_SOMETHING: Final = r"\A\p{L}{3}|[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]"  # no number, article or particle


class ShiftedRows(SetFilter):
    """Whether captions fit the texts of other rows' images better than those of their own.

    **Finds** runs of rows in which captions and images slipped against each other: a line lost in one of two files that
    belong together, a batch joined from the wrong end. Rows come in the order of their source; it looks `max_shift` rows
    either way, in windows of 256 rows.

    **Needs a signal**: a text of the image that does not come from the caption. That is `inputs` (the alt-text that the
    prompt was filled in with), or else the words in `image_key` ("red-bus-at-station.jpg"). Captions of a window have to
    share words with those of their rows, or of the rows at one distance from them, more than with those of all others;
    rare words count more. Where neither is so (numbered files, captions in another language, fewer than 16 rows with
    both), there is no score, which is no sign that all is well. It cannot see captions that are shifted together with
    their texts, as those are that a captioner took from its prompt; nor shifts beyond `max_shift`, in sets that were
    shuffled after, or of fewer rows than a good part of a window.

    **Scores** 1 where captions share most with their own rows; else, in a shifted window, the ratio of what they share
    with their own rows to what they share with those at distance `shift`: near 0 where captions of neighbours have
    nothing in common. `own` and `best` are those shares: of the words of the text, weighted by rarity, the mean over the
    window. `shift` is positive where captions stand before the rows they fit. Null text has no score.

    **Defaults.** Eight rows either way; five standard errors, which one window in a million passes by chance for one of
    the 16 distances, were rows independent.

    **Takes** 4 MB of memory for the words, and a few blocks of 8,192 rows.

    **Example.** Where each caption stands one row after its image, all of them have shift -1.
    """

    name: ClassVar[str] = "shifted_rows"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("inputs", "image_key")
    evidence: ClassVar[dict[str, pl.DataType]] = {"shift": pl.Int32(), "own": pl.Float64(), "best": pl.Float64()}
    ordered: ClassVar[bool] = True

    max_shift: int = Field(
        8, ge=1, le=128, description="Rows, from 1 to 128, that are looked at before and after each."
    )
    min_errors: float = Field(
        5.0, ge=3, description="Standard errors, from 3, by which one mean has to exceed another."
    )

    def score_set(self, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path) -> Iterator[pl.DataFrame]:
        heights: list[int] = []
        counts = np.zeros(_BUCKETS, np.int64)
        for batch in batches():
            heights.append(batch.height)
            words = _words(self._rows(batch)["signal"], first=0)
            counts += np.bincount(_buckets(words), minlength=_BUCKETS)
        if not heights:
            return
        weights = np.log1p(sum(heights) / (counts + 1.0))
        yield from reslice(self._scores(batches, sum(heights), weights), heights)

    def _rows(self, batch: pl.DataFrame) -> pl.DataFrame:
        """`text`, and `signal`: the text of the image."""
        return self.inputs(batch).select("text", signal=pl.coalesce("inputs", "image_key"))

    def _scores(
        self, batches: Callable[[], Iterator[pl.DataFrame]], rows: int, weights: NDArray[np.float64]
    ) -> Iterator[pl.DataFrame]:
        """Scores in frames of BLOCK rows."""
        sizes = [min(BLOCK, rows - start) for start in range(0, rows, BLOCK)] or [0]
        none = pl.DataFrame(schema={"text": pl.String, "signal": pl.String})
        blocks = reslice(chain([none], map(self._rows, batches())), sizes)
        before, now = none, next(blocks)
        for after in (*blocks, none):
            signal = pl.concat([before.tail(self.max_shift), now, after.head(self.max_shift)])["signal"]
            overlaps = self._overlaps(now["text"], signal, min(before.height, self.max_shift), weights)
            yield self._judge(overlaps).select(pl.when(now["text"].is_not_null()).then(pl.all()))
            before, now = now, after

    def _overlaps(
        self, text: pl.Series, signal: pl.Series, margin: int, weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """What each caption shares with the texts around it: a row for each shift from the lowest, a column a caption.

        `signal` begins `margin` rows before `text`. NaN where one of the two is missing.
        """
        said = _words(text, first=margin + self.max_shift)
        there = _words(signal, first=self.max_shift)  # so that no row is negative
        size = signal.len() + 2 * self.max_shift
        whole = np.bincount(_row(there), weights[_buckets(there)], minlength=size)
        has_text = np.bincount(_row(said), minlength=size)[margin + self.max_shift :][: text.len()] > 0
        overlaps = np.empty((2 * self.max_shift + 1, text.len()))
        for place, shift in enumerate(range(-self.max_shift, self.max_shift + 1)):
            sought = said + (np.int64(shift) << np.int64(32))
            found = (
                there[np.minimum(np.searchsorted(there, sought), there.size - 1)] == sought
                if there.size
                else sought < 0
            )
            common = np.bincount(_row(said[found]), weights[_buckets(said[found])], minlength=size)
            own = slice(margin + self.max_shift, margin + self.max_shift + text.len())
            other = whole[own.start + shift : own.stop + shift]
            overlaps[place] = np.where(has_text & (other > 0), common[own] / np.maximum(other, 1e-9), np.nan)
        return overlaps

    def _judge(self, overlaps: NDArray[np.float64]) -> pl.DataFrame:
        """The score and evidence of each caption by the window it is in."""
        rows = overlaps.shape[1]
        windows = -(-rows // WINDOW)
        padded = np.full((overlaps.shape[0], windows * WINDOW), np.nan)
        padded[:, :rows] = overlaps
        judged = [self._judge_window(padded[:, at * WINDOW : (at + 1) * WINDOW]) for at in range(windows)]
        scores = pl.DataFrame(judged, schema={"score": pl.Float64, **self.evidence}, orient="row")
        return scores.select(pl.all().repeat_by(WINDOW).explode()).head(rows)

    def _judge_window(
        self, overlaps: NDArray[np.float64]
    ) -> tuple[float | None, int | None, float | None, float | None]:
        own = overlaps[self.max_shift]
        rows = np.count_nonzero(~np.isnan(overlaps), axis=1)
        means = np.nansum(overlaps, axis=1) / np.maximum(rows, 1)
        others = np.where((rows >= _FEWEST) & (np.arange(rows.size) != self.max_shift), means, -1.0)
        best = int(others.argmax())
        if rows[self.max_shift] < _FEWEST or others[best] < 0:
            return None, None, None, None
        rest = np.delete(overlaps, [self.max_shift, best], axis=0)
        usual = np.nansum(rest, axis=0) / np.maximum(np.count_nonzero(~np.isnan(rest), axis=0), 1)
        elsewhere = overlaps[best]
        if self._exceeds(elsewhere, own) and self._exceeds(elsewhere, usual):
            shift = best - self.max_shift
            return float(means[self.max_shift] / means[best]), shift, float(means[self.max_shift]), float(means[best])
        if self._exceeds(own, usual):
            return 1.0, 0, float(means[self.max_shift]), float(means[self.max_shift])
        return None, None, None, None

    def _exceeds(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
        """Whether the mean of `a` lies above that of `b` by so many standard errors of their difference."""
        difference = (a - b)[~np.isnan(a - b)]
        if difference.size < _FEWEST:
            return False
        return bool(difference.mean() > self.min_errors * difference.std() / np.sqrt(difference.size))


def _words(texts: pl.Series, first: int) -> NDArray[np.int64]:
    """The distinct words of each text in ascending order: the row, counted from `first`, above 32 bits of the word's hash."""
    words = (
        texts.to_frame("text")
        .select(
            row=pl.int_range(first, pl.len() + first),
            word=pl.col("text").str.to_lowercase().str.replace_all(r"[\-'’_]", " ").str.extract_all(WORD),
        )
        .explode("word", empty_as_null=False)
        .filter(pl.col("word").str.contains(_SAYS_SOMETHING))
    )
    hashes = words["word"].hash().to_numpy() >> np.uint64(33)
    return _distinct((words["row"].to_numpy() << np.int64(32)) | hashes.astype(np.int64))


def _row(words: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(words >> np.int64(32))


def _buckets(words: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(words % _BUCKETS)


def _distinct(words: NDArray[np.int64]) -> NDArray[np.int64]:
    words = np.sort(words)
    return np.asarray(words[np.concatenate([words[:1] == words[:1], words[1:] != words[:-1]])])
