"""Captions with a fault taken out: pure functions from texts to new texts.

Each takes a Polars series of texts and gives one of the same length: the new text, or null where nothing was to be changed
or nothing worth keeping would be left. A new text is a caption beside the old one, never in its place: whoever calls adds it as a
candidate of its own, and scores it like any other.
"""

import html
import re
from collections.abc import Callable
from typing import Final

import polars as pl

from filters.text.mojibake import is_mojibake, repaired
from filters.text.opener import OPENER
from filters.text.pii import Kind, Pii
from filters.text.reasoning import MARKS, answer_of
from filters.text.refusing import BESIDE, QUOTED, may_refuse, refuses
from filters.wording.sentences import finished, parts
from filters.wording.spans import find_spans
from filters.wording.words import WORD

_ROWS: Final = {"row": pl.UInt32, "text": pl.String}

MIN_WORDS: Final = 3
"""Words below which a rest is no caption (the filter `length`'s default)."""

_ENTITY: Final = r"&(?:[a-zA-Z][a-zA-Z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});"
_LEADING: Final = rf"\A\s*{OPENER}[\s,:]*"
_NO_START: Final = (
    r"(?i)\A(?:how|what|why|when|where|whether|which|who|whose|us|you|them|it|of|by|and|or|but|as|to|like|more|illustrations?|provided|taken|released|made"
    r"|courtesy)(?-u:\b)"
    r"|\A[^\p{L}\p{N}\"“'‘(\[]"
)
_FIRST_LETTER: Final = r"\A([^\p{L}\p{N}]*)(\p{Ll})"
_MIXED: Final = r"\A[^\p{L}\p{N}]*\p{Ll}[\p{L}\p{N}]*\p{Lu}"


def strip_opener(texts: pl.Series) -> pl.Series:
    """Take a meta opener off the start: "The image shows a dog." becomes "A dog.".

    The new first letter is a capital where the old one was, and the word is no name like "iPhone". Null where there is no
    opener, where what follows could not stand alone ("The image shows how ..."), or where fewer than three words are left.
    """
    rest = pl.col("text").str.replace(_LEADING, "")
    capital = pl.col("text").str.contains(r"\A\s*\p{Lu}") & ~pl.col("rest").str.contains(_MIXED)
    letter = pl.col("rest").str.extract(_FIRST_LETTER, 2).str.to_uppercase()
    before = pl.col("rest").str.extract(_FIRST_LETTER, 1)
    after = pl.col("rest").str.slice(before.str.len_chars().cast(pl.Int64) + 1)
    stands = pl.col("text").str.contains(_LEADING) & ~pl.col("rest").str.contains(_NO_START) & _long_enough("rest")
    return (
        _frame(texts)
        .with_columns(rest=rest)
        .with_columns(raised=pl.when(capital).then(before + letter + after))
        .select(pl.when(stands).then(pl.coalesce("raised", "rest")))
        .to_series()
        .alias(texts.name)
    )


def cut_refusal(texts: pl.Series) -> pl.Series:
    """Cut the sentences in which an assistant refuses, as the filter `refusal` finds them; keep the others as they are.

    Null where no sentence refuses, or where fewer than three words are left, as of a caption that is a refusal.
    """
    rows = _frame(texts).with_row_index("row").filter(may_refuse(pl.col("text")))
    masked = rows.with_columns(text=_masked(rows))
    found = [
        (row, text[start:end], whole[start:end])
        for row, text, whole in zip(rows["row"], masked["text"], rows["text"], strict=True)
        for start, end in parts(text)
    ]
    sentences = pl.DataFrame(found, {"row": pl.UInt32, "match": pl.String, "part": pl.String}, orient="row")
    kept = (
        sentences.with_columns(refuses=refuses(pl.col("match")))
        .filter(pl.col("refuses").any().over("row"))
        .filter(~pl.col("refuses"), ~pl.col("match").str.contains(BESIDE))
        .group_by("row", maintain_order=True)
        .agg(text=pl.col("part").str.join("").str.strip_chars())
        .filter(_long_enough("text"))
    )
    return _placed(texts, kept)


def unescape_html(texts: pl.Series) -> pl.Series:
    """Put the characters of HTML entities in their place: "Tom &amp; Jerry" becomes "Tom & Jerry".

    Also where they were escaped up to three times ("&amp;amp;"). Null where there is none.
    """
    rows = _frame(texts).with_row_index("row").filter(pl.col("text").str.contains(_ENTITY))
    plain = [(text, _unescaped(text)) for text in rows["text"]]
    changed = rows.with_columns(pl.Series("text", [new if new != old else None for old, new in plain], dtype=pl.String))
    return _placed(texts, changed)


def _unescaped(text: str) -> str:
    for _ in range(3):
        text = re.sub(_ENTITY, lambda entity: html.unescape(entity.group()), text)
    return text


