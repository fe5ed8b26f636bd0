"""What a claim is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["object", "attribute", "count", "relation", "text", "other"]
KINDS: Final[tuple[Kind, ...]] = ("object", "attribute", "count", "relation", "text", "other")

MAX_CHARS: Final = 1000
"""A longer sentence stays whole."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a caption says. `statement` stands alone. `start`, `end`: the sentence it comes from, in characters.

    `parents`: the claims, by place in their list and all before this one, without which it means nothing: of "There is a
    red car." the claim "There is a car."
    """

    kind: Kind
    statement: str
    start: int
    end: int
    parents: tuple[int, ...] = ()
