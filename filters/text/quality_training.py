"""Training the classifier of the filter `quality` from good and bad captions."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from filters.contract.filter import FilterError
from filters.models import fasttext_model
from filters.text.quality import BAD, GOOD, load_quality, probability_good, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

MIN_CAPTIONS: Final = 100
"""Captions of each kind below which nothing can be learned or measured."""
_HELD_OUT: Final = 10
"""One caption in so many measures the model and trains nothing."""
_NAME: Final = "train_quality"


@dataclass(frozen=True, slots=True)
class QualityTraining:
    """What a quality model was trained on, and how it does on captions that it has not seen."""

    path: str
    """The model file."""
    sha256: str
    """Of the model file, hex."""
    trained: int
    """Captions trained on, half of them good."""
    held_out: int
    """Captions measured on, half of them good."""
    auroc: float
    """In [0, 1], on those held out: the probability that a good caption scores above a bad one."""
    accuracy: float
    """In [0, 1], on those held out, with a threshold of 0.5."""
    left_out: dict[str, int]
    """Captions not used, by reason: `empty`, `repeated`, `in_both` (good and bad at once), `surplus` (of the larger set)."""


def train_quality(
    good: Iterable[str | None],
    bad: Iterable[str | None],
    out: str | Path,
    *,
    seed: int = 0,
    epochs: int = 10,
    learning_rate: float = 0.1,
    dimensions: int = 16,
    buckets: int = 200_000,
) -> QualityTraining:
    """Train a fastText classifier of words and pairs of words that tells `good` captions from `bad`; write it to `out`.

    DCLM's method (arXiv 2406.11794, section 4.4) on captions: as many good as bad, so that a probability of 0.5 means
    undecided; each caption once; the larger set is sampled down. A tenth is held out to measure. The same captions, in any
    order, with the same arguments give the same file on the same machine: training uses one thread.

    Raises FilterError where fewer than 100 different captions of a kind remain, training diverges, or `out` cannot be
    written. `out` appears whole or not at all.
    """
    rows, left_out = _balanced(good, bad, seed)
    held_out = rows.filter(pl.col("order") % _HELD_OUT == 0)
    trained = rows.filter(pl.col("order") % _HELD_OUT != 0)
    target = Path(out)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".train-quality-") as folder:
            lines, model = Path(folder) / "lines.txt", Path(folder) / "model.bin"
            lines.write_text(
                "\n".join(f"__label__{kind} {text}" for kind, text in trained.select("kind", "text").rows())
            )
            _train(lines, model, seed, epochs, learning_rate, dimensions, buckets)
            auroc, accuracy = _measure(model, held_out)
            model.replace(target)
    except OSError as error:
        raise FilterError(f"{_NAME}: {str(target)!r} cannot be written: {error.strerror}.") from error
    return QualityTraining(
        str(target), fasttext_model.sha256(target), trained.height, held_out.height, auroc, accuracy, left_out
    )


def _balanced(good: Iterable[str | None], bad: Iterable[str | None], seed: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """`kind`, `text` (as tokens) and its `order` within its kind, as many of each kind; and the captions left out."""
    tables = []
    for kind, captions in ((GOOD, good), (BAD, bad)):
        texts = tokens(pl.Series("text", list(captions), pl.String, strict=True).fill_null(""))
        tables.append(pl.DataFrame({"text": texts}).select("text", kind=pl.lit(kind)))
    given = pl.concat(tables)
    filled = given.filter(pl.col("text") != "")
    once = filled.unique()
    apart = once.filter(pl.col("kind").n_unique().over("text") == 1)
    # By hash, so that the sample and the tenth held out depend on the captions alone, not on their order.
    ordered = apart.with_columns(hash=pl.col("text").hash(seed)).sort("hash", "text")
    ordered = ordered.with_columns(order=pl.int_range(pl.len()).over("kind"))
    counts = {kind: ordered.filter(kind=kind).height for kind in (GOOD, BAD)}
    for kind, count in counts.items():
        if count < MIN_CAPTIONS:
            raise FilterError(
                f"{_NAME}: only {count} different {kind} captions (of those in one set alone); it takes {MIN_CAPTIONS} of "
                f"each kind, and some thousands to learn well."
            )
    kept = ordered.filter(pl.col("order") < min(counts.values()))
    left_out = {
        "empty": given.height - filled.height,
        "repeated": filled.height - once.height,
        "in_both": once.height - apart.height,
        "surplus": apart.height - kept.height,
    }
    return kept.select("kind", "text", "order"), left_out


def _check_build() -> None:
    try:
        version("fasttext-community")
    except PackageNotFoundError as error:
        raise FilterError(
            f"{_NAME} needs the package fasttext-community: the other builds of fastText (0.9) leave nine tenths of their "
            f"weights uninitialised when they train on one thread, so that no two models are alike and some are NaN. "
            f"Replace the one you have: `pip uninstall fasttext fasttext-wheel fasttext-numpy2-wheel` and then "
            f"`pip install --force-reinstall fasttext-community`."
        ) from error


def _train(
    lines: Path, model: Path, seed: int, epochs: int, learning_rate: float, dimensions: int, buckets: int
) -> None:
    _check_build()
    fasttext = fasttext_model.import_fasttext(_NAME)
    try:
        fasttext.train_supervised(
            input=str(lines),
            lr=learning_rate,
            dim=dimensions,
            epoch=epochs,
            wordNgrams=2,
            bucket=buckets,
            seed=seed,
            thread=1,
            verbose=0,
        ).save_model(str(model))
    except (RuntimeError, ValueError) as error:
        raise FilterError(
            f"{_NAME}: training stopped ({error}). Where it met NaN, a lower learning_rate helps (given: {learning_rate})."
        ) from error


def _measure(model: Path, held_out: pl.DataFrame) -> tuple[float, float]:
    score = probability_good(load_quality(str(model), _NAME), held_out["text"])
    judged = held_out.select(good=pl.col("kind") == GOOD).with_columns(score=score)
    good, bad = (judged.filter(good=kind).height for kind in (True, False))
    # Mann and Whitney's U from average ranks: ties count half.
    ranks = judged.select(pl.col("score").rank("average").filter(pl.col("good")).sum()).item()
    accuracy = judged.select(((pl.col("score") >= 0.5) == pl.col("good")).mean()).item()
    return (ranks - good * (good + 1) / 2) / (good * bad), float(accuracy)