def repair_mojibake(texts: pl.Series) -> pl.Series:
    """Undo a reading in a wrong encoding: "cafÃ©" becomes "café" (ftfy's `fix_encoding`).

    Null where nothing was read wrongly, or where what stood there can no longer be told.
    """
    rows = _frame(texts).with_row_index("row").filter(is_mojibake(pl.col("text")))
    fixed = [(text, repaired(text)) for text in rows["text"]]
    changed = rows.with_columns(pl.Series("text", [new if new != old else None for old, new in fixed], dtype=pl.String))
    return _placed(texts, changed)


def strip_reasoning(texts: pl.Series) -> pl.Series:
    """Take off a model's reasoning and the marks around its answer: "<think>It is red.</think>A red bus." becomes "A red bus.".

    Any dialect of `filters.text.reasoning`, the closing mark alone too. Null where there is none, or where fewer than three
    words are left, as of a model that was cut while it thought.
    """
    rows = _frame(texts).with_row_index("row").filter(pl.col("text").str.contains(MARKS))
    answers = pl.Series("text", [answer_of(text) for text in rows["text"]], dtype=pl.String)
    return _placed(texts, rows.with_columns(answers).filter(_long_enough("text")))


def trim_cut_sentence(texts: pl.Series) -> pl.Series:
    """Trim what follows the last finished sentence: "A dog runs. It is a" becomes "A dog runs.".

    For captions that were cut (the filter `truncation` says which); others may lack a full stop and be whole. Null where the
    text ends a sentence, or where no finished sentence of three words precedes. "Mr." and the like end none.
    """
    rows = _frame(texts).with_row_index("row").with_columns(pl.col("text").str.strip_chars_end())
    last = rows.with_columns(end=pl.col("text").map_elements(finished, return_dtype=pl.Int64, skip_nulls=True))
    kept = (
        last.filter(pl.col("end").is_between(1, pl.col("text").str.len_chars() - 1))
        .select("row", text=pl.col("text").str.slice(0, pl.col("end")).str.strip_chars())
        .filter(_long_enough("text"))
    )
    return _placed(texts, kept)


def mask_pii(
    texts: pl.Series, kinds: tuple[Kind, ...] = ("email", "phone", "ip", "card", "iban", "id", "secret")
) -> pl.Series:
    """Put "[email]", "[phone]" and so on in the place of personal data and secrets, as the filter `pii` finds them.

    Null where there is none.
    """
    rows = _frame(texts).with_row_index("row")
    found = Pii(kinds=kinds).find(rows)
    apart = pl.col("start") >= pl.col("end").cum_max().shift(1).over("row").fill_null(0)
    places = (
        found.with_columns(place=apart.cum_sum())
        .group_by("row", "place", maintain_order=True)  # spans that overlap are one place
        .agg(pl.col("start").min(), pl.col("end").max(), pl.col("kind").first())
        .join(rows, on="row", maintain_order="left")
    )
    masked: dict[int, str] = {}
    # From the last place to the first, so that the positions of those before stay true.
    for row, start, end, kind, text in places.select("row", "start", "end", "kind", "text").reverse().iter_rows():
        whole = masked.get(row, text)
        masked[row] = f"{whole[:start]}[{kind}]{whole[end:]}"
    return _placed(texts, pl.DataFrame({"row": list(masked), "text": list(masked.values())}, _ROWS))


REWRITES: Final[dict[str, Callable[[pl.Series], pl.Series]]] = {
    "unescape_html": unescape_html,
    "repair_mojibake": repair_mojibake,
    "strip_reasoning": strip_reasoning,
    "strip_opener": strip_opener,
    "cut_refusal": cut_refusal,
    "trim_cut_sentence": trim_cut_sentence,
    "mask_pii": mask_pii,
}
"""The rewrites by name, for recipes and lineage."""


def _frame(texts: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"text": texts.cast(pl.String)})


def _placed(texts: pl.Series, changed: pl.DataFrame) -> pl.Series:
    """The texts of `changed` in their rows, null in the others."""
    rows = pl.DataFrame({"row": pl.int_range(texts.len(), dtype=pl.UInt32, eager=True)})
    return rows.join(changed, on="row", how="left", maintain_order="left")["text"].alias(texts.name)


def _long_enough(column: str) -> pl.Expr:
    return pl.col(column).str.count_matches(WORD) >= MIN_WORDS


def _masked(rows: pl.DataFrame) -> pl.Series:
    """The texts with the same number of characters, what they quote made of x's: no sentence ends or refuses there."""
    texts = dict(rows.select("row", "text").iter_rows())
    for row, start, end in find_spans(rows, [("quoted", QUOTED)]).select("row", "start", "end").iter_rows():
        text = texts[row]
        # The marks at its end stay: a full stop before or after the closing quotation mark can end the sentence around it.
        while end > start and not text[end - 1].isalnum():
            end -= 1
        texts[row] = (
            text[:start] + "".join("x" if sign.isprintable() else sign for sign in text[start:end]) + text[end:]
        )
    return pl.Series(list(texts.values()), dtype=pl.String)
