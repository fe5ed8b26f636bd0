"""When two captions say the same: for every filter that looks for captions said twice."""

import polars as pl


def same_text(texts: pl.Series) -> pl.Series:
    """The captions without what does not matter; equal where two say the same, null where there is none.

    Case, punctuation, white space and Unicode's ways to write one character (NFKC) do not matter. A caption of nothing
    but symbols is taken as it is, less outer white space.
    """
    # In two steps: Polars would work out twice what an expression uses twice.
    plain = texts.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"[^\p{L}\p{M}\p{N}]+", " ")
    plain = plain.str.strip_chars(" ")
    return plain.zip_with(plain.is_null() | (plain != ""), texts.str.strip_chars())
