"""What the ledger says of a round's captions."""

from pathlib import Path
from typing import Any

import pytest

from factory.demo.claims import CountClaim
from factory.demo.language import sentence
from factory.demo.scenes import draw_scene, scene_index
from factory.rounds.round_captions import kept_by, pass_at, tries, what_was_captioned
from factory.work.views import ReadyView
from tests.fake_captions import run_fake

SEED = 3


def told(ready: ReadyView, key: str, candidate: int) -> str:
    """Right for a quarter of the candidates of every even scene; of an odd scene none is."""
    index = scene_index(key)
    count = len(draw_scene(SEED, index).things)
    right = candidate == index // 2 % 4 and index % 2 == 0
    return sentence(CountClaim(count if right else count % 4 + 1))


def recipe(**more: Any) -> dict[str, Any]:
    view = {
        "name": "self",
        "model": "demo:small",
        "prompts": [{"text": "Describe."}],
        "sampling": {"n": 4, "temperature": 0.7},
    }
    return {"name": "r", "source": {"kind": "demo", "scenes": 16, "seed": SEED}, "views": [view]} | more


def test_tries_are_pass_at_k_by_the_truth(tmp_path: Path) -> None:
    outcome, _ = run_fake(recipe(), str(tmp_path / "run"), say=told)
    assert tries(outcome.work, None, 0.5) == {"self": {"1": 0.125, "2": 0.25, "4": 0.5}}


@pytest.mark.parametrize(
    ("k", "n", "right", "chance"), [(1, 4, 1, 0.25), (2, 4, 2, 5 / 6), (4, 4, 0, 0.0), (3, 4, 2, 1.0)]
)
def test_pass_at_k_is_the_chance_that_a_draw_holds_a_right_one(k: int, n: int, right: int, chance: float) -> None:
    assert pass_at(k, n, right) == pytest.approx(chance)


def test_what_a_selection_keeps_is_told_by_stratum(tmp_path: Path) -> None:
    rules = {"filters": [{"length": {"min_words": 5}}], "select": {"require": {"length": 1.0}}}
    outcome, _ = run_fake(recipe(**rules), str(tmp_path / "run"), say=lambda ready, key, n: "word " * (3 if n else 9))
    assert kept_by(outcome.work) == {"view": {"self": 0.25}, "length": {"0-8 words": 0.0, "9-16 words": 1.0}}
    found = what_was_captioned(outcome, None, 0.5)
    assert (found["captions"], found["kept"], found["seconds_per_kept"]) == (
        64,
        16,
        None,
    )  # made elsewhere: no cost of its own
