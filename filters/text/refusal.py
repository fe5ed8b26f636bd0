"""Answers of an assistant that will not or cannot caption."""

from typing import ClassVar, Final

import polars as pl

from filters.contract.filter import Filter
from filters.wording.sentences import sentence_texts

# English only, case-insensitive, an apostrophe straight or curly. Word borders are ASCII: the Unicode ones leave the
# regex engine's fast path at the first non-ASCII character.
_B: Final = r"(?-u:\b)"
_I: Final = (
    rf"{_B}(?:i|we)(?:['’]m|['’]re| am| are)?"
    r"(?:,? (?:unfortunately|[a-z]+ly|also|still|just|am|are|do|therefore),?){0,2} "
)
_CANNOT: Final = (
    r"(?:can['’]?t|can ?not|could(?: not|n['’]t)|won['’]t|will not|unable|incapable"
    r"|(?:not|(?:not|don['’]t) feel)"
    r" (?:able|allowed|permitted|programmed|designed|equipped|trained|comfortable|capable|going)"
    r"|(?:lack|(?:do not|don['’]t)(?: [a-z]+ly)? have) (?:the )?(?:ability|capabilit(?:y|ies)|capacity|access|means))"
    r"(?: (?:to|of|be able to|be|[a-z]+ly)){0,3} "
)
_PICTURE: Final = rf"(?:images?|pictures?|photos?|photographs?|visuals?|files?|attachments?|links?|urls?|text){_B}"
# Not any verb: "I can't help falling in love" and "I can't see without my glasses" are captions.
_TASK: Final = (
    rf"(?:assist(?:ing)?{_B}|help(?:ing)? (?:you|with|in|by){_B}|(?:of )?(?:any )?(?:help|assistance) (?:with|to you)"
    rf"|(?:comply(?:ing)? with|fulfill?(?:ing)?) (?:this|that|your|the|such){_B}"
    r"|(?:see|view|access|open|load|display|read|perceiv|look|process|analy[sz]|interpret|examin|describ|caption)"
    r"(?:e|ing)? (?:(?:the|this|that|these|any|an?|at|your|actual|provided|attached|specific|details|of|in) ){0,4}"
    rf"(?:[a-z]+ )?{_PICTURE}"
    r"|(?:describ|identify|determin|recogni[sz]|provid|generat|creat|writ|produc|offer|confirm|verify|disclos|answer"
    r"|discern|make out|discuss|infer|assum|comment on|respond to|engag(?:e|ing) (?:in|with)"
    r"|speculat(?:e|ing) (?:on|about))(?:e|ing)? "
    r"(?:an?|any|the|this|that|these|those|who|what|specific|real|individuals?|people|persons?|your|such|sexual|explicit"
    rf"|information|details|content|identif[a-z]+|captions?|descriptions?|assistance|personal|sensitive|inappropriate){_B}"
    rf"|tell (?:you )?(?:who|what){_B}|mak(?:e|ing) (?:any )?(?:assumption|judg|inference|determination)"
    rf"|(?:continue|proceed) with (?:this|that|the|your){_B})"
)
_FIRST: Final = r"(?:\A\W*|[.!?]\s+|\n)"
_INABILITY: Final = (
    rf"{_I}{_CANNOT}{_TASK}|(?:{_FIRST}|sorry\W{{1,3}}(?:but )?)unable to {_TASK}"
    # After an apology that opens the sentence, inability to do anything.
    rf"|{_FIRST}(?:(?:i['’]m|i am) (?:[a-z]+ly |so )?sorry|i apologi[sz]e|(?:my )?apologies),? but {_I}{_CANNOT}"
)
_DECLINE: Final = (
    rf"{_B}not (?:appropriate|possible|ethical) for me to{_B}"
    rf"|{_B}my (?:[a-z]+ )?(?:guidelines|programming|policies) (?:do not|don['’]t|prohibit|prevent|forbid)"
    rf"|{_B}(?:i|we)(?:['’]ll| will| would)? (?:must|have to|need to|like to)(?: [a-z]+ly)? (?:decline|refuse){_B}"
)
_ASSISTANT: Final = (
    rf"{_B}as an? (?:(?:helpful|responsible|large|vision|visual|text-based|multimodal|ai|artificial intelligence) )"
    rf"{{0,3}}(?:language model|ai model|ai assistant|ai system){_B}"
    rf"|{_B}as an (?:ai|artificial intelligence)(?:,| (?:i|that|who|trained|developed|created|without|with no){_B})"
    rf"|{_B}i(?:['’]m| am) (?:(?:just|only|merely|simply) )?an? (?:ai|(?:large |vision |visual )*language model){_B}"
    rf"|{_B}i (?:do not|don['’]t) have (?:personal (?:opinions|beliefs|experiences|feelings|preferences)"
    rf"|(?:enough|any|sufficient) (?:information|context)){_B}"
)
_POLICY: Final = (
    rf"(?:against|violat(?:e|es|ing)) (?:my|openai['’]?s|(?:the |our )?(?:content|usage|safety|community|ethical))"
    rf"(?: [a-z]+)? ?(?:programming|polic(?:y|ies)|guidelines|principles){_B}"
    rf"|sorry,? but (?:this|the|that|your)(?: [a-z]+){{0,4}} (?:{_PICTURE}|(?:content|request|question|prompt){_B})"
    rf"|(?:sorry|apologi[sz]e|apologies) for (?:the|any|my) (?:confusion|misunderstanding){_B}"
)
_NO_PICTURE: Final = (
    rf"{_B}no {_PICTURE}(?: (?:was|were|is|has been|have been))? (?:provided|attached|uploaded|shared){_B}"
    rf"|{_B}i (?:do not|don['’]t|did not|didn['’]t|cannot|can['’]t) see (?:any|an|the) {_PICTURE}"
    rf"|{_B}please (?:provide|upload|re-?upload|attach|share|send)(?: me)?(?: with)? "
    rf"(?:the|an?|your|another|a different) (?:[a-z]+ )?{_PICTURE}"
    rf"|(?:image|picture|photo)(?: (?:that )?you(?:['’]ve| have)? (?:provided|uploaded|shared|attached))? "
    rf"(?:did not|didn['’]t|failed to|could not|couldn['’]t)(?: be)? (?:load|upload|display|open|come through)"
)
REFUSES: Final = f"(?i:{_INABILITY}|{_DECLINE}|{_ASSISTANT}|{_POLICY}|{_NO_PICTURE})"
"""What a refusing sentence contains, quotations aside."""

