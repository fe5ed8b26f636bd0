import polars as pl
import pytest

from filters import Truncation


def score(text: str | None, **columns: object) -> float | None:
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String}).with_columns(
        pl.lit(value).alias(column) for column, value in columns.items()
    )
    return Truncation().score(frame)["score"].item()


@pytest.mark.parametrize("reason", ["length", "LENGTH", "max_tokens", "abort", "error", "repetition", "content_filter"])
def test_a_stopped_captioner_scores_0(reason: str) -> None:
    assert score("A dog on a", finish_reason=reason) == 0.0


def test_a_captioner_that_stopped_by_itself_scores_1() -> None:
    assert score("A dog on a beach.", finish_reason="stop") == 1.0


def test_looks_do_not_overrule_the_engine() -> None:
    assert score("A dog on a beach.", finish_reason="length") == 0.0
    assert score("a dog on a", finish_reason="stop", output_tokens=8, max_tokens=8) == 1.0


def test_captions_from_elsewhere_have_no_score() -> None:
    assert score("a dog on a") is None
    assert score("a dog on a", finish_reason=None, output_tokens=None, max_tokens=None) is None


def test_without_a_reason_the_token_counts_decide() -> None:
    assert score("A dog on a", output_tokens=8, max_tokens=8) == 0.0
    assert score("A dog on a", output_tokens=7, max_tokens=8) == 1.0
    assert score("A dog on a", output_tokens=7, max_tokens=None) is None


def test_a_failed_caption_has_no_score() -> None:
    assert score(None, finish_reason="length") is None


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("A dog.", True),
        ("A dog! ", True),
        ('The sign says "Stop."', True),
        ("(A dog.)", True),
        ("犬です。", True),
        ("a dog", False),
        ("A dog,", False),
        ("3.5 m", False),
        ("", False),
    ],
)
def test_the_end_of_the_text_is_evidence(text: str, ends: bool) -> None:
    assert Truncation().score(pl.DataFrame({"text": [text]}))["ends_sentence"].to_list() == [ends]
