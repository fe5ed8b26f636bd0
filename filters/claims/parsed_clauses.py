"""The clauses of a parsed sentence: what verbs and prepositions say of its noun phrases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from filters.claims.claim import Kind
from filters.claims.parsed import is_quote, is_thing
from filters.claims.parsed_nouns import COUNTERS, ParsedNouns, Unclear
from filters.claims.tokens import LOCATIVES
from filters.wording import caption_words as words
from filters.wording.noun_phrases import word_set

_SUBJECTS: Final = frozenset(("nsubj", "nsubjpass"))
_COMPLEMENTS: Final = frozenset(("dobj", "attr", "acomp", "oprd", "dative"))
_HELPERS: Final = frozenset(("aux", "auxpass", "neg"))
_SHOWING: Final = word_set(
    "show depict feature capture display contain include portray present illustrate see focus consist reveal view observe have",
)
"""Verbs by which an image, or whoever looks at it, presents what is there."""
_COMMENTING: Final = word_set(
    "indicate suggest imply",
    "create make give add allow cause produce highlight emphasize",
    "show reveal provide enhance contribute let mean ensure reinforce evoke convey express demonstrate",
    "signify hint",
)
"""Verbs by which a clause comments on the one before it."""
_ARTICLE: Final = re.compile(r"^(?:only |just |even )?(?:a|an|the|this|each|every|another)\s", re.IGNORECASE)
_FILLER: Final = word_set(
    "additionally however overall moreover furthermore also meanwhile then just only there here too"
)


class ParsedClauses:
    """The clauses of one sentence; adds what they claim. `understood`: whether that is all that the sentence says."""

    def __init__(self, nouns: ParsedNouns) -> None:
        self.nouns = nouns
        self.understood = True
        self.attached: set[int] = set()  # prepositions that were said

    def read(self) -> None:
        """Add the claims of all phrases and clauses, in the order of the words."""
        for token in self.nouns.doc:
            if is_thing(token):
                self._thing(token)
            if self._is_clause(token):
                self._clause(token)
        if not any(is_thing(one) or one.pos_ == "PRON" for one in self.nouns.doc):
            self.understood = False
        self.nouns.bound()

    # --- phrases ---

    def _thing(self, token: Any) -> None:
        nouns = self.nouns
        parents = nouns.things(token)
        if nouns.is_image(token):
            if token.i not in nouns.unsure and token.dep_ not in ("conj", "appos"):
                for adjective in nouns.adjectives(token):
                    nouns.add("attribute", f"The {nouns.phrases[token.i].head} is {adjective}")
            return
        if token.i in nouns.unsure:
            return
        owner = next((child for child in token.lefts if child.dep_ == "poss" and is_thing(child)), None)
        if owner is not None and parents and nouns.is_object(owner):
            have = "have" if nouns.phrases[owner.i].plural else "has"
            self._try(
                "relation",
                lambda: (
                    f"{nouns.said(owner)} {have} {nouns.with_article(token, nouns.bare(token, *nouns.adjectives(token)))}"
                ),
                (*nouns.things(owner), *parents),
            )
        for prep in _prepositions(token):
            self._noun_preposition(token, prep, parents)

    def _noun_preposition(self, token: Any, prep: Sequence[Any], parents: tuple[int, ...]) -> None:
        nouns = self.nouns
        low = " ".join(one.lower_ for one in prep)
        if low == "of" and token.lower_ in COUNTERS:
            inner = next((one for one in prep[-1].children if one.dep_ == "pobj" and is_thing(one)), None)
            if inner is not None:
                self._try("count", lambda: f"There are {nouns.said(token)}", nouns.things(inner))
            return
        if low == "of":
            inner = next((one for one in prep[-1].children if one.dep_ == "pobj"), None)
            if inner is not None and parents and is_thing(inner) and nouns.bare(token) == nouns.phrases[token.i].head:
                self._try(
                    "relation",
                    lambda: nouns.there_is(token, _ARTICLE.sub("", nouns.said(token))),
                    (*parents, *nouns.things(inner)),
                )
            return
        if not parents or (token.dep_ in ("attr", "oprd") and not nouns.is_object(token)):
            return
        for inner in _objects(prep[-1]):
            if is_thing(inner) and nouns.is_image(inner):
                continue
            said = self._inner(prep, inner)
            if low == "with":
                have = "have" if nouns.be(token) == "are" else "has"
                start = f"{have} {said.removeprefix('with ')}" if said else ""
            elif prep[0].lower_ in LOCATIVES or low in LOCATIVES or low in ("next to", "close to", "in front of"):
                start = f"{(nouns.phrases[token.i].plural and 'are') or 'is'} {said}" if said else ""
            else:
                start = f"{said}" if said else ""
            if not start:
                continue
            things = nouns.things(inner) if is_thing(inner) else ()
            if low == "with" or start.startswith(("is ", "are ")):
                self._try("relation", lambda start=start: f"{nouns.said(token)} {start}", (*parents, *things))
            else:
                self._try(
                    "relation",
                    lambda start=start: (
                        f"There {(nouns.phrases[token.i].plural and 'are') or 'is'} {nouns.said(token)} {start}"
                    ),
                    (*parents, *things),
                )

    def _inner(self, prep: Sequence[Any], inner: Any) -> str:
        """The preposition and its object as they are said; empty where that is unclear."""
        try:
            joined = any(one.lower_ in ("between", "among", "from") for one in prep) or _has_or(inner)
            said = self.nouns.all_said(inner) if joined or not is_thing(inner) else self.nouns.said(inner)
        except Unclear:
            self.understood = False
            return ""
        return " ".join((*(one.text if one.i else one.lower_ for one in prep), said))

    # --- clauses ---

    def _is_clause(self, token: Any) -> bool:
        if (
            is_quote(token)
            or token.pos_ not in ("VERB", "AUX")
            or token.dep_
            in (
                "aux",
                "auxpass",
                "amod",
                "compound",
                "prep",
                "xcomp",
                "punct",
                "case",
                "nsubj",
            )
        ):
            return False
        if token.i in self.nouns.unsure and not self._hedged(token):
            return False
        if token.dep_ != "ROOT" and any(one.lower_ == "to" and one.dep_ == "aux" for one in token.lefts):
            return False
        if token.dep_ == "advcl" and token.lemma_ in _COMMENTING and not _own_subject(token):
            self.understood = False
            return False
        if token.dep_ in ("acl", "advcl") and (token.tag_ not in ("VBG", "VBN") and not _own_subject(token)):
            return False
        return not (token.dep_ in ("ccomp", "pcomp", "csubj") and not _own_subject(token))

    def _hedged(self, token: Any) -> bool:
        """Whether it is unsure by its own words alone, so that it can be said with them."""
        unsure = self.nouns.unsure
        subject = _own_subject(token)
        if token.dep_ in ("advcl", "acl", "relcl") and any(
            one.dep_ == "mark" or (one.dep_ == "aux" and one.lower_ == "to") for one in token.children
        ):
            return False
        return bool(subject is not None and subject.i not in unsure) or (
            token.dep_ in ("acl", "relcl", "conj") and token.head.i not in unsure
        )

    def _clause(self, verb: Any) -> None:
        nouns = self.nouns
        subject, own = self._subject_of(verb)
        shows = self._last(verb).lemma_ in _SHOWING
        if subject is not None and (
            (is_thing(subject) and nouns.is_image(subject) and shows)
            or subject.lower_ in ("we", "you", "one", "i", "viewer")
        ):
            self._presented(verb)
            return
        if any(child.dep_ == "expl" for child in verb.children) or (
            verb.lemma_ == "be" and own is None and subject is None and not _is_passive(verb)
        ):
            self._presented(verb)
            return
        if (
            subject is not None
            and subject.lower_ in ("this", "these", "it", "that", "here")
            and verb.lemma_ == "be"
            and verb.dep_ == "ROOT"
            and (subject.lower_ != "it" or self._has_image(verb))
        ):
            self._presented(verb)
            return
        if subject is None:
            self.understood = False
            return
        try:
            said, several, parents = self._who(subject, verb)
        except Unclear:
            self.understood = False
            return
        self._remember(subject)
        object_relative = verb.dep_ == "relcl" and own is not None and own.tag_ not in ("WDT", "WP")
        if verb.dep_ == "relcl" and any(
            one.tag_ in ("WRB", "WP$") or (one.tag_ in ("WDT", "WP") and one.dep_ in ("pobj", "poss", "det"))
            for one in verb.subtree
            if one.i < verb.i
        ):
            return
        last = self._last(verb)
        start = f"{said} {self._verb_words(verb, several)}"
        if object_relative:
            if is_thing(verb.head) and not any(
                child.dep_ == "dobj" and child.tag_ not in ("WDT", "WP") for child in last.children
            ):
                self._try("relation", lambda: f"{start} {nouns.said(verb.head)}", (*parents, *nouns.things(verb.head)))
            return
        nouns.doer = nouns.phrases.get(subject.i)
        self._say(verb, last, start, parents)
        nouns.doer = None

    def _say(self, verb: Any, last: Any, start: str, parents: tuple[int, ...]) -> None:
        """Claim a clause: with each of its complements, and with each preposition."""
        nouns = self.nouns
        complements = [
            child
            for child in last.children
            if child.dep_ in _COMPLEMENTS and child.tag_ not in ("WDT", "WP") and child.i > last.i
        ]
        trailing = " ".join(
            child.text if child.dep_ == "advmod" else "".join(one.text_with_ws for one in child.subtree).strip()
            for child in last.rights
            if child.dep_ in ("advmod", "npadvmod")
            and not _adverb_preposition(child)
            and child.lower_ not in _FILLER - {"there", "here"}
        )
        clauses = [
            child
            for child in last.children
            if child.dep_ in ("ccomp", "xcomp") and child.i > last.i and child.dep_ == "ccomp"
        ]
        bases: list[tuple[str, tuple[int, ...]]] = [(start, parents)]
        try:
            if clauses:
                bases = [(f"{start} {nouns.raw(clauses[0])}", parents)]
                trailing = ""
            elif len(complements) == 1 and not _has_or(complements[0]) and not _colours(complements[0]):
                joined = [complements[0], *(one for one in complements[0].conjuncts if one.i > complements[0].i)]
                bases = [self._with(start, one, parents) for one in joined if not _own_subject(one)]
            elif complements:
                said = " ".join(nouns.all_said(one) for one in complements)
                things = tuple(place for one in complements if is_thing(one) for place in nouns.things(one))
                bases = [(f"{start} {said}", (*parents, *things))]
        except Unclear:
            self.understood = False
            return
        said_something = False
        said_alone = start.rsplit(f" {verb.text} ", 1)[0] if f" {verb.text} " in start else start
        preps = [prep for part in dict.fromkeys((verb, last)) for prep in _prepositions(part)]
        bare = not complements and not clauses
        is_be = last.lemma_ == "be" and not _is_passive(last)
        if not bare or (not preps and not is_be) or trailing:
            for base, needs in bases:
                kind: Kind = "attribute" if bare or is_be or not len(needs) > len(parents) else "relation"
                text = f"{base} {trailing}" if trailing else base
                nouns.add(kind, text, needs)
                said_something = True
        for prep in preps:
            base, needs = bases[0]
            if last is not verb and prep[0].head.i == verb.i and last.tag_ == "VBG" and last.head.i == verb.i:
                base, needs = f"{said_alone} {verb.text}", parents
            for inner in _objects(prep[-1]):
                if is_thing(inner) and nouns.is_image(inner):
                    said_something = True
                    continue
                said = self._inner(prep, inner)
                if said:
                    things = nouns.things(inner) if is_thing(inner) else ()
                    nouns.add("relation", f"{base} {said}", (*needs, *things))
                    said_something = True
        if not said_something and bare and is_be:
            self.understood = False

    def _with(self, start: str, complement: Any, parents: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        nouns = self.nouns
        if is_thing(complement) or complement.pos_ == "PRON":
            things = nouns.things(complement) if is_thing(complement) else ()
            return f"{start} {nouns.said(complement)}", (*parents, *things)
        parts = [one for one in complement.subtree if not self._below(one, complement)]
        text = "".join(one.text_with_ws for one in parts).strip(" ,;.")
        return f"{start} {text}", parents

    def _below(self, one: Any, top: Any) -> bool:
        """Whether a word under an adjective belongs to something joined to it."""
        while one.i != top.i:
            if one.head.i == top.i and one.dep_ in ("conj", "cc", "punct", "preconj", "advcl", "acl", "relcl"):
                return True
            one = one.head
        return False

    def _presented(self, verb: Any) -> None:
        """What follows "there is", "the image shows": claimed by its phrases; here, where it is."""
        nouns = self.nouns
        last = self._last(verb)
        things = [
            child
            for child in last.children
            if child.dep_ in ("attr", "dobj", "nsubj", "oprd")
            and is_thing(child)
            and not (child.dep_ == "nsubj" and nouns.is_image(child))
        ]
        if not things:
            self.understood = (
                self.understood
                and any(child.dep_ in _COMPLEMENTS for child in last.children)
                and not any(child.dep_ == "expl" for child in last.children)
            )
            return
        thing = things[-1]
        if nouns.is_image(thing) or thing.i in nouns.unsure:
            self.understood = self.understood and thing.i not in nouns.unsure
            return
        self._remember(thing)
        there = [one for one in (thing, *thing.conjuncts) if one.i >= thing.i and one.i in nouns.phrases]
        for prep in (one for part in dict.fromkeys((verb, last)) for one in _prepositions(part)):
            for inner in _objects(prep[-1]):
                if is_thing(inner) and nouns.is_image(inner):
                    continue
                self._located(there, self._inner(prep, inner), nouns.things(inner) if is_thing(inner) else ())

    def _located(self, there: Sequence[Any], where: str, things: tuple[int, ...]) -> None:
        nouns = self.nouns
        for one in there if where else ():
            several = nouns.phrases[one.i].plural
            start = ("have" if several else "has") if where.startswith("with ") else ("are" if several else "is")
            said = f"{start} {where.removeprefix('with ')}"
            self._try("relation", lambda one=one, said=said: f"{nouns.said(one)} {said}", (*nouns.things(one), *things))

    # --- parts of a clause ---

    def _subject_of(self, verb: Any) -> tuple[Any | None, Any | None]:
        """Who does it, and its own subject in the sentence, which may be "that"."""
        own = _own_subject(verb)
        if own is not None:
            if own.tag_ in ("WDT", "WP") and own.lower_ != "what":
                return (
                    self._antecedent(verb)
                    if verb.dep_ == "relcl"
                    else self._subject_of(verb.head)[0]
                    if verb.dep_ == "conj"
                    else None
                ), own
            return own, own
        if verb.dep_ in ("acl", "relcl"):
            return self._antecedent(verb), None
        if (
            verb.dep_ in ("conj", "advcl", "dep", "parataxis")
            and verb.head.pos_ in ("VERB", "AUX")
            and verb.head.i != verb.i
        ):
            return self._subject_of(verb.head)[0], None
        return None, None

    def _antecedent(self, verb: Any) -> Any | None:
        """What a clause after a phrase tells of; not the place that the phrase is in: "the one on the left shaped like a heart"."""
        head = verb.head
        while is_thing(head) and self.nouns.is_place(head) and head.dep_ == "pobj" and head.head.head.i != head.i:
            head = head.head.head
            if not is_thing(head) and head.pos_ not in ("PRON", "NUM"):
                return None
        return head if is_thing(head) or head.pos_ == "PRON" else None

    def _who(self, subject: Any, verb: Any) -> tuple[str, bool, tuple[int, ...]]:
        nouns = self.nouns
        if subject.i in nouns.unsure and subject.dep_ in _SUBJECTS:
            raise Unclear
        if not is_thing(subject) and subject.pos_ != "PRON" and not any(one.lower_ == "of" for one in subject.children):
            raise Unclear
        joined = (
            [one for one in subject.conjuncts if one.i > subject.i and one.i < verb.i]
            if subject.dep_ in _SUBJECTS
            else []
        )
        said = nouns.all_said(subject) if joined else nouns.said(subject)
        parents = tuple(place for one in (subject, *joined) if is_thing(one) for place in nouns.things(one))
        several = bool(joined) or nouns.be(subject) == "are"
        if subject.dep_ not in _SUBJECTS and is_thing(subject):
            several = nouns.phrases[subject.i].plural
        return said, several, parents

    def _verb_words(self, verb: Any, several: bool) -> str:
        """A verb with its helpers, adverbs, and the verb that follows it: "appears to be standing"."""
        parts: list[str] = []
        helpers = [child for child in verb.lefts if child.dep_ in _HELPERS]
        if not any(child.dep_ in ("aux", "auxpass") for child in helpers) and verb.tag_ in ("VBG", "VBN"):
            if verb.dep_ == "conj" and verb.head.pos_ in ("VERB", "AUX") and verb.head.tag_ == verb.tag_:
                inherited = [child.text for child in verb.head.lefts if child.dep_ in ("aux", "auxpass")]
                parts += inherited or ["are" if several else "is"]
            elif verb.dep_ != "ROOT" or verb.tag_ == "VBG" or not _own_subject(verb) or _is_passive(verb):
                parts.append("are" if several else "is")
        for child in verb.lefts:
            adverb = (
                child.dep_ == "advmod"
                and not _adverb_preposition(child)
                and child.lower_ not in _FILLER
                and child.tag_ not in ("WRB",)
            )
            if child in helpers or (adverb and not list(child.rights)):
                parts.append(child.lower_ if adverb else child.text)
        parts.append(verb.text)
        for child in verb.rights:
            if child.dep_ in ("neg", "prt") or (child.dep_ in ("auxpass", "aux") and child.i > verb.i):
                parts.append(child.text)
            elif child.dep_ == "xcomp" and child.pos_ in ("VERB", "AUX"):
                parts.append(self._infinitive(child))
        return " ".join(parts)

    def _infinitive(self, verb: Any) -> str:
        parts = [child.text for child in verb.lefts if child.dep_ in (*_HELPERS, "advmod")]
        parts.append(verb.text)
        parts += [
            self._infinitive(child) for child in verb.rights if child.dep_ == "xcomp" and child.pos_ in ("VERB", "AUX")
        ]
        return " ".join(parts)

    def _last(self, verb: Any) -> Any:
        """The verb that has the complements: of "appears to be", "be"."""
        for child in verb.rights:
            if child.dep_ == "xcomp" and child.pos_ in ("VERB", "AUX"):
                return self._last(child)
        return verb

    def _remember(self, subject: Any) -> None:
        """Of what a sentence tells, for the pronouns after it: of "the turtle's shell is dark" the turtle."""
        owner = next((child for child in subject.lefts if child.dep_ == "poss"), None)
        of = subject if owner is None else owner
        if of.i in self.nouns.phrases:
            self.nouns.subject = self.nouns.phrases[of.i]

    def _has_image(self, verb: Any) -> bool:
        return any(child.dep_ == "attr" and is_thing(child) and self.nouns.is_image(child) for child in verb.children)

    def _try(self, kind: Kind, statement: Any, parents: Sequence[int]) -> None:
        try:
            self.nouns.add(kind, statement(), parents)
        except Unclear:
            self.understood = False


def _own_subject(verb: Any) -> Any | None:
    return next((child for child in verb.children if child.dep_ in _SUBJECTS), None)


def _is_passive(verb: Any) -> bool:
    return any(child.dep_ == "auxpass" for child in verb.children)


def _adverb_preposition(child: Any) -> bool:
    """Whether an adverb only begins a preposition: "next to"."""
    return child.dep_ in ("advmod", "acomp") and any(
        one.dep_ == "prep" and one.i == child.i + 1 for one in child.children
    )


def _prepositions(token: Any) -> Iterator[list[Any]]:
    """The prepositions after or before a word, with the words before them that belong to them."""
    for child in token.children:
        if child.dep_ in ("prep", "agent"):
            chain = [child]
            while not any(one.dep_ in ("pobj", "pcomp") for one in chain[-1].children):
                following = next((one for one in chain[-1].children if one.dep_ == "prep"), None)
                if following is None:
                    break
                chain.append(following)
            yield chain
        elif _adverb_preposition(child) and child.dep_ == "advmod":
            yield [child, *(one for one in child.children if one.dep_ == "prep" and one.i == child.i + 1)]


def _objects(prep: Any) -> list[Any]:
    """What a preposition is about, each of those joined by "and" by itself."""
    found = [child for child in prep.children if child.dep_ in ("pobj", "pcomp")]
    if not found or _has_or(found[0]) or prep.lower_ in ("between", "among", "from"):
        return found[:1]
    return [found[0], *(one for one in found[0].conjuncts if one.i > found[0].i and is_thing(one))]


def _has_or(token: Any) -> bool:
    return any(
        one.dep_ == "cc" and one.lower_ in ("or", "nor") for part in (token, *token.conjuncts) for one in part.children
    )


def _colours(token: Any) -> bool:
    """Whether colours are joined: "black and white" is one thing said."""
    joined = [one for one in token.conjuncts if one.i > token.i]
    return bool(joined) and token.lower_ in words.COLOURS and joined[0].lower_ in words.COLOURS
