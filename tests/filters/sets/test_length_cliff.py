import random

import polars as pl
import pytest

from filters import LengthCliff

RNG = random.Random(2)
TEXTS = [" ".join(RNG.choices(["a", "dog", "beach", "running", "on"], k=RNG.randint(5, 80))) for _ in range(3000)]


def test_captions_cut_at_a_number_of_characters_are_found() -> None:
    frame = pl.DataFrame({"text": [text[:200] for text in TEXTS]})
    cut = pl.Series([len(text) > 200 for text in TEXTS])

    scores = LengthCliff().score(frame)

    assert (scores["score"].filter(cut) < 0.1).all()
    assert scores["length"].filter(cut).unique().to_list() == [200]
    assert scores["measure"].filter(cut).unique().to_list() == ["characters"]
    assert (scores["score"].filter(frame["text"].str.len_chars() < 200) == 1.0).all()


def test_captions_cut_at_a_number_of_tokens_are_found() -> None:
    tokens = [len(text.split()) for text in TEXTS]
    frame = pl.DataFrame({"text": TEXTS, "output_tokens": [min(count, 64) for count in tokens]})

    scores = LengthCliff().score(frame)

    assert (scores["score"] < 0.2).to_list() == [count >= 64 for count in tokens]
    assert scores["measure"].drop_nulls().unique().to_list() == ["tokens"]


def test_whole_captions_are_at_no_limit() -> None:
    assert LengthCliff().score(pl.DataFrame({"text": TEXTS}))["score"].to_list() == [1.0] * len(TEXTS)


def test_a_common_length_below_longer_captions_is_no_limit() -> None:
    frame = pl.DataFrame({"text": [*TEXTS, *["x" * 150] * 2000]})

    assert (LengthCliff().score(frame)["score"] == 1.0).all()


def test_each_view_has_a_limit_of_its_own() -> None:
    short = pl.DataFrame({"text": [text[:100] for text in TEXTS], "view": "short"})
    long = pl.DataFrame({"text": TEXTS, "view": "long"})

    scores = LengthCliff().score(pl.concat([short, long]))

    assert scores["length"].drop_nulls().unique().to_list() == [100]
    assert (scores["score"][short.height :] == 1.0).all()


def test_the_example_of_the_page_is_true() -> None:
    texts = ["x" * 200] * 300 + ["x" * (100 + number % 70) for number in range(700)]

    scores = LengthCliff().score(pl.DataFrame({"text": texts}))

    assert scores["score"][0] == pytest.approx(10 / 300)
    assert scores["score"][-1] == 1.0


def test_lengths_that_no_captioner_has_are_no_trouble() -> None:
    frame = pl.DataFrame({"text": ["a dog"] * 3, "output_tokens": [2**62, -5, None]})

    assert LengthCliff(min_captions=2).score(frame)["score"].null_count() == 0


def test_captions_cut_at_a_number_of_words_are_found() -> None:
    whole = [" ".join(["word" + "s" * (row % 7)] * (20 + row % 90)) for row in range(900)]
    cut = [" ".join(text.split()[:70]) for text in whole]
    found = LengthCliff().score(pl.DataFrame({"text": cut}))
    at = pl.Series([len(text.split()) >= 70 for text in whole])

    assert found.filter(at)["measure"].unique().to_list() == ["words"]
    assert found.filter(at)["score"].max() < 0.1  # type: ignore[operator]
    assert found.filter(~at)["score"].min() == 1.0
