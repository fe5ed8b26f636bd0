"""Captions that loop or say the same thing twice."""

import re
from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.contract.ratio import ratio
from filters.wording.sentences import sentence_texts
from filters.wording.words import WORD, ngram, word_table

SENTENCE: Final = 4
"""Words to a sentence: shorter ones are often initials or abbreviations ("J. J. Abrams")."""
GRAM: Final = 4
"""Words to an n-gram."""
_THREEFOLD: Final = (
    (pl.col("hash") == pl.col("hash").shift(1))
    & (pl.col("hash") == pl.col("hash").shift(2))
    & (pl.col("row") == pl.col("row").shift(2))
)
_SEGMENT: Final = r"[.!?…‼‽⁇-⁉。！？．｡؟۔।॥\n\r]+"
_EDGES: Final = " \t\r\"“”'‘’()[]*_-–—:,;"

# Characters that repeat are rare: a pattern finds texts that may have them, and a back-reference, which Polars lacks, looks.
_MAY_LOOP: Final = (
    r"[!?] ?[!?] ?[!?] ?[!?]|(?:\. ?){7}|(?:- ?){6}|(?:_ ?){6}|(?:= ?){6}|(?:~ ?){6}|(?:\* ?){6}|(?:# ?){6}"
    r"|[a-zA-Z\x{C0}-\x{24F}\x{400}-\x{4FF}]{14}|[0-9]{12}|"
    + "|".join(f"{letter}{{5}}" for letter in "abcdefghijklmnopqrstuvwxyz")
)
_LOOP: Final = re.compile(r"[!?](?: ?[!?]){3}|(?:\. ?){7}|([\-_=~*#])(?: ?\1){5}|([^\W\d_])\2{4}|([0-9])\3{11}")
_LONG_WORD: Final = re.compile(r"[^\W\d_]{14,}")
_SYLLABLES: Final = re.compile(r"([^\W\d_]{2,8}?)\1{4}")  # "hahahahahahaha"
_LONGEST: Final = 20_000
"""Characters of a text that are looked at for characters that repeat."""


class Repetition(Filter):
    """How much of a caption repeats what it has already said.

    **Finds** loops, sentences said twice, and captions followed by their own restatement.

    **Scores** 0 where it `loops`: four words or more said twice in a row, two or three words three times, a word of two
    letters or more three times, one of a single letter five times; "!" and "?" four times, full stops seven, lines and
    stars six, a letter five, a digit twelve; or two to eight letters five times in a word of fourteen ("hahahahahahaha").
    Elsewhere `1 - max(duplicate_4grams / max_duplicate_4grams, duplicate_sentences / max_duplicate_sentences)`, not below 0.
    `duplicate_4grams` is the share of the characters of all words that lie in a run of four words seen before in the
    caption; `duplicate_sentences` the share of sentences (of at least four words) seen before. Case and punctuation do not
    matter. Empty text scores 1; null text has no score.

    **Defaults.** Made for a threshold of 0.5, which is at half of both limits: 0.3 and 0.2. These alone flag 0.01 to 0.02 % of
    40,300 short captions (Multi30k, Conceptual Captions, CapsFusion) and none of 1,400 dense ones by people (IIW, DOCCI), where
    Gopher's repetition rules flag over half of the short ones. With loops, of the 15,833 human
    captions of Conceptual Captions' validation set 2 score below it ("actor , actor , actor"), of 400 dense ones (IIW) one, which says
    "the hands of the clock" twice in a row; of 2,000 short captions by MiniGPT-4 (POPE's repository) 4.0 %. Of 3,200 loops
    made of sentences, clauses, words and characters in such captions 99 % are found.

    **Example.** "A red bus. A red bus stops here. A red bus stops here." scores 0.
    """

    name: ClassVar[str] = "repetition"
    version: ClassVar[int] = 3
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "duplicate_4grams": pl.Float64(),
        "duplicate_sentences": pl.Float64(),
        "loops": pl.Boolean(),
    }

    max_duplicate_4grams: float = Field(
        0.6,
        gt=0,
        le=1,
        description="Share of the words' characters, in (0, 1], at which the score is 0 (measured, see above).",
    )
    max_duplicate_sentences: float = Field(
        0.4, gt=0, le=1, description="Share of the sentences, in (0, 1], at which the score is 0 (measured, see above)."
    )

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = self.inputs(captions).with_row_index("row")
        repeating = _repeating_words(rows)
        judged = pl.col("text").is_not_null()
        shares = (
            rows.join(_duplicate_4grams(repeating), on="row", how="left", maintain_order="left")
            .join(_duplicate_sentences(rows, repeating), on="row", how="left", maintain_order="left")
            .join(_loops(rows, repeating), on="row", how="left", maintain_order="left")
            .select(
                *(
                    pl.when(judged).then(pl.col(share).fill_null(0.0)).alias(share)
                    for share in ("duplicate_4grams", "duplicate_sentences")
                ),
                loops=pl.when(judged).then(pl.col("loops").fill_null(False)),
            )
        )
        excess = pl.max_horizontal(
            ratio(pl.col("duplicate_4grams"), self.max_duplicate_4grams),
            ratio(pl.col("duplicate_sentences"), self.max_duplicate_sentences),
        )
        return shares.select(
            pl.when("loops").then(0.0).otherwise((1.0 - excess).clip(0.0, 1.0)).alias("score"), *self.evidence
        )


