"""Text from images, which anybody may have written: one line of printable characters, of bounded length.

The special tokens of a captioner's chat template are broken up where the prompt is filled in, since only there it is known which
they are (`factory/work/prompts.py`).
"""

from __future__ import annotations

import unicodedata
from typing import Final

_JOINERS: Final = "\u200c\u200d"
"""Of the format characters those that spelling needs (Persian, Hindi, emoji); the others steer how text is shown or hide it."""
_TAGS: Final = range(0xE0000, 0xE1000)
"""Characters that no font shows and models read all the same: tags and variation selectors."""


def foreign_words(text: str, most: int) -> str:
    """The text as one line without control, format, private and unassigned characters, at most `most` (≥ 1) characters long."""
    shown = "".join(" " if one.isspace() else one for one in text[: 4 * most + 1000] if one.isspace() or _is_shown(one))
    line = " ".join(shown.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _is_shown(one: str) -> bool:
    if ord(one) in _TAGS:
        return False
    return not unicodedata.category(one).startswith("C") or one in _JOINERS
