"""Text of the conversation, not of the caption: markers, labels, wrappers and the prompt itself."""

from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.contract.ratio import ratio
from filters.wording.words import ngram, word_table

N: Final = 5

WRAPPED: Final = 0.25
"""Score of a caption inside a wrapper that a rewrite can take off: below the usual threshold of 0.5, above 0."""

_SPECIAL_TOKEN: Final = (
    r"(?i)<[|｜][^|｜<>\s]{1,40}[|｜]>"
    r"|</?(?:image|img|video|audio|s|bos|eos|pad|unk|mask|think|answer|ref|box|quad|bbox|point|grounding|phrase)>"
    r"|<(?:start_of_turn|end_of_turn|end_of_utterance|fake_token_around_image|global-img|image_soft_token|img_context"
    r"|start_of_image|end_of_image|im_start|im_end|im_patch|image_placeholder|row_\d+_col_\d+|unused\d+|extra_id_\d+"
    r"|loc_?\d+|seg_?\d+)>"
    r"|\[/?(?:inst|img|img_end|img_break|system_prompt|unk|pad|cls|sep|mask|gmask|sos|eos|bos)\]"
    r"|<</?sys>>"
)
# Where a label can stand: at the start, or at a later start of a line or sentence; in Markdown or not.
_START: Final = r"\A[\s*_#>\"“(\[-]{0,8}"
_AFTER: Final = r"(?:\n|[.!?][\"”’)]?[ \t])[\s*_#>(\[-]{0,8}"
_ROLE: Final = (
    rf"(?:{_START}|{_AFTER})(?:Assistant|User|Human|System|SYSTEM)[*_]{{0,2}}\s?:"
    r"|(?:\A|[^A-Z\s]\s*)(?:ASSISTANT|USER)\s?:"  # not "EXECUTIVE ASSISTANT:"
    r"|(?:\A|\n)\s*(?:(?i:assistant|user|human)\s?:|(?:assistant|user|system|model)\n)"
    r"|###\s?(?i:human|assistant|user|system|instruction|response|input|question|answer)(?-u:\b)"
)
_LABEL: Final = (
    r"(?i:(?:(?:short|brief|detailed|long|image|alt|final|concise|possible)[ -]){0,2}"
    r"(?:question|answer|caption|description|response|output|instruction|alt[ -]text)\s?\d{0,2}[*_]{0,2}\s?:"
    r"|answer in english(?-u:\b)"
    r"|here(?:['’]s| is| are) (?:an?|the|one|your|some|my) (?:[\w-]+ ){0,4}?"
    r"(?:captions?|descriptions?)(?: [\w-]+){0,7}\s?:"
    r"|(?:an?|one|the) (?:[\w-]+ ){0,3}?(?:caption|description) (?:for|of) (?:the|this|that) (?:given |provided )?"
    r"(?:image|photo|picture|photograph|scene) (?:could be|would be|might be|can be|is|reads)(?: as follows)?\s?[:\"“]"
    r"|(?:sure|certainly|of course|absolutely)[!,.] "
    r"(?:here(?:['’]s| is| are)|i (?:can|will)|i['’](?:ll|d))[^:.\n]{0,80}[:.])"
)
_QA: Final = r"\n[QA]\d{0,2}\s?:"
_ANSWER: Final = rf"{_AFTER}{_LABEL}|{_QA}"
_PREFIX: Final = rf"{_START}{_LABEL}"
_JSON: Final = r"\{\s*[\"'][^\"'\n]{1,40}[\"']\s*:|\A\s*\[\s*(?:\{|\"[^\"\n]{1,80}\"\s*,)"
_MARKUP: Final = (
    r"```|(?m:^\s{0,3}#{2,6}\s+\S)|\A#\s[^\n]+\n|(?:\A|[^*])\*\*[^\s*](?:[^*\n]{0,80}[^\s*])?\*\*"
    r"|\n[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]+\S|\|\s?:?-{3,}:?\s?\||\]\(https?://"
    r"|(?i:</?(?:p|br|b|i|u|strong|em|div|span|a|ul|ol|li|table|tr|td|h[1-6])(?:\s[^<>]{0,200})?/?>)"
)

_KINDS: Final = (
    ("special_token", _SPECIAL_TOKEN, 0.0),
    ("role", _ROLE, 0.0),
    ("answer", _ANSWER, 0.0),
    ("json", _JSON, 0.0),
    ("prefix", _PREFIX, WRAPPED),
    ("markup", _MARKUP, WRAPPED),
)
_ANY: Final = "|".join(f"(?:{pattern})" for _, pattern, _ in _KINDS)


