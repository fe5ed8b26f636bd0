"""Text of the conversation, not of the caption: markers, labels, wrappers and the prompt itself."""

from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.contract.ratio import ratio
from filters.text.prompt_words import given, leaked_words
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
    r"|◁/?[a-z_ ]{1,20}▷|<\|[a-z_]{2,20}>|<[a-z_]{2,20}\|>|</?seed:[a-z_]{2,30}>"
    r"|\[/?(?:inst|think|img|img_end|img_break|system_prompt|unk|pad|cls|sep|mask|gmask|sos|eos|bos)\]"
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
    r"(?:image|photo|picture|photograph|scene) (?:could be|would be|might be|can be|is"
    r"|reads)(?: as follows)?\s?[:\"“]"
    r"|(?:sure|certainly|of course|absolutely)[!,.] "
    r"(?:here(?:['’]s| is| are)|i (?:can|will)|i['’](?:ll|d))[^:.\n]{0,80}[:.])"
)
# How an assistant opens before it answers: "Sure thing! Below is the description you asked for." At the start only, the
# announcement wherever a sentence starts.
_WORK: Final = r"(?:captions?|descriptions?|alt[- ]texts?|summar(?:y|ies)|versions?|rewrites?|responses?|answers?|outputs?|paragraphs?|translations?|breakdown)"
_OPENS_UP: Final = (
    r"(?i:(?:sure(?: thing)?|certainly|of course|absolutely|definitely|gladly|understood|got it|you got it"
    r"|no problem|with pleasure|my pleasure"
    r"|okay|ok|alright|all right|great|great question|(?:i['’]?m |i am )?(?:happy|glad) to (?:help"
    r"|assist)[^.!\n]{0,40}"
    r"|i['’]d be (?:happy|glad) to[^.!\n]{0,60}|i would be (?:happy|glad) to[^.!\n]{0,60}|thank(?:s"
    r"| you) for (?:sharing|providing|uploading|asking|the (?:image|photo|picture|question|request)"
    r"|your (?:question|request|image))[^.!\n]{0,60}|here you (?:go|are)"
    r"|as (?:you )?(?:requested|asked|wished))(?:[!.:]|,? (?:here|below|let me|i['’]ll|i will|i can)(?-u:\b)))"
)
_ANNOUNCES: Final = (
    r"(?i:here(?:['’]s| is) (?:what|how)(?-u:\b)[^.:!\n]{0,60}[:\n]"
    rf"|(?:(?:here|below|following|this)(?:['’]s| is| are| you(?:['’]ll| will) find| goes)|the following is"
    rf"|i(?:['’]ve| have) (?:written|prepared|created|drafted|put together)"
    rf"|let me (?:give|provide|offer|share)(?: you)?)(?: with)? (?:an?|the|your|one|some|my|two|three"
    rf"|several)? ?(?:[\w-]+[ ,]+){{0,4}}?{_WORK}(?-u:\b)"
    r"(?:[^.:!\n]{0,60}(?-u:\b)(?:you|requested|for (?:the|this|your)|of (?:the|this|your) (?:given |provided "
    r"|attached )?(?:image|photo|picture|scene)|based on|below|in \w+ (?:words|style))[^.:!\n]{0,60})?"
    r"\s?(?:[:!\n]|\.\s|\.\z|[-–—]\s))"
)
_QA: Final = r"\n[QA]\d{0,2}\s?:"
_ANSWER: Final = rf"{_AFTER}(?:{_LABEL}|{_ANNOUNCES})|{_QA}"
_PREFIX: Final = rf"{_START}(?:{_OPENS_UP}\s*)?(?:{_LABEL}|{_ANNOUNCES})|{_START}{_OPENS_UP}"
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


