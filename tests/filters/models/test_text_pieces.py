from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.models.text_pieces import pieces
from filters.wording.noun_phrases import noun_phrases


def tokens(texts: Sequence[str]) -> list[int]:
    """As an encoder with a token for every three letters of a word and two marks around a text."""
    return [2 + sum(-(-len(word) // 3) for word in text.split()) for text in texts]


@given(text=st.text(st.sampled_from("ab ,;\n—é漢"), max_size=300), limit=st.integers(4, 40))
def test_pieces_fit_and_nothing_is_lost(text: str, limit: int) -> None:
    found = pieces(text, limit, tokens)

    assert all(size <= limit for size in tokens(found))
    assert "".join("".join(found).split()) == "".join(text.split())


def test_a_text_that_fits_stays_whole() -> None:
    assert pieces("a dog, a cat and a cow", 77, tokens) == ["a dog, a cat and a cow"]


def test_clauses_are_split_before_words() -> None:
    assert pieces("a dog runs by, a cat sleeps and a cow looks on", 10, tokens) == [
        "a dog runs by,", "a cat sleeps", "and a cow looks on",
    ]  # fmt: skip


def test_a_clause_that_is_too_long_is_split_at_words_and_a_word_at_letters() -> None:
    assert pieces("one two three four five six", 6, tokens) == ["one two three", "four five", "six"]
    assert pieces("abcdefghijklmnopqrstuvwx", 6, tokens) == ["abcdefghijkl", "mnopqrstuvwx"]


@pytest.mark.parametrize(
    ("sentence", "phrases"),
    [
        ("A small red circle is at the top left.", ["a small red circle"]),
        ("There is a large blue square and two green stars.", ["a large blue square", "two green stars"]),
        ("A man running with his brown dog on a wet street.", ["a man", "his brown dog", "a wet street"]),
        ("The image shows a tall building in the background.", ["a tall building"]),
        ("Dogs and cats.", ["dogs", "cats"]),
        ("It is what it is.", []),
        ("", []),
    ],
)
def test_noun_phrases_are_found(sentence: str, phrases: list[str]) -> None:
    assert noun_phrases(sentence) == phrases
