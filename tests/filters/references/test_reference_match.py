"""Captions are compared with those that people wrote for the same image."""

from pathlib import Path

import polars as pl
import pytest

from filters import FilterError, build
from filters.references.caption_match import UNMENTIONED, CaptionMatch, match_caption
from filters.wording.object_words import vocabulary

DOG = (
    "A brown dog runs on the grass.",
    "A dog is running across a lawn.",
    "A small brown dog with a red ball on the grass.",
)
WOMEN = ("Two women with umbrellas near a building.", "Two women are standing under umbrellas.", "A pair of ladies.")


def match(text: str, references: tuple[str, ...] = DOG) -> CaptionMatch:
    return match_caption(text, references, vocabulary())


def score(text: str, references: tuple[str, ...] = DOG) -> float:
    found = match(text, references).score
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("right", "wrong", "references"),
    [
        ("A dog runs on the grass.", "A cat runs on the grass.", DOG),
        ("A dog runs on the grass.", "A dog runs on the sofa.", DOG),
        ("A brown dog runs.", "A white dog runs.", DOG),
        ("A dog is running.", "A dog is swimming.", DOG),
        ("A dog runs with a red ball.", "A dog runs with a blue ball.", DOG),
        ("Two women with umbrellas.", "Three women with umbrellas.", WOMEN),
        ("Two women with umbrellas.", "Two men with umbrellas.", WOMEN),
        ("A car on a road.", "A carrot on a road.", ("A red car on a road.", "The car is driving.")),
    ],
)
def test_one_wrong_word_lowers_the_score(right: str, wrong: str, references: tuple[str, ...]) -> None:
    assert score(right, references) > score(wrong, references)


def test_leaving_out_what_people_agree_on_lowers_the_score() -> None:
    assert score("A dog on the grass.") > score("A red ball.")


def test_an_object_that_nobody_mentions_is_listed_and_not_taken_for_wrong() -> None:
    found = match("A brown dog runs on the grass by a fence.")

    assert found.unmentioned == ("fence",)
    assert found.contradicted == ()
    assert found.least == UNMENTIONED


def test_what_references_deny_is_named() -> None:
    assert match("Three women with umbrellas.", WOMEN).contradicted == ("3 woman",)
    assert match("A white dog.").contradicted == ("white dog",)


def test_a_similarity_knows_words_that_rules_do_not() -> None:
    def alike(named: object, references: object) -> object:
        import numpy as np

        return np.full((len(named), len(references)), 0.9)  # type: ignore[arg-type]

    by_rules, by_model = (
        match_caption("A hound.", ("A dachshund.",), vocabulary(), similarity).least
        for similarity in (None, alike)  # type: ignore[list-item]
    )

    assert by_rules is not None
    assert by_model is not None
    assert by_model > by_rules


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_references_come_from_a_file_by_image_key(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"references{suffix}"
    table = pl.DataFrame({"image_key": ["a", "a", "b"], "references": [DOG[0], DOG[1], "A cat, asleep on a sofa."]})
    {".parquet": table.write_parquet, ".jsonl": table.write_ndjson, ".csv": table.write_csv}[suffix](file)
    captions = pl.DataFrame({"image_key": ["a", "b", "c", "a"], "text": ["A dog runs.", "A dog runs.", "A dog.", None]})

    filter_ = build("reference_match", {"references": str(file)})
    found = filter_.score(captions)

    assert found["score"][0] > found["score"][1]
    assert found["score"][2:].to_list() == [None, None]
    assert found["reason"].to_list() == [None, None, "no references of this image", None]
    assert set(filter_.models()) == {"references"}


def test_references_come_from_a_column_beside_the_captions() -> None:
    captions = pl.DataFrame({"text": ["A dog runs.", "A cat sits."], "references": [list(DOG)] * 2})
    found = build("reference_match", {}).score(captions)["score"]

    assert found[0] > found[1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("image_key,texts\na,A dog.\n", "no column 'references'"),
        ("image_key,references\n,A dog.\n", "row 1 has no image_key"),
    ],
)
def test_a_file_that_holds_no_references_is_refused(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "references.csv"
    file.write_text(content)

    with pytest.raises(FilterError, match=says):
        build("reference_match", {"references": str(file)}).score(
            pl.DataFrame({"image_key": ["a"], "text": ["A dog."]})
        )


def test_a_run_without_a_file_is_told_to_name_one() -> None:
    with pytest.raises(FilterError, match="name the file"):
        build("reference_match", {}).models()
