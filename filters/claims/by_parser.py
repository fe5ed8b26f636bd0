"""Takes an English caption apart into atomic claims by its parse (spaCy)."""

from __future__ import annotations

from functools import lru_cache

from filters.claims.claim import Claim
from filters.claims.clause import Clause
from filters.claims.collected import Collected
from filters.claims.english import is_english, is_plain
from filters.claims.parsed import is_quote, misread, parse, unsure_tokens
from filters.claims.parsed_clauses import ParsedClauses
from filters.claims.parsed_nouns import ParsedNouns
from filters.models.spacy_model import english_parser
from filters.wording.claimed_text import claimed_texts
from filters.wording.sentences import Sentence, sentences
from filters.wording.statements import as_statement


@lru_cache(maxsize=1024)
def claims_by_parser(text: str, model: str | None = None, asked_by: str = "claims.parser") -> tuple[Claim, ...]:
    """The claims of a caption in order, parents before their children; at least one of each sentence.

    As `claims_by_rules`, but nouns, verbs and what belongs to what come from a parser. What a sentence denies, hedges ("appears
    to be", "possibly", "or"), compares with or puts under a condition is never claimed by itself: a hedged clause is claimed
    with its hedge. A sentence of which a part has no statement is claimed whole, too (kind `other`).

    Args:
        text: a caption.
        model, asked_by: as `filters.models.spacy_model.english_parser` takes them.

    Raises:
        FilterError: spaCy or the model is missing.
    """
    nlp = english_parser(model, asked_by)
    caption = Collected()
    found = sentences(text)
    docs = parse(nlp, [one.text for one in found if is_english(one.text)])
    for one in found:
        before = len(caption.claims)
        mentioned = len(caption.mentions)
        understood = False
        if is_english(one.text):
            doc = next(docs)
            nouns = ParsedNouns(caption, one, doc, unsure_tokens(doc))
            clauses = ParsedClauses(nouns)
            clauses.read()
            _texts(nouns)
            understood = clauses.understood
            wrong = misread(doc)
            if wrong:
                del caption.claims[before:], caption.mentions[mentioned:]
                understood = False
            elif any(map(is_quote, doc)) and _by_rules(caption, one, before, mentioned):
                understood = True
            if nouns.subject is not None:
                caption.subjects.append(nouns.subject)
        if not understood or len(caption.claims) == before:
            caption.add("other", as_statement(one.text), one)
    return tuple(caption.claims)


def _by_rules(caption: Collected, sentence: Sentence, before: int, mentioned: int) -> bool:
    """Try the rules on a sentence with a quotation, which parsers are not used to: where they understand all of it, their claims
    take the place of the parser's.
    """
    claims, mentions = caption.claims[before:], caption.mentions[mentioned:]
    del caption.claims[before:], caption.mentions[mentioned:]
    if is_plain(sentence.text) and Clause(caption, sentence).read():
        return True
    caption.claims[before:], caption.mentions[mentioned:] = claims, mentions
    return False


def _texts(nouns: ParsedNouns) -> None:
    """Claim what is written, where the phrases have not."""
    said = [claim.statement for claim in nouns.caption.claims if claim.start == nouns.sentence.start]
    quoted = {one.text[1:-1].strip() for one in nouns.doc if is_quote(one) and one.i in nouns.unsure}
    for text in claimed_texts(nouns.sentence.text):
        noun, verb = ("words", "are") if " " in text else ("word", "is")
        if text not in quoted and not any(f'"{text}"' in one and "printed" in one for one in said):
            nouns.add("text", f'The {noun} "{text}" {verb} printed')
