"""What a word and an n-gram are, for every filter that counts them."""

from typing import Final

import polars as pl

_UNSPACED: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER: Final = r"\p{L}\p{M}\p{N}"

WORD: Final = rf"[{_UNSPACED}]|[[{_LETTER}]--[{_UNSPACED}]]+(?:['’\-][{_LETTER}]+)*"
"""Letters, marks and digits, with apostrophes and hyphens inside; punctuation and emoji are no words.

In scripts written without spaces every character is a word, since finding words there takes a dictionary.
"""

_MULTIPLIER: Final = 0x9E3779B97F4A7C15  # odd, so that multiplying modulo 2**64 loses nothing


def word_table(rows: pl.DataFrame, text: str = "text") -> pl.DataFrame:
    """Every word of every text, in order: the text's `row` and the `word` in lower case."""
    words = pl.col(text).str.to_lowercase().str.extract_all(WORD)
    return rows.select("row", word=words).explode("word", empty_as_null=False).drop_nulls("word")


def ngram(n: int, word: pl.Expr | None = None) -> pl.Expr:
    """For a word table: the 64-bit hash of the n words that start here, null where the text ends before the n-th.

    `word` is the hash of a word, where a column has it already.
    """
    row = pl.col("row")
    word = pl.col("word").hash() if word is None else word
    gram = word
    for ahead in range(1, n):
        gram = gram * pl.lit(_MULTIPLIER, pl.UInt64) + word.shift(-ahead)
    return pl.when(row == row.shift(1 - n)).then(gram)