class PromptLeak(Filter):
    """Whether a caption carries parts of the conversation that made it.

    **Finds**, named in `kind` with the text found in `match`:

    - `special_token`: tokens of a chat template or an image placeholder (`<|im_start|>`, `<image>`, `[INST]`, `</s>`)
    - `role`: "USER:", "Assistant:", "### Human"
    - `answer`: a label or announcement after the start ("Answer:", "Caption:", "A short caption could be:"), as of a
      model that answers itself
    - `json`: keys and values instead of prose
    - `prompt_echo`: the instruction repeated, which is the prompt less what was put into it; `prompt_containment` is the
      share of its distinct 5-grams (runs of five words) in the caption, null for instructions of fewer words
    - `prompt_words`: of a prompt with inputs (a fuse prompt), two telling words in a row of the instruction that are in none of
      its inputs ("real-world knowledge")
    - `prefix`: a label, announcement or assistant's opening at the start ("Caption: ...", "Here is a description of the
      image: ...", "Sure thing! Below is ...")
    - `markup`: Markdown or HTML

    What was put into a prompt (alt-text, other captions, experts' answers) is no leak. It is the column `inputs` where there is
    one, else what the prompt has in quotation marks, tags, or after a label ("Alt-text: ...").

    **Scores** 0 for the first four and `prompt_words`; 0.25 for `prefix` and `markup`, where a caption is left once the wrapper is taken
    off; and never more than `1 - prompt_containment / max_prompt_containment`, so 0 at or past the limit. 1 is clean.
    Null text has no score. Labels are English ones.

    **Defaults.** 0.3 of the prompt's 5-grams. Of the 15,833 human captions of Conceptual Captions' validation set one
    (0.006 %) is flagged, "description : ..."; of 2,000 captions by MiniGPT-4 for a short prompt (POPE's repository)
    10.5 %, all for `answer`. Text in an image that looks like a label ("Answer: 42") counts only
    at the start of a line or sentence.

    **Example.** "A dog.\\n\\nCaption: A dog." scores 0 for `answer`.
    """

    name: ClassVar[str] = "prompt_leak"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("prompt", "inputs")
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
        asked = given(rows.drop_nulls(["text", "prompt"]))
        words = leaked_words(asked.drop_nulls("inputs")).rename({"match": "words"})
        echo = ratio(pl.col("prompt_containment"), self.max_prompt_containment).fill_null(0.0)
        leaks = pl.col("leak_score").fill_null(1.0) == 0.0
        echoed = (echo >= 1.0) & ~leaks
        repeats = pl.col("words").is_not_null() & ~leaks & ~echoed
        score = pl.min_horizontal(pl.col("leak_score").fill_null(1.0), 1.0 - echo, pl.when(repeats).then(0.0)).clip(0.0)
        return (
            rows.join(_leaks(rows), on="row", how="left", maintain_order="left")
            .join(_prompt_containment(asked), on="row", how="left", maintain_order="left")
            .join(words, on="row", how="left", maintain_order="left")
            .select(
                pl.when(pl.col("text").is_not_null()).then(score).alias("score"),
                pl.when(echoed)
                .then(pl.lit("prompt_echo"))
                .when(repeats)
                .then(pl.lit("prompt_words"))
                .otherwise("kind")
                .alias("kind"),
                pl.when(repeats).then("words").when(~echoed).then("match").alias("match"),
                "prompt_containment",
            )
        )


def _leaks(rows: pl.DataFrame) -> pl.DataFrame:
    """`row`, `kind`, `match` and `leak_score` of the captions with a marker, label or wrapper."""
    # Each pattern has words by which the few that have any are found fast; their union has none and is 20 times as slow.
    suspects = rows.filter(pl.any_horizontal(pl.col("text").str.contains(pattern) for _, pattern, _ in _KINDS))
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


def _prompt_containment(asked: pl.DataFrame) -> pl.DataFrame:
    """`row` and the share of its instruction's distinct 5-grams that the caption has, where there are any.

    The instruction is the prompt less its inputs.
    """
    asks = asked.select("prompt", "inputs").unique().with_row_index("ask")
    grams = _grams(asks, "prompt").join(_grams(asks, "inputs"), on=["ask", "gram"], how="anti")
    if grams.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, "prompt_containment": pl.Float64})
    judged = asked.join(asks, on=["prompt", "inputs"], nulls_equal=True).join(
        grams.group_by("ask").agg(asked=pl.len()), on="ask"
    )
    found = word_table(judged).select("row", gram=ngram(N)).join(grams.select("gram"), on="gram", how="semi")
    echoed = (
        found.unique()
        .join(judged.select("row", "ask"), on="row")
        .join(grams, on=["ask", "gram"], how="semi")
        .group_by("row")
        .agg(echoed=pl.len())
    )
    share = ratio(pl.col("echoed").fill_null(0), pl.col("asked"))
    return judged.join(echoed, on="row", how="left").select("row", prompt_containment=share)


def _grams(asks: pl.DataFrame, column: str) -> pl.DataFrame:
    """`ask` and the distinct 5-grams of a column's texts."""
    words = word_table(asks.select(column, row="ask").drop_nulls(), column)
    return words.select(ask="row", gram=ngram(N)).drop_nulls().unique()
