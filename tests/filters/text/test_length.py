import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import FilterError, Length, build


def scores(texts: list[str], limits: Length) -> list[float]:
    return limits.score(pl.DataFrame({"text": texts}))["score"].to_list()


def test_a_caption_within_the_limits_scores_1() -> None:
    assert scores(["a dog asleep", "two dogs", "a cat and a dog"], Length(min_words=2, max_words=5)) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("limit", [3, 7, 49, 98, 103])
def test_a_caption_exactly_at_a_limit_scores_1(limit: int) -> None:
    at = "dog " * limit

    assert scores([at, at], Length(min_words=limit, min_chars=limit * 4 - 1)) == [1.0, 1.0]
    assert scores([at, at], Length(max_words=limit)) == [1.0, 1.0]


def test_too_few_words_score_their_share_of_the_limit() -> None:
    assert scores(["a dog sleeping", "sleeping"], Length(min_words=4)) == [0.75, 0.25]


def test_too_many_words_score_the_limit_over_their_number() -> None:
    assert scores(["one two three four five six"], Length(max_words=3)) == [0.5]


def test_too_few_characters_score_their_share_of_the_limit() -> None:
    assert scores(["a b c", " a b \n"], Length(min_words=1, min_chars=10)) == [0.5, 0.3]


def test_an_empty_caption_scores_0() -> None:
    assert scores(["", " \n"], Length()) == [0.0, 0.0]


def test_without_lower_limits_an_empty_caption_scores_1() -> None:
    assert scores([""], Length(min_words=0, min_chars=0)) == [1.0]


def test_punctuation_and_emoji_are_no_words() -> None:
    evidence = Length().score(pl.DataFrame({"text": ["a dog , on - a beach . 🐕 !!!"]}))

    assert evidence["words"].to_list() == [5]


def test_apostrophes_and_hyphens_stay_inside_words() -> None:
    evidence = Length().score(pl.DataFrame({"text": ["the dog's t-shirt isn’t white"]}))

    assert evidence["words"].to_list() == [5]


def test_every_character_is_a_word_in_scripts_without_spaces() -> None:
    evidence = Length().score(pl.DataFrame({"text": ["海辺の犬と2匹のcat", "개가 해변에 있다"]}))

    assert evidence["words"].to_list() == [9, 3]


def test_limits_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(FilterError, match=r"length: .*max_words \(2\) is below min_words \(5\)"):
        build("length", {"min_words": 5, "max_words": 2})


@settings(deadline=None)
@given(words=st.integers(0, 60), low=st.integers(0, 30), high=st.integers(1, 60))
def test_only_captions_within_the_limits_score_1_and_farther_is_lower(words: int, low: int, high: int) -> None:
    limits = Length(min_words=min(low, high), max_words=high, min_chars=0)

    here, nearer = scores(["dog " * words, "dog " * (words + 1 if words < limits.min_words else words - 1)], limits)

    assert (here == 1.0) == (limits.min_words <= words <= limits.max_words)
    assert here == 1.0 or here < nearer
