import polars as pl
import pytest

from filters import OpenerShare, score

VARIED = [f"caption number {number} is of another thing" for number in range(60)]


def test_the_example_of_the_page_is_true() -> None:
    texts = ["the image shows a dog", "the image shows a cat", "two men on a boat"]

    scored = score(texts, OpenerShare(allowed=0))

    assert scored["opener_share"].to_list() == [0.5, 0.5, 1.0]
    assert scored["opener_share.opener"].to_list() == ["the image shows a", "the image shows a", "two men on a"]
    assert scored["opener_share.share"].to_list() == [0.5, 0.5, 0.0]


def test_captions_that_all_begin_alike_score_0() -> None:
    scored = score([f"The image shows a {word}" for word in VARIED], OpenerShare())

    assert scored["opener_share"].to_list() == [0.0] * len(VARIED)


def test_up_to_the_share_allowed_there_is_no_loss() -> None:
    texts = ["The image shows a dog"] * 10 + VARIED

    scored = score(texts, OpenerShare(allowed=9 / 69))

    assert scored["opener_share"].to_list() == [1.0] * len(texts)
    assert score(texts, OpenerShare(allowed=0.1))["opener_share"][0] == pytest.approx(1 - (9 / 69 - 0.1) / 0.9)


def test_captions_of_fewer_than_four_words_have_no_opener() -> None:
    scored = score(["a red dog", None, "", "a red dog runs"], OpenerShare())

    assert scored["opener_share"].to_list() == [None, None, None, 1.0]


def test_rare_openers_are_not_looked_up() -> None:
    texts = [f"{number} dogs on beach" for number in range(20_001)] + ["1 dogs on beach"]

    assert score(texts, OpenerShare())["opener_share.share"].sum() == 0.0


def test_shares_are_of_all_batches(tmp_path) -> None:  # type: ignore[no-untyped-def]
    batches = [pl.DataFrame({"text": ["the image shows a dog"]}), pl.DataFrame({"text": ["The image shows a cat"]})]

    scores = pl.concat(OpenerShare().score_set(lambda: iter(batches), tmp_path))

    assert scores["share"].to_list() == [1.0, 1.0]
