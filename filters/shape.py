"""Captions whose characters are not those of a sentence."""

from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract import Filter
from filters.ratio import ratio
from filters.words import WORD

_BROKEN: Final = (
    # Control characters but white space, U+FFFD, private use, bidirectional overrides.
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\x{FFFD}\x{FFFE}\x{E000}-\x{F8FF}\x{202A}-\x{202E}\x{2066}-\x{2069}]"
    r"|Ã[\x{80}-\x{BF}]|â€[\x{80}-\x{BF}\x{2000}-\x{20FF}\x{2122}œ˜¦]"  # UTF-8 read as Latin-1 or Windows-1252
    r"|&(?:amp|lt|gt|quot|nbsp|apos|#x?[0-9a-fA-F]{2,6});|\\u[0-9a-fA-F]{4}|(?:%[0-9a-fA-F]{2}){2}"
)
_SINGLE: Final = r"(?-u:\b)[b-hj-zB-HJ-Z](?-u:\b)"
_LONG: Final = r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{N}\p{P}\p{S}]{60,}"

MIN_CASED: Final = 12
"""Cased letters below which a caption may be all capitals: a name, an abbreviation."""
MIN_DIGITS: Final = 5
"""Digits below which they are no list of numbers: "1950's kitchen"."""
MIN_WORDS: Final = 4
"""Words below which single letters are no sign: "vitamin C"."""


class Shape(Filter):
    """Whether a caption's characters are those of a sentence.

    **Finds** what no sentence looks like: shouting, lists of numbers, lines of symbols, letters one by one, words that
    never end, and text that a wrong decoding broke.

    **Scores** 1 within all limits. Outside, the score is the lowest ratio by which a limit is missed: `letters / min_letters`,
    and limit over share for `capitals` (of the cased letters, where there are 12), `digits` (where there are five), `symbols` (punctuation and
    symbols; these and letters are shares of the characters that are no white space) and `single_letters` (of the words,
    where there are four: Latin letters alone, but for "a" and "i"). It is 0 where something is `broken` (counted: control
    and private-use characters, U+FFFD, bidirectional overrides, UTF-8 read as Latin-1, HTML and URL escapes), where 60
    letters, digits and symbols stand together without white space (`endless`; in Latin, Greek and Cyrillic letters),
    and where there is nothing. Null text has no score. Scripts without case have no capitals.

    **Defaults.** Set so that a threshold of 1 flags @@ of the 15,833 human captions of Conceptual Captions' validation
    set, whose names and prices are the nearest to the limits. Gopher's rule of letters in 80 % of the words and
    data-juicer's alphanumeric share of 0.6 (LLaVA recipe) count other things.

    **Example.** "CHEAP SHOES BUY NOW" scores 0.5: all its letters are capitals, and half of them may be.
    """

    name: ClassVar[str] = "shape"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "letters": pl.Float64(),
        "capitals": pl.Float64(),
        "digits": pl.Float64(),
        "symbols": pl.Float64(),
        "single_letters": pl.Float64(),
        "broken": pl.UInt32(),
        "endless": pl.Boolean(),
    }

    min_letters: float = Field(0.6, gt=0, le=1, description="Least share of letters, in (0, 1] (measured, see above).")
    max_capitals: float = Field(0.5, gt=0, le=1, description="Largest share of capitals, in (0, 1] (judgement).")
    max_digits: float = Field(0.2, gt=0, le=1, description="Largest share of digits, in (0, 1] (measured, see above).")
    max_symbols: float = Field(
        0.2, gt=0, le=1, description="Largest share of symbols, in (0, 1] (measured, see above)."
    )
    max_single_letters: float = Field(
        0.25, gt=0, le=1, description="Largest share of single letters, in (0, 1] (measured, see above)."
    )

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        text = pl.col("text")
        counts = self.inputs(captions).select(
            chars=text.str.count_matches(r"\S"),
            letters=text.str.count_matches(r"[\p{L}\p{M}]"),
            capitals=text.str.count_matches(r"\p{Lu}"),
            cased=text.str.count_matches(r"[\p{Lu}\p{Ll}]"),
            digits=text.str.count_matches(r"\p{Nd}"),
            symbols=text.str.count_matches(r"[\p{P}\p{S}]"),
            single_letters=text.str.count_matches(_SINGLE),
            words=text.str.count_matches(WORD),
            broken=text.str.count_matches(_BROKEN).cast(pl.UInt32),
            endless=text.str.contains(_LONG),
        )
        shares = counts.select(
            "chars",
            "broken",
            "endless",
            letters=_share("letters", "chars"),
            capitals=_share("capitals", "cased", MIN_CASED),
            digits=pl.when(pl.col("digits") >= MIN_DIGITS)
            .then(_share("digits", "chars"))
            .otherwise(0.0 * pl.col("digits")),
            symbols=_share("symbols", "chars"),
            single_letters=_share("single_letters", "words", MIN_WORDS),
        )
        within = pl.min_horizontal(
            pl.lit(1.0),
            ratio(pl.col("letters"), self.min_letters),
            self.max_capitals / pl.col("capitals"),
            self.max_digits / pl.col("digits"),
            self.max_symbols / pl.col("symbols"),
            self.max_single_letters / pl.col("single_letters"),
        )
        nothing = (pl.col("chars") == 0) | (pl.col("broken") > 0) | pl.col("endless")
        score = pl.when(pl.col("chars").is_not_null()).then(pl.when(nothing).then(0.0).otherwise(within))
        return shares.select(score.alias("score"), *self.evidence)


def _share(part: str, of: str, least: int = 1) -> pl.Expr:
    """The share as a number, 0 where there are fewer than `least` to take it of; null for null."""
    enough = pl.when(pl.col(of) >= least).then(pl.col(part)).otherwise(0)
    return pl.when(pl.col(of).is_not_null()).then(ratio(enough, pl.max_horizontal(pl.col(of), 1)))