BESIDE: Final = (
    r"(?i)\A\W*(?:just |simply |so |please )?(?:"
    r"(?:(?:i['’]m |i am )?(?:so |very |really |truly )?sorry|(?:i|my) apologi[sz]es?|i apologi[sz]e)"
    r"(?: (?:about|for) (?:that|this|the inconvenience|any inconvenience))?\W*\z"
    r"|(?:please|kindly) (?:provide|upload|try|let me|feel free|share|send)"
    r"|if you (?:have|need|want|would|can|could|provide)|is there (?:anything|something) else|let me know|feel free"
    r"|(?:however,? )?i(?:['’]d| would|['’]ll| will)? (?:be (?:happy|glad) to|can (?:still )?help))"
)
"""Sentences that stand beside a refusal and count only there."""

_WHOLLY_QUOTED: Final = r"\A\s*[\"“]([^\"“”]*)[\"”]?\s*\z"
QUOTED: Final = (
    r"\"[^\"\n]{0,400}\"|“[^”\n]{0,400}”|‘[^\n]{1,400}?’(\W|\z)|(\A|[\s(])'[^\n]{1,400}?'(\W|\z)"
    r"|(\S\s)[\"“][^\"”\n]*\z"  # a quotation that the end of the text leaves open
    # a quotation without marks
    r"|((?i:says?|saying|reads?|reading|states|stating|words|text|titled|slogan|message)[ \t:,]{1,3})"
    r"(?i:i['’]m|i|we|sorry|as an)(?-u:\b)[^.!?\n]*"
)
"""Text that a caption quotes: what a shirt or a sign says."""


class Refusal(Filter):
    """Whether a caption is, or contains, an assistant's refusal.

    **Finds** first-person inability ("I'm sorry, but I can't assist with ...", "I am unable to describe the image"),
    declining, "As an AI language model", appeals to a policy, and complaints that no image came; in English. What a
    shirt or a sign says, in quotation marks or after a word like "says", does not count; nor does an apology alone.
    `sentences` is how many sentences refuse, `span` the first of them.

    **Scores** 0 where the first sentence refuses: then the caption is a refusal, whatever follows. Elsewhere it is the
    share of the text, by characters, outside refusing sentences, so a threshold of 1 allows none, and 0.5 allows as
    much refusal as caption. A sentence that only makes sense beside a refusal ("Please upload an image.") counts with
    it. Null text has no score.

    **Defaults.** No parameters. False positives: none of the 15,833 human captions of Conceptual Captions' validation
    set. Of 2,000 captions by LLaVA (POPE's repository) 0.2 % are flagged, all for "As a large language model, I ..." or the like.

    **Example.** "A man on a bench. As an AI language model, I cannot identify him." scores 0.26.
    """

    name: ClassVar[str] = "refusal"
    version: ClassVar[int] = 3
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"sentences": pl.UInt32(), "span": pl.String()}

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = self.inputs(captions).with_row_index("row")
        judged = pl.col("text").is_not_null()
        return rows.join(_refusals(rows), on="row", how="left", maintain_order="left").select(
            score=pl.when(judged).then(pl.col("score").fill_null(1.0)),
            sentences=pl.when(judged).then(pl.col("sentences").fill_null(0)),
            span="span",
        )


def _refusals(rows: pl.DataFrame) -> pl.DataFrame:
    """`row`, `score`, `sentences` and `span` of the captions that refuse outside quotation marks."""
    # One pattern over all captions finds the few that may refuse; sentences and quotations are looked at in those.
    suspects = rows.filter(pl.col("text").str.contains(REFUSES))
    if suspects.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, "score": pl.Float64, **Refusal.evidence})
    sentence = pl.col("sentence")
    unquoted = pl.col("text").str.replace(_WHOLLY_QUOTED, "$1").str.replace_all(QUOTED, '$1$2""$3$4$5')
    sentences = (
        suspects.select("row", sentence=sentence_texts(unquoted, marks=False))
        .explode("sentence", empty_as_null=False)
        .with_columns(sentence.str.strip_chars(), refuses=sentence.str.contains(REFUSES))
        .filter(sentence.str.len_chars() > 0, pl.col("refuses").any().over("row"))
        .with_columns(refuses=pl.col("refuses") | sentence.str.contains(BESIDE))
    )
    refuses, chars = pl.col("refuses"), sentence.str.len_chars()
    standing = (chars.sum() - chars.filter(refuses).sum()) / chars.sum()
    return sentences.group_by("row", maintain_order=True).agg(
        score=pl.when(refuses.first()).then(0.0).otherwise(standing),
        sentences=refuses.sum().cast(pl.UInt32),
        span=sentence.filter(refuses).first(),
    )
