"""Takes an English caption apart into atomic claims by its small words and word forms: no tagger, no model."""

from __future__ import annotations

from functools import lru_cache

from filters.claims.claim import Claim
from filters.claims.clause import Clause
from filters.claims.collected import Collected
from filters.claims.english import is_plain
from filters.wording.sentences import sentences
from filters.wording.statements import as_statement


@lru_cache(maxsize=1024)
def claims_by_rules(text: str) -> tuple[Claim, ...]:
    """The claims of a caption in order, parents before their children; at least one of each sentence.

    An object is a noun phrase without its adjectives, an attribute an adjective of it or what it does, a count its number,
    a relation what a verb or preposition says of two phrases, a text what is written. Pronouns become the nearest noun that
    they can stand for. What cannot be taken apart stays one claim of kind `other`, the sentence as it is; so does a sentence
    of which only a part was understood, beside that part's claims, one with a negation, one in another language, and one
    that speaks to a judge.
    """
    caption = Collected()
    for one in sentences(text):
        before = len(caption.claims)
        clause = Clause(caption, one)
        understood = is_plain(one.text) and clause.read()
        if not understood or len(caption.claims) == before:
            caption.add("other", as_statement(one.text), one)
        caption.subjects += clause.subjects[:1]
    return tuple(caption.claims)
