"""Words of a prompt's instruction that a caption repeats, though nothing that was put into the prompt has them."""

from typing import Final

import polars as pl

from filters.wording.words import ngram, word_table

MIN_LETTERS: Final = 4
"""Letters of a word that can betray a prompt: "real", not "the"."""
_ORDINARY: Final = (
    "image picture photo photograph describe describes description scene that this with from have into them they "
    "their there which what when where while also more than such these those each other some "
    "only about being been will would should could must does your most very both same over "
    "under between many much "
)
# Text in quotation marks is given where it has four words or more, else it is stressed.
_GIVEN: Final = (
    r"\"[^\"\n]*(?:[ ][^\"\n ]+){3,}\"|“[^”\n]*(?:[ ][^”\n ]+){3,}”|`[^`\n]*(?:[ ][^`\n ]+){3,}`|<[a-z_ -]{2,20}>[^<]*</[a-z_ -]{2,20}>"
    r"|(?i:(?:alt[- ]?text|captions?|title|tags?|keywords|ocr|text|sentence|input|context|description|metadata|objects|source|raw|name|labels?|hint)"
    r"(?: ?\d{1,2})?(?: (?:is|are|text|words))?\s?[:=]\s*)[^\n]+"
)


def given(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with `inputs` filled in where it is null: what their `prompt` quotes, or says after a label like "Alt-text:"."""
    said = pl.col("prompt").str.extract_all(_GIVEN).list.join("\n")
    return rows.with_columns(inputs=pl.coalesce("inputs", pl.when(said.str.len_chars() > 0).then(said)))


def leaked_words(fused: pl.DataFrame) -> pl.DataFrame:
    """`row` and `match` of the captions with two telling words in a row of their prompt that its inputs do not have.

    `fused` has `row`, `text`, `prompt` and `inputs`, none null. Telling words have MIN_LETTERS or more and are none of those
    that captions and prompts share anyway.
    """
    if fused.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, "match": pl.String})
    said, asked, inputs = (
        word_table(fused, column).with_columns(pair=ngram(2), after=pl.col("word").shift(-1)).drop_nulls("pair")
        for column in ("text", "prompt", "inputs")
    )
    telling = pl.all_horizontal(
        pl.col("word", "after").str.len_chars() >= MIN_LETTERS, ~pl.col("word", "after").is_in(_ORDINARY.split())
    )
    return (
        said.filter(telling)
        .join(asked, on=["row", "pair"], how="semi", maintain_order="left")
        .join(inputs, on=["row", "pair"], how="anti", maintain_order="left")
        .group_by("row", maintain_order=True)
        .agg(match=pl.concat_str("word", "after", separator=" ").first())
    )
