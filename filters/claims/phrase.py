"""A noun phrase, and which pronouns can stand for it."""

from __future__ import annotations

from dataclasses import dataclass

from filters.wording import caption_words as words


@dataclass(slots=True)
class Phrase:
    """A noun phrase: `determiner` as written in lower case, adjectives, and the head with its compound nouns."""

    determiner: str
    adjectives: list[str]
    head: str
    last: str
    text: str
    stop: int
    quote: str | None = None
    of: Phrase | None = None
    parents: tuple[int, ...] = ()
    several: bool | None = None
    """Whether it is more than one, where a tagger has said so."""

    @property
    def counted(self) -> bool:
        return self.determiner in words.NUMBERS or self.determiner in words.QUANTIFIERS or is_quantity(self.determiner)

    @property
    def plural(self) -> bool:
        if self.several is not None:
            return self.several
        if self.counted and self.determiner not in ("one", "1"):
            return self.last not in words.MASS
        return words.is_plural(self.last) and self.determiner not in words.SINGLES

    @property
    def proper(self) -> bool:
        return all(word[:1].isupper() and not word.isupper() for word in self.head.split())

    @property
    def animate(self) -> bool:
        return is_someone(self.of.last if self.of is not None and self.last in words.GROUPS else self.last)

    @property
    def person(self) -> bool:
        return self.animate and self.last.removesuffix("s") not in words.ANIMALS

    @property
    def image(self) -> bool:
        return self.last in words.IMAGES

    @property
    def place(self) -> bool:
        return self.last in words.PLACES

    def bare(self, *adjectives: str) -> str:
        """Without determiner, with these of its adjectives."""
        inner = f" of {self.of.inner()}" if self.of is not None else ""
        return " ".join((*adjectives, self.head)) + inner

    def inner(self) -> str:
        """Inside a bare phrase: its determiner and noun."""
        return f"{self.determiner} {self.bare()}".strip()


def can_mean(pronoun: str, phrase: Phrase) -> bool:
    last, group = phrase.last, phrase.last in words.GROUPS
    one = last.removesuffix("s")
    if phrase.place or phrase.image or last in words.ABSTRACT:
        return False
    if pronoun in ("they", "them", "their"):
        return phrase.plural or group
    if phrase.plural:
        return False
    if pronoun in ("he", "him", "his"):
        return one in words.MEN or (phrase.person and not group and one not in words.WOMEN)
    if pronoun in ("she", "her"):
        return one in words.WOMEN or (phrase.person and not group and one not in words.MEN)
    return not phrase.person or group


def is_quantity(determiner: str) -> bool:
    return " " in determiner or is_digits(determiner)


def is_someone(noun: str) -> bool:
    one = noun.removesuffix("s")
    return bool({noun, one} & (words.MEN | words.WOMEN | words.PEOPLE | words.ANIMALS))


def is_digits(low: str) -> bool:
    return low.isascii() and low.isdigit() and len(low) <= 3
