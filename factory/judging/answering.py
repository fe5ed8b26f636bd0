"""The questions of VLM filters that no captioner answered while it had the image: of captions that others made, of other
judges, of filters that came later. Images are read once more, and the judge's engine, or server, is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import polars as pl
import pyarrow as pa

from factory.engines.contract import EngineDied
from factory.engines.engine_actor import Duty
from factory.engines.pool import EnginePool
from factory.engines.ray_errors import seals_errors
from factory.engines.room import EngineRoom
from factory.engines.stage import engine_reports
from factory.engines.watched_rows import WatchedRows, guilt, start_watch, suspects
from factory.errors import EngineError
from factory.images.item import ImageItem
from factory.images.prepare import Rejection, prepare_image
from factory.judging.answer_fields import ANSWER_FIELDS, AskedRow, asked_row, others_of
from factory.judging.asker import Asker, asked_to_the_end
from factory.runs import tables
from factory.runs.run import Run
from factory.runs.tables import CAPTION_KEY, Status
from factory.runs.with_score import with_score
from factory.sources.pictures import Pictures
from factory.work.judges import Judge
from factory.work.scorer import Scorer
from factory.work.work import Work
from filters.asking.questions import VlmFilter, When

if TYPE_CHECKING:
    from pathlib import Path

    from factory.engines.contract import Answers
    from factory.progress import Progress
    from filters.asking.questions import Question
    from filters.contract.answers import AnswerRow

WANTED: Final = "wanted"
"""Questions that wait for an answer, a file a caption part; removed when they have one."""

_WORK: Final = pa.schema(
    {
        "part": pa.string(),
        "image_key": pa.string(),
        "shard": pa.string(),
        "asks": pa.string(),  # JSON: a list of the fields of Ask
        "known": pa.string(),  # JSON: answers to their questions that the run has, by id
        "rgb": pa.large_binary(),  # null where there is no image to ask about
        "width": pa.int32(),
        "height": pa.int32(),
        "sha256": pa.string(),
        "problem": pa.string(),  # why there is none
    }
)


@dataclass(frozen=True, slots=True)
class Ask:
    """A caption that a filter wants to ask about, beside the others of its image and view."""

    filter: str
    text: str
    others: tuple[str, ...]


def answer_missing(work: Work, pictures: Pictures, scorers: list[Scorer], progress: Progress, room: EngineRoom) -> None:
    """Get every answer that these filters need for captions they have not scored and the run does not have.

    Raises:
        EngineError: a judge cannot answer at all.
    """
    missing = {scorer.name: set(work.run.unscored(scorer.name, scorer.fingerprint)) for scorer in scorers}
    for judge in {judge.fingerprint: judge for scorer in scorers for judge in scorer.judges.values()}.values():
        parts = [
            part
            for part in sorted(set().union(*missing.values()))
            if _write_wanted(work, [scorer for scorer in scorers if part in missing[scorer.name]], judge, part)
        ]
        if parts:
            progress.phase(f"asking {judge.name}")
            _answer(work, pictures, scorers, judge, parts, room)
        for part in parts:
            work.run.storage.remove(f"{WANTED}/{judge.fingerprint}/{part}.parquet")


def asked_filter(scorer: Scorer) -> VlmFilter:
    """The filter of a scorer that asks."""
    assert isinstance(scorer.filter, VlmFilter)
    return scorer.filter


def _write_wanted(work: Work, scorers: list[Scorer], judge: Judge, part: str) -> bool:
    """Write the questions about a part's captions that have no answer yet: one row per image. False for none."""
    captions = work.part(part).filter(
        pl.col("status") != Status.failed,
        pl.col("text").is_not_null(),
    )
    rows = captions.select(*CAPTION_KEY, "shard", "fingerprint", "text").collect()
    rows = rows.with_columns(others_of(rows))
    answers: dict[str, dict[str, AnswerRow]] = {}
    known = work.run.answers(judge.fingerprint, part).filter(pl.col("control").is_null(), pl.col("problem").is_null())
    for answer in known.select("image_key", *ANSWER_FIELDS).iter_rows(named=True):
        answers.setdefault(answer.pop("image_key"), {})[answer["question"]] = cast("AnswerRow", answer)
    wanted: dict[tuple[str, str], dict[Ask, None]] = {}
    used: dict[tuple[str, str], dict[str, Any]] = {}
    for scorer in scorers:
        filter_ = asked_filter(scorer)
        views = [view for view, one in scorer.judges.items() if one.fingerprint == judge.fingerprint]
        mine = rows.filter(pl.col("view").is_in(views))
        if filter_.when is not None:
            mine = _where(work, When.parse(filter_.when), mine, part)
        for shard, key, text, others in mine.select("shard", "image_key", "text", "others").iter_rows():
            have = answers.get(key, {})
            questions = filter_.questions(text, others, have)
            if any(question.id not in have for question in questions):
                wanted.setdefault((shard, key), {})[Ask(scorer.name, text, tuple(others))] = None
                mine_used = {question.id: have[question.id] for question in questions if question.id in have}
                used.setdefault((shard, key), {}).update(mine_used)
    if not wanted:
        return False
    found = [
        {
            "shard": shard,
            "image_key": key,
            "asks": json.dumps([asdict(one) for one in asks]),
            "known": json.dumps(used[shard, key]),
        }
        for (shard, key), asks in wanted.items()
    ]
    work.run.storage.write_parquet(f"{WANTED}/{judge.fingerprint}/{part}.parquet", pl.DataFrame(found))
    return True


