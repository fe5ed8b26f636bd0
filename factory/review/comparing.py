"""Two makers of captions on the same images, judged blind by people: which has fewer made-up things, and which says more."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from exports.local_release import find_release
from exports.manifest import MANIFEST
from exports.release import ReleaseError
from exports.storage import Storage
from factory.errors import RunError
from factory.images.prepare import Rejection, prepare_image, thumbnail
from factory.recipe import ORIGINAL_IMAGE
from factory.review.picture_shelf import MAX_PIXELS, SIDES, PictureShelf
from factory.runs.growing_part import GrowingPart
from factory.runs.run import RECIPE_LOCK, SELECTION, Run
from factory.runs.tables import CAPTION_KEY, CAPTIONS, COMPARISONS
from factory.work.work import Work, reopen
from filters.calibration.binomial import interval

COMPARISON_TABLE: Final = "comparisons"
QUESTIONS: Final = {
    "made_up": "Which has fewer made-up things?",
    "says_more": "Which says more?",
}
"""The two questions of VILA² (arXiv 2407.17453): hallucination, and detail. A caption that says more can easily make up more."""
ANSWERS: Final = ("a", "b", "tie")
CONFIDENCE: Final = 0.95
KEYS: Final = ("image_key", "id", "key")
TEXTS: Final = ("caption", "text")
_PAIR: Final = ["image_key", "texts"]


@dataclass(frozen=True)
class Side:
    """One of the two: `name` as it was given, and a caption for each image (image_key, shard, text)."""

    name: str
    texts: pl.DataFrame
    work: Work | None = None
    images: tuple[Path, ...] = ()  # Parquet files with `id` and `image`, of a release

    def picture(self, shelf: PictureShelf | None, shard: str, key: str, size: str) -> bytes | None:
        """A JPEG of an image; None where this side has none."""
        if shelf is not None:
            return shelf.picture(shard, key, size)
        if not self.images:
            return None
        found = (
            pl.scan_parquet(list(self.images), glob=False).filter(pl.col("id") == key).select("image").head(1).collect()
        )
        cell = found.item() if found.height else None
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not data:
            return None
        prepared = prepare_image(data, ORIGINAL_IMAGE.model_copy(update={"max_pixels": MAX_PIXELS}))
        return None if isinstance(prepared, Rejection) else thumbnail(prepared, SIDES[size])


def side_of(target: str) -> Side:
    """A run (its kept captions, one per image: of the first view that has one, or of the view named as RUN#view), a
    release's directory (its column caption), or a Parquet, CSV or JSON Lines file (image_key or id; caption or text).

    Raises RunError where it is none of these.
    """
    url, _, view = target.partition("#")
    storage = Storage(url)
    if storage.exists(RECIPE_LOCK):
        return _of_run(target, Run(storage), view)
    if (Path(url).is_dir() and (Path(url) / MANIFEST).exists()) or _has_versions(url):
        return _of_release(target, url)
    kind = posixpath.splitext(url)[1].lower()
    readers: dict[str, Any] = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}
    if kind not in readers or not Storage(posixpath.dirname(url) or ".").exists(posixpath.basename(url)):
        raise RunError(f"{target}: no run, release, or file of captions ({', '.join(readers)}) is there")
    with Storage(posixpath.dirname(url) or ".").open(posixpath.basename(url)) as file:
        rows: pl.DataFrame = readers[kind](file)
    key = next((name for name in KEYS if name in rows.columns), None)
    text = next((name for name in TEXTS if name in rows.columns), None)
    if key is None or text is None:
        raise RunError(
            f"{target}: needs a column {' or '.join(KEYS)}, and {' or '.join(TEXTS)}; it has {', '.join(rows.columns)}"
        )
    texts = rows.select(
        pl.col(key).cast(pl.String).alias("image_key"), pl.lit("").alias("shard"), pl.col(text).alias("text")
    )
    return Side(target, _one_each(texts))


def _has_versions(url: str) -> bool:
    try:
        find_release(url)
    except (ReleaseError, OSError):
        return False
    return True


def _of_release(target: str, url: str) -> Side:
    release = find_release(url)
    files = tuple(sorted((release.folder / "data").glob("train-*.parquet")))
    rows = pl.scan_parquet(list(files), glob=False).select(
        pl.col("id").alias("image_key"), pl.lit("").alias("shard"), pl.col("caption").alias("text")
    )
    return Side(target, _one_each(rows.collect()), None, files)


def _of_run(target: str, run: Run, view: str) -> Side:
    work = reopen(run)
    if view and view not in work.view_names:
        raise RunError(f"{target}: the run has the views {', '.join(work.view_names)}")
    if not run.storage.exists(SELECTION):
        raise RunError(f"{target}: nothing is selected yet; finish the run")
    order = {name: place for place, name in enumerate(work.view_names)}
    kept = run.storage.scan([SELECTION]).filter("kept")
    if view:
        kept = kept.filter(pl.col("view") == view)
    on = ["shard", *CAPTION_KEY, "fingerprint"]
    texts = run.scan("captions", CAPTIONS).select(*on, "text").drop_nulls("text")
    rows = kept.select(on).join(texts, on=on, how="inner").collect(engine="streaming")
    place = pl.col("view").replace_strict(order, default=len(order), return_dtype=pl.Int32)
    return Side(target, _one_each(rows.sort("image_key", place, "candidate")), work)


def _one_each(rows: pl.DataFrame) -> pl.DataFrame:
    rows = rows.drop_nulls(["image_key", "text"]).filter(pl.col("text") != "")
    return rows.select("image_key", "shard", "text").unique("image_key", keep="first", maintain_order=True)


@dataclass(frozen=True, slots=True)
class Rate:
    """How often the first was preferred: of `a + b` answers that were no tie, with Clopper and Pearson's interval at 95 %."""

    question: str
    a: int
    b: int
    tie: int
    share: float | None
    low: float
    high: float

    def line(self, first: str, second: str) -> str:
        """For a terminal."""
        if self.share is None:
            return f"{QUESTIONS[self.question]:34} no answer but {self.tie:,} ties"
        return (
            f"{QUESTIONS[self.question]:34} {first} {self.a:,}, {second} {self.b:,}, tie {self.tie:,}: the first in {self.share:.1%} "
            f"({self.low:.1%} to {self.high:.1%}) of those that are no tie"
        )


class Comparison:
    """A draw of pairs and the answers about it, kept in the run of the first side, or where `out` says."""

    def __init__(self, first: str, second: str, count: int = 200, out: str | None = None, seed: int = 0) -> None:
        self.sides = {"a": side_of(first), "b": side_of(second)}
        self.run = Run(Storage(out)) if out else self._own_run()
        self.seed = seed
        a, b = (side.texts for side in self.sides.values())
        both = a.join(b.rename({"shard": "shard_b", "text": "text_b"}), on="image_key", how="inner")
        self.common = both.height
        different = both.filter(pl.col("text") != pl.col("text_b"))
        self.same = both.height - different.height
        if different.is_empty():
            raise RunError(
                f"{first} and {second} have {self.common:,} images in common and no two different captions of one; nothing to compare"
            )
        order = pl.col("image_key").hash(seed + 1)
        pairs = different.sort(order, "image_key").head(count)
        texts = [_digest(one, two) for one, two in pairs.select("text", "text_b").iter_rows()]
        is_left = (pl.col("image_key").hash(seed + 2) % 2) == 0
        left = pl.when(is_left).then(pl.lit("a")).otherwise(pl.lit("b")).alias("left")
        self.pairs = pairs.with_columns(pl.Series("texts", texts, pl.String), left)
        self._table = GrowingPart(self.run, COMPARISON_TABLE, COMPARISONS)

    def _own_run(self) -> Run:
        for side in self.sides.values():
            if side.work is not None:
                return side.work.run
        raise RunError("neither side is a run in which the answers could be kept; say where: --out DIR")

    def next_pair(self, annotator: str) -> dict[str, Any] | None:
        """The first pair and question without an answer of this person; None where all have one."""
        answered = self._mine(annotator)
        for question in QUESTIONS:
            done = answered.filter(pl.col("question") == question).select(_PAIR)
            left = self.pairs.join(done, on=_PAIR, how="anti", maintain_order="left")
            if left.height:
                row = left.row(0, named=True)
                texts = {"a": row["text"], "b": row["text_b"]}
                right = "b" if row["left"] == "a" else "a"
                return {**row, "question": question, "left_text": texts[row["left"]], "right_text": texts[right]}
        return None

    def done(self, annotator: str) -> tuple[int, int]:
        """Answers of this person, and those that are wanted."""
        mine = self._mine(annotator).join(self.pairs.select(_PAIR), on=_PAIR, how="semi")
        return mine.height, self.pairs.height * len(QUESTIONS)

    def answer(self, annotator: str, image_key: str, question: str, chosen: str) -> bool:
        """Write down which was chosen: left, right or tie. False where the draw has no such image or question."""
        found = self.pairs.filter(pl.col("image_key") == image_key)
        if found.is_empty() or question not in QUESTIONS or chosen not in ("left", "right", "tie"):
            return False
        row = found.row(0, named=True)
        left = row["left"]
        other = "b" if left == "a" else "a"
        answer = {"left": left, "right": other, "tie": "tie"}[chosen]
        self._table.append([{**self._named(row), "question": question, "answer": answer, "annotator": annotator}])
        return True

    def undo(self, annotator: str) -> bool:
        """Take back the last answer of this person."""
        mine = self._mine(annotator)
        if mine.is_empty():
            return False
        self._table.append([{**mine.tail(1).row(0, named=True), "answer": "undone"}])
        return True

    def rates(self) -> list[Rate]:
        """Of each question, how often the first side was preferred, by all people together."""
        answers = self._answers().join(self.pairs.select(_PAIR), on=_PAIR, how="semi")
        return [self._rate(question, answers.filter(pl.col("question") == question)) for question in QUESTIONS]

    def _rate(self, question: str, answers: pl.DataFrame) -> Rate:
        counts: Mapping[str, int] = dict(answers["answer"].value_counts().iter_rows())
        a, b, tie = (int(counts.get(name, 0)) for name in ANSWERS)
        low, high = interval(a, a + b, CONFIDENCE)
        return Rate(question, a, b, tie, a / (a + b) if a + b else None, float(low), float(high))

    def lines(self) -> list[str]:
        """The win rates for a terminal."""
        first, second = (side.name for side in self.sides.values())
        answered = self._answers().join(self.pairs.select(_PAIR), on=_PAIR, how="semi")
        people = answered["annotator"].n_unique()
        return [
            f"{self.common:,} images in common, {self.same:,} with the same caption; {self.pairs.height:,} pairs drawn",
            f"{answered.height:,} answers of {people:,} {'person' if people == 1 else 'people'}",
            *(rate.line(first, second) for rate in self.rates()),
        ]

    def summary(self) -> dict[str, Any]:
        """As JSON data."""
        rates = [
            {
                "question": one.question,
                "a": one.a,
                "b": one.b,
                "tie": one.tie,
                "share_a": one.share,
                "low": one.low,
                "high": one.high,
            }
            for one in self.rates()
        ]
        return {
            "a": self.sides["a"].name, "b": self.sides["b"].name, "common": self.common, "same": self.same,
            "pairs": self.pairs.height, "confidence": CONFIDENCE, "questions": rates,
        }  # fmt: skip

    def _named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        names = {name: side.name for name, side in self.sides.items()}
        return {**names, "image_key": row["image_key"], "texts": row["texts"], "left": row["left"]}

    def _answers(self) -> pl.DataFrame:
        """The last answer of each person to each question about each pair, oldest first."""
        rows = self.run.scan(COMPARISON_TABLE, COMPARISONS).collect().sort("created_ms")
        rows = rows.filter(*(pl.col(name) == side.name for name, side in self.sides.items()))
        keys = ["annotator", "question", *_PAIR]
        return rows.unique(keys, keep="last", maintain_order=True).filter(pl.col("answer") != "undone")

    def _mine(self, annotator: str) -> pl.DataFrame:
        return self._answers().filter(pl.col("annotator") == annotator)


def _digest(first: str, second: str) -> str:
    return hashlib.sha256(f"{first}\x1f{second}".encode()).hexdigest()[:16]
