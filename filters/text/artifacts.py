"""Traces of how a caption was made: coordinates, detectors, overlays, plans, instructions."""

from typing import ClassVar, Final

import polars as pl

from filters.contract.filter import Filter
from filters.text.prompt_words import leaked_words
from filters.text.reasoning import MARKS
from filters.wording.spans import SPANS, find_spans, gather

PART: Final = 0.25
"""Score of a caption that is one but for a tag or a heading: below the usual threshold of 0.5, above 0."""
_QUOTED: Final = (
    r"\"[^\"\n]{0,400}\"|“[^”\n]{0,400}”"
    # What a scoreboard or a sign shows in brackets.
    r"|(?i:(?-u:\b)(?:show(?:s|n|ing)?|reads?|reading|says?|saying|display(?:s|ed|ing)?|print(?:s|ed|ing)?"
    r"|stat(?:es|ing)|writ(?:ten|es|ing)"
    r"|labell?ed|mark(?:s|ed)|spell(?:s|ed|ing)?|scores?|score of|numbers?|numbered|text|title|words?|inscription"
    r"|date|sequence|list|equation)"
    r"(?: (?:the|a|as|is|of|words?|numbers?|text|score|date|pair|sequence|list"
    r"|result)){0,3}[ :]{1,2})[\[(][^\])\n]{0,80}[\])]"
)

