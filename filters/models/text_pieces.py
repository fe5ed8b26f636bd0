"""Texts in pieces that an encoder can take whole: never cut, always split."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

_CLAUSE: Final = re.compile(
    r"(?<=[,;:)\]，；：])\s+|\s+(?=[—–(\[])|\s+(?=(?:and|but|or|while|with|which|who|whose|that|where|as|beside|next)\s)"
)
_WORD: Final = re.compile(r"\s+")

Counter = Callable[[Sequence[str]], list[int]]
"""Tokens of each text, with the marks that the encoder puts around it."""


def pieces(text: str, limit: int, count: Counter) -> list[str]:
    """`text` in order and whole, in as few pieces as a simple rule makes of at most `limit` tokens each: split at clauses,
    where a clause is too long at words, where a word is at characters. White space between pieces is dropped.
    """
    if count([text])[0] <= limit:
        return [text]
    return list(_packed(text, limit, count))


def _packed(text: str, limit: int, count: Counter) -> Iterator[str]:
    parts = next((found for found in (_split(_CLAUSE, text), _split(_WORD, text)) if len(found) > 1), None)
    if parts is None:
        half = len(text) // 2
        parts = [text[:half], text[half:]]
    joint = " " if len(parts) > 2 or any(mark.isspace() for mark in text) else ""
    held: list[str] = []
    # What several parts count together is at most the sum of what they count alone, each with its marks.
    marks = count([""])[0]
    tokens = marks
    for part, size in zip(parts, count(parts), strict=True):
        if held and tokens + size - marks > limit:
            yield joint.join(held)
            held, tokens = [], marks
        if size > limit and len(part) > 1:
            yield from _packed(part, limit, count)
        else:
            held.append(part)
            tokens += size - marks
    if held:
        yield joint.join(held)


def _split(pattern: re.Pattern[str], text: str) -> list[str]:
    return [part for part in pattern.split(text) if part.strip()]
