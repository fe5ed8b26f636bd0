"""Captions in another language than the one wanted."""

from pathlib import Path
from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter, FilterError
from filters.models import fasttext_model
from filters.wording.words import WORD

UNDETERMINED: Final = "und"
"""ISO 639-3's code for a language that cannot be told."""
MAX_CHARS: Final = 400
"""Characters of a part that are looked at together: some sixty words tell the language."""
LIKELIEST: Final = 5
LEAST: Final = 0.01
"""Languages looked at, and the least probability of one: what is below counts as 0. It makes the model twice as fast."""
MODEL: Final = Path(__file__).parents[1] / "models" / "lid.176.ftz"
"""The model that comes with this package: see filters/models/README.md."""

PART_WORDS: Final = 6
"""Words from which a part of a caption is judged by itself: fewer are names, titles, what a sign says."""
SURE: Final = 0.5
SURE_OF_LITTLE: Final = 0.8
LITTLE: Final = 8
"""Least probability of another language that counts against a caption; the higher one for parts of fewer words than LITTLE
in ASCII, as the model takes "skiing down a snowy slope" for Polish at 0.5 and "image of a door handle" for Dutch at 0.6."""
OTHER_SCRIPT: Final = 0.3
"""Share of a sentence's words in one of its scripts from which they are judged: fewer are quoted from the picture."""

_COMPATIBLE: Final = (
    r"[\x{A0}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}\x{FF01}-\x{FF5E}\x{FB00}-\x{FB06}\x{1D400}-\x{1D7FF}]"
)
"""Spaces, full-width forms, ligatures and mathematical letters, which NFKC folds into those that the model knows; and the marks
that are used below."""
_FOLDED: Final = pl.col("text").str.normalize("NFKC").str.replace_all(r"[\x01\x02]", " ")
_QUOTED: Final = r"\"[^\"\n]{1,200}\"|“[^”\n]{1,200}”|«[^»\n]{1,200}»|「[^」\n]{1,200}」|『[^』\n]{1,200}』"
_QUOTATION: Final = '["“«「『]'
_END: Final = r"([.!?…][\"”’)\]]*\s|[。！？।॥۔؟\n\r]+)"
_CUT: Final = "\x02"
_CHUNK: Final = rf"(?s).{{1,{MAX_CHARS}}}"
_OTHER_LETTER: Final = r"[\p{L}--\p{Latin}]"
_NOT_ENGLISH: Final = r"[^\x00-\x7f‘’“”–—…°×½]"
_BEYOND_ASCII: Final = r"[\p{L}--[A-Za-z]]"

# Words that other languages hardly ever write alike; so no "man", "in", "of", "under", "also", "water", "hand", "red".
_ENGLISH_WORDS: Final = """
the and with are there white this people street left right black features their playing appears has shows its his blue
holding building visible near around beach several each kitchen placed walking looking which wooden brown enjoying
they trees floor yellow various riding behind young above chairs living back dark view another snow likely women woman
boy girl flying through filled hanging few horse eating corner closer along laying were from while some that these
those who standing sitting wearing background green house next covered surrounded both across three hair tree light
bright clear being between would could should have having smiling dressed
"""
_ENGLISH: Final = (
    r"(?i-u:\b(?:(?:in|on|at|is|for|over|like|by|as|to|up|into|of|or) (?:a|an|his|her|two|it|my|people|its)"
    r"|a (?:man|large|small|close|few|group|red|table|bus|dog|cat|train|car|person|old|close-up|long|tall|field|big)"
    rf"|{'|'.join(_ENGLISH_WORDS.split())})\b)"
)
_KNOWN: Final = "\x01"
_STRANGE: Final = rf"[^\s{_KNOWN}]+"
_STRANGE_START: Final = rf"\s*(?:{_STRANGE}\s+){{{PART_WORDS - 1}}}{_STRANGE}"
_STRANGE_STRETCH: Final = rf"\A{_STRANGE_START}|(?:{_STRANGE}\s+){{{LITTLE - 1}}}{_STRANGE}"
"""Six words that begin a sentence, or eight anywhere, without a word known as English."""
_STRANGE_TEXT: Final = rf"{_STRANGE_STRETCH}|(?:[.!?][\"')\]]*\s|[\n\r]){_STRANGE_START}"


