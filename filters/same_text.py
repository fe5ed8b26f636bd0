"""When two captions say the same: for every filter that looks for captions said twice."""

import polars as pl


def same_text(text: str = "text") -> pl.Expr:
    """The caption without what does not matter; equal where two say the same.

    Case, punctuation, white space and Unicode's ways to write one character (NFKC) do not matter. A caption of nothing
    but symbols is taken as it is, less outer white space.
    """
    plain = pl.col(text).str.normalize("NFKC").str.to_lowercase().str.replace_all(r"[^\p{L}\p{M}\p{N}]+", " ")
    plain = plain.str.strip_chars(" ")
    return pl.when(plain != "").then(plain).otherwise(pl.col(text).str.strip_chars())
