import polars as pl
import pytest

from filters import ExactDuplicates, score


def keyed(*rows: tuple[str | None, ...]) -> pl.DataFrame:
    kinds = {"text": pl.String, "image_key": pl.String, "view": pl.String, "candidate": pl.Int64}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def test_the_first_of_each_group_scores_1_and_the_others_0() -> None:
    scored = score(["a dog", "a cat", "a dog", "a dog"], ExactDuplicates())

    assert scored["exact_duplicates"].to_list() == [1.0, 1.0, 0.0, 0.0]
    assert scored["exact_duplicates.size"].to_list() == [3, 1, 3, 3]


@pytest.mark.parametrize("same", ["A DOG runs", " a  dog, runs.", "“a dog runs!”", "a dog\nruns", "ａ dog runs"])
def test_case_punctuation_space_and_forms_of_a_character_do_not_matter(same: str) -> None:
    assert ExactDuplicates().score(pl.DataFrame({"text": ["a dog runs", same]}))["score"].to_list() == [1.0, 0.0]


@pytest.mark.parametrize("other", ["a dog", "a dogruns", "a dog runs 2", "á dog runs", "a cat runs"])
def test_other_words_do(other: str) -> None:
    assert ExactDuplicates().score(pl.DataFrame({"text": ["a dog runs", other]}))["score"].to_list() == [1.0, 1.0]


def test_symbols_alone_are_told_apart() -> None:
    scores = ExactDuplicates().score(pl.DataFrame({"text": ["🐕", "🐈", " 🐕", "...", "", " "]}))["score"]

    assert scores.to_list() == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]


def test_the_smallest_key_is_the_first_and_rows_without_one_come_last() -> None:
    frame = keyed(
        ("a dog", None, None, None),
        ("a dog", "b", "self", 0),
        ("a dog", "a", "self", 2),
        ("a dog", "a", "self", 10),
        ("a dog", "a", "zoo", 0),
    )

    assert ExactDuplicates().score(frame)["score"].to_list() == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_a_caption_given_twice_is_no_duplicate_of_itself() -> None:
    frame = keyed(
        ("a dog", "a", "self", 0),
        ("a dog", "a", "self", 0),
        ("a dog", "b", "self", 0),
        ("x", "c", "v", 0),
        ("x", "c", "v", 0),
    )

    scores = ExactDuplicates().score(frame)

    assert scores["score"].to_list() == [1.0, 1.0, 0.0, 1.0, 1.0]
    assert scores["size"].to_list() == [2, 2, 2, 1, 1]


def test_captions_of_one_image_can_be_looked_at_alone() -> None:
    frame = keyed(("a dog", "a", "v", 0), ("a dog", "b", "v", 0), ("a dog", "a", "v", 1), ("a dog", None, "v", 0))

    assert ExactDuplicates(within="image").score(frame)["score"].to_list() == [1.0, 1.0, 0.0, None]
