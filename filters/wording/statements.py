"""A caption's sentence as a statement inside a question, and the sentences that no question may hold."""

from __future__ import annotations

import re
from typing import Final


def as_statement(text: str) -> str:
    """A caption's words made safe to stand inside a question: one line, no quotes that would end it early."""
    return re.sub(r"\s+", " ", text).strip()


ADDRESSES_JUDGE: Final = re.compile(
    r"(?i)\b(?:ignore|disregard|forget)\b[^.!?]{0,40}\b(?:question|instruction|image|above|previous|prompt)s?\b"
    r"|\b(?:answer|say|reply|respond|output)\b[^.!?]{0,20}[\"'“‘]?\b(?:yes|no|true|correct)\b"
    r"|\byou (?:are|must|should|will) (?:now |always )?(?:a|an|answer|reply|say|respond)\b"
)
"""Sentences that speak to whoever judges them. They say nothing about the image, and are never asked about."""