def _where(work: Work, when: When, rows: pl.DataFrame, part: str) -> pl.DataFrame:
    """The rows whose score by another filter lies where the condition says."""
    other = next(one for one in work.scorers if one.name == when.filter)
    scored = with_score(work.run, rows, part, other.name, other.fingerprint, other.name)
    return scored.filter(pl.col(other.name) >= when.least, pl.col(other.name) < when.most)


def _answer(
    work: Work, pictures: Pictures, scorers: list[Scorer], judge: Judge, parts: list[str], room: EngineRoom
) -> None:
    filters = {scorer.name: scorer.filter for scorer in scorers}
    # A server is no process of ours: where it is gone, so are all answers.
    watch = start_watch(room.ray) if judge.endpoint is None else None
    duty = Duty(AnswerBatches, {"judge": judge, "filters": filters, "run": work.run, "watch": watch})

    def pool() -> EnginePool:
        return room.pool(work.engine_of(judge.ready)) if judge.endpoint is None else room.server(judge.endpoint)

    jobs = [{"part": part} for part in parts]
    for _ in engine_reports(room.ray, jobs, ReadAsked(work.run, pictures, judge), pool, duty, used=room.used):
        pass


@dataclass(frozen=True)
class ReadAsked:
    """Reads and prepares the images that are asked about. A Ray task."""

    run: Run
    pictures: Pictures
    judge: Judge

    @seals_errors
    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Rows with `part` -> tables of _WORK."""
        for part in batch["part"].to_pylist():
            rows = self.run.storage.scan([f"{WANTED}/{self.judge.fingerprint}/{part}.parquet"]).collect()
            for some in self.pictures.beside(rows.with_row_index("row")):
                work = [self._prepared(part, row) for row in some.iter_rows(named=True)]
                yield pa.Table.from_pylist(work, schema=_WORK)

    def _prepared(self, part: str, row: dict[str, Any]) -> dict[str, Any]:
        work = {"part": part, **{name: row[name] for name in ("image_key", "shard", "asks", "known")}}
        if row["image"] is None:
            return work | {"problem": "the image is no longer in the source"}
        image = prepare_image(row["image"], self.judge.ready.view.image)
        if isinstance(image, Rejection):
            return work | {"problem": f"{image.reason}: {image.detail}"}
        sha256 = hashlib.sha256(row["image"]).hexdigest()
        return work | {"rgb": image.rgb, "width": image.width, "height": image.height, "sha256": sha256}


class AnswerBatches:
    """Asks the judge and writes its answers. A duty of an engine, or of a server's client."""

    def __init__(
        self, engine: Answers, log: Path, judge: Judge, filters: dict[str, VlmFilter], run: Run, watch: Any = None
    ) -> None:
        """`filters`: those that ask, by name. `watch`: of engines that are replaced when they die; None for a server."""
        self.judge = judge
        self.filters = filters
        self.run = run
        self.asker = Asker(engine, judge.name, judge.ready)
        self.rows = WatchedRows(watch, log) if watch is not None else None

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """A table of _WORK -> a table with `answers`, their number, once they are written."""
        if self.rows is None:
            return pa.table({"answers": [await self._answer(batch.to_pylist())]})
        rows = {_name(row): row for row in batch.to_pylist()}
        past = await self.rows.begin(rows)
        rows = {name: row for name, row in rows.items() if name not in past.written}
        for name in past.guilty:
            rows[name] |= {"rgb": None, "problem": guilt(name, past)}
        alone = suspects(list(rows), past)
        try:
            async with self.rows.together():
                answers = await self._answer([row for name, row in rows.items() if name not in alone])
            await self.rows.end({name: "answered" for name in rows if name not in alone}, answers)
            for name in alone:
                async with self.rows.alone(name):
                    answered = await self._answer([rows[name]])
                await self.rows.end({name: "answered"}, answered)
                answers += answered
        except EngineDied as error:
            await self.rows.died(str(error))
        return pa.table({"answers": [answers]})

    async def _answer(self, rows: list[dict[str, Any]]) -> int:
        """Ask about images and write what comes of it: how many answers. Nothing is written where the engine dies."""
        jobs = [asyncio.create_task(self._ask(row)) for row in rows]
        if not jobs:
            return 0
        done, open_ = await asyncio.wait(jobs, return_when=asyncio.FIRST_EXCEPTION)
        for job in open_:
            job.cancel()
        await asyncio.gather(*open_, return_exceptions=True)
        wrong = next((error for job in jobs if job in done and (error := job.exception())), None)
        if isinstance(wrong, EngineDied) and self.rows is not None:
            raise wrong
        finished = [
            (row, job.result()) for row, job in zip(rows, jobs, strict=True) if job in done and not job.exception()
        ]
        for part in {row["part"] for row, _ in finished}:
            mine = [answer for row, some in finished if row["part"] == part for answer in some]
            frame = pl.DataFrame(mine, schema=tables.ANSWERS)
            self.run.append(
                f"answers/{self.judge.fingerprint}", frame, f"{part}.{_short_name([row for row, _ in finished])}"
            )
        if isinstance(wrong, EngineDied):
            raise EngineError(
                f"the judge {self.judge.name} died: {wrong}; run again to go on: what it answered is kept"
            ) from None
        if wrong is not None:
            raise wrong
        return sum(answer["problem"] is None for _, some in finished for answer in some)

    async def _ask(self, row: dict[str, Any]) -> list[AskedRow]:
        """Ask about one image until its captions call for nothing more."""
        known: dict[str, AnswerRow] = json.loads(row["known"])
        about = [(self.filters[one["filter"]], one["text"], one["others"]) for one in json.loads(row["asks"])]
        if row["rgb"] is not None:
            image_id = f"{row['sha256']}-{self.judge.ready.image_fingerprint}"
            return await self.asker.ask_about(ImageItem.from_row(row), image_id, about, known)

        async def unanswered(questions: Sequence[Question]) -> list[AskedRow]:
            return [asked_row(row["image_key"], question, row["problem"]) for question in questions]

        return await asked_to_the_end(about, known, unanswered)


def _name(row: dict[str, Any]) -> str:
    """Of a row of _WORK, to those who watch engines."""
    return f"{row['part']}\x1f{row['image_key']}"


def _short_name(rows: list[dict[str, Any]]) -> str:
    """The same for the same rows, so that a task that runs again writes over what it wrote."""
    text = "\x1f".join(f"{row['image_key']}\x1f{row['asks']}" for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
