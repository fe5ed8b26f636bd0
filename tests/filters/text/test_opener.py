import polars as pl
import pytest

from filters import Hedging, Opener


def judge(text: str) -> tuple[float, int, str | None]:
    return Opener().score(pl.DataFrame({"text": [text]})).row(0)


@pytest.mark.parametrize(
    ("text", "opener"),
    [
        ("The image shows a dog.", "The image shows"),
        ("This picture clearly depicts a dog.", "This picture clearly depicts"),
        ("In this image, we can see a dog.", "In this image, we can see"),
        ("In the photo, a dog runs.", "In the photo"),
        ("A photo of a dog", "A photo of"),
        ("This is an image of a dog", "This is an image of"),
        ("We see a dog", "We see"),
        ("“The scene captures a dog.”", "The scene captures"),
        ("the image is a photo of a dog", "the image is a photo of"),
    ],
)
def test_a_sentence_about_the_image_is_found(text: str, opener: str) -> None:
    assert judge(text) == (0.0, 1, opener)


@pytest.mark.parametrize(
    "text",
    [
        "A dog runs.",
        "A painting of a dog.",
        "A black and white photo of a dog.",
        "A man takes a picture of a dog.",
        "The imagery of a dream",
        "The dog shows its teeth.",
        "Photographs hang on a wall.",
        "",
    ],
)
def test_a_sentence_about_what_is_shown_is_none(text: str) -> None:
    assert judge(text) == (1.0, 0, None)


def test_the_score_is_the_share_of_the_other_sentences() -> None:
    assert judge("The image shows a dog. It runs. The picture also features a cat. It sits.") == (
        0.5,
        2,
        "The image shows",
    )


def test_a_later_opener_is_counted_and_is_not_the_first() -> None:
    assert judge("A dog. The image shows a cat.") == (0.5, 1, None)


def hedges(text: str, **limits: float) -> tuple[float, int, float]:
    return Hedging(**limits).score(pl.DataFrame({"text": [text]})).row(0)


def test_hedges_are_counted_by_sentence() -> None:
    assert hedges("It appears to be a dog. It runs.") == (0.5, 1, 0.5)
    assert hedges("It may be a dog, possibly a wolf.") == (0.0, 2, 2.0)
    assert hedges("It may be a dog, possibly a wolf.", max_per_sentence=4.0)[0] == 0.5


@pytest.mark.parametrize(
    "text", ["A pop star appears on stage.", "A dog runs in May.", "He might.", "a suggestion box", "a unlikely", ""]
)
def test_other_words_are_no_hedges(text: str) -> None:
    assert hedges(text) == (1.0, 0, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "Clouds look like cotton.",
        "The hills stand as if painted.",
        "A cake that looks like a shoe.",
        "It hangs there as though asleep.",
    ],
)
def test_a_simile_is_no_hedge(text: str) -> None:
    assert hedges(text)[0] == 1.0


@pytest.mark.parametrize(
    "text", ["It looks like a wolf.", "The man looks as if he waits.", "She appears as though she sleeps."]
)
def test_a_guess_in_the_words_of_a_simile_is_a_hedge(text: str) -> None:
    assert hedges(text)[0] == 0.0
