"""A sentence has the probabilities of the tokens that end in it."""

import math
from typing import Any

import polars as pl
import pytest

from filters.asking.caption_likelihood import CaptionLikelihood
from filters.asking.questions import VlmFilter
from filters.asking.visual_pmi import VisualPmi
from filters.contract.answers import ANSWERS

TEXT = "A dog. A cat."
ENDS = [1, 5, 6, 8, 12, 13]


def score(filter_: VlmFilter, *values: list[float] | None) -> dict[str, Any]:
    answers = [
        {
            "question": question.id,
            "values": some,
            "ends": ENDS if some else None,
            "problem": None if some else "refused",
        }
        for question, some in zip(filter_.ask(TEXT), values, strict=True)
    ]
    return filter_.score(pl.DataFrame({"text": [TEXT], "answers": pl.Series([answers], dtype=ANSWERS)})).row(
        0, named=True
    )


def test_a_sentence_takes_its_least_token_and_a_caption_its_least_sentence() -> None:
    found = score(CaptionLikelihood(), [-0.1, -0.2, 0.0, -0.1, -2.0, 0.0])

    assert [one["score"] for one in found["sentences"]] == [pytest.approx(math.exp(-0.2)), pytest.approx(math.exp(-2))]
    assert found["score"] == pytest.approx(math.exp(-2))


def test_a_sentence_may_take_the_mean_of_its_tokens() -> None:
    found = score(CaptionLikelihood(tokens="mean"), [-0.1, -0.2, 0.0, -0.3, -2.0, -0.1])

    assert found["score"] == pytest.approx(math.exp(-0.8))


def test_what_the_image_adds_is_the_difference_of_two_readings() -> None:
    found = score(VisualPmi(), [-0.1] * 6, [-2.1] * 6)

    assert found["score"] == pytest.approx(1 / (1 + math.exp(-2)))


def test_a_reading_that_failed_is_a_reason_and_no_score() -> None:
    assert score(CaptionLikelihood(), None)["reason"] == "refused"
    assert score(VisualPmi(), [-0.1] * 6, None)["score"] is None


def test_a_caption_without_words_is_not_asked_about() -> None:
    assert CaptionLikelihood().ask("...") == []
