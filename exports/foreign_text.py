"""Texts of strangers where they could do harm: on a terminal, which obeys escape codes, and in a sheet, which runs formulas."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of what a terminal obeys or does not show."""
KEPT: Final = frozenset("\n\t\u200c\u200d\u00ad")
"""Of these, what texts need: lines, the joiners of Persian and Hindi and of emoji, soft hyphens."""
FORMULA: Final = r"\A[=+\-@\t\r\n＝＋－＠]"
"""What makes a cell a formula: signs at its start (OWASP, CSV injection), the full-width ones too."""


def plain(text: str) -> str:
    """The text as it may go to a terminal: control and direction signs spelled out, as `\\x1b`; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign in KEPT or unicodedata.category(sign) not in UNSEEN else _spelled(sign) for sign in text
    )


def one_line(text: str) -> str:
    """As `plain`, on one line."""
    return plain(" ".join(text.split()))


def cell(text: str | None) -> str | None:
    """The text as a cell of a CSV file: a quotation mark before what a spreadsheet would run as a formula."""
    return f"'{text}" if text and re.match(FORMULA, text) else text


def _spelled(sign: str) -> str:
    number = ord(sign)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
