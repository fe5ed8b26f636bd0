"""Acting on what is unfaithful before selection decides: write it again, rung by rung, then cut what is not supported.

Nothing is written over. A caption of a later try, and one that was cut, is one more candidate of its image and view, with
its lineage in `rung` and `cut_from`; `select.best_of` keeps the better of old and new by the same judge.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from factory.captioning.caption_missing import Made, caption_group
from factory.engines.room import EngineRoom
from factory.progress import Progress
from factory.repair.cutting import cut_part
from factory.repair.faithful import Judgement
from factory.runs.done_set import DoneSet
from factory.runs.tables import CUT_CANDIDATES, EDIT_CANDIDATES, RUNG_CANDIDATES, Status
from factory.scoring.score_all import score_all
from factory.selection.buckets import Buckets, fill_buckets
from factory.sources.pictures import Pictures
from factory.sources.source import ListedShard
from factory.work.done import done_set
from factory.work.rungs import ReadyRung
from factory.work.views import engine_groups
from factory.work.work import Work

PAIR: Final = ["shard", "image_key", "view"]


@dataclass(frozen=True)
class RungCounts:
    """(Image, view) pairs that a rung was for, and those of which it made a caption that is as it should be."""

    number: int
    what: str
    wanted: int
    mended: int


@dataclass(frozen=True)
class RepairCounts:
    """What repair found and did, of the run as it stands. Counts are of (image, view) pairs."""

    by: str | None
    least: float | None
    judged: int = 0
    unfaithful: int = 0
    unjudged: int = 0
    rungs: list[RungCounts] = field(default_factory=list)
    left: int = 0  # unfaithful after the last rung
    cut: int = 0  # of these, with a caption that was cut
    cut_faithful: int = 0  # of these, with one that is faithful by the same judge

    def as_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**self.__dict__, "rungs": [rung.__dict__ for rung in self.rungs]}

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        if self.by is not None:
            yield (
                f"{self.unfaithful:,} of {self.judged:,} images unfaithful by {self.by} below {self.least:.3g}"
                + (f", {self.unjudged:,} not judged" if self.unjudged else "")
            )
        for rung in self.rungs:
            yield f"try {rung.number + 1}: {rung.mended:,} of {rung.wanted:,} {rung.what} ones mended"
        if self.cut:
            yield f"cut: {self.cut:,} of the {self.left:,} left, {self.cut_faithful:,} of them faithful now"


def repair(work: Work, pictures: Pictures, progress: Progress, room: EngineRoom) -> tuple[Work, RepairCounts]:
    """Do what the recipe's `repair` asks, and what was asked for by hand. What is done already is not done again.

    Returns the work, settled on the captions that there are now, and what was found and done.

    Raises:
        EngineError, SourceError, RunError: as of captioning.
    """
    settings = work.recipe.repair
    judgement = Judgement.of(work) if settings is not None else None
    for rung in work.rungs:
        if _climb(work, pictures, rung, judgement, progress, room):
            work = score_all(work, pictures, progress, room)
    if settings is not None and settings.cut and judgement is not None:
        progress.phase("cutting")
        if _cut(work, judgement):
            work = score_all(work, pictures, progress, room)
    return work, _counts(work, judgement)


# --- writing again ------------------------------------------------------------------------------------------------------


def _climb(
    work: Work, pictures: Pictures, rung: ReadyRung, judgement: Judgement | None, progress: Progress, room: EngineRoom
) -> bool:
    """Caption again what a rung is for. False where nothing is left to do."""
    keys, shards = to_try_again(work, pictures, rung, judgement)
    if not shards:
        return False
    from factory.captioning.stages import ReadAgain

    progress.phase(f"try {rung.number + 1}: {sum(map(len, keys)):,} {rung.what} images")
    made = Made()
    again, finished = DoneSet.of(iter(keys)), done_set(work, list(rung.views))
    wanted_there = room.ray.put((again.high, again.low))
    done = room.ray.put((finished.high, finished.low))
    for group in engine_groups(list(rung.views)):
        read = ReadAgain(pictures.source, group, work.run, done, work.reading, wanted_there)
        caption_group(work, group, read, shards, made, progress, room)
    return True


def to_try_again(
    work: Work, pictures: Pictures, rung: ReadyRung, judgement: Judgement | None
) -> tuple[list[pl.DataFrame], list[ListedShard]]:
    """What is left to do of a rung: frames with `image_key`, `view` and an empty `fingerprint`, and the shards to read for it."""
    names = [ready.name for ready in rung.views]
    fingerprints = {one for ready in rung.views for one in ready.fingerprints}
    keys: list[pl.DataFrame] = []
    open_shards: set[str] = set()
    with _buckets(work, judgement) as buckets:
        for rows in buckets:
            wanted = _wanted(rows, rung, judgement).filter(pl.col("view").is_in(names))
            tried = rows.filter(pl.col("fingerprint").is_in(fingerprints), pl.col("status") != Status.failed)
            todo = wanted.join(tried.select(PAIR).unique(), on=PAIR, how="anti")
            keys.append(todo.select("image_key", "view", fingerprint=pl.lit("")))
            open_shards.update(todo["shard"].to_list())
    return keys, [listed for listed in pictures.shards if listed.shard.name in open_shards]


def _wanted(rows: pl.DataFrame, rung: ReadyRung, judgement: Judgement | None) -> pl.DataFrame:
    """The pairs of a bucket that a rung is for: what came before it is all unfaithful, or all truncated."""
    before = rows.filter(pl.col("candidate") < rung.number * RUNG_CANDIDATES)
    if rung.what == "truncated":
        pairs = before.group_by(PAIR).agg((pl.col("status") == Status.truncated).all().alias("wanted"))
        return pairs.filter("wanted").select(PAIR)
    return _unfaithful(before, judgement) if judgement is not None else rows.clear().select(PAIR)


def _unfaithful(rows: pl.DataFrame, judgement: Judgement) -> pl.DataFrame:
    """The pairs whose best caption is below the judgement. One with a failed caption waits until that was tried again."""
    pairs = rows.group_by(PAIR).agg(
        (pl.col("status") == Status.failed).any().alias("failed"), pl.col(judgement.name).fill_nan(None).max().alias("best")
    )  # fmt: skip
    return pairs.filter(~pl.col("failed"), pl.col("best") < judgement.least).select(PAIR)


@contextmanager
def _buckets(work: Work, judgement: Judgement | None) -> Iterator[Buckets]:
    """All captions of the recipe, an image's together, with the score of the judgement."""
    reads = judgement.reads if judgement is not None else ()
    scores = {scorer.name: scorer.fingerprint for scorer in work.scorers if scorer.name in reads}
    beside = work.run.storage.full() if work.run.storage.is_local else None
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=beside) as scratch:
        yield fill_buckets(work, scores, judgement.calibrations if judgement is not None else {}, Path(scratch))


