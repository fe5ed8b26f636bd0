import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.wording.sentences import ends_sentence, finished, parts, sentence_texts, sentences, text_ends_sentence

CASES = Path(__file__).parents[1] / "cases"


def cases(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (CASES / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", cases("sentences.jsonl"), ids=lambda case: case["id"])
def test_captions_of_the_field_have_as_many_sentences_as_a_reader_counts(case: dict[str, str]) -> None:
    assert len(sentences(case["text"])) == case["sentences"]


def test_99_of_100_labelled_texts_are_cut_as_a_reader_cuts_them() -> None:
    wrong = [
        case
        for case in cases("sentences_labelled.jsonl")
        if [one.text for one in sentences(str(case["text"]))] != case["sentences"]
    ]

    assert len(wrong) <= len(cases("sentences_labelled.jsonl")) / 100, wrong


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A dog. A cat! A cow?", ["A dog.", "A cat!", "A cow?"]),
        ("one line\nanother", ["one line", "another"]),
        ("a red bus stops . a cat sleeps .", ["a red bus stops .", "a cat sleeps ."]),
        ("a red bus ... a cat", ["a red bus ...", "a cat"]),
        ('The sign reads "STOP. GO HOME." in red.', ['The sign reads "STOP. GO HOME." in red.']),
        ("This line was wrapped where the page\nended, and goes on.", 1),
        ("...", []),
        ("", []),
    ],
)
def test_sentences_end_at_line_ends_and_marks(text: str, found: list[str] | int) -> None:
    said = [one.text for one in sentences(text)]

    assert (len(said) if isinstance(found, int) else said) == found


pieces = st.lists(
    st.sampled_from(["A dog", "St.", "U.S.", "e.g.", '"', "“", "”", "(", ")", "\n", "1.", "…", "...", "!", "?", "।", "。", "「", "」", " "])
).map("".join)  # fmt: skip


@settings(deadline=None)
@given(text=pieces)
def test_sentences_lie_where_they_say_and_parts_are_the_whole_text(text: str) -> None:
    last = 0
    for one in sentences(text):
        assert one.start >= last
        assert text[one.start : one.end] == one.text == one.text.strip()
        last = one.end
    assert "".join(text[start:end] for start, end in parts(text)) == text


@settings(deadline=None)
@given(text=pieces)
def test_a_column_is_cut_as_one_text_is(text: str) -> None:
    column = pl.DataFrame({"text": [text, None]})

    cut, none = column.select(sentence_texts(pl.col("text"))).to_series()

    assert (cut.to_list(), none) == ([one.text for one in sentences(text)], None)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("A dog.", True),
        ("He waves to Dr.", False),
        ("It is approx.", False),
        ("Apples, pears, etc.", True),
        ("बिल्ली सो रही है।", True),
        ("It stands on the left", False),
    ],
)
def test_an_abbreviation_that_awaits_a_word_ends_no_sentence(text: str, ends: bool) -> None:
    assert ends_sentence(text) is ends
    assert pl.DataFrame({"text": [text]}).select(text_ends_sentence(pl.col("text"))).item() is ends


def test_a_cut_text_is_finished_where_its_last_whole_sentence_ends() -> None:
    assert finished("A dog runs. It is near St. Anne's") == len("A dog runs.")
    assert finished("A dog runs on") == 0


@pytest.mark.parametrize("hostile", ['"a. b" ' * 20_000, "! a" * 40_000, '"' * 100_000, "a\n" * 50_000, ". " * 50_000])
@pytest.mark.timeout(20)
def test_time_grows_with_the_text_and_no_faster(hostile: str) -> None:
    assert "".join(hostile[start:end] for start, end in parts(hostile)) == hostile


words = st.sampled_from(
    ["A dog", "runs", "Dr", "approx", "in the U.S", "cats, dogs etc", "No", "10", "It is", "xvi", "vs", "a red bus", "STOP", "ft", "Was", "ein Hund", "cm"]
)  # fmt: skip
plain = st.lists(st.tuples(words, st.sampled_from([". ", "! ", "? ", " ", ".", "?! ", ".. ", ' "', "\n", ".  "])))


@settings(deadline=None, max_examples=300)
@given(texts=st.lists(plain.map(lambda pairs: "".join(word + mark for word, mark in pairs)), min_size=1, max_size=8))
def test_a_column_is_cut_as_its_texts_are(texts: list[str]) -> None:
    frame = pl.DataFrame({"text": [*texts, None]}).select(sentence_texts(pl.col("text")))

    assert frame["text"].to_list() == [*([one.text for one in sentences(text)] for text in texts), None]
