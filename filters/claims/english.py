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


def is_plain(text: str) -> bool:
    """Whether rules for English may be applied to a sentence."""
    if len(text) > MAX_CHARS or ADDRESSES_JUDGE.search(text):
        return False
    found = [token.lower() for token in re.findall(r"[^\W\d_]+(?:['’]t)?", _QUOTED.sub(" ", text))]
    if any(token in words.NEGATIONS for token in found) or any(token.endswith(("n't", "n’t")) for token in found):
        return False
    foreign = sum(token in _FOREIGN for token in found)
    seen = re.search(r"(?i)\b(?:we|you|i)\s+(?:can\s+)?see\b", text)
    if not seen and words.SPEAKERS.intersection(found):
        return False
    english = sum(token in _ENGLISH for token in found)
    letters = [mark for mark in text if mark.isalpha()]
    strange = sum(ord(mark) > 127 for mark in letters)
    return foreign <= english and strange * 8 <= len(letters) and (english > 0 or len(found) <= 8)
