"""The sentences that claims are said in."""

from __future__ import annotations

from filters.claims.phrase import Phrase
from filters.claims.tokens import NO_CLAIM
from filters.wording import caption_words as words
from filters.wording.statements import as_statement


def is_proper(head: str) -> bool:
    return sum(word[:1].isupper() for word in head.split()) > 1 or head.isupper()


def lowered(text: str) -> str:
    first = text.split(" ", 1)[0]
    return text if len(first) > 1 and first.isupper() else text[:1].lower() + text[1:]


def tells(adjective: str) -> bool:
    """Whether an adjective says something that can be asked about."""
    return adjective.lower() not in NO_CLAIM and not adjective.endswith(("'s", "’s", *'"”»'))


def be(phrase: Phrase) -> str:
    return "are" if phrase.plural else "is"


def there_is(phrase: Phrase, said: str, plural: bool) -> str:
    if phrase.determiner in words.POSSESSIVES and not plural:
        return f"There is {with_article(said)} {said}"
    if plural:
        return f"There are {said}"
    if phrase.proper:
        return f"The image shows {'the ' if phrase.determiner == 'the' else ''}{said}"
    if phrase.last in words.MASS and phrase.determiner not in ("a", "an", "one", "another"):
        return f"There is {said}"
    return f"There is {with_article(said)} {said}"


def with_article(said: str) -> str:
    first = said.lower()
    vowel = first[:1] in tuple("aeiou") and not first.startswith(("uni", "use", "one", "eu", "ufo"))
    return "an" if vowel or first.startswith(("hour", "honest")) else "a"


def as_sentence(text: str) -> str:
    text = as_statement(text).rstrip(" ,;:-")
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