class Language(Filter):
    """How probable it is that a caption is in the language wanted, in all its parts.

    **Finds** captions in other languages, and captions of which a part is, by a fastText model.

    **Scores** each part, and the caption as its worst part: `p / (p + q)`, where p is the probability of the languages in
    `expected` together and q that of the likeliest other one. So 0.5 and above means that none is likelier (DataComp's
    rule), whatever the model leaves to the 170 others. Weak evidence is none: where q is below 0.5, or, for fewer than eight
    words in ASCII that may be of a language expected (p of 0.01 and more), below 0.8, the score is not below 0.5. Parts are
    the sentences of at least six words, or of a sentence in two scripts the words of each (six or more, and three tenths of
    the sentence); where no sentence has six words, the caption is one part. What stands in quotation marks is not judged, unless nothing else is there.
    `language` and `probability` are the likeliest of the worst part; languages are named as the model does, by ISO 639 codes
    in lid.176. No-break and full-width forms count as the plain ones (NFKC).

    Where English is wanted and no `model` is named, a part in ASCII with no six words in a row without a common English word
    scores 1 and is not shown to the model: `probability` is null where no part was.

    Below `min_words` words `language` is "und" and there is no score: a name or a tag has no language. Nor has null text. A
    character of a script without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) is a word.

    **Defaults.** English. The model is fastText's lid.176.ftz (176 languages, CC BY-SA 3.0), which comes with this package; any
    other classifier of fastText goes by path, such as lid.176.bin (fasttext.cc) or GlotLID. With lid.176.ftz, 4
    (0.03 %) of the 15,833 human captions of Conceptual Captions' validation set score below 0.5, and none of 8,000 by three VLMs
    (POPE's repository) nor of 400 dense ones by people (IIW).

    **Example.** "Ein Hund läuft am Strand entlang" scores 0.
    """

    name: ClassVar[str] = "language"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"language": pl.String(), "probability": pl.Float64()}

    expected: tuple[str, ...] = Field(("en",), min_length=1, description="Languages wanted, by the model's labels.")
    min_words: int = Field(4, ge=1, description='Fewest words to judge; "und" below (short names mislead any model).')
    model: str | None = Field(None, description="Path of a fastText model; null for lid.176.ftz.")

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = (
            self.inputs(captions)
            .with_row_index("row")
            .with_columns(text=_where(_COMPATIBLE, _FOLDED))
            .with_columns(text=_where(_QUOTATION, self._unquoted()))
            .with_columns(enough=self._enough(), marked=self._marked())
        )
        # Where these words tell nothing, nothing is known: another language is wanted, or another model.
        english = pl.col("enough") & pl.col("marked").str.contains(_KNOWN, literal=True).fill_null(False)
        strange = ~_ascii(pl.col("text")) | pl.col("marked").str.contains(_STRANGE_TEXT)
        doubtful = rows.filter("enough", ~english | strange)
        judged = self._judge(_parts(doubtful.with_columns(english=english)))
        other = pl.when(english).then(pl.lit("en")).when(pl.col("text").is_not_null()).then(pl.lit(UNDETERMINED))
        return rows.join(judged, on="row", how="left", maintain_order="left").select(
            pl.coalesce("score", pl.when(english).then(1.0)), pl.coalesce("language", other), "probability"
        )

    def models(self) -> dict[str, str]:
        return {"model": fasttext_model.sha256(self.path())}

    def path(self) -> str:
        """Of the model file."""
        return self.model or str(MODEL)

    def _enough(self) -> pl.Expr:
        """Whether a text has the fewest words; False for null."""
        long = pl.col("text").str.len_bytes() > 20 * self.min_words
        return (
            pl.when((long & _ascii(pl.col("text"))).fill_null(False))
            .then(
                pl.col("text").str.contains(rf"(?:[a-zA-Z0-9]\S*\s+[^a-zA-Z0-9]*){{{self.min_words - 1}}}[a-zA-Z0-9]")
            )
            .otherwise(pl.col("text").str.count_matches(WORD) >= self.min_words)
            .fill_null(False)
        )

    def _unquoted(self) -> pl.Expr:
        """The text less its quotations, if fewest words are left."""
        rest = pl.col("text").str.replace_all(_QUOTED, " ")
        return pl.when(rest.str.count_matches(WORD) >= self.min_words).then(rest).otherwise("text")

    def _marked(self) -> pl.Expr:
        """`marked`: the text with a mark in the place of each common English word; null where another language is wanted, or
        another model.
        """
        if self.model is not None or "en" not in self.expected:
            return pl.lit(None, pl.String).alias("marked")
        return pl.col("text").str.replace_all(_ENGLISH, _KNOWN).alias("marked")

    def _judge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """`row`, `score`, `language` and `probability` by the worst part of each row."""
        if parts.is_empty():
            return pl.DataFrame(
                schema={"row": pl.UInt32, "score": pl.Float64, "language": pl.String, "probability": pl.Float64}
            )
        model = fasttext_model.load(self.path(), self.name)
        unknown = [language for language in self.expected if language not in model.labels]
        if unknown:
            raise FilterError(
                f"language.expected: the model has no language {', '.join(map(repr, unknown))}; it has: "
                f"{', '.join(sorted(model.labels)[:200])}."
            )
        by_score = self._odds(model, parts).sort("row", "score", maintain_order=True)
        return by_score.unique("row", keep="first", maintain_order=True)

    def _odds(self, model: fasttext_model.FastText, parts: pl.DataFrame) -> pl.DataFrame:
        """`row`, `score`, `language` and `probability` of each part, by its likeliest languages."""
        is_wanted, probability = pl.col("label").is_in(self.expected), pl.col("probability")
        odds = (
            model.likeliest(parts["part"], LIKELIEST, LEAST)
            .group_by("at", maintain_order=True)
            .agg(
                language=pl.col("label").first(),
                probability=probability.first(),
                p=probability.filter(is_wanted).sum(),
                q=probability.filter(~is_wanted).max().fill_null(0.0),
            )
        )
        little = (pl.col("words") < LITTLE) & ~pl.col("part").str.contains(_BEYOND_ASCII)
        weak = pl.col("q") < pl.when(little & (pl.col("p") > 0)).then(SURE_OF_LITTLE).otherwise(SURE)
        share = pl.col("p") / (pl.col("p") + pl.col("q"))
        return (
            parts.with_row_index("at")
            .join(odds, on="at", maintain_order="left")
            .select(
                "row", pl.when(weak).then(share.clip(0.5)).otherwise(share).alias("score"), "language", "probability"
            )
        )