def _repeating_words(rows: pl.DataFrame) -> pl.DataFrame:
    """The word table of the captions that repeat four words, or say a word three times in a row.

    `ago` is how many words before the four words that begin here began last, null where they did not.
    """
    at, gram = pl.col("at"), pl.col("gram")
    words = (
        word_table(rows)
        .with_columns(hash=pl.col("word").hash())
        # One number for a row and its words: to group by two columns takes several times as long.
        .with_columns(gram=ngram(GRAM, pl.col("hash")) ^ (pl.col("row") + 1).hash())
        .with_row_index("at")
    )
    # Few captions repeat anything, and one that repeats a sentence or a run repeats four words.
    again = words.filter(gram.is_not_null() & gram.is_duplicated())
    ago = again.select("at", ago=at - at.shift(1).over("gram")).drop_nulls("ago")
    repeating = pl.concat([again.select("row"), words.filter(_THREEFOLD).select("row")]).unique()
    return words.join(repeating, on="row", how="semi", maintain_order="left").join(
        ago, on="at", how="left", maintain_order="left"
    )


def _duplicate_4grams(words: pl.DataFrame) -> pl.DataFrame:
    """`row` and the share of its words' characters inside 4-grams seen before."""
    inside = pl.any_horizontal(pl.col("again").shift(back, fill_value=False) for back in range(GRAM))
    chars = pl.col("word").str.len_chars()
    return (
        words.with_columns(again=pl.col("ago").is_not_null())
        .with_columns(inside=inside)
        .group_by("row")
        .agg(duplicate_4grams=chars.filter("inside").sum() / chars.sum())
    )


def _duplicate_sentences(rows: pl.DataFrame, words: pl.DataFrame) -> pl.DataFrame:
    """`row` and the share of its sentences that it has said before."""
    again = ~pl.struct("row", "sentence").is_first_distinct()
    sentence = pl.col("sentence").str.strip_chars(_EDGES)
    suspects = rows.join(words.filter(pl.col("ago").is_not_null()), on="row", how="semi")
    # Between any two marks lies a sentence or a piece of one: where no such stretch is said twice, no sentence is.
    twice = (
        suspects.select(
            "row", sentence=pl.col("text").str.to_lowercase().str.replace_all(_SEGMENT, "\x02").str.split("\x02")
        )
        .explode("sentence", empty_as_null=False)
        .with_columns(sentence)
        .filter(pl.col("sentence").str.len_chars() > 3)
        .filter(again)
    )
    return (
        suspects.join(twice, on="row", how="semi")
        .select("row", sentence=sentence_texts(pl.col("text"), marks=False).list.eval(pl.element().str.to_lowercase()))
        .explode("sentence", empty_as_null=False)
        .with_columns(sentence)
        .filter(pl.col("sentence").str.count_matches(WORD) >= SENTENCE)
        .with_columns(again=again)
        .group_by("row")
        .agg(duplicate_sentences=pl.col("again").mean())
    )


def _loops(rows: pl.DataFrame, words: pl.DataFrame) -> pl.DataFrame:
    """`row` of each caption that says the same over and over, and `loops`: true."""
    # Grams that were last seen `ago` words before, one after another: their words, and three more, were said before.
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in ("row", "ago"))
    stretches = (
        words.filter(pl.col("ago").is_not_null())
        .with_columns(stretch=(~(same & (pl.col("at") == pl.col("at").shift(1) + 1)).fill_null(False)).cum_sum())
        .group_by("stretch")
        .agg(pl.col("row").first(), pl.col("ago").first(), said=pl.len() + GRAM - 1)
    )
    times = pl.when(pl.col("ago") >= 4).then(1).when(pl.col("ago") >= 2).then(2).otherwise(4)
    found = [
        words.filter(_THREEFOLD & (pl.col("word").str.len_chars() > 1)).select("row"),
        stretches.filter(pl.col("said") >= pl.col("ago") * times).select("row"),
        rows.filter(pl.col("text").str.contains(_MAY_LOOP))
        .filter(pl.col("text").str.slice(0, _LONGEST).map_elements(_loops_by_character, return_dtype=pl.Boolean))
        .select("row"),
    ]
    return pl.concat(found).unique().with_columns(loops=True)


def _loops_by_character(text: str) -> bool:
    return bool(_LOOP.search(text)) or any(_SYLLABLES.search(word.group()) for word in _LONG_WORD.finditer(text))