# --- cutting -----------------------------------------------------------------------------------------------------------


def _cut(work: Work, judgement: Judgement) -> int:
    """Cut the captions of images of which none is faithful. Returns how many were made."""
    left: list[pl.DataFrame] = []
    known: list[pl.DataFrame] = []
    with _buckets(work, judgement) as buckets:
        for rows in buckets:
            pairs = _unfaithful(rows.filter(pl.col("candidate") < CUT_CANDIDATES), judgement)
            left.append(pairs.select("image_key", "view", fingerprint=pl.lit("")))
            cuts = rows.filter(pl.col("candidate") >= CUT_CANDIDATES)
            candidate = pl.col("candidate").cast(pl.String)
            known.append(cuts.select("image_key", pl.concat_str("view", candidate, separator="\x1f"), "fingerprint"))
    wanted, done = DoneSet.of(iter(left)), DoneSet.of(iter(known))
    if not len(wanted):
        return 0
    return sum(cut_part(work, part, judgement, wanted, done) for part in work.run.parts("captions"))


# --- counts ------------------------------------------------------------------------------------------------------------


def _counts(work: Work, judgement: Judgement | None) -> RepairCounts:
    totals = dict.fromkeys(("judged", "unfaithful", "unjudged", "left", "cut", "cut_faithful"), 0)
    wanted = {rung.number: 0 for rung in work.rungs}
    mended = dict(wanted)
    with _buckets(work, judgement) as buckets:
        for rows in buckets:
            for rung in work.rungs:
                pairs = _wanted(rows, rung, judgement)
                mine = rows.filter(pl.col("candidate") // RUNG_CANDIDATES == rung.number)
                is_well = pl.col("status") == Status.ok
                if rung.what == "unfaithful" and judgement is not None:
                    is_well = pl.col(judgement.name) >= judgement.least
                wanted[rung.number] += pairs.height
                mended[rung.number] += pairs.join(mine.filter(is_well), on=PAIR, how="semi").height
            if judgement is not None:
                for name, number in _totals(rows, judgement).items():
                    totals[name] += number
    return RepairCounts(
        by=judgement.name if judgement is not None else None,
        least=judgement.least if judgement is not None else None,
        rungs=[RungCounts(one.number, one.what, wanted[one.number], mended[one.number]) for one in work.rungs],
        **totals,
    )


def _totals(rows: pl.DataFrame, judgement: Judgement) -> dict[str, int]:
    score = pl.col(judgement.name).fill_nan(None)
    first = rows.filter(pl.col("candidate") < RUNG_CANDIDATES)
    pairs = first.group_by(PAIR).agg(score.max().alias("best"))
    left = _unfaithful(rows.filter(pl.col("candidate") < CUT_CANDIDATES), judgement)
    is_cut = pl.col("candidate").is_between(CUT_CANDIDATES, EDIT_CANDIDATES, closed="left")
    cut = rows.filter(is_cut).join(left, on=PAIR, how="semi")
    return {
        "judged": pairs["best"].count(),
        "unfaithful": pairs.filter(pl.col("best") < judgement.least).height,
        "unjudged": pairs["best"].null_count(),
        "left": left.height,
        "cut": cut.select(PAIR).unique().height,
        "cut_faithful": cut.filter(score >= judgement.least).select(PAIR).unique().height,
    }