def _ascii(text: pl.Expr) -> pl.Expr:
    return text.str.len_bytes() == text.str.len_chars()


def _where(pattern: str, changed: pl.Expr) -> pl.Expr:
    """`text`, changed where it matches the pattern."""
    return pl.when(pl.col("text").str.contains(pattern)).then(changed).otherwise("text")


def _parts(rows: pl.DataFrame) -> pl.DataFrame:
    """`row`, `part` and its `words`: what of each row the model has to judge. `rows`: `row`, `text`, `marked`, `english`."""
    part, words = pl.col("part"), pl.col("part").str.count_matches(WORD)
    sentences = (
        rows.select(
            "row",
            pl.col("marked").is_null().alias("unmarked"),
            part=_sentences("text"),
            marked=_sentences(pl.coalesce("marked", "text")),
        )
        .explode("part", "marked", empty_as_null=False)
        .filter(pl.col("unmarked") | pl.col("marked").str.contains(_STRANGE_STRETCH) | part.str.contains(_NOT_ENGLISH))
        .select(
            "row",
            part=pl.when(part.str.len_bytes() > MAX_CHARS)
            .then(part.str.extract_all(_CHUNK))
            .otherwise(pl.concat_list(part)),
        )
        .explode("part", empty_as_null=False)
        .with_columns(words=words)
        .filter(pl.col("words") >= PART_WORDS)
    )
    whole = (
        rows.filter(~pl.col("english"))
        .join(sentences, on="row", how="anti")
        .select("row", part=pl.col("text").str.slice(0, MAX_CHARS))
        .with_columns(words=words)
    )
    mixed = sentences.filter(part.str.contains(_OTHER_LETTER) & part.str.contains(r"\p{Latin}")).with_row_index("at")
    by_script = (
        pl.concat(
            [mixed.with_columns(part=part.str.replace_all(script, " ")) for script in (r"\p{Latin}+", _OTHER_LETTER)]
        )
        .rename({"words": "all"})
        .with_columns(words=words)
        .filter(pl.col("words") >= PART_WORDS, pl.col("words") >= pl.col("all") * OTHER_SCRIPT)
    )
    # A sentence of which neither script is enough is judged as it is.
    whole_sentences = sentences.join(mixed.join(by_script, on="at", how="semi"), on=["row", "part"], how="anti")
    return pl.concat([whole_sentences, whole, by_script.select("row", "part", "words")])


def _sentences(text: str | pl.Expr) -> pl.Expr:
    """The text cut after every end mark and line: roughly, for no more than languages is told by it."""
    column = pl.col(text) if isinstance(text, str) else text
    return column.str.replace_all(_END, f"${{1}}{_CUT}").str.split(_CUT)
