"""`factory calibrate`: labels meet the captions and scores of a run, and become a calibration."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from exports.storage import Storage
from factory.calibration.words import comparison_table, in_columns, page
from factory.errors import RunError
from factory.recipe import CALIBRATION, did_you_mean
from factory.runs.by_people import CAPTION, SENTENCE, labels_for_calibration
from factory.runs.run import CALIBRATIONS, Run
from factory.runs.tables import CAPTION_KEY
from factory.runs.writer_lock import RunLock
from factory.scoring.sentence_table import sentence_table
from factory.work.calibrations import captioner_of, write_calibration
from factory.work.work import Work, reopen
from filters.calibration.calibrate import as_label, calibrate
from filters.calibration.calibration import NAME_PATTERN, Calibration
from filters.calibration.stacking import Method
from filters.wording.length_bucket import LENGTH_BUCKET, length_bucket

STRATA: Final = ("view", LENGTH_BUCKET)
OPTIONAL_STRATA: Final = ("source",)
"""Columns of the labels table by which they are reported too."""
START: Final = "start"
"""The column of labels that are about sentences."""
POPULATION_CAPTIONS: Final = 100_000
"""About so many captions stand for all of a run where sentences are calibrated: they are in memory."""
OWN_LABELS: Final = "review"
"""Instead of a file: the labels that people gave in `factory review`."""
READERS: Final[dict[str, Callable[[Any], pl.DataFrame]]] = {
    ".parquet": pl.read_parquet,
    ".csv": pl.read_csv,
    ".jsonl": pl.read_ndjson,
}


@dataclass(frozen=True)
class Calibrated:
    """What the command made: one calibration, kept in the run; or, `reference` null, one of each filter to compare."""

    calibrations: list[Calibration]
    reference: str | None = None
    file: str | None = None

    def summary(self) -> dict[str, Any]:
        """As JSON data."""
        records = [{"id": one.id, **one.model_dump(mode="json")} for one in self.calibrations]
        return {"reference": self.reference, "file": self.file, "calibrations": records}

    def lines(self) -> list[str]:
        """For a terminal."""
        if self.reference is None:
            return [
                *in_columns(comparison_table(self.calibrations)),
                "",
                "Nothing was written: choose one with --filter NAME, or --stack.",
            ]
        (calibration,) = self.calibrations
        rule = "stack" if calibration.stack is not None else calibration.filter
        last = f"calibration {self.file}"
        if calibration.threshold is not None:
            last += f"\nrecipe      select: {{require: {{{rule}: {self.reference}}}}}"
        return [*page(calibration), last]


def calibrate_run(
    run: Run,
    labels: str | None,
    target_precision: float,
    confidence: float = 0.95,
    filter_name: str | None = None,
    stack: Method | None = None,
    name: str | None = None,
) -> Calibrated:
    """Calibrate scores of a run on labelled captions of it.

    Args:
        labels: 'review:caption' or 'review:sentence' for those that people gave in `factory review`, 'review' where they gave
            those of one kind only; or a Parquet, CSV or JSON Lines file with image_key, view, candidate and label; view and candidate may be left
            out where the run has one of them. A column `source` is reported by. With a column `start` (where a sentence
            begins in its caption, in characters) they are about sentences. None: every sentence, by the truth of the demo
            world.
        filter_name, stack: the one filter, or a stack of all of them; neither compares every filter and writes nothing.
        name: of the calibration; the filter's name, or "stack", if unset.

    Raises:
        RunError: no such filter, a name that is none, labels of another form, or labels that fit no caption of the run.
        FilterError: labels that say nothing (one class only, no row with a score).
    """
    work = reopen(run)
    names = [scorer.name for scorer in work.scorers]
    if filter_name is not None and filter_name not in names:
        raise RunError(f"{run.url} has no scores of '{filter_name}'{did_you_mean(filter_name, names, every=True)}")
    if not names:
        raise RunError(f"{run.url} has no scores: its recipe has no filters")
    _check_name(name)
    wanted = names if filter_name is None else [filter_name]
    given = _given(run, labels)
    by_sentence = given is None or "start" in given.columns
    captions = _sentences(work, given) if by_sentence else _captions(work, wanted)
    rows, aside = labelled_captions(work, captions, _truth(work, captions) if given is None else given)
    options: dict[str, Any] = {
        "target_precision": target_precision,
        "confidence": confidence,
        "strata": [*STRATA, *(column for column in OPTIONAL_STRATA if column in rows.columns)],
        "group": "image_key",
        "unit": "sentence" if by_sentence else "caption",
        "population": captions.filter(pl.col("status").is_in(work.recipe.select.accept)),
        "filters": {scorer.name: scorer.identity for scorer in work.scorers},
        "captioner": {
            view: marks for view, marks in captioner_of(work.recipe, work.views).items() if view in rows["view"]
        },
        "set_aside": aside,
    }
    if filter_name is None and stack is None:
        judging = [one for one in names if rows[one].fill_nan(None).null_count() < rows.height]
        return Calibrated([calibrate(rows, one, **options) for one in judging])
    score = names if filter_name is None else filter_name
    made = calibrate(rows, score, name=name, method=stack, **options)
    with RunLock(run):
        reference, made = write_calibration(run, made)
    file = run.storage.full(f"{CALIBRATIONS}/{reference.removeprefix(CALIBRATION)}.json")
    return Calibrated([made], reference, file)


def _check_name(name: str | None) -> None:
    if name is not None and not re.fullmatch(NAME_PATTERN, name):
        raise RunError(f"--name {name}: a name is made of letters, digits, '.', '_' and '-', 80 at most")


# --- labels meet captions ----------------------------------------------------------------------------------------------


def _given(run: Run, labels: str | None) -> pl.DataFrame | None:
    """The labels that were asked for; None for the truth of the demo world."""
    if labels is None:
        return None
    name, _, unit = labels.partition(":")
    if name != OWN_LABELS or unit not in ("", CAPTION, SENTENCE):
        return read_labels(labels)
    found = {kind: rows for kind in (CAPTION, SENTENCE) if (rows := labels_for_calibration(run, kind)).height}
    if unit:
        found = {kind: rows for kind, rows in found.items() if kind == unit}
    if not found:
        raise RunError(
            f"{run.url} has no labels{f' of {unit}s' if unit else ''} yet; give some: factory review {run.url}"
        )
    if len(found) > 1:
        raise RunError(f"{run.url} has labels of captions and of sentences; say which: --labels {OWN_LABELS}:{CAPTION}")
    return next(iter(found.values()))


def read_labels(url: str) -> pl.DataFrame:
    """A labels file, local or any fsspec URL. Raises RunError where there is none, or it is of another form."""
    kind = posixpath.splitext(url)[1].lower()
    if kind not in READERS:
        raise RunError(f"{url}: labels come as {', '.join(READERS)}, not as '{kind or 'a file without extension'}'")
    try:
        with Storage(posixpath.dirname(url) or ".").open(posixpath.basename(url)) as file:
            rows = READERS[kind](file)
    except FileNotFoundError:
        raise RunError(f"{url}: no such file") from None
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise RunError(f"{url}: cannot be read as {kind} ({str(error).partition(chr(10))[0][:200]})") from None
    missing = [column for column in ("image_key", "label") if column not in rows.columns]
    if missing:
        raise RunError(
            f"{url}: no column {' and no column '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, rows.columns)) or 'none'}. Labels have image_key, view, candidate and label"
        )
    return rows


def labelled_captions(work: Work, captions: pl.LazyFrame, labels: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """The labelled captions with their scores, ordered by key; and how many labels say nothing, by reason.

    Reasons: no_label (null), no_such_caption, not_accepted (failed, or truncated where the recipe drops that), repeated (the
    same caption again), contradicted (the same caption labelled right and wrong: all of them are set aside).
    Raises RunError where no label fits a caption, or view or candidate are missing and there are several.
    """
    labels = _with_key(work, labels)
    key = [*CAPTION_KEY, *([START] if START in labels.columns else [])]
    aside = {"no_label": labels["label"].null_count()}
    labels = labels.drop_nulls("label")
    verdicts = labels.group_by(key, maintain_order=True).agg(
        pl.col("label").n_unique().alias("verdicts"), pl.len().alias("times"), pl.col("label").first(),
        *(pl.col(column).first() for column in OPTIONAL_STRATA if column in labels.columns),
    )  # fmt: skip
    aside["contradicted"] = int(verdicts.filter(pl.col("verdicts") > 1)["times"].sum())
    once = verdicts.filter(pl.col("verdicts") == 1)
    aside["repeated"] = int((once["times"] - 1).sum()) if once.height else 0
    here = captions.join(once.lazy().drop("verdicts", "times"), on=key, how="inner").collect()
    aside["no_such_caption"] = once.height - here.height
    if once.height and not here.height:
        example = once.select(key).row(0)
        known = captions.select(key).head(1).collect()
        raise RunError(
            f"none of the {once.height:,} labels is about a caption of {work.run.url}: they name captions such as "
            f"{example}, the run has captions such as {known.row(0) if known.height else 'none'} ({', '.join(key)})"
        )
    accepted = here.filter(pl.col("status").is_in(work.recipe.select.accept)).sort(key)
    aside["not_accepted"] = here.height - accepted.height
    return accepted, {reason: count for reason, count in aside.items() if count}


def _with_key(work: Work, labels: pl.DataFrame) -> pl.DataFrame:
    views = work.view_names
    most = max((ready.view.sampling.n for ready in work.views), default=1)
    if "view" not in labels.columns:
        if len(views) > 1:
            raise RunError(f"the labels have no column 'view', and the run has the views {', '.join(views)}; add it")
        labels = labels.with_columns(view=pl.lit(views[0]))
    if "candidate" not in labels.columns:
        if most > 1:
            raise RunError(f"the labels have no column 'candidate', and the run has up to {most} an image; add it")
        labels = labels.with_columns(candidate=pl.lit(0))
    if not (labels["candidate"].dtype.is_integer() or labels["candidate"].dtype == pl.Null):
        raise RunError(f"the labels' column 'candidate' holds {labels['candidate'].dtype}, not whole numbers")
    return labels.with_columns(
        pl.col("image_key").cast(pl.String),
        pl.col("view").cast(pl.String),
        pl.col("candidate").cast(pl.Int16, strict=False),
        *([pl.col(START).cast(pl.UInt32, strict=False)] if START in labels.columns else []),
        as_label(labels["label"]).alias("label"),
    )


def _captions(work: Work, filters: Sequence[str]) -> pl.LazyFrame:
    """Every caption of the recipe, once, with status, length bucket and these filters' scores."""
    rows = work.captions().unique(CAPTION_KEY, keep="any")
    rows = rows.select(*CAPTION_KEY, "fingerprint", "status", length_bucket(pl.col("text")).alias(LENGTH_BUCKET))
    for scorer in work.scorers:
        if scorer.name in filters:
            keys = [*CAPTION_KEY, "caption_fingerprint"]
            scores = work.run.scores(scorer.name, scorer.fingerprint).select(*keys, pl.col("score").alias(scorer.name))
            rows = rows.join(
                scores.unique(keys, keep="any"), left_on=[*CAPTION_KEY, "fingerprint"], right_on=keys, how="left"
            )
    return rows.drop("fingerprint")


