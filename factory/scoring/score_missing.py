"""Score what has no scores yet: part by part, so that a changed filter scores again and nothing else happens.

Filters that look at one caption at a time score a part where it lies: in this process where there is little to do, else
in Ray tasks, and those that hold a model in an actor pool of their own. Set filters see all captions of the recipe and
run here, on the columns that they read. A score part has the rows of its caption part, in its order.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import polars as pl

from factory.engines.ray_errors import seals_errors
from factory.engines.room import EngineRoom
from factory.judging.answer_fields import ANSWER_FIELDS, others_of
from factory.runs.run import Run
from factory.runs.tables import CAPTION_KEY
from factory.sources.pictures import Pictures
from factory.work.scorer import Scorer
from factory.work.work import Work
from filters import SetFilter
from filters.asking.questions import VlmFilter
from filters.contract.scores_of import scores_of, set_scores_of

HERE_ROWS: Final = 40_000
"""Captions scored in this process; more are worth the seconds in which Ray starts."""
IMAGE_ROWS: Final = 1_000


def score_missing(work: Work, pictures: Pictures, room: EngineRoom) -> int:
    """Score every caption part that a filter has not scored under its fingerprint. Returns rows scored.

    Filters that ask a vision-language model are scored by `factory/judging/answering.py`. Memory is that of one part for each process.
    """
    run = work.run
    single = [scorer for scorer in work.scorers if not isinstance(scorer.filter, SetFilter | VlmFilter)]
    missing: dict[str, list[str]] = {}
    for scorer in single:
        for part in run.unscored(scorer.name, scorer.fingerprint):
            missing.setdefault(part, []).append(scorer.name)
    jobs = [{"part": part, "names": names} for part, names in sorted(missing.items())]
    scored = _score_parts(work, pictures, single, jobs, room) if jobs else 0
    for scorer in work.scorers:
        if isinstance(scorer.filter, SetFilter):
            scored += _score_set(work, pictures, scorer.filter, scorer.fingerprint)
    return scored


def score_answered(work: Work, scorer: Scorer, room: EngineRoom) -> int:
    """Score with a filter that asks, from the answers that the run has. Returns rows scored."""
    jobs = [{"part": part, "names": [scorer.name]} for part in work.run.unscored(scorer.name, scorer.fingerprint)]
    return _score_parts(work, None, [scorer], jobs, room) if jobs else 0


# --- one caption at a time ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreParts:
    """Scores parts with the filters named for them. A Ray task, or an actor where a filter holds a model."""

    run: Run
    scorers: list[Scorer]
    pictures: Pictures | None  # for filters that need the images

    @seals_errors
    def __call__(self, batch: Any) -> Any:
        """Rows with `job` -> rows with `rows`, the number of rows scored."""
        import pyarrow as pa

        return pa.table({"rows": [self.score(json.loads(job)) for job in batch["job"].to_pylist()]})

    def score(self, job: dict[str, Any]) -> int:
        """Score one part and write its scores. Returns rows scored."""
        captions = self.run.storage.scan([f"captions/{job['part']}.parquet"]).collect()
        keys = captions.select(*CAPTION_KEY, pl.col("fingerprint").alias("caption_fingerprint"))
        scored = 0
        wanted = [scorer for scorer in self.scorers if scorer.name in job["names"]]
        texts = [scorer for scorer in wanted if "image" not in scorer.filter.needs]
        pictured = [scorer for scorer in wanted if "image" in scorer.filter.needs]
        found = {
            scorer.name: scores_of(scorer.filter, self._answered(captions, scorer, job["part"])) for scorer in texts
        }
        if pictured:
            found |= self._score_images(captions, pictured)
        for scorer in wanted:
            scores = keys.hstack(found[scorer.name])
            self.run.append(f"scores/{scorer.name}", scores, f"{job['part']}.{scorer.fingerprint}")
            scored += scores.height
        return scored

    def _answered(self, captions: pl.DataFrame, scorer: Scorer, part: str) -> pl.DataFrame:
        """The captions with the answers of the scorer's judges, where its filter asks."""
        if not scorer.judges:
            return captions
        pieces = []
        for fingerprint in {judge.fingerprint for judge in scorer.judges.values()}:
            rows = self.run.answers(fingerprint, part).filter(pl.col("control").is_null())
            pieces.append(rows.select("image_key", answer=pl.struct(*ANSWER_FIELDS), judge=pl.lit(fingerprint)))
        answers = pl.concat(pieces).group_by("image_key", "judge").agg(answers=pl.col("answer"))
        fingerprints = {view: judge.fingerprint for view, judge in scorer.judges.items()}
        judge = pl.col("view").replace_strict(fingerprints, default=None, return_dtype=pl.String)
        joined = captions.with_columns(judge=judge).join(
            answers, on=["image_key", "judge"], how="left", maintain_order="left"
        )
        return joined.drop("judge").with_columns(others_of(joined))

    def _score_images(self, captions: pl.DataFrame, scorers: list[Scorer]) -> dict[str, pl.DataFrame]:
        """Scores of filters that look at the image, in the order of the captions."""
        pieces: dict[str, list[pl.DataFrame]] = {scorer.name: [] for scorer in scorers}
        places: list[pl.Series] = []
        assert self.pictures is not None
        for batch in self.pictures.beside(captions.with_row_index("row")):
            places.append(batch["row"])
            for scorer in scorers:
                pieces[scorer.name].append(scores_of(scorer.filter, batch.drop("row")))
        order = pl.concat(places).arg_sort()
        return {name: pl.concat(parts)[order] for name, parts in pieces.items()}


