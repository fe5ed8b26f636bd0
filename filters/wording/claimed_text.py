"""Text that a caption says is written in the image, and how similar what was read there is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_MAX_CLAIMS: Final = 32
_MAX_CHARS: Final = 200
_MAX_TEXT: Final = 20_000
_MAX_READ: Final = 4_000
_SAYS: Final = (
    r"(?:reads?|reading|says?|saying|spells?(?:\s+out)?|spelling(?:\s+out)?|labell?ed(?:\s+(?:as|with))?|captioned|titled|inscribed(?:\s+with)?"
    r"|(?:the|with)\s+(?:words?|text|letters|lettering|name|number|phrase|letter|inscription)|written(?:\s+as)?)"
)
_END: Final = (
    r"(?=\s+(?i:on|in|at|with|and|above|below|under|over|near|next|beside|across|to|from|by|is|are|can|that|which|while"
    r"|hangs?|stands?)\b|[.,;:!?()\"“”\n]|$)"
)
_QUOTED: Final = re.compile(r"(?<!\w)[\"“„](?=\S)([^\"“”„\n]{1,200})(?<=\S)[\"”“](?!\w)|«\s*([^«»\n]{1,200}?)\s*»")
_SINGLE: Final = re.compile(rf"(?i:\b{_SAYS})\s*[:,]?\s*['‘]((?:[^'’\n]|['’](?=\w)){{1,200}})['’]")
_CAPITALS: Final = re.compile(
    rf"(?i:\b{_SAYS})\s*[:,]?\s+((?:[A-Z0-9][\w&'’./%$€£-]*)(?:\s+(?:(?:to|of|the|and|for|in|a|at|on|&)\s+){{0,2}}[A-Z0-9][\w&'’./%$€£-]*){{0,11}})"
)
_PLAIN: Final = re.compile(
    r"(?i:\b(?:reads?|reading|says?|saying|spells?(?:\s+out)?|spelling(?:\s+out)?))\s*[:,]?\s+([a-z][\w'’-]*(?:\s+[\w'’-]+){0,7}?)"
    + _END
)
_BEFORE_SIGN: Final = re.compile(
    r"\b([A-Z][A-Z0-9&'’-]+(?:\s+[A-Z0-9&][A-Z0-9&'’-]*){0,4})\s+(?:signs?|logos?|labels?|lettering|banners?|posters?)\b"
)
_SPEAKER: Final = re.compile(
    r"(?i:\b(?:man|woman|boy|girl|person|people|child|children|kid|player|someone|he|she|they|who|lady|guy|men|women)\s+(?:is\s+|are\s+)?)$"
)
"""Before "reads" and "says": someone who speaks, so that the image shows no lettering."""
_NO_CLAIMS: Final = frozenset(
    ("a", "an", "the", "to", "book", "books", "newspaper", "newspapers", "magazine", "magazines", "paper", "something")
)
"""First words after "reads" and "says" by which it is no sign that speaks: "a man reads a book"."""


def claimed_texts(caption: str) -> list[str]:
    """What the caption says is written in the image, each once, in order; at most 32 of at most 200 characters."""
    caption = caption[:_MAX_TEXT]
    found: dict[int, str] = {}
    taken: list[tuple[int, int]] = []
    for pattern in (_QUOTED, _SINGLE, _BEFORE_SIGN, _CAPITALS, _PLAIN):
        for match in pattern.finditer(caption):
            group = next(number for number, text in enumerate(match.groups(), 1) if text is not None)
            start, end = match.span(group)
            text = match[group].strip().rstrip(",.;:!?")
            inside = any(start < stop and begin < end for begin, stop in taken)
            if inside or not _bare(text):
                continue
            if pattern in (_CAPITALS, _PLAIN) and _SPEAKER.search(caption[max(0, match.start() - 40) : match.start()]):
                continue
            if pattern is _PLAIN and text.split()[0].lower() in _NO_CLAIMS:
                continue
            taken.append((start, end))
            found[start] = text[:_MAX_CHARS]
    return list(dict.fromkeys(found[start] for start in sorted(found)))[:_MAX_CLAIMS]


def similarity(claim: str, lines: Sequence[str]) -> float:
    """From 0 to 1, how similar `claim` is to the most similar stretch of `lines`: 1 less the edit distance (Levenshtein) by
    the longer length, of letters and digits in lower case. A stretch is some words on end, over line ends too; words that
    were split or joined count as the same. A claim of eight characters or more may also lie within one joined word.
    """
    wanted = _bare(claim)
    read = [bare for bare in (_bare(word) for word in " ".join(lines)[:_MAX_READ].split()) if bare]
    if not wanted or not read:
        return 0.0
    best = 0.0
    for start in range(len(read)):
        stretch = ""
        for word in read[start:]:
            stretch += word
            longer = max(len(stretch), len(wanted))
            if 1 - abs(len(stretch) - len(wanted)) / longer > best:
                best = max(best, 1 - _edits(wanted, stretch) / longer)
            if len(stretch) > 2 * len(wanted):
                break
        if best == 1.0:
            return best
    if len(wanted) >= 8 and any(wanted in word for word in ("".join(read), *read)):
        return 1.0
    return best


def _bare(text: str) -> str:
    return "".join(mark for mark in unicodedata.normalize("NFKC", text).casefold() if mark.isalnum())


def _edits(first: str, second: str) -> int:
    """Letters to insert, delete or replace to make the first the second (Levenshtein 1965)."""
    row = list(range(len(second) + 1))
    for number, mark in enumerate(first, 1):
        diagonal, row[0] = row[0], number
        for at, other in enumerate(second, 1):
            diagonal, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, diagonal + (mark != other))
    return row[-1]