def _sentences(work: Work, labels: pl.DataFrame | None) -> pl.LazyFrame:
    """The sentences of first tries: those of a sample of the images, and of the labelled ones, with every filter's scores."""
    captions = work.captions(work.first_fingerprints).select(CAPTION_KEY)
    total = int(captions.select(pl.len()).collect(engine="streaming").item())
    share = POPULATION_CAPTIONS / max(1, total)
    drawn = pl.col("image_key").hash(31) / 2.0**64 < share
    named = labels["image_key"].cast(pl.String).unique().implode() if labels is not None else pl.Series([[]])
    keys = captions.filter(drawn | pl.col("image_key").is_in(named)).collect(engine="streaming")
    table = sentence_table(work, keys).filter(pl.col("rung").is_null(), pl.col("cut_from").is_null())
    return table.drop("shard", "rung", "cut_from", "kept", "end", "sentence").lazy()


def _truth(work: Work, sentences: pl.LazyFrame) -> pl.DataFrame:
    """What the demo world says of these sentences, as labels. Raises RunError for a run over anything else."""
    from factory.evaluation.by_truth import demo_seed, with_truth

    keys = sentences.select(*CAPTION_KEY, START).collect()
    table = sentence_table(work, keys).join(keys, on=[*CAPTION_KEY, START], how="semi")
    labelled = with_truth(table, demo_seed(work))
    return labelled.select(*CAPTION_KEY, START, pl.col("right").alias("label"))