class PromptLeak(Filter):
    """Whether a caption carries parts of the conversation that made it.

    **Finds**, named in `kind` with the text found in `match`:

    - `special_token`: tokens of a chat template or an image placeholder (`<|im_start|>`, `<image>`, `[INST]`, `</s>`)
    - `role`: "USER:", "Assistant:", "### Human"
    - `answer`: a label or announcement after the start ("Answer:", "Caption:", "A short caption could be:"), as of a
      model that answers itself
    - `json`: keys and values instead of prose
    - `prompt_echo`: the prompt repeated; `prompt_containment` is the share of the prompt's distinct 5-grams (runs of
      five words) in the caption, null for prompts of fewer words
    - `prefix`: a label or announcement at the start ("Caption: ...", "Here is a description of the image: ...")
    - `markup`: Markdown or HTML

    **Scores** 0 for the first four; 0.25 for `prefix` and `markup`, where a caption is left once the wrapper is taken
    off; and never more than `1 - prompt_containment / max_prompt_containment`, so 0 at or past the limit. 1 is clean.
    Null text has no score. Labels are English ones.

    **Defaults.** 0.3 of the prompt's 5-grams. Of the 15,833 human captions of Conceptual Captions' validation set one
    (0.006 %) is flagged, "description : ..."; of 2,000 captions by MiniGPT-4 for a short prompt (POPE's repository)
    10.5 %, all for `answer`. A prompt that holds words the caption should repeat, such as the image's alt-text, looks
    like an echo: raise the limit for such a view. Text in an image that looks like a label ("Answer: 42") counts only
    at the start of a line or sentence.

    **Example.** "A dog.\\n\\nCaption: A dog." scores 0 for `answer`.
    """

    name: ClassVar[str] = "prompt_leak"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("prompt",)
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "kind": pl.String(),
        "match": pl.String(),
        "prompt_containment": pl.Float64(),
    }

    max_prompt_containment: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Share of the prompt's 5-grams in the caption, in (0, 1], at which the score is 0 (judgement).",
    )

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = self.inputs(captions).with_columns(pl.col("text").str.strip_chars()).with_row_index("row")
        leak = pl.col("leak_score").fill_null(1.0)
        echo = ratio(pl.col("prompt_containment"), self.max_prompt_containment).fill_null(0.0)
        echoed = (echo >= 1.0) & (leak > 0.0)
        return (
            rows.join(_leaks(rows), on="row", how="left", maintain_order="left")
            .join(_prompt_containment(rows), on="row", how="left", maintain_order="left")
            .select(
                pl.when(pl.col("text").is_not_null())
                .then(pl.min_horizontal(leak, 1.0 - echo).clip(0.0))
                .alias("score"),
                pl.when(echoed).then(pl.lit("prompt_echo")).otherwise("kind").alias("kind"),
                pl.when(~echoed).then("match").alias("match"),
                "prompt_containment",
            )
        )


def _leaks(rows: pl.DataFrame) -> pl.DataFrame:
    """`row`, `kind`, `match` and `leak_score` of the captions with a marker, label or wrapper."""
    # One pattern finds the few that have any; telling which is left to those.
    suspects = rows.filter(pl.col("text").str.contains(_ANY))
    if suspects.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, "kind": pl.String, "match": pl.String, "leak_score": pl.Float64})
    # A label at the start is a prefix, so that it is not also a label after the start ("Sure! Here is a caption: ...").
    rest = pl.col("text").str.replace(_PREFIX, "")
    found = [
        ((rest if kind == "answer" else pl.col("text")).str.extract(pattern, 0), kind, score)
        for kind, pattern, score in _KINDS
    ]
    return suspects.select(
        "row",
        kind=pl.coalesce(pl.when(match.is_not_null()).then(pl.lit(kind)) for match, kind, _ in found),
        match=pl.coalesce(match for match, _, _ in found).str.strip_chars(" .!?\n"),
        leak_score=pl.coalesce(pl.when(match.is_not_null()).then(score) for match, _, score in found),
    )


def _prompt_containment(rows: pl.DataFrame) -> pl.DataFrame:
    """`row` and the share of its prompt's distinct 5-grams that the caption has, where the prompt has any."""
    prompts = rows.select("prompt").drop_nulls().unique().with_row_index("row")
    grams = (
        word_table(prompts, "prompt")
        .select("row", gram=ngram(N))
        .drop_nulls()
        .unique()
        .join(prompts, on="row")
        .select("prompt", "gram")
    )
    if grams.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, "prompt_containment": pl.Float64})
    asked = rows.drop_nulls(["text", "prompt"]).join(grams.group_by("prompt").agg(asked=pl.len()), on="prompt")
    found = word_table(asked).select("row", gram=ngram(N)).join(grams.select("gram"), on="gram", how="semi")
    if found.is_empty():
        return asked.select("row", prompt_containment=pl.lit(0.0))
    echoed = (
        found.unique()
        .join(asked.select("row", "prompt"), on="row")
        .join(grams, on=["prompt", "gram"], how="semi")
        .group_by("row")
        .agg(echoed=pl.len())
    )
    share = ratio(pl.col("echoed").fill_null(0), pl.col("asked"))
    return asked.join(echoed, on="row", how="left").select("row", prompt_containment=share)
