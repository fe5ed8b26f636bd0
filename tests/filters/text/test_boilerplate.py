import polars as pl
import pytest

from filters import Boilerplate


def judge(text: str) -> tuple[float, str | None, list[str]]:
    score, kind, spans = Boilerplate().score(pl.DataFrame({"text": [text]})).row(0)
    return score, kind, [text[span["start"] : span["end"]] for span in spans or []]


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("see https://example.org/a.html for more", "url", "https://example.org/a.html"),
        ("more at example.com", "url", "example.com"),
        ("IMG_2034.JPG", "file", "IMG_2034.JPG"),
        ("holiday DSC01234", "file", "DSC01234"),
        ("a dog on a beach - royalty free stock photo", "stock", "royalty free stock photo"),
        ("dog | Shutterstock", "stock", "Shutterstock"),
        ("dog, © 2015 by its owner", "rights", "© 2015 by its owner"),
        ("Photo credit: Jane", "rights", "Photo credit: Jane"),
        ("red shoes, free shipping", "shop", "free shipping"),
        ("Click to enlarge: a dog", "page", "Click to enlarge"),
        ("image 3 of 12 dog", "page", "image 3 of 12"),
        ("Image may contain: dog, outdoor", "placeholder", "Image may contain"),
        ("untitled", "placeholder", "untitled"),
    ],
)
def test_text_of_the_page_is_found_with_its_place(text: str, kind: str, found: str) -> None:
    score, first, spans = judge(text)

    assert (first, [span.strip() for span in spans]) == (kind, [found])
    assert score == pytest.approx(1 - len(spans[0]) / len(text))


@pytest.mark.parametrize(
    "text",
    [
        "A bus with a large advertisement on its side.",
        "A shop window with shoes in it.",
        "She is happy to share this moment with her friends.",
        "A man takes a photo of a dog.",
        "An untitled painting hangs on a wall.",
        "A shelf with stock of all kinds; a stock pot.",
        "Mr. T. and Mrs. U.",
        "a photographer with a camera clicks",
        "",
    ],
)
def test_captions_of_such_things_are_none(text: str) -> None:
    assert judge(text) == (1.0, None, [])


def test_a_caption_that_is_nothing_else_scores_0() -> None:
    assert judge("Add to cart")[0] == 0.0


def test_all_spans_are_counted() -> None:
    score, _, spans = judge("Click here! A dog. All rights reserved")

    assert spans == ["Click here", "All rights reserved"]
    assert score == pytest.approx(1 - 29 / 38, abs=0.01)


def test_a_credit_with_the_name_of_its_site_is_boilerplate() -> None:
    texts = ["Photo by Jane Doe on Unsplash", "Image by A. B. from Pixabay", "a photo by the sea on a wall"]

    scores = Boilerplate().score(pl.DataFrame({"text": texts}))["score"]

    assert scores.to_list() == [pytest.approx(0.0, abs=0.2), pytest.approx(0.0, abs=0.4), 1.0]


@pytest.mark.parametrize(
    "text",
    [
        "Photo by Jane Doe",
        "Photo: John Smith/Reuters",
        "Image courtesy of NASA",
        "Tap to zoom",
        "Link in bio",
        "Download this free HD wallpaper",
        "Advertisement",
    ],
)
def test_credits_and_calls_that_are_all_of_a_caption_are_found(text: str) -> None:
    assert Boilerplate().score(pl.DataFrame({"text": [text]}))["score"].item() < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "photo by the lake",
        "A photo of The White House",
        "art by children hangs on a wall",
        "an advertisement for a car on a bus",
    ],
)
def test_pictures_in_words_of_a_caption_are_no_credits(text: str) -> None:
    assert Boilerplate().score(pl.DataFrame({"text": [text]}))["score"].item() == 1.0
