"""Facts that a fused caption has from nowhere."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from filters import FilterError
from filters.references.added_facts import AddedFacts
from filters.references.caption_match import contradiction

SALE = "Autumn sale\na man in a blue coat"


def judged(text: str | None, inputs: str | None) -> dict[str, object]:
    return AddedFacts().score(pl.DataFrame({"text": [text], "inputs": [inputs]}, strict=False)).row(0, named=True)


def test_what_no_input_names_is_added() -> None:
    assert judged("A man in a blue coat at an autumn sale.", SALE)["score"] == 1.0
    found = judged("Two men in blue coats and a dog at an autumn sale.", SALE)
    assert found["added"] == ["dog", "2"]
    assert found["score"] == pytest.approx(1 - 2 / 6)
    assert judged("A man in a green coat.", SALE)["added"] == ["green"]


def test_the_kind_of_a_thing_is_not_new_and_one_of_a_kind_is() -> None:
    assert judged("A person holds a kite.", "A boy holds a kite.")["added"] == []
    assert judged("A boy holds a kite.", "A person holds a kite.")["added"] == ["boy"]
    assert judged("Two dogs on a couch.", "A couple of dogs on a sofa.")["added"] == []


def test_what_the_inputs_say_and_it_does_not_is_lost() -> None:
    found = judged("A man in a coat.", SALE)
    assert found["lost"] == ["sale", "blue"]
    assert found["score"] == 1.0
    assert 0 < found["kept"] < 1  # type: ignore[operator]


def test_without_inputs_nothing_is_judged() -> None:
    assert judged("A man.", None)["reason"] == "nothing is known of what it was made from"
    assert judged(None, SALE)["score"] is None


def test_inputs_of_captions_of_others_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "pairs.parquet"
    pl.DataFrame({"image_key": ["a"], "raw": ["A red kite"], "synthetic": [None]}).write_parquet(file)
    captions = pl.DataFrame({"image_key": ["a", "b"], "text": ["A red kite.", "A kite."]})
    scored = AddedFacts(table=str(file), columns=("raw", "synthetic")).score(captions)
    assert scored["score"].to_list() == [1.0, None]
    with pytest.raises(FilterError, match="no column 'alt'"):
        AddedFacts(table=str(file), columns=("alt",)).score(captions)


def test_two_captions_contradict_each_other_in_number_and_colour() -> None:
    assert contradiction("Three dogs and a red ball.", "Two dogs and a blue ball.") == ("3 dog", "red ball")
    assert contradiction("A dog.", "Summer sale 2019") == ()
