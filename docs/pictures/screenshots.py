"""Pictures of the review app at 1400 and 400 pixels: `python -m docs.pictures.screenshots`, with Chromium and Playwright.

Of a run of the demo world that is made for it, whose captions come from the world's language and not from a model.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import polars as pl
from PIL import Image

from exports.storage import Storage
from factory.demo.scenes import draw_scene, scene_image, scene_index
from factory.demo.truth import judge_captions, true_boxes
from factory.review.caption_index import CaptionIndex
from factory.review.comparing import Comparison
from factory.review.labelling import Labelling
from factory.runs.run import PROGRESS, Run
from factory.runs.writer_lock import RunLock
from tests.captioned_run import captioned
from tests.review.served import browser, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent / "review"
SEED = 3
WIDTHS = {1400: 900, 400: 860}
"""Width of the window -> its height."""
COLOURS = 160
VIEW = {
    "name": "detailed",
    "model": "demo:small",
    "prompts": [{"text": "Describe the image in details."}],
    "sampling": {"max_tokens": 96, "n": 2, "temperature": 0.7},
}
FILTERS = ["length", "repetition", "token_confidence"]


def make_runs(home: Path) -> tuple[str, str]:
    """Two runs of the same images, one of which keeps what it is surer of; labels by two people, and answers of a comparison."""
    made = []
    for name, best in (("surer", "token_confidence"), ("first", "length")):
        changes: dict[str, Any] = {
            "views": [VIEW],
            "filters": FILTERS,
            "source": {"kind": "demo", "scenes": 160, "seed": SEED},
        }
        least = {"length": 1.0, "token_confidence": 0.4 if name == "surer" else 0.0}
        captioned(home / name, **changes, select={"best_of": best, "require": least}, name=f"demo-{name}")
        made.append(str(home / name / "run"))
    run = Run(Storage(made[0]))
    with_boxes(run)
    labelling = Labelling(CaptionIndex(run))
    for number in range(60):
        item = labelling.next_item("caption", 400, "Ann")
        assert item is not None
        right = judge_captions([item["text"]], [item["image_key"]], SEED)[0].correct
        labelling.label("caption", 400, "Ann", item, "right" if right else "wrong")
        labelling.label("caption", 400, "Bob", item, "right" if right ^ (number % 9 == 0) else "wrong")
    comparison = Comparison(made[0], made[1], 60)
    for pair in comparison.pairs.iter_rows(named=True):
        for question in ("made_up", "says_more"):
            values = [_worth(pair[text], pair["image_key"], question) for text in ("text", "text_b")]
            better = "tie" if values[0] == values[1] else "a" if values[0] > values[1] else "b"
            chosen = better if better == "tie" else "left" if better == pair["left"] else "right"
            comparison.answer("Ann", pair["image_key"], question, chosen)
    _as_by_hand(run)
    return made[0], made[1]


def _as_by_hand(run: Run) -> None:
    """Answers some seconds apart, as people give them."""
    for part in run.parts("comparisons"):
        file = f"comparisons/{part}.parquet"
        rows = pl.read_parquet(run.storage.full(file))
        run.storage.write_parquet(file, rows.with_columns(created_ms=pl.int_range(pl.len(), dtype=pl.Int64) * 7300))


def _worth(text: str, key: str, question: str) -> float:
    return len(text.split()) if question == "says_more" else judge_captions([text], [key], SEED)[0].correct_sentences


def with_boxes(run: Run) -> None:
    """One caption as a grounding view writes it."""
    part = run.parts("captions")[0]
    file = f"captions/{part}.parquet"
    rows = pl.read_parquet(run.storage.full(file))
    key = rows["image_key"][0]
    said = [f"a {name} [{','.join(str(round(edge * 999)) for edge in edges)}]" for name, edges in true_boxes(key, SEED)]
    width, height = Image.open(BytesIO(scene_image(draw_scene(SEED, scene_index(key))))).size
    is_first = pl.int_range(pl.len()) == 0
    changes = {"text": f"There is {' and '.join(said)}.", "width": width, "height": height}
    columns = [
        pl.when(is_first).then(pl.lit(value, rows.schema[name])).otherwise(name).alias(name)
        for name, value in changes.items()
    ]
    run.storage.write_parquet(file, rows.with_columns(columns))


@contextmanager
def running(url: str) -> Iterator[None]:
    """The run as it looks while it captions."""
    run = Run(Storage(url))
    stages = [{"name": "starting the engine", "seconds": 48.2}, {"name": "captioning", "seconds": 312.0}]
    engines = [{"model": "demo:small", "waiting": waiting, "most": 128} for waiting in (117, 128)]
    now = {"stages": stages, "engines": engines, "done": 160, "total": 1000, "images_per_s": 12.4, "tokens_per_s": 801.0,
           "left_s": 67.7, "engine_deaths": 0, "detail": "", "at": time.time()}  # fmt: skip
    with RunLock(run):
        run.write_json(PROGRESS, now)
        yield
    run.storage.remove(PROGRESS)


def take(chromium: Browser, first: str, second: str) -> Iterator[str]:
    """Every picture; yields their names."""
    for width, height in WIDTHS.items():
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme="light")
        page = context.new_page()
        with served(first) as server:
            page.goto(server.address)
            yield save(page, f"review-gallery-{width}")
            page.goto(f"{server.base}/image?key=scene-0000000&place=0")
            yield save(page, f"review-image-{width}")
            page.goto(f"{server.base}/label")
            page.locator("input[name=name]").fill("Cem")
            page.keyboard.press("Enter")
            page.locator(".verdicts").wait_for()
            yield save(page, f"review-label-{width}")
            for name in ("calibrate", "report"):
                page.goto(f"{server.base}/{name}")
                yield save(page, f"review-{name}-{width}")
            with running(first):
                page.goto(f"{server.base}/live")
                yield save(page, f"review-live-{width}")
        with served(first, second, "-n", "60", command="compare") as server:
            page.goto(server.address)  # the browser knows the name
            page.locator(".pair").wait_for()
            yield save(page, f"compare-{width}")
            page.goto(f"{server.base}/results")
            yield save(page, f"compare-results-{width}")
        context.close()


def save(page: Page, name: str) -> str:
    """What the window shows, in few colours."""
    page.wait_for_load_state("networkidle")
    picture = Image.open(BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(HERE / f"{name}.png", optimize=True)
    return name


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        HERE.mkdir(exist_ok=True)
        for name in take(chromium, *make_runs(Path(folder))):
            print(name)
