"""Whether rules for English may be applied to a sentence."""

from __future__ import annotations

import re
from typing import Final

from filters.claims.claim import MAX_CHARS
from filters.wording import caption_words as words
from filters.wording.noun_phrases import word_set
from filters.wording.statements import ADDRESSES_JUDGE

_ENGLISH: Final = word_set(
    "the a an is are of with and on in at to this there that his her its two three four by from while has it",
)
_FOREIGN: Final = word_set(
    "der die das und ein eine einen ist mit auf den dem im le la les un une des et est dans sur du el los las una y",
    "con il lo gli che di del da per een het van op met och att som på en jest na z w do os um uma com no se ve bir",
)


_QUOTED: Final = re.compile(r"[\"“„«][^\"“”„«»\n]{1,200}[\"”“»]")


def is_english(text: str) -> bool:
    """Whether a sentence is short enough, English as far as its small words tell, and does not speak to a judge."""
    if len(text) > MAX_CHARS or ADDRESSES_JUDGE.search(text):
        return False
    found = _tokens(text)
    foreign = sum(token in _FOREIGN for token in found)
    english = sum(token in _ENGLISH for token in found)
    letters = [mark for mark in text if mark.isalpha()]
    strange = sum(ord(mark) > 127 for mark in letters)
    return foreign <= english and strange * 8 <= len(letters) and (english > 0 or len(found) <= 8)


def is_plain(text: str) -> bool:
    """Whether rules for English may be applied to a sentence: one that denies nothing and whose speaker stays out of it."""
    found = _tokens(text)
    if any(token in words.NEGATIONS for token in found) or any(token.endswith(("n't", "n’t")) for token in found):
        return False
    seen = re.search(r"(?i)\b(?:we|you|i)\s+(?:can\s+)?see\b", text)
    return is_english(text) and bool(seen or not words.SPEAKERS.intersection(found))


def _tokens(text: str) -> list[str]:
    return [token.lower() for token in re.findall(r"[^\W\d_]+(?:['’]t)?", _QUOTED.sub(" ", text[: MAX_CHARS + 1]))]
