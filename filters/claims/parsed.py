"""Sentences as spaCy parses them, and what small words and verbs of captions mean for what is sure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from filters.wording import caption_words as words
from filters.wording.noun_phrases import word_set

_JOINED: Final = re.compile(
    r"[\"“„«][^\"“”„«»\n]{1,200}[\"”“»]|\w+(?:[-–]\w+)+|(?i:\b(?:top|bottom|upper|lower|center|centre|middle)\s+(?:left|right|center|centre)\b(?!-))"
)
"""Quotations, words with hyphens, and places such as "top left": one token each."""
_HEDGING: Final = word_set(
    "possibly perhaps maybe probably presumably potentially likely apparently seemingly supposedly possible probable potential",
    "apparent supposed seeming presumed",
)
_MAY: Final = word_set("may might could would should")
_SEEMING: Final = word_set(
    "appear seem look sound feel resemble suggest indicate imply mimic simulate intend mean suppose try attempt"
)
_UNSURE_AFTER: Final = word_set("like without as despite unlike except resembling than minus")
"""Prepositions whose objects nobody says are there."""
_UNSURE_MARKS: Final = word_set("if unless whether though lest")
_STAND_INS: Final = word_set(
    "one ones other others each rest another both all some many most few several none two three four half"
)
_NO_THING_ENDS: Final = word_set(
    "level side angle focus style like up down left right top bottom point size sized foot inch scale plan"
)
_DENYING: Final = word_set("no neither any none")


def parse(nlp: Any, texts: Iterable[str]) -> Iterator[Any]:
    """A spaCy Doc of each text, quotations and hyphenated words as one token."""
    docs = []
    for text in texts:
        doc = nlp.make_doc(text)
        with doc.retokenize() as merging:
            end = 0
            for match in _JOINED.finditer(text):
                span = doc.char_span(*match.span(), alignment_mode="expand")
                if span is not None and span.start >= end and len(span) > 1:
                    merging.merge(span)
                    end = span.end
        docs.append(doc)
    return iter(nlp.pipe(docs))


def is_quote(token: Any) -> bool:
    """Whether it is a quotation."""
    return bool(token.text[:1] in '"“„«' and len(token.text) > 1)


def unsure_tokens(doc: Any) -> set[int]:
    """The places of all tokens that stand under a denial, a hedge, a comparison, a condition, a purpose or "or"."""
    unsure: set[int] = set()
    for token in doc:
        low, head = token.lower_, token.head
        if (low in _HEDGING and token.dep_ != "ROOT") or token.dep_ == "neg" or low in ("never", "barely", "hardly"):
            unsure |= _without_subject(head) if _is_verb(head) else _places(head)
        elif low == "no" or (low in _DENYING and token.dep_ in ("det", "preconj", "nsubj")):
            unsure |= _places(head)
            if head.dep_ in ("nsubj", "nsubjpass", "attr", "dobj") and head.head.lemma_ in (
                "be",
                "have",
                "see",
                "show",
            ):
                unsure |= _places(head.head)
        elif low in _MAY and token.dep_ == "aux":
            unsure |= _without_subject(head)
        elif token.dep_ == "cc" and low in ("or", "nor"):
            unsure |= _places(head)
        elif token.lemma_ in _SEEMING and _is_verb(token):
            for child in token.children:
                if (
                    child.dep_ in ("xcomp", "ccomp", "acomp", "oprd", "advcl")
                    or (child.dep_ == "prep" and child.lower_ in ("like", "as"))
                    or (child.dep_ == "dobj" and token.lemma_ not in ("look", "feel", "try"))
                ):
                    unsure |= _places(child)
        elif token.pos_ in ("ADP", "SCONJ") and low in _UNSURE_AFTER and token.dep_ in ("prep", "mark"):
            unsure |= _places(token) if token.dep_ == "prep" else set()
        elif low in _UNSURE_MARKS and token.dep_ in ("mark", "advmod"):
            if low != "though" or (token.i and doc[token.i - 1].lower_ == "as"):
                unsure |= _places(head)
        elif (
            token.dep_ in ("advcl", "acl", "relcl")
            and any(one.lower_ == "to" and one.dep_ == "aux" for one in token.children)
        ) or (
            token.dep_ in ("ccomp", "csubj") and any(one.lower_ in ("what", "how", "whatever") for one in token.subtree)
        ):
            unsure |= _places(token)
        elif low in ("what", "whatever"):
            unsure |= _places(head)
    return unsure


def misread(doc: Any) -> bool:
    """Whether a plural has the article of one thing: the parser took a verb for a noun, as in "a path winds between the trees"."""
    return any(
        token.tag_ == "NNS"
        and token.lower_ not in words.MASS | words.NOT_PLURALS
        and any(child.dep_ == "det" and child.lower_ in ("a", "an") for child in token.lefts)
        and not any(
            child.dep_ in ("nummod", "amod") and child.lower_ in ("few", *words.NUMBERS) for child in token.lefts
        )
        for token in doc
    )


def _is_verb(token: Any) -> bool:
    return token.pos_ in ("VERB", "AUX")


def _places(token: Any) -> set[int]:
    return {one.i for one in token.subtree}


def _without_subject(verb: Any) -> set[int]:
    """Of a verb, all but its subject and clauses beside it."""
    found = _places(verb)
    for child in verb.children:
        if child.dep_ in ("nsubj", "nsubjpass") or (child.dep_ == "conj" and _has_subject(child)):
            found -= _places(child)
    return found


def _has_subject(verb: Any) -> bool:
    return any(child.dep_ in ("nsubj", "nsubjpass", "expl") for child in verb.children)


def is_thing(token: Any) -> bool:
    """Whether it is the head of a noun phrase."""
    if token.pos_ not in ("NOUN", "PROPN") or token.dep_ in (
        "compound",
        "npadvmod",
        "nmod",
        "amod",
        "intj",
        "meta",
        "quantmod",
    ):
        return False
    low = token.lower_
    if (
        not token.text[:1].isalnum()
        or low in words.PRONOUNS | _STAND_INS
        or (describes(token) and token.dep_ not in ("pobj", "attr"))
    ):
        return False
    return not ("-" in low and low.rsplit("-", 1)[1] in _NO_THING_ENDS)


def describes(token: Any) -> bool:
    """Whether a word that was parsed as a noun, or as part of a name, tells of one instead: "light-colored", "red"."""
    low = token.lower_
    if "-" in low:
        last = low.rsplit("-", 1)[1]
        return bool(words.is_ed(last) or words.is_ing(last) or words.is_adjective(last) or last in _NO_THING_ENDS)
    return low in words.COLOURS and token.head.i == token.i + 1


def is_proper(token: Any) -> bool:
    """Whether it is a name, not a word that a sentence or a heading begins with."""
    return bool(token.pos_ == "PROPN" and token.text[:1].isupper() and (token.i > 0 or token.text.isupper()))
