"""The noun phrases of an English caption, found by its small words alone: no tagger, no model."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*|[^\s\w]")


def word_set(*lists: str) -> frozenset[str]:
    """The words of lists written with spaces."""
    return frozenset(word for text in lists for word in text.split())


DETERMINERS: Final = word_set(
    "a an the this that these those his her its their my your our one two three four five six seven eight nine ten",
    "some several many few both each every another other no multiple various",
)
"""Words that begin a noun phrase."""
BREAKS: Final = word_set(
    "is are was were be been being am has have had do does did can could may might must shall should will would",
    "and or but nor so yet as if than then while when where which who whom whose what how why because although though",
    "of in on at to from by with without for about above below under over beneath behind beside besides between among",
    "across along around near next into onto off out up down through toward towards against inside outside within upon",
    "during before after like it he she they them him we us you i there here not very too also just only",
    "shows show showing shown depicts depict features feature contains contain captures capture appears appear seems seem",
    "stands stand sits sit lies lie wears wear holds hold looks look runs run walks walk rides ride plays play",
    "printed visible placed located",
)
"""Words that end a noun phrase: the closed classes of English, and verbs that captions are full of."""
NOT_THINGS: Final = word_set(
    "top bottom left right center centre middle side sides corner edge background foreground front back upper lower",
    "image picture photo photograph scene view",
)
"""Places in an image, and the image itself."""
_NOUNS: Final = word_set(
    "building ceiling painting wedding clothing morning evening railing opening awning drawing string spring sling lightning",
    "shed sled seed weed speed hundred family butterfly fly belly lily jelly bully assembly",
)
"""Nouns that look like verbs or adverbs."""
_VERBAL: Final = re.compile(r".{2,}(?:ing|ed|ly)$")
_MAX_WORDS: Final = 6


def is_verbal(word: str) -> bool:
    """Whether it has the ending of a verb form or an adverb and is no known noun."""
    return word not in _NOUNS and _VERBAL.fullmatch(word) is not None


def noun_phrases(sentence: str) -> list[str]:
    """Its noun phrases in order, each once, in lower case with their determiners: "a small red circle".

    A phrase is a run of up to six words between the closed classes of English (prepositions, conjunctions, pronouns,
    auxiliaries and some verbs that captions are full of); a verb form in -ing or -ed and an adverb end one that has begun.
    Places in the image ("the top left", "the background") and the image itself are no things and left out.
    Not a parser: rarer nouns that look like verbs are missed, and some verbs stay.
    """
    found: dict[str, None] = {}
    determiner, words = "", list[str]()

    def close() -> None:
        nonlocal determiner
        if not NOT_THINGS.issuperset(words):
            found[" ".join(filter(None, (determiner, *words[:_MAX_WORDS])))] = None
        determiner = ""
        words.clear()

    for token in _TOKEN.findall(sentence.lower()):
        if token in DETERMINERS:
            close()
            determiner = token
        elif token in BREAKS or not token[0].isalnum() or (words and is_verbal(token)):
            close()
        else:
            words.append(token)
    close()
    return list(found)
