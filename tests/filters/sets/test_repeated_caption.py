import polars as pl

from filters import RepeatedCaption, score


def test_the_score_falls_with_the_images_that_have_the_caption() -> None:
    frame = pl.DataFrame({"text": ["A dog.", "a dog", "A cat", "a dog"], "image_key": ["a", "b", "c", "d"]})

    scores = RepeatedCaption().score(frame)

    assert scores["score"].to_list() == [1 / 3, 1 / 3, 1.0, 1 / 3]
    assert scores["images"].to_list() == [3, 3, 1, 3]


def test_candidates_and_views_of_one_image_may_say_the_same() -> None:
    frame = pl.DataFrame({"text": ["a dog"] * 4, "image_key": ["a", "a", "a", "b"]})

    assert RepeatedCaption().score(frame)["images"].to_list() == [2, 2, 2, 2]


def test_rows_without_an_image_key_are_an_image_each() -> None:
    assert score(["a dog", "a dog", None, "x"], RepeatedCaption())["repeated_caption"].to_list() == [
        0.5,
        0.5,
        None,
        1.0,
    ]
