"""What several candidates say counts for more than what one says."""

import polars as pl
import pytest

from filters.sets.consistency import Consistency


def score(*texts: str | None, key: str | None = "image") -> pl.DataFrame:
    return Consistency().score(
        pl.DataFrame(
            {
                "text": texts,
                "image_key": [key] * len(texts),
                "view": ["v"] * len(texts),
                "candidate": range(len(texts)),
            },
            schema_overrides={"text": pl.String, "image_key": pl.String},
        )
    )


def test_a_sentence_that_no_other_candidate_says_scores_low() -> None:
    scores = score("A red cross is left. A star is right.", "A red cross is left. A moon is right.")

    assert scores["score"].to_list() == [0.5, 0.5]
    assert [one["score"] for one in scores["sentences"][0]] == [1.0, 0.5]
    assert scores["others"].to_list() == [1, 1]


def test_each_other_candidate_has_one_vote() -> None:
    scores = score("A cat.", "A cat.", "A cat.", "A dog.")

    assert scores["score"].to_list() == [pytest.approx(2 / 3)] * 3 + [0.0]


def test_order_and_filling_words_do_not_matter() -> None:
    assert score("There is a red star on the left.", "On the left there is a red star.")["score"].to_list() == [
        1.0,
        1.0,
    ]


@pytest.mark.parametrize("texts", [["A dog."], ["A dog.", None], ["A dog.", "..."], ["A dog.", "A cat runs. " * 65]])
def test_without_another_candidate_there_is_no_score(texts: list[str | None]) -> None:
    assert score(*texts)["score"].to_list() == [None] * len(texts)


def test_captions_without_a_key_belong_to_no_image() -> None:
    assert score("A dog.", "A dog.", key=None)["score"].to_list() == [None, None]


def test_the_same_caption_given_twice_has_one_vote() -> None:
    rows = pl.DataFrame({"text": ["A dog.", "A dog.", "A cat."], "image_key": "i", "view": "v", "candidate": [0, 0, 1]})

    assert Consistency().score(rows)["others"].to_list() == [1, 1, 1]
