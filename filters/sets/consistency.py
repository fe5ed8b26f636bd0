"""How far the other captions of the same image agree with each sentence of a caption."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final, Literal

import polars as pl
from pydantic import Field

from filters.contract.filter import SetFilter
from filters.contract.sentence_columns import SENTENCES
from filters.sets.spill import Answers, Spill, part_of
from filters.wording.sentences import judged, sentences


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_EMPTY_WORDS: Final = _words(
    "a an the is are was were be been being there it its this that these those of in on at to by with and or as "
    "image picture photo photograph shows show showing depicts features visible can seen see has have which"
)


class Consistency(SetFilter):
    """How far the other candidates of the same image and view agree with each sentence of a caption.

    **Finds** what a captioner says once and not again: what it sees, it says in every sample; what it makes up, it makes up
    anew (SelfCheckGPT's idea, arXiv 2303.08896). Errors that it repeats stay. Needs several sampled candidates
    (`sampling: {n: 4, temperature: 0.7}`), and no model.

    **Scores** each sentence by the others: for each of them the best F1 of content words with one of its sentences, then the
    mean over the others. The caption's score is that of its least supported sentence (`aggregate: min`) or the mean.
    `sentences` has each one's place and score, `others` the number of other candidates. No score where the text is null, has
    no sentence or more than `max_sentences`, the image has no key, or no other candidate with a sentence. A caption that was
    cut out of another (`cut_from`) is judged by all but that one, and judges none.

    **Takes** the disk of all captions, and the memory of a sixty-fourth of them.

    **Defaults.** No threshold: how often a captioner says the same differs with its temperature. On long captions AUROC 73.5
    against 57.5 by token confidence (arXiv 2412.15484).

    **Example.** "A red cross is left. A star is right." beside "A red cross is left. A moon is right." scores 0.5: of "star
    right" and "moon right" one word of two is shared.
    """

    name: ClassVar[str] = "consistency"
    version: ClassVar[int] = 3
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("image_key", "view", "candidate", "cut_from")
    evidence: ClassVar[dict[str, pl.DataType]] = {"sentences": SENTENCES, "others": pl.UInt32()}

    aggregate: Literal["min", "mean"] = Field("min", description="How the sentences' scores make the caption's.")
    max_sentences: int = Field(64, ge=1, description="Captions with more are not judged, and judge no other.")

    def score_set(self, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path) -> Iterator[pl.DataFrame]:
        heights: list[int] = []
        captions = Spill(scratch / "captions")
        for batch in batches():
            rows = (
                self.inputs(batch)
                .with_row_index("row", offset=sum(heights))
                .with_columns(pl.col("row").cast(pl.UInt64))
            )
            heights.append(batch.height)
            rows = rows.drop_nulls(["text", "image_key"])
            captions.add(rows.with_columns(part=part_of(pl.struct("image_key", "view").hash())))
        schema: dict[str, pl.DataType] = {"score": pl.Float64(), **self.evidence}
        answers = Answers(scratch / "answers", heights)
        for rows in captions.parts():
            found = [one for _, group in rows.group_by("image_key", "view") for one in self._judge(group)]
            answers.add(pl.DataFrame(found, schema={"row": pl.UInt64(), **schema}, orient="row"))
        yield from answers.batches(schema)

    def _judge(self, group: pl.DataFrame) -> Iterator[tuple[object, ...]]:
        """(row, score, sentences, others) of the captions of one image and view."""
        found = {text: sentences(text) for text in group["text"].unique()}
        texts = {text: some if len(some) <= self.max_sentences else [] for text, some in found.items()}
        bags = {text: [_content(one.text) for one in found] for text, found in texts.items()}
        # One vote a candidate, however often it was given.
        written = group.filter(pl.col("cut_from").is_null())
        voters = dict.fromkeys((candidate, text) for candidate, text in written.select("candidate", "text").iter_rows())
        for row, text, candidate, cut_from in group.select("row", "text", "candidate", "cut_from").iter_rows():
            others = [
                bags[said]
                for number, said in voters
                if (number, said) != (candidate, text) and bags[said] and (cut_from is None or number != cut_from)
            ]
            if not others or not texts[text]:
                continue
            # fsum: the same whatever the order of the candidates.
            scores = [
                math.fsum(max(_f1(bag, one) for one in bag_of) for bag_of in others) / len(others) for bag in bags[text]
            ]
            whole = min(scores) if self.aggregate == "min" else math.fsum(scores) / len(scores)
            yield row, whole, judged(texts[text], scores), len(others)


def _content(sentence: str) -> Counter[str]:
    words: list[str] = _WORD.findall(sentence.lower())
    return Counter([word for word in words if word not in _EMPTY_WORDS] or words)


def _f1(a: Counter[str], b: Counter[str]) -> float:
    both = (a & b).total()
    return 2 * both / (a.total() + b.total())


_WORD: Final = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
