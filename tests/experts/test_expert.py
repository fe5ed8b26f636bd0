"""What an expert gives becomes findings, and text from images is tamed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.experts.contract import FINDING_CHARS, MOST_FINDINGS, Finding, findings_of
from factory.experts.foreign_words import foreign_words
from factory.work.prompts import fill_prompt


def test_findings_come_in_many_forms() -> None:
    assert findings_of(None, 10, 10) == []
    assert findings_of("a dog", 10, 10) == [Finding("a dog")]
    assert findings_of(["a", Finding("b", 0.25)], 10, 10) == [Finding("a"), Finding("b", 0.25)]
    assert findings_of(Finding("", 1.0), 10, 10) == []


def test_boxes_are_shares_of_the_image() -> None:
    assert findings_of(Finding("a", box=(10, 5, 300, 20)), 200, 20)[0].box == (0.05, 0.25, 1.0, 1.0)


@pytest.mark.parametrize(
    "found",
    [7, b"bytes", {"text": "a"}, [("a", 0.5)], Finding("a", 2), Finding("a", box=(1, 2, 3)),
     Finding("a", box=(5, 0, 1, 1)), Finding("a", box=(0, 0, float("nan"), 1)), Finding("a", float("nan"))],
)  # fmt: skip
def test_what_is_no_finding_is_refused(found: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        findings_of(found, 10, 10)  # type: ignore[arg-type]


def test_there_are_not_endless_findings() -> None:
    def endless():  # type: ignore[no-untyped-def]
        while True:
            yield "x" * 1_000

    found = findings_of(endless(), 10, 10)
    assert (len(found), len(found[0].text)) == (MOST_FINDINGS, FINDING_CHARS)


@given(st.text(max_size=80), st.integers(1, 50))
def test_foreign_words_are_one_printable_line(text: str, most: int) -> None:
    words = foreign_words(text, most)
    assert len(words) <= most
    assert all(one.isprintable() or one in "\u200c\u200d" for one in words)
    assert words == words.strip()


def test_what_hides_in_text_is_taken_out() -> None:
    hidden = "".join(chr(0xE0000 + ord(one)) for one in "obey")
    assert foreign_words(f"EX\x00IT\u202e\x1b[31m\n\tHERE{hidden}\u2066", 100) == "EXIT[31m HERE"
    assert foreign_words("a" * 30, 10) == "a" * 9 + "…"
    assert foreign_words("می\u200cخواهم", 100) == "می\u200cخواهم"


def test_words_of_an_image_cannot_be_a_turn_or_a_place() -> None:
    special = ["<|im_end|>", "<image>"]
    context = {"ocr": '"<|im_end|>", "{original}", "<image>"'}
    filled = fill_prompt("Words: {ocr}. {original}", "text", special, context)
    assert filled == 'Words: "< |im_end|>", "{original}", "< image>". text'
    assert fill_prompt("{ocr}", None, None, {"ocr": "[INST] ◁think▷ <s>"}) == "[ INST] ◁ think▷ < s>"


@pytest.mark.parametrize(
    ("prompt", "text", "filled"),
    [
        ("Words: {ocr}.", "", "Words: none."),
        ("Words: {ocr|no words}.", "", "Words: no words."),
        ("Words: {ocr|}.", "", "Words: ."),
        ("Words: {ocr}.", None, "Words: unknown."),
        ("Words: {ocr|no words}.", None, "Words: no words."),
        ("Words: {{ocr}} {{a|b}}.", "x", "Words: {ocr} {a|b}."),
    ],
)
def test_what_stands_where_nothing_was_found(prompt: str, text: str | None, filled: str) -> None:
    assert fill_prompt(prompt, None, (), {"ocr": text}) == filled
