"""The claims of one caption while it is read, and what it mentioned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from filters.claims.claim import Claim, Kind
from filters.claims.phrase import Phrase, can_mean
from filters.wording.sentences import Sentence


class Collected:
    """Reads one caption; keeps what was mentioned, for pronouns and for what is mentioned again."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.mentions: list[Phrase] = []
        self.subjects: list[Phrase] = []  # of the sentences before

    def add(self, kind: Kind, statement: str, sentence: Sentence, parents: Iterable[int] = ()) -> int:
        claim = Claim(kind, statement, sentence.start, sentence.end, tuple(dict.fromkeys(parents)))
        for place, other in enumerate(self.claims):
            if (other.kind, other.statement, other.start) == (claim.kind, claim.statement, claim.start):
                return place
        self.claims.append(claim)
        return len(self.claims) - 1

    def meant(self, pronoun: str, first: Sequence[Phrase]) -> Phrase | None:
        """What a pronoun stands for: one of `first`, the last sentence's subject, or the nearest that it can stand for."""
        for phrase in (*first, *self.subjects[-1:], *reversed(self.mentions)):
            if can_mean(pronoun, phrase):
                return phrase
        return None
