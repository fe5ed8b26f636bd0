"""Text that was read in another encoding than it was written in: "cafÃ©" for "café"."""

from typing import Final

import polars as pl

_MAY_BE: Final = r"[^\x00-\x7F]{2}|[ÃÂâĂ] "
"""What every such text has: one letter became two or more beyond ASCII, the last of which may have become a space."""


def is_mojibake(text: pl.Expr) -> pl.Expr:
    """Whether ftfy finds characters side by side that people do not write (`ftfy.badness`); null for null.

    UTF-8 read as Windows-1250 or 1252, Latin-1 or an old code page of DOS is found; read as Windows-1251 often not.
    """
    return (
        pl.when(text.str.contains(_MAY_BE)).then(text).map_batches(_are_bad, return_dtype=pl.Boolean).fill_null(False)
        & text.is_not_null()
    )


def repaired(text: str) -> str:
    """The text as it was before it was read in a wrong encoding, as far as that can be known; itself where nothing was."""
    from ftfy import fix_encoding

    return fix_encoding(text) if _is_bad(text) else text


def _are_bad(texts: pl.Series) -> pl.Series:
    return texts.map_elements(_is_bad, return_dtype=pl.Boolean, skip_nulls=True)


def _is_bad(text: str) -> bool:
    from ftfy.badness import is_bad

    return is_bad(text)
