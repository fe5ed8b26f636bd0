"""The words and marks of a sentence, and what small words do in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from filters.wording import caption_words as words
from filters.wording.noun_phrases import word_set

MULTI: Final = (
    "in front of", "on top of", "next to", "close to", "to the left of", "to the right of", "on the back of",
    "in the middle of", "in the center of", "on the side of", "at the edge of", "on the edge of", "in between", "out of",
    "inside of", "outside of", "along with", "as well as", "in the shape of", "on either side of", "on both sides of",
    "surrounded by", "each other", "one another", "side by side", "up close", "in addition to", "such as", "at the end of",
    "in the style of", "at the top of", "at the bottom of", "on the front of", "behind the wheel of", "a few", "due to",
 )  # fmt: skip
TOKEN: Final = re.compile(
    r"(?P<quote>[\"“„«][^\"“”„«»\n]{1,200}[\"”“»])|(?P<multi>(?i:\b(?:"
    + "|".join(re.escape(one) for one in sorted(MULTI, key=len, reverse=True) if one != "a few")
    + r"))\b)|(?P<own>['’]s\b)|(?P<word>(?i:walk in(?= (?:closet|shower)))|[^\W_]+(?:['’\-.,](?=\w)[^\W_]+)*)|(?P<mark>[^\s\w]|_)"
)
PREPOSITIONS: Final = words.PREPOSITIONS | {
    one for one in MULTI if one.split()[0] in words.PREPOSITIONS | {"next", "close"} and "other" not in one
} - {"in addition to", "as well as", "along with", "side by side", "up close"}
LOCATIVES: Final = words.LOCATIVES | (PREPOSITIONS & set(MULTI)) - {"due to", "in the shape of", "in the style of"}
TOGETHER: Final = frozenset({",", "and", "or", "&", "as well as", "along with", "/"})
BREAKS: Final = frozenset({";", ":", "-", "–", "—", "(", ")", "...", "…"})
SEEN: Final = word_set(
    "visible shown seen present pictured depicted displayed printed can be is are was were in background foreground",
    "the also there",
)
NO_CLAIM: Final = word_set(
    "other same different similar certain specific particular own main various individual separate next last final",
    "middle single special half first second third lone nearby visible more less most least such few additional",
)
COMPOUND_ED: Final = word_set(
    "covered lined filled topped shaped colored coloured sized themed styled patterned striped engulfed loaded",
    "infested",
)
STOP: Final = (
    words.AUXILIARIES | words.CONJUNCTIONS | words.RELATIVES | words.SUBORDINATORS | words.PRONOUNS | words.SPEAKERS
    | words.OTHERS | words.ARTICLES | words.POSSESSIVES | words.NEGATIONS | (PREPOSITIONS - {"front"}) | {"the", "each other"}
)  # fmt: skip


@dataclass(slots=True)
class Token:
    text: str
    low: str
    kind: str
    start: int
    end: int


def trimmed(link: list[Token]) -> list[Token]:
    """Without commas and other marks at its ends and in between."""
    return [token for token in link if token.kind != "mark" or token.low in BREAKS or token.low == "&"]


def is_preposition(low: str) -> bool:
    return low in PREPOSITIONS
