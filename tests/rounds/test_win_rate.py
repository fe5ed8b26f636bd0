"""Win rates of a round over an earlier one, by a judge behind a real server."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exports.storage import Storage
from factory.errors import RecipeError
from factory.recipe import Recipe
from factory.rounds.evaluation import Judged
from factory.rounds.loop_file import Wins
from factory.rounds.win_rate import win_rates
from factory.runs.run import Run
from factory.sources.pictures import Pictures
from factory.work.plan import make_plan
from tests.judge_server import Server, completion, serving

IMAGES = 6


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        served.reply = prefers_better
        yield served


def prefers_better(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Nine to one for the caption that says "better"; eight to two for the first place beside that."""
    text = next(part["text"] for part in request["messages"][0]["content"] if part["type"] == "text")
    first, second = re.findall(r'Caption \d: "(.*)"', text)
    chance = 0.9 if "better" in first else 0.3 if "better" in second else 0.8
    return completion("1", {"1": chance, "2": 1 - chance})


def pictures(tmp_path: Path) -> Pictures:
    view = {"name": "self", "model": "demo:small", "prompts": [{"text": "Describe."}]}
    recipe = Recipe.model_validate(
        {"name": "r", "source": {"kind": "demo", "scenes": IMAGES, "seed": 3}, "views": [view]}
    )
    return make_plan(recipe, Run(Storage(str(tmp_path / "none")))).pictures


def judged(*texts: str) -> Judged:
    keys = [f"scene-{number:07d}" for number in range(IMAGES)]
    return Judged(pl.DataFrame({"image_key": keys, "worth": [0.0] * IMAGES, "text": texts}), {})


def test_a_win_is_told_in_both_orders_and_equal_captions_are_draws(tmp_path: Path, server: Server) -> None:
    before = judged("A plain one.", "A plain one.", "The same.", "The same.", "A plain one.", "")
    now = judged("A better one.", "A better one.", "The same.", "The same.", "A plain two.", "Something.")
    wins = Wins(judge={"endpoint": server.url, "model": "judge"}, rubrics=("accuracy",))
    found = win_rates(now, before, pictures(tmp_path), wins, tmp_path / "wins")["accuracy"]
    # better: (0.9 + 0.7) / 2 twice; same: 0.5 twice; neither: (0.8 + 0.2) / 2; a caption over none: 1
    assert found["mean"] == pytest.approx((0.8 + 0.8 + 0.5 + 0.5 + 0.5 + 1.0) / 6, abs=1e-4)
    assert (found["images"], found["same"], found["unanswered"]) == (6, 2, 0)
    assert found["order_bias"] == pytest.approx((0.2 + 0.2 + 0.6) / 3, abs=1e-3)
    asked = len(server.requests)
    assert win_rates(now, before, pictures(tmp_path), wins, tmp_path / "wins")["accuracy"] == found
    assert len(server.requests) == asked  # nothing is asked twice


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judge": "self"}, "would judge itself"),
        ({"judge": "demo:judge", "rubrics": ["acuracy"]}, "no built-in rubric"),
        ({"judge": {"endpoint": "http://127.0.0.1:1/v1"}}, "key is missing"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_refused_when_the_loop_is_read(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Wins(**changes)