def _score_parts(
    work: Work, pictures: Pictures | None, scorers: list[Scorer], jobs: list[dict[str, Any]], room: EngineRoom
) -> int:
    """Score with the filters that hold no model, then with each of the others."""
    heavy = [[scorer] for scorer in scorers if scorer.filter.holds_model]
    light = [scorer for scorer in scorers if not scorer.filter.holds_model]
    return sum(_score_with(work, pictures, group, jobs, room) for group in [light, *heavy] if group)


def _score_with(
    work: Work, pictures: Pictures | None, scorers: list[Scorer], jobs: list[dict[str, Any]], room: EngineRoom
) -> int:
    names = {scorer.name for scorer in scorers}
    pictured = any("image" in scorer.filter.needs for scorer in scorers)
    todo = [{**job, "names": wanted} for job in jobs if (wanted := [name for name in job["names"] if name in names])]
    if not todo:
        return 0
    arguments: dict[str, Any] = {"run": work.run, "scorers": scorers, "pictures": pictures if pictured else None}
    rows = sum(_rows_of(work.run, job["part"]) for job in todo)
    if rows <= (IMAGE_ROWS if pictured or scorers[0].filter.holds_model else HERE_ROWS) or len(todo) == 1:
        stage = ScoreParts(**arguments)
        return sum(stage.score(job) for job in todo)
    from factory.engines.stage import Actors, reports

    ray = room.ray
    rows_of_jobs = [{"job": json.dumps(job)} for job in todo]
    if scorers[0].filter.holds_model:
        room.free_gpus()
        resources = {"num_gpus": 1.0} if _gpus(ray) else {"num_cpus": 1.0}
        actors = Actors(ScoreParts, arguments, 1, max(1, int(_gpus(ray))), resources, rows=1)
        batches = reports(ray, rows_of_jobs, None, actors)
    else:
        batches = reports(ray, rows_of_jobs, ScoreParts(**arguments))
    return sum(row["rows"] for batch in batches for row in batch.to_pylist())


def _gpus(ray: Any) -> float:
    return float(ray.cluster_resources().get("GPU", 0))


def _rows_of(run: Run, part: str) -> int:
    return int(run.storage.scan([f"captions/{part}.parquet"]).select(pl.len()).collect().item())


# --- the whole set -----------------------------------------------------------------------------------------------------


def _score_set(work: Work, pictures: Pictures, filter_: SetFilter, fingerprint: str) -> int:
    """Score all parts with a set filter, unless they are as it saw them before. Rows of other recipes get no score."""
    run = work.run
    parts = run.parts("captions")
    name = filter_.name
    if not parts or set(run.scored(name, fingerprint)) >= set(parts):
        return 0
    if filter_.ordered:
        parts = _in_source_order(work, pictures, parts)
    columns = list(dict.fromkeys([*CAPTION_KEY, *filter_.needs, *filter_.uses]))
    beside = run.storage.full() if run.storage.is_local else None

    def pieces(part: str) -> Iterator[pl.DataFrame]:
        frame = run.caption_part(part).filter(_counts(work))
        if "image" not in filter_.needs:
            known = [column for column in columns if column in frame.collect_schema().names()]
            yield frame.select(known).with_row_index("row").collect()
            return
        rows = frame.select(*[column for column in columns if column != "image"], "shard").with_row_index("row")
        yield from pictures.beside(rows.collect())

    seen: list[tuple[str, pl.Series]] = []  # of each batch its part, and the numbers of its rows in that

    def batches() -> Iterator[pl.DataFrame]:
        first = not seen
        for part in parts:
            for piece in pieces(part):
                if first:
                    seen.append((part, piece["row"]))
                yield piece.drop("row")

    scored = 0
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=beside) as scratch:
        answers = (
            (*seen[place], scores) for place, scores in enumerate(set_scores_of(filter_, batches, Path(scratch)))
        )
        for part, group in groupby(answers, key=lambda answer: answer[0]):
            scores = pl.concat([scores.with_columns(row) for _, row, scores in group]).sort("row").drop("row")
            rows = run.caption_part(part).filter(_counts(work))
            keys = rows.select(*CAPTION_KEY, pl.col("fingerprint").alias("caption_fingerprint")).collect()
            # Written even where no row of the part counts, so that it is known to have been looked at.
            run.storage.write_parquet(f"scores/{name}/{part}.{fingerprint}.parquet", keys.hstack(scores))
            scored += keys.height
    return scored


def _in_source_order(work: Work, pictures: Pictures, parts: list[str]) -> list[str]:
    """The parts by where their first row stands in the source."""

    def place(part: str) -> tuple[int, str]:
        first = work.run.storage.scan([f"captions/{part}.parquet"]).select("shard").head(1).collect()
        return pictures.place(first["shard"][0]), part

    return sorted(parts, key=place)


def _counts(work: Work) -> pl.Expr:
    """Whether a caption row belongs to this recipe and holds a text."""
    return work.counts & (pl.col("status") != "failed")
