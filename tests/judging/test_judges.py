"""A run with judges behind a server: what it says about them, two of them compared, one that dies in the middle."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from factory.errors import EngineError
from factory.recipe import Recipe
from factory.runs.run import Run
from factory.work.plan import make_plan
from tests.captioned_run import captioned, select_again
from tests.command import succeed
from tests.judge_server import Server, completion, serving

SCENES = 40
CONTRARY = 0.25
"""Share of the questions about which the second judge thinks otherwise."""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        served.models = ("Idefics3-8B", "contrary")
        served.reply = answer
        yield served


def answer(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Yes to most of what it is told, but not about a blank picture; the second judge differs here and there."""
    image, text = request["messages"][0]["content"]
    data = base64.b64decode(image["image_url"]["url"].split(",")[1])
    picture = Image.open(io.BytesIO(data))
    is_blank = picture.getextrema() == ((128, 128),) * 3
    drawn = int(hashlib.sha256(data + text["text"].encode()).hexdigest()[:8], 16) / 2**32
    yes = 0.05 if is_blank else 0.8 + 0.1 * drawn if drawn < 0.8 else 0.2
    if request["model"] == "contrary" and drawn < CONTRARY:
        yes = 1 - yes
    return completion("Yes", {"Yes": 0.9 * yes, "No": 0.9 * (1 - yes)})


def filters(server: Server, model: str) -> list[Any]:
    return [{"name": "vqa_faithfulness", "params": {"judge": {"endpoint": server.url, "model": model}}}]


def scene_run(tmp_path: Path, server: Server, scenes: int) -> tuple[Run, dict[str, Any]]:
    """A captioned run whose captions are not judged yet, and the recipe that judges them."""
    source = {"kind": "demo", "scenes": scenes, "seed": 3}
    run, raw = captioned(tmp_path, source=source, filters=[], select={})
    return run, raw | {"filters": filters(server, "Idefics3-8B")}


def test_a_run_tells_what_its_judges_are_worth_and_two_are_compared(tmp_path: Path, server: Server) -> None:
    run, raw = scene_run(tmp_path, server, SCENES)
    first = select_again(run, raw)

    (judge,) = first.metrics["judges"]
    (said,) = judge["answers"]
    assert judge["family"] == "idefics"
    assert sum(rate["count"] for rate in said["rates"].values()) == len(server.requests)
    assert said["problems"] == 0
    assert said["rates"]["shuffled"]["value"] > 0.6 > 0.1 > said["rates"]["blank"]["value"]
    assert said["elsewhere"] == pytest.approx(0.1, abs=0.01)
    lines = "\n".join(first.lines())
    page = Path(first.report).read_text()
    for words in ("of one family (idefics)", "questions about other images (vqa_faithfulness)"):
        assert words in lines
        assert words in page
    assert 'id="judges"' in page

    before = len(server.requests)
    select_again(run, raw | {"filters": filters(server, "contrary")})
    again = {request["model"] for request in server.requests[before:]}
    (found,) = json.loads(succeed("agree", run.url, "--json", "--out", tmp_path / "differ.csv"))

    assert again == {"contrary"}
    assert found["answers"] == said["rates"]["own"]["count"]
    assert found["only_second"] == 0
    assert found["only_first"] / found["answers"] == pytest.approx(CONTRARY, abs=0.1)
    assert len(pl.read_csv(tmp_path / "differ.csv")) == found["only_first"]


def test_a_judge_that_dies_stops_the_pass_and_the_next_run_goes_on(tmp_path: Path, server: Server) -> None:
    run, raw = scene_run(tmp_path, server, 150)
    texts = run.captions(make_plan(Recipe.model_validate(raw), run).work.caption_fingerprints).select("text").collect()
    questions = sum(len(re.findall(r"[.!?]", text)) for text in texts["text"])
    server.reply = lambda request: answer(request) if len(server.requests) < questions else (503, {"error": {}})

    with pytest.raises(
        EngineError, match=r"Idefics3-8B .* died: .*503.*; run again to go on: what it answered is kept"
    ):
        select_again(run, raw)
    kept = _answered(run)
    assert kept.height > 0
    assert kept["problem"].null_count() == kept.height

    server.reply, server.requests = answer, []
    select_again(run, raw)

    scores = pl.read_parquet(Path(run.url) / "scores" / "vqa_faithfulness" / "*.parquet")
    after = _answered(run)
    assert (scores.height, scores["score"].null_count()) == (150, 0)
    assert len(server.requests) == after.height - kept.height > 0, "what was answered is not asked again"
    assert after.join(kept, on=["image_key", "question", "created_ms"], how="semi").height >= kept.height


def _answered(run: Run) -> pl.DataFrame:
    return pl.read_parquet(Path(run.url) / "answers" / "*" / "*.parquet")
