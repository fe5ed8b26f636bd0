"""Small inputs that once failed, each with its right value: `cases/*.jsonl`."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from filters import build
from filters.text.rewrites import strip_reasoning

CASES = Path(__file__).parent / "cases"


def cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / name).read_text(encoding="utf-8").splitlines()]


def score_of(name: str, text: str) -> float:
    score = build(name, {}).score(pl.DataFrame({"text": [text]}))["score"].item()
    assert isinstance(score, float)
    return score


@pytest.mark.parametrize("case", cases("filters.jsonl"), ids=lambda case: f"{case['filter']}: {case['text'][:24]}")
def test_each_caption_scores_as_its_case_says(case: dict[str, Any]) -> None:
    """`below`: the score is; `least`: it is no less, so that the caption is kept at the filter's usual threshold."""
    score = score_of(case["filter"], case["text"])

    assert score < case["below"] if "below" in case else score >= case["least"]


@pytest.mark.parametrize("name", ["preamble.jsonl", "thinking.jsonl"])
def test_what_a_model_says_around_its_caption_is_found(name: str) -> None:
    for case in cases(name):
        assert min(score_of("prompt_leak", case["text"]), score_of("artifacts", case["text"])) < 0.5


def test_reasoning_before_a_caption_is_taken_off() -> None:
    found = cases("thinking_strip.jsonl")

    assert strip_reasoning(pl.Series([case["text"] for case in found])).to_list() == [case["right"] for case in found]


def test_one_space_or_another_makes_no_language() -> None:
    for case in cases("nbsp.jsonl"):
        plain = " ".join(case["text"].split())
        assert plain != case["text"]
        assert score_of("language", case["text"]) == score_of("language", plain) >= 0.98


def test_a_caption_in_two_languages_is_in_neither() -> None:
    assert all(score_of("language", case["text"]) < 0.5 for case in cases("language_mixed.jsonl"))