_B: Final = r"(?-u:\b)"
_NUMBER: Final = r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_START: Final = r"(?:\A|\n|[.!?:][\"”’)]?\s)\s*"
_COORDINATES: Final = (
    rf"[\[(<{{]\s*{_NUMBER}(?:\s*,\s*{_NUMBER}){{3}}\s*[\])>}}]"
    r"|[\[(]\s*0?\.[0-9]+\s*,\s*(?:0?\.[0-9]+|1(?:\.0+)?)\s*[\])]"
    # Two whole numbers in brackets are often a score or a date: they are a point after a word of place, or beside another point.
    r"|(?i:(?-u:\b)(?:at|position(?:ed)?|point|located|corner|cent(?:er|re)(?:ed)?|pixels?|spans?|from|to|near"
    r"|around|in)(?: (?:at|the|point|position|is))?"
    r" ?[:=]? ?)[\[(]\s*[0-9]{2,4}\s*,\s*[0-9]{2,4}\s*[\])]"
    r"|[\[(]\s*[0-9]{1,4}\s*,\s*[0-9]{1,4}\s*[\])]\s*(?:,|-|–|to|and"
    r"|;)?\s*[\[(]\s*[0-9]{1,4}\s*,\s*[0-9]{1,4}\s*[\])]"
    rf"|(?i:{_B}(?:bbox(?:_2d)?|xyxy|xywh|[xy](?:_?(?:min|max|center)|[12]))\"?\s?[:=])"
    rf"|(?i:{_B}x\s?[:=]\s?{_NUMBER}\s?(?:px)?\s?[,;]\s?y\s?[:=])"
    rf"|(?i:{_B}(?:at|with|to|has|its) (?:the )?(?:pixel |normali[sz]ed )?coordinates{_B})"
    r"|</?(?:box|ref|quad|bbox|point|poly|obj|loc)>|<loc[_-]?[0-9]+>"
)
_THINKING: Final = (
    rf"{_START}(?i:(?:okay|ok|alright|hmm+|well|so|first|now|wait)[,.]? )?"
    r"(?i:(?:let me|let['’]s) (?:think|re-?check|double[ -]check|re-?read|analy[sz]e|describe|break (?:this"
    r"|it) down|start by|start with|go through)"
    r"|(?:i|we) (?:need|have|should|will|must|am going|are going|(?:['’]ll)|(?:['’]m going)"
    r"|want)(?: to)? (?:describe|write|mention|caption|focus on"
    r"|provide|include|avoid|create|generate|note that|make sure|be careful|analy[sz]e|summari[sz]e|keep)"
    r"|(?:i|we)['’]ll (?:describe|write|mention|focus|provide|create|generate|start)"
    r"|the user (?:wants|asks|asked|is asking|has asked|provided|said|uploaded|would like)|wait, )"
    r"|(?:\A|\n)[\s*#_>]*(?i:thinking(?: process)?|thoughts?|reasoning|(?:internal )?monologue"
    r"|chain[- ]of[- ]thought|my thoughts|thought process"
    rf"|scratchpad)[*_]{{0,2}}\s?:|{MARKS}"
)
_INSTRUCTION: Final = (
    r"(?i:(?:no|without|any|not contain(?: any)?) imaginary content|visible content of the image|based (?:only "
    r"|solely )?on the visible content"
    rf"|{_B}as (?:you )?(?:requested|instructed)(?: (?:by|in) |[,.]|\z)|as per (?:your|the) (?:request"
    rf"|instructions?|prompt)"
    rf"|{_B}(?:the|this|my|your|a|following the) (?:above )?(?:prompt|instructions?) (?:asks?|says?|states?"
    rf"|requires?|was|were|is to|given|provided)"
    rf"|{_B}(?:this|the) (?:caption|description) (?:is|has been|was|does not|doesn['’]t|avoids|focuses|provides"
    rf"|should|aims|captures|includes|adheres)"
    rf"(?: \w+){{0,3}} (?:based|written|generated|word|words|sentence|sentences|only|objective|concise|detail"
    rf"|details|speculat\w+|imag\w+|provided|essence)"
    r"|i (?:have )?(?:described|provided|included|avoided|omitted|focused on|tried to) (?:\w+ ){0,4}(?:image"
    r"|description|caption|details?)"
    r"|(?:i )?hope (?:this|that) (?:helps|meets)|let me know if (?:you|this)|feel free to ask|do you (?:want"
    r"|need) (?:me|any)"
    r"|would you like me to|(?:in|within|under|about|exactly) [0-9]+ words? or (?:less|fewer)|word (?:count"
    r"|limit)\s?[:=(]"
    rf"|\((?:note|word count)\s?:|{_B}do not (?:mention|include|describe|itemi[sz]e|speculate|use) (?:any|the"
    rf"|imaginary|in list)"
    r"|avoid(?:ing)? (?:any )?(?:speculation|aesthetic descriptions?|imaginary))"
)
_DETECTION: Final = (
    rf"(?i:{_B}(?:object|face|edge|ocr|text) detection (?:results?|model|output|boxes|shows?|found)"
    rf"|{_B}(?:the )?(?:detected|detection) (?:objects?|results?|labels?|items?|classes|boxes|include)"
    rf"|{_B}bounding[ -]box(?:es)?{_B}|{_B}confidence (?:score|level|value)s?{_B}"
    rf"|{_B}(?:segmentation|depth) (?:mask|map)s?{_B}"
    rf"|(?:according to|based on|from|given|as (?:per|stated in|mentioned in)|in) the (?:provided |given |raw "
    rf"|original |input |image['’]s )"
    rf"(?:alt[- ]text|captions?|metadata|tags?|labels?|annotations?|ocr|text information|information|data"
    rf"|descriptions?)"
    rf"|(?:according to|based on) the (?:alt[- ]text|metadata|tags?|annotations?|ocr){_B}"
    rf"|{_B}the (?:alt[- ]text|raw caption|original caption|metadata|ocr(?: text)?|provided tags?) "
    rf"(?:mentions?|says?|states?|suggests?|indicates?|describes?|provides?|reads?|shows?))"
)
_OVERLAY: Final = (
    rf"(?i:{_B}(?:highlighted|marked|outlined|enclosed|indicated|annotated|circled) (?:by|with|in|using) (?:an? "
    rf"|the )?"
    r"(?:(?:red|green|blue|yellow|white|black|colou?red|numbered|dashed|thin) ){0,2}(?:bounding )?(?:box|rectangle"
    r"|outline|marker|mask|label|arrow)"
    rf"|{_B}(?:red|green|blue|yellow|colou?red) (?:bounding )?(?:box|rectangle|circle|outline)(?:es|s)? "
    r"(?:highlights?|highlighting|marks?|marking|indicates?|indicating)"
    rf"|{_B}(?:the|numbered|labell?ed) (?:region|mask|marker|box)(?:es|s)? (?:[0-9]+|numbered|labell?ed)"
    rf"|{_B}(?:overlaid|superimposed|overlayed) (?:with|by) (?:an? |the )?(?:grid|mask|bounding|colou?red|numbers"
    rf"|numbered|labels)"
    rf"|{_B}(?:mask|overlay) (?:on|of|over) the (?:image|photo|picture){_B})"
)
_UNDERSCORES: Final = r"(?-u:\b)[a-zA-Z]+(?:_[a-zA-Z0-9()]+)+"
_TAGS: Final = rf"{_UNDERSCORES}|(?i:{_B}[1-6]\+?(?:girl|boy)s?,\s)|(?i:{_B}(?:score_[0-9]|rating_[a-z]+|masterpiece, ))|<lora:|\([a-z ]+:[0-9]\.[0-9]+\)"
_HEADER: Final = (
    r"(?:\A|\n|[.!?]\s)[\s*#_]*(?:"
    r"(?i:step|stage|phase|round|part|pass|level|section|sentence|paragraph|version|option|draft) ?(?:[0-9]{1,2}"
    r"|(?i:one|two|three|i{1,3}))"
    r"(?: \([^)\n]*\))?"
    r"|(?i:overall|global|regional|local|final|revised|refined|improved|dense|short|long|object|scene|spatial) "
    r"(?i:caption|description|summary|version|answer|analysis|overview|details|relations(?:hips)?)"
    # One word only with a capital, as models write headings: "style : a vest" is a caption.
    r"|(?:Overall|Objects?|Scene|Attributes?|Background|Foreground|Main [Ss]ubjects?|Style|Lighting|Colou?rs?"
    r"|Composition|Setting|Subjects?"
    r"|Summary|Overview|Text|Mood|Atmosphere|Details)(?: and [A-Z]?[a-z]+)?"
    r")[*_]{0,2}\s?:[*_]{0,2}(?:\s|\z)"
)
_FRAGMENT: Final = (
    r"\A\s*[,;:)\]}]|\A\s*(?:\.\s?[a-z]|…)"
    r"|\A(?:and|or|but|which|whose|whom|because|than|while also|as well as|of|'s|’s)\s[^A-Z]*[a-z][.!?]\s+[A-Z]"
)
_FUSE: Final = (
    r"(?i:real[- ]world (?:knowledge|details?|information|facts?|context|entit(?:y|ies))"
    r"|well[- ]structured (?:sentence|caption|description)"
    r"|sentence structures?|(?:nice|good|clear|proper) (?:sentence )?(?:structure|grammar)"
    r"|syntactic(?:ally)? (?:structure|correct)"
    r"|semantic(?:ally)? (?:rich|details?)"
    rf"|{_B}sentence [12]{_B}|{_B}(?:first|second|two|both|raw|synthetic|given|merged|fused|combined"
    rf"|concise) (?:sentences|captions?)"
    r"(?: (?:is|are|provides?|mentions?|describes?|into))"
    rf"|false (?:information|details)|refined sentence|{_B}alt[- ]texts?{_B})"
)
_KINDS: Final = (
    ("coordinates", _COORDINATES, 0.0),
    ("thinking", _THINKING, 0.0),
    ("instruction", _INSTRUCTION, 0.0),
    ("detection", _DETECTION, 0.0),
    ("overlay", _OVERLAY, 0.0),
    ("fragment", _FRAGMENT, PART),
    ("tags", _TAGS, PART),
    ("header", _HEADER, PART),
)
_PATTERNS: Final = (*((kind, pattern) for kind, pattern, _ in _KINDS), ("fuse", _FUSE))
_ANY: Final = "|".join(f"(?:{pattern})" for _, pattern in _PATTERNS)
_SCORES: Final = {kind: score for kind, _, score in _KINDS} | {"fuse": 0.0, "fuse_prompt": 0.0}


