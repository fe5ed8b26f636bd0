"""A judge whose engine dies is started again, and an image that kills it each time costs its own answers alone.

Real Ray and real processes; only what the judge says is drawn here, and when it dies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

from exports.storage import Storage
from factory.engines.cluster import ray_cluster
from factory.engines.contract import Answer, EngineDied
from factory.engines.engine_actor import Duty
from factory.engines.pool import EnginePool
from factory.engines.stage import engine_reports
from factory.engines.watched_rows import start_watch
from factory.judging.answering import _WORK, AnswerBatches
from factory.runs.run import Run
from factory.work.judges import Judge
from factory.work.views import ReadyView
from filters.asking.questions import Endpoint, Question
from filters.asking.vqa_faithfulness import VqaFaithfulness
from tests.judge_server import serving
from tests.ready import ready_view

IMAGES = 100


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with ray_cluster(str(tmp_path_factory.mktemp("ray")), 4) as started:
        yield started


class Dying:
    """Answers yes; dies with its process where it is asked about an image of this colour: once, or always."""

    def __init__(self, red: int, met: Path | None) -> None:
        self.red = red
        self.met = met

    async def answer(
        self, question: Question, image: Callable[[], Image.Image], image_id: str, ready: ReadyView
    ) -> Answer:
        if image().getpixel((0, 0))[0] == self.red and not (self.met and self.met.exists()):  # type: ignore[index]
            if self.met:
                self.met.touch()
            raise EngineDied("a kernel failed")
        return Answer([0.9, 0.1], [], 0.0, "yes")


class AnswersOfDying(AnswerBatches):
    def __init__(self, engine: Any, log: Path, red: int, met: Path | None, **rest: Any) -> None:
        super().__init__(Dying(red, met), log, **rest)


def read(batch: pa.Table) -> Iterator[pa.Table]:
    asks = [["vqa_faithfulness", "A red ball.", ()]]
    for first in batch["first"].to_pylist():
        yield pa.Table.from_pylist(
            [
                {
                    "part": "part-1",
                    "image_key": f"image-{number}",
                    "shard": "shard",
                    "asks": json.dumps(
                        [{"filter": name, "text": text, "others": others} for name, text, others in asks]
                    ),
                    "known": "{}",
                    "rgb": bytes([number, 0, 0] * 4),
                    "width": 2,
                    "height": 2,
                    "sha256": f"{number:064x}",
                    "problem": None,
                }
                for number in range(first, first + IMAGES // 2)
            ],
            schema=_WORK,
        )


def judged(ray: Any, folder: Path, red: int, met: Path | None) -> tuple[pl.DataFrame, int]:
    """The answers, and how many engines it took."""
    run = Run(Storage(str(folder / "run")))
    judge = Judge("org/judge", "f" * 16, ready_view())
    filters = {"vqa_faithfulness": VqaFaithfulness()}
    settings = {"judge": judge, "filters": filters, "run": run, "watch": start_watch(ray)}
    with serving() as server:
        pool = EnginePool(
            ray, Endpoint(endpoint=server.url, model="judge"), 1, 1, IMAGES, {"num_cpus": 0.1}, str(folder)
        )
        duty = Duty(AnswersOfDying, {**settings, "red": red, "met": met})
        list(engine_reports(ray, [{"first": 0}, {"first": IMAGES // 2}], read, lambda: pool, duty))
        pool.close()
    found = pl.concat([pl.read_parquet(file) for file in (folder / "run" / "answers").rglob("*.parquet")])
    return found.filter(pl.col("control").is_null()).sort("image_key"), pool.starts


def test_a_dead_judge_is_started_again_and_nothing_is_lost_or_asked_twice(ray: Any, tmp_path: Path) -> None:
    answers, starts = judged(ray, tmp_path, 70, tmp_path / "met")
    assert starts == 2
    assert answers["image_key"].n_unique() == answers.height == IMAGES
    assert answers["problem"].null_count() == IMAGES


def test_an_image_that_kills_the_judge_each_time_is_the_only_one_without_an_answer(ray: Any, tmp_path: Path) -> None:
    answers, starts = judged(ray, tmp_path, 70, None)
    assert answers["image_key"].n_unique() == answers.height == IMAGES
    (problem,) = answers.filter(pl.col("problem").is_not_null()).select("image_key", "problem").rows()
    assert problem[0] == "image-70"
    assert "the engine died 3 times with this image, the last time with it alone" in problem[1]
    assert starts == 4


def test_a_judge_that_dies_on_everything_stops_the_run_with_its_words(ray: Any, tmp_path: Path) -> None:
    from factory.errors import EngineError

    class Always(AnswersOfDying):
        def __init__(self, engine: Any, log: Path, **rest: Any) -> None:
            super().__init__(engine, log, **rest)
            self.asker.engine = Gone()

    class Gone:
        async def answer(self, *_: Any) -> Answer:
            raise EngineDied("no kernel for this card")

    run = Run(Storage(str(tmp_path / "run")))
    settings = {"judge": Judge("org/judge", "f" * 16, ready_view()), "run": run, "watch": start_watch(ray)}
    filters = {"vqa_faithfulness": VqaFaithfulness()}
    with serving() as server:
        pool = EnginePool(
            ray, Endpoint(endpoint=server.url, model="judge"), 1, 1, IMAGES, {"num_cpus": 0.1}, str(tmp_path)
        )
        duty = Duty(Always, {**settings, "filters": filters, "red": 0, "met": None})
        with pytest.raises(
            EngineError, match=r"died 5 times without answering once; its last words: .*no kernel for this card"
        ):
            list(engine_reports(ray, [{"first": 0}], read, lambda: pool, duty))
        pool.close()
