"""Captions whose characters are not those of a sentence."""

from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.contract.ratio import ratio
from filters.text.mojibake import is_mojibake

_BROKEN: Final = (
    # Control characters but white space, U+FFFD, private use, bidirectional overrides.
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\x{FFFD}\x{FFFE}\x{E000}-\x{F8FF}\x{202A}-\x{202E}\x{2066}-\x{2069}]"
    r"|\\u[0-9a-fA-F]{4}|[^0-9]%20[^0-9]|(?:%[0-9a-fA-F]{2}){2}"
)
_SINGLE: Final = r"(?-u:\b)[b-hj-zB-HJ-Z](?-u:\b)"
_SINGLE_BESIDE_ACCENTS: Final = r"\b[b-hj-zB-HJ-Z]\b"
"""The same where a letter beyond ASCII is one too: "m" in "mặc" stands alone only by the border of ASCII words, which is faster."""
_ENDLESS: Final = r"[!-~\x{C0}-\x{24F}]{60,}"

_OTHER_SPACE: Final = r"[\s--\x20]"

MIN_LETTERS: Final = 12
"""Letters below which a caption may be all capitals: a name, an abbreviation."""
MIN_DIGITS: Final = 5
"""Digits below which they are no list of numbers: "1950's kitchen"."""
MIN_SINGLE: Final = 3
"""Single letters below which they are no sign: "vitamin C"."""


class Shape(Filter):
    """Whether a caption's characters are those of a sentence.

    **Finds** what no sentence looks like: shouting, lists of numbers, lines of symbols, letters one by one, words that
    never end, and text that a wrong decoding broke.

    **Scores** 1 within all limits. Outside, the score is the lowest ratio by which a limit is missed: share over limit for
    `letters`, limit over share for `digits` (where there are five) and `symbols` (punctuation and symbols), all of the
    characters that are no white space; and for `capitals` (where there are twelve letters) and `single_letters` (where there
    are three: Latin letters alone, but for "a" and "i"), both of the letters. It is 0 where the text is `broken` (control and
    private-use characters, U+FFFD, bidirectional overrides, text read in a wrong encoding as ftfy finds it, JSON and URL escapes), where 60
    Latin letters, digits and symbols stand together without white space (`endless`), and where there is nothing.
    HTML entities are not broken, but repaired by the rewrite `html` (`filters.text.rewrites.unescape_html`); what was read in a
    wrong encoding is broken and repaired by `mojibake`. Null text has no score. Scripts without case have no capitals.

    **Defaults.** Set so that a threshold of 1 flags 0.06 % of the 15,833 human captions of Conceptual Captions' validation
    set, whose names and prices are the nearest to the limits. Gopher's rule of letters in 80 % of the words and
    data-juicer's alphanumeric share of 0.6 (LLaVA recipe) count other things.

    **Example.** "CHEAP SHOES BUY NOW" scores 0.5: all its letters are capitals, and half of them may be.
    """

    name: ClassVar[str] = "shape"
    version: ClassVar[int] = 3
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "letters": pl.Float64(),
        "capitals": pl.Float64(),
        "digits": pl.Float64(),
        "symbols": pl.Float64(),
        "single_letters": pl.Float64(),
        "broken": pl.Boolean(),
        "endless": pl.Boolean(),
    }

    min_letters: float = Field(0.6, gt=0, le=1, description="Least share of letters, in (0, 1] (measured, see above).")
    max_capitals: float = Field(0.5, gt=0, le=1, description="Largest share of capitals, in (0, 1] (judgement).")
    max_digits: float = Field(0.2, gt=0, le=1, description="Largest share of digits, in (0, 1] (measured, see above).")
    max_symbols: float = Field(
        0.2, gt=0, le=1, description="Largest share of symbols, in (0, 1] (measured, see above)."
    )
    max_single_letters: float = Field(
        0.2, gt=0, le=1, description="Largest share of single letters, in (0, 1] (measured, see above)."
    )

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        text = pl.col("text")
        # Counted by the slower borders only where the faster ones find enough.
        suspect = text.str.count_matches(_SINGLE)
        beside = pl.when((suspect >= MIN_SINGLE) & (text.str.len_bytes() > text.str.len_chars())).then(text)
        counts = self.inputs(captions).select(
            # Counting what is rare, and taking it off, is several times faster than counting letters one by one.
            chars=text.str.len_chars()
            - text.str.count_matches(" ", literal=True)
            - pl.when(text.str.contains(_OTHER_SPACE)).then(text.str.count_matches(_OTHER_SPACE)).otherwise(0),
            others=text.str.count_matches(r"[^\p{L}\p{M}\s]"),
            capitals=text.str.count_matches(r"\p{Lu}"),
            digits=text.str.count_matches(r"\p{Nd}"),
            symbols=text.str.count_matches(r"[\p{P}\p{S}]"),
            single_letters=pl.coalesce(beside.str.count_matches(_SINGLE_BESIDE_ACCENTS), suspect),
            broken=text.str.contains(_BROKEN) | is_mojibake(text),
            endless=text.str.contains(_ENDLESS),
        )
        shares = counts.with_columns(letters=pl.col("chars") - pl.col("others")).select(
            "chars",
            "broken",
            "endless",
            letters=_share("letters", "chars"),
            capitals=_share("capitals", "letters", pl.col("letters") >= MIN_LETTERS),
            digits=_share("digits", "chars", pl.col("digits") >= MIN_DIGITS),
            symbols=_share("symbols", "chars"),
            single_letters=_share("single_letters", "letters", pl.col("single_letters") >= MIN_SINGLE),
        )
        within = pl.min_horizontal(
            pl.lit(1.0),
            ratio(pl.col("letters"), self.min_letters),
            self.max_capitals / pl.col("capitals"),
            self.max_digits / pl.col("digits"),
            self.max_symbols / pl.col("symbols"),
            self.max_single_letters / pl.col("single_letters"),
        )
        nothing = (pl.col("chars") == 0) | pl.col("broken") | pl.col("endless")
        score = pl.when(pl.col("chars").is_not_null()).then(pl.when(nothing).then(0.0).otherwise(within))
        return shares.select(score.alias("score"), *self.evidence)


def _share(part: str, of: str, counts: pl.Expr | None = None) -> pl.Expr:
    """The share as a number, 0 where the part does not count or there is nothing to take a share of; null for null."""
    enough = pl.col(part) if counts is None else pl.when(counts).then(pl.col(part)).otherwise(0)
    return pl.when(pl.col(of).is_not_null()).then(ratio(enough, pl.max_horizontal(pl.col(of), 1)))
