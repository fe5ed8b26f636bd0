"""Finds the noun phrases of a sentence by its small words and word forms."""

from __future__ import annotations

import re
from collections.abc import Sequence

from filters.claims.phrase import Phrase, is_digits, is_someone
from filters.claims.statements import is_proper, lowered
from filters.claims.tokens import COMPOUND_ED, PREPOSITIONS, STOP, TOGETHER, Token, is_preposition
from filters.wording import caption_words as words


class PhraseFinder:
    """Finds the noun phrases among the tokens of one sentence."""

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self.sentence = text
        self.tokens = tokens

    def find(self, at: int, before: Phrase | None) -> Phrase | None:
        """The noun phrase that begins at a token, if one does; `before`: the phrase that ended right there."""
        tokens, start = self.tokens, at
        determiner, at = self._determiner(at)
        found: list[tuple[str, str, bool]] = []  # text, lower case, whether an adjective
        quote: str | None = None
        adverb = ""
        while at < len(tokens):
            token = tokens[at]
            noun = any(not adjective for _, _, adjective in found)
            if token.kind == "quote":
                quote = token.text[1:-1].strip().rstrip(",.")
                found.append((token.text, token.low, False if noun else not self._content(at + 1)))
                at += 1
                if noun:
                    break
                continue
            if token.kind == "own" and found:
                found[-1] = (found[-1][0] + "'s", found[-1][1] + "'s", False)
                at += 1
                continue
            if token.low in (",", "and", "&") and found and not noun and self._adjective_noun(at + 1):
                joined = "" if token.low == "," else token.text + " "
                if joined:
                    found[-1] = (f"{found[-1][0]} {joined}{tokens[at + 1].text}", found[-1][1], True)
                    at += 2
                else:
                    at += 1
                continue
            if token.kind != "word" or (token.low in STOP and not (token.low in words.PLACES and determiner)):
                break
            if words.is_adverb(token.low) and token.low not in words.PLACES:
                if noun or not self._modifies(at + 1):
                    break
                adverb += token.text + " "
                at += 1
                continue
            if token.low not in words.PLACES and self._is_verb(at, determiner, found, noun, before):
                break
            is_adjective = (words.is_adjective(token.low) or token.low.endswith(("'s", "’s"))) or (
                not noun
                and (words.is_ing(token.low) or words.is_ed(token.low))
                and token.low not in words.SPORTS
                and self._content(at + 1)
            )
            if noun and token.low in COMPOUND_ED:
                found = [(" ".join([*(one for one, _, _ in found), token.text]), token.low, True)]
            else:
                found.append((adverb + token.text, token.low, is_adjective and not noun))
            adverb = ""
            at += 1
        if not found or (not determiner and quote is None and all(adjective for _, _, adjective in found)):
            return None
        split = next((place for place, one in enumerate(found) if not one[2]), len(found) - 1)
        split = min(split, len(found) - 1)
        head = " ".join(text for text, _, _ in found[split:])
        if start == 0 and not determiner and split == 0 and not is_proper(head):
            head = head[:1].lower() + head[1:]
        adjectives = [text if place or start else lowered(text) for place, (text, _, _) in enumerate(found[:split])]
        phrase = Phrase(determiner, adjectives, head, found[-1][1], "", at, quote)
        if quote is not None and found[-1][0].startswith(tuple('"“„«')):
            phrase.last = found[-2][1] if len(found) > 1 else "text"
        if at < len(tokens) and tokens[at].low == "of":
            inner = self.find(at + 1, None)
            if inner is not None:
                phrase.of, phrase.stop = inner, inner.stop
        phrase.text = self._text(start, phrase.stop)
        return phrase

    def _determiner(self, at: int) -> tuple[str, int]:
        tokens = self.tokens
        lows = [token.low for token in tokens[at : at + 5]]
        if not lows:
            return "", at
        for some in words.QUANTITIES:
            if tuple(lows[: len(some)]) == some:
                follows = at + len(some)
                return " ".join(some), follows + (
                    tokens[follows].low in ("the", "other") if follows < len(tokens) else 0
                )
        first = lows[0]
        following = lows[1] if len(lows) > 1 else ""
        if first == "that" and (words.is_finite(following) or following in words.VERB_BASES):
            return "", at
        if first == "the" or first in words.ARTICLES:
            if following in words.NUMBERS or following in words.QUANTIFIERS or is_digits(following):
                return following, at + 2
            return first, at + 1 + (following == "other")
        if first in words.POSSESSIVES:
            return first, at + 1
        if first in words.NUMBERS or first in words.QUANTIFIERS or is_digits(first):
            skip = 1 + (following in ("the", "other", "more"))
            return first, at + skip
        return "", at

    def _content(self, at: int) -> bool:
        """Whether a word of a noun phrase may stand here."""
        if at >= len(self.tokens):
            return False
        token = self.tokens[at]
        if token.kind == "quote":
            return True
        return token.kind == "word" and token.low not in STOP and not words.is_adverb(token.low)

    def _modifies(self, at: int) -> bool:
        """Whether an adjective or participle stands here, before a noun."""
        if not self._content(at) or self.tokens[at].kind == "quote":
            return False
        low = self.tokens[at].low
        return (words.is_adjective(low) or words.is_ed(low) or words.is_ing(low)) and self._content(at + 1)

    def _adjective_noun(self, at: int) -> bool:
        if at >= len(self.tokens) or not self._content(at + 1):
            return False
        low = self.tokens[at].low
        return words.is_adjective(low) or words.is_ed(low)

    def _is_verb(
        self, at: int, determiner: str, found: list[tuple[str, str, bool]], noun: bool, before: Phrase | None
    ) -> bool:
        """Whether the word here is the verb after, or in place of, a noun phrase."""
        low = self.tokens[at].low
        previous = self.tokens[at - 1].low if at else ""
        looks = words.is_ing(low) or words.is_ed(low)
        following = self.tokens[at + 1].low if at + 1 < len(self.tokens) else "."
        if low in words.SPORTS:
            ends = is_preposition(following) or words.is_adverb(following) or following in ("a", "an", "the")
            acts = ends and following != "of"
            return acts and (noun or (not found and (before is not None or previous in words.AUXILIARIES)))
        if not found:
            if determiner:
                return words.is_ing(low) and not self._content(at + 1) and determiner not in ("a", "an", "the")
            if (previous == "," or words.is_adverb(previous)) and low in words.CLEAR_THIRD_PERSONS:
                return True
            if previous in words.SUBJECT_PRONOUNS and (low in words.THIRD_PERSONS or low in words.VERB_BASES):
                return True
            if words.is_ing(low):
                return not (at == 0 and self._content(at + 1) and not words.is_plural(self.tokens[at + 1].low))
            if looks and not words.is_adjective(low):
                return not ((at == 0 or previous in PREPOSITIONS | TOGETHER) and self._content(at + 1))
            if low in words.THIRD_PERSONS and (before is not None or previous in words.RELATIVES | words.CONJUNCTIONS):
                return low in words.CLEAR_THIRD_PERSONS or before is not None
            infinitive = previous == "to" or previous in words.AUXILIARIES or previous in ("they", "we", "you", "i")
            relative = previous in words.RELATIVES
            return low in words.VERB_BASES and (infinitive or relative or (before is not None and before.plural))
        if looks and not noun:
            return not self._content(at + 1) and not determiner
        if looks:
            return not (low in COMPOUND_ED and self._content(at + 1))
        if not noun and not (low in words.THIRD_PERSONS and found and not self._content(at + 1)):
            return False
        if low in words.CLEAR_THIRD_PERSONS and noun:
            return True
        acts = following in words.ARTICLES | words.POSSESSIVES | {"it", "them", "him"}
        if noun and acts and (low in words.THIRD_PERSONS or low in words.VERB_BASES):
            return True
        opens = (
            following in STOP
            or following in words.NUMBERS
            or words.is_adverb(following)
            or words.is_ing(following)
            or is_digits(following)
        )
        single = determiner in words.SINGLES
        if noun and single and words.is_plural(low) and low not in words.PLURALS and opens:
            return following not in words.CONJUNCTIONS and following != "of"
        several = noun and words.is_plural(found[-1][1])
        return several and low in words.VERB_BASES and (opens or is_someone(found[-1][1]))

    def _text(self, start: int, stop: int) -> str:
        text = self.sentence[self.tokens[start].start : self.tokens[stop - 1].end]
        text = re.sub(r"\s+(?=['’]s\b)|(?<=\w)\s+(?=,)", "", re.sub(r"\s+", " ", text))
        return lowered(text) if start == 0 else text
