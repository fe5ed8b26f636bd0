"""What the noun phrases of a sentence claim by themselves: things, their attributes and counts, texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from filters.claims.claim import Kind
from filters.claims.collected import Collected
from filters.claims.phrase import Phrase
from filters.claims.statements import as_sentence, be, tells, there_is
from filters.wording import caption_words as words
from filters.wording.claimed_text import claimed_texts
from filters.wording.sentences import Sentence


class PhraseClaims:
    """Claims of one sentence, added to those of its caption."""

    def __init__(self, caption: Collected, sentence: Sentence) -> None:
        self.caption = caption
        self.sentence = sentence

    def things(self, phrase: Phrase) -> tuple[int, ...]:
        """Claim what a phrase names: that it is there, how many, of what kind. Gives the claims that others depend on."""
        if phrase.parents:
            return phrase.parents
        if phrase.image or phrase.place or phrase.last in words.ABSTRACT:
            if phrase.of is not None and not phrase.of.image:
                phrase.parents = self.things(phrase.of)
            return phrase.parents
        if phrase.quote is not None and phrase.last in (
            "word",
            "words",
            "text",
            "letters",
            "number",
            "name",
            "phrase",
            "letter",
        ):
            noun = phrase.last if phrase.last in ("word", "words") else ("words" if " " in phrase.quote else "word")
            verb = "are" if noun == "words" else "is"
            phrase.parents = (self.add("text", f'The {noun} "{phrase.quote}" {verb} printed'),)
            return phrase.parents
        known = self._known(phrase)
        if known is not None:
            phrase.parents = known.parents
        else:
            one = phrase.determiner in ("one", "1")
            plural = phrase.plural and not one
            phrase.parents = (self.add("object", there_is(phrase, phrase.bare(), plural)),)
            self.caption.mentions.append(phrase)
        first = phrase.parents
        for adjective in phrase.adjectives:
            if tells(adjective):
                self.add("attribute", there_is(phrase, phrase.bare(adjective), phrase.plural), first)
        if phrase.counted and (known is None or known.determiner != phrase.determiner):
            self.add("count", f"There {be(phrase)} {phrase.determiner} {phrase.bare()}", first)
        if phrase.of is not None and phrase.of.adjectives:
            inner = phrase.of
            for adjective in inner.adjectives:
                if tells(adjective):
                    outer = f"{phrase.head} of {f'{inner.determiner} {adjective} {inner.bare()}'.strip()}"
                    self.add("attribute", there_is(phrase, outer, phrase.plural), first)
        if phrase.of is not None and phrase.of.counted:
            self.add("count", there_is(phrase, phrase.bare(), phrase.plural), first)
        return phrase.parents

    def _known(self, phrase: Phrase) -> Phrase | None:
        """What a phrase with "the" names again."""
        if phrase.determiner not in ("the", "this", "that", "these", "those", "both"):
            return None
        for other in reversed(self.caption.mentions):
            if other.last == phrase.last and other.parents and (phrase.of is None or phrase.bare() == other.bare()):
                return other
        return None

    def bound(self, phrases: Sequence[Phrase]) -> None:
        """Claim that adjectives are of one thing, where no relation says it with them: "There is a red circle." and "There is
        a large circle." may be true of two circles.
        """
        said = [one.statement.lower() for one in self.caption.claims if one.start == self.sentence.start]
        for phrase in (one.of if one.image and one.of is not None else one for one in phrases):
            adjectives = [one for one in phrase.adjectives if tells(one)]
            if (
                len(adjectives) < 2
                or not phrase.parents
                or phrase.image
                or phrase.place
                or phrase.last in words.ABSTRACT
            ):
                continue
            if not any(phrase.text.lower() in statement for statement in said):
                self.add("attribute", there_is(phrase, phrase.bare(*adjectives), phrase.plural), phrase.parents)

    def texts(self, phrases: Sequence[Phrase]) -> None:
        """Claim what is written, where the phrases have not."""
        said = {self.caption.claims[place].statement for phrase in phrases for place in phrase.parents}
        for text in claimed_texts(self.sentence.text):
            noun, verb = ("words", "are") if " " in text else ("word", "is")
            if not any(f'"{text}"' in statement for statement in said):
                self.add("text", f'The {noun} "{text}" {verb} printed')

    def add(self, kind: Kind, statement: str, parents: Iterable[int] = ()) -> int:
        return self.caption.add(kind, as_sentence(statement), self.sentence, parents)
