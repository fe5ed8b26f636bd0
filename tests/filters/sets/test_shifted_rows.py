import random

import polars as pl
import pytest

from filters import ShiftedRows, score

WORDS = [
    f"{first}{second}{third}" for first in "bdfgkl" for second in ("ab", "ek", "ir") for third in ("on", "us", "el")
]


def rows(count: int, seed: int = 0) -> pl.DataFrame:
    """Captions, and for each image a file name with some of its words."""
    rng = random.Random(seed)
    captions = [rng.sample(WORDS, 8) for _ in range(count)]
    return pl.DataFrame(
        {
            "text": [f"A {' and '.join(words)}." for words in captions],
            "image_key": [f"photos/{number:05}_{'-'.join(words[:3])}.jpg" for number, words in enumerate(captions)],
        }
    )


def shifted(frame: pl.DataFrame, by: int) -> pl.DataFrame:
    """Each caption `by` rows further down."""
    return frame.with_columns(pl.col("text").shift(by))


def test_captions_that_fit_their_rows_score_1() -> None:
    scores = ShiftedRows().score(rows(600))

    assert scores["score"].to_list() == [1.0] * 600
    assert scores["shift"].to_list() == [0] * 600


@pytest.mark.parametrize("by", [1, -1, 5, -8])
def test_shifted_captions_score_low_and_tell_by_how_much(by: int) -> None:
    scores = ShiftedRows().score(shifted(rows(1024), by))

    assert scores["score"].drop_nulls().max() < 0.5
    assert scores["shift"].drop_nulls().unique().to_list() == [-by]
    assert scores["score"].null_count() == abs(by)


def test_only_the_rows_after_a_lost_line_are_shifted() -> None:
    frame = rows(1536)
    texts = frame["text"].to_list()
    frame = frame.with_columns(text=pl.Series([*texts[:768], *texts[769:], None]))

    scores = ShiftedRows().score(frame)["score"].to_list()

    assert scores[:768] == [1.0] * 768
    assert max(score for score in scores[768:] if score is not None) < 0.5


def test_a_shift_beyond_the_ones_looked_at_gives_no_score() -> None:
    assert ShiftedRows(max_shift=2).score(shifted(rows(512), 4))["score"].null_count() == 512


def test_numbered_files_give_no_score() -> None:
    frame = rows(512).with_columns(image_key=pl.int_range(512).cast(pl.String) + ".jpg")

    assert ShiftedRows().score(frame)["score"].null_count() == 512


def test_a_shuffled_set_gives_no_score() -> None:
    frame = rows(512)

    assert ShiftedRows().score(frame.with_columns(frame["text"].shuffle(seed=1)))["score"].null_count() == 512


def test_the_text_of_the_prompt_goes_before_the_file_name() -> None:
    frame = shifted(rows(512), 1).with_columns(inputs=pl.col("text"))

    assert ShiftedRows().score(frame)["shift"].drop_nulls().unique().to_list() == [0]


def test_a_few_rows_give_no_score() -> None:
    assert score(["a dog", "a cat"], ShiftedRows())["shifted_rows"].to_list() == [None, None]