class Artifacts(Filter):
    """Whether a caption carries traces of the pipeline that made it.

    **Finds**, as `spans` of these kinds (with `kind` the worst; English), what captioning pipelines are known to leave:

    - `coordinates`: boxes and points, as numbers or tags
    - `thinking`: "Okay, let me describe ...", "The user wants ...", and the marks of reasoning in every dialect of
      `filters/text/reasoning.py`, the closing one alone too (the rewrite `reasoning` takes it off)
    - `instruction`: "contains no imaginary content", "as requested", "I hope this helps"
    - `detection`: "the detected objects", "bounding box", "the alt-text mentions"
    - `overlay`: marks drawn on the image for the captioner ("highlighted with a red box")
    - `fuse`: words of prompts that fuse a caption with alt-text ("real-world knowledge", "sentence structure"), unless
      `inputs` has them
    - `fuse_prompt`: where `inputs` and `prompt` are given, two words in a row (of at least four letters) of the prompt that
      are in none of its inputs. Its span is the whole caption
    - `fragment`: a beginning in mid-sentence
    - `tags`: tags with underscores, weights, "1girl, "
    - `header`: "Step 2:", "Final caption:", "Lighting:"

    What a caption quotes, in double quotation marks, does not count. Chat markers, JSON, Markdown and echoes of the
    prompt are the filter `prompt_leak`'s, meta openers `opener`'s, loops `repetition`'s.

    **Scores** 0 for all but the last three, which score 0.25: there a caption is left. 1 is clean. Null text has no
    score.

    **Defaults.** No parameters. The kinds are those of the defects counted over a million released captions (AUDIT's
    `polishing_check`, 2026) and, for `fuse`, those found in 3.9 % of CapsFusion's 10,000 example captions. Of the 15,833
    human captions of Conceptual Captions' validation set none is flagged.

    **Example.** "A dog at [120, 44, 310, 280]." scores 0 for `coordinates`.
    """

    name: ClassVar[str] = "artifacts"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("prompt", "inputs")
    evidence: ClassVar[dict[str, pl.DataType]] = {"kind": pl.String(), "spans": SPANS}

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = self.inputs(captions).with_row_index("row")
        found = pl.concat([_spans(rows), _fuse_prompt(rows)])
        worst = found.with_columns(
            score=pl.col("kind").replace_strict(_SCORES, return_dtype=pl.Float64),
        ).sort("row", "score", maintain_order=True)
        worst = worst.group_by("row", maintain_order=True).agg(pl.col("kind", "score").first())
        spans = gather(found.sort("row", "start", maintain_order=True)).select("row", "spans")
        return (
            rows.join(worst, on="row", how="left", maintain_order="left")
            .join(spans, on="row", how="left", maintain_order="left")
            .select(
                pl.when(pl.col("text").is_not_null()).then(pl.col("score").fill_null(1.0)).alias("score"),
                "kind",
                "spans",
            )
        )


def _spans(rows: pl.DataFrame) -> pl.DataFrame:
    """The table of `find_spans` for the patterns, outside quotations and, for `fuse`, outside the inputs."""
    suspects = rows.filter(pl.col("text").str.contains(_ANY))
    found = find_spans(suspects, [("quoted", _QUOTED), *_PATTERNS]).join(
        suspects.select("row", "inputs"), on="row", maintain_order="left"
    )
    # Spans are in order of their starts: one is inside a quotation if it begins before the last one begun has ended.
    quoted = pl.when(pl.col("kind") == "quoted").then("end").cum_max().forward_fill().over("row").fill_null(0)
    given = (pl.col("kind") == "fuse") & pl.col("inputs").str.to_lowercase().str.contains(
        pl.col("match").str.to_lowercase(), literal=True
    ).fill_null(False)
    return found.filter(pl.col("kind") != "quoted", pl.col("start") >= quoted, ~given).drop("inputs")


def _fuse_prompt(rows: pl.DataFrame) -> pl.DataFrame:
    """The captions with two words in a row of their prompt that its inputs do not have, as a span over all their text."""
    fused = rows.drop_nulls(["text", "prompt", "inputs"])
    leaked = fused.join(leaked_words(fused), on="row", how="semi", maintain_order="left")
    return find_spans(leaked, [("fuse_prompt", r"\A(?s:.)+")])
