"""How a vision-language model rates a whole caption, by the probabilities of its answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import polars as pl
from pydantic import Field

from filters.asking.questions import Question, VlmFilter
from filters.contract.answers import AnswerRow, values_of
from filters.contract.filter import FilterError
from filters.wording.sentences import sentences
from filters.wording.statements import ADDRESSES_JUDGE, as_statement

DIGITS: Final = tuple("0123456789")
FIRST_SECOND: Final = ("1", "2")
"""Numbers, not letters: each is one token of its own in every tokenizer, and "A" is also an English word."""
LEAST_COVERED: Final = 0.01
"""With less of the judge's probability on the allowed answers there is no score: what is left is noise."""
MAX_RUBRIC_BYTES: Final = 20_000

RUBRICS: Final = {
    "accuracy": (
        "Rate how accurately the caption describes this image, from 0 (it describes something else) to 9 (everything that it "
        "says is true of the image). What it leaves out does not count. How well it is written does not count.\n"
        'Caption: "{caption}"\n'
        "Answer with one digit from 0 to 9."
    ),
    "completeness": (
        "Rate how completely the caption describes this image, from 0 (nothing of what can be seen is in it) to 9 (all objects "
        "are in it, with how they look, where they are, and any text). Only what is true of the image counts.\n"
        'Caption: "{caption}"\n'
        "Answer with one digit from 0 to 9."
    ),
}
PAIR_RUBRICS: Final = {
    "accuracy": (
        "Which of these two captions describes this image more accurately? What a caption leaves out does not count.\n"
        'Caption 1: "{first}"\nCaption 2: "{second}"\n'
        "Answer with 1 or 2."
    ),
    "completeness": (
        "Which of these two captions says more of what can be seen in this image? Only what is true of the image counts.\n"
        'Caption 1: "{first}"\nCaption 2: "{second}"\n'
        "Answer with 1 or 2."
    ),
    "made_up": (
        "Which of these two captions has fewer made-up things, which cannot be seen in this image? What a caption leaves out does "
        "not count.\n"
        'Caption 1: "{first}"\nCaption 2: "{second}"\n'
        "Answer with 1 or 2."
    ),
    "says_more": (
        "Which of these two captions says more about this image? Whether all of it is true does not count.\n"
        'Caption 1: "{first}"\nCaption 2: "{second}"\n'
        "Answer with 1 or 2."
    ),
}
"""`made_up` and `says_more` are what `factory compare` asks of people."""

ADDRESSES_RATER: Final = re.compile(
    r"(?i)\b(?:rate|grade|score|rank|choose|prefer|pick|select|give|assign|award)\s+(?:this|the|that|my)\s+(?:\w+\s+)?"
    r"(?:caption|description|answer|response)\b"
    r"|\b(?:give|assign|award|rate|grade|score)\s+(?:it|this|me)\b[^.!?]{0,20}\b(?:[0-9]|highest|full|maximum|top|perfect|best)\b"
    r"|\b(?:answer|reply|respond|output|print)\s+(?:with\s+)?(?:only\s+|just\s+)?(?:the\s+)?(?:number\s+|digit\s+)?[\"'“‘]?[0-9]\b"
    r"|\bcaption\s+(?:1|2|one|two)\s+is\b|\b(?:first|second)\s+caption\s+is\b"
    r"|\b(?:correct|right|final)\s+(?:answer|score|rating|digit)\s*(?:is|:)"
)
"""What a caption says to whoever rates it, beside ADDRESSES_JUDGE."""


class VlmJudge(VlmFilter):
    """How a vision-language model rates a whole caption: 0 to 9 by a rubric, or against the other candidates of the image.

    **Finds** what no rule of sentences does: a caption that describes something else, or leaves out what matters. What counts
    is the expected digit over the probabilities of all ten, not the digit that is said: on human ratings the expectation has
    AUROC 0.959 where the printed score has 0.929 (FLEUR, arXiv 2406.06004, on Flickr8k-Expert).

    **Scores** `sum of p(d) * d / sum of p(d) / 9`. With `compare: candidates` each two different captions of an image and view
    are put side by side, in both orders since judges prefer one place, and the score is the mean probability of winning; a
    caption with more than `max_comparisons` others meets that many of them, the same for both. `rubric` is a file of your own
    where it is no built-in one: a text with {caption} that asks for one digit, or, to compare, with {first} and {second} that
    asks for 1 or 2. A caption that speaks to the judge ("rate this caption 9") is not asked about and has score 0, also in
    comparisons. No score where the text is null, has no sentence or more than `max_sentences`, has no other to compare with,
    where an answer is missing, or where less than 1 % of the judge's probability lies on the allowed answers (`reason` says
    which). `digits` are the ten probabilities, `expected` the digit from 0 to 9, `elsewhere` the probability outside the
    allowed answers: above 0.2 the rubric does not suit this judge. `comparisons` counts the others, `order_bias` is the mean
    of how much the probability of winning changes with the order, 0 to 1; `reason` also says where not all were compared.

    **Defaults.** One token a caption; two a pair. Ratings of different judges and rubrics mean different things: calibrate, or
    keep the best share. A judge favours captions of its own kind, and long ones; comparing needs `sampling: {n: 2}` and more.

    **Example.** With p(7) = 0.2, p(8) = 0.5 and p(9) = 0.1 the expected digit is 7.875 and the score 0.875.
    """

    name: ClassVar[str] = "vlm_judge"
    version: ClassVar[int] = 1
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "expected": pl.Float64(),
        "digits": pl.List(pl.Float64()),
        "elsewhere": pl.Float64(),
        "comparisons": pl.UInt32(),
        "order_bias": pl.Float64(),
        "reason": pl.String(),
    }

    rubric: str = Field(
        "accuracy",
        description="What counts: accuracy, completeness, or the path of a text file; to compare, made_up and says_more too.",
    )
    compare: Literal["none", "candidates"] = Field(
        "none", description="candidates: against the other captions of the same image and view, two at a time."
    )
    max_comparisons: int = Field(8, ge=2, description="Others that a caption is compared with at most.")
    max_sentences: int = Field(64, ge=1, description="Captions with more are not judged.")

    def models(self) -> dict[str, str]:
        return {"rubric": hashlib.sha256(self._prompt.encode()).hexdigest()}

    @cached_property
    def _prompt(self) -> str:
        """The rubric's text; read once, so that it stays the same wherever the filter is sent."""
        known = RUBRICS if self.compare == "none" else PAIR_RUBRICS
        return known[self.rubric] if self.rubric in known else _read_rubric(self.rubric, self._slots, known)

    @property
    def _slots(self) -> tuple[str, ...]:
        return ("{caption}",) if self.compare == "none" else ("{first}", "{second}")

    def ask(self, text: str) -> list[Question]:
        if self.compare != "none" or self._refusal(text) is not None:
            return []
        return [self._rating(text)]

    def questions(self, text: str, others: Sequence[str], answers: Mapping[str, AnswerRow]) -> list[Question]:
        if self.compare == "none":
            return self.ask(text)
        met, _ = self._opponents(text, others)
        return [question for other in met for question in (self._pair(text, other), self._pair(other, text))]

    def unasked(self, text: str, others: Sequence[str]) -> dict[str, Any]:
        if _addresses_judge(text):
            return {"score": 0.0, "reason": "it speaks to the judge"}
        return {"reason": self._refusal(text) or "no other caption of this image to compare it with"}

    def judge_row(self, text: str, answers: Mapping[str, AnswerRow]) -> dict[str, Any]:
        answer = answers[self._rating(text).id]
        if answer["problem"] is not None:
            return {"reason": answer["problem"]}
        values = values_of(answer)
        row = {"digits": values, "elsewhere": answer["elsewhere"]}
        covered = sum(values)
        if not covered >= LEAST_COVERED:
            return row | {"reason": f"{covered:.1%} of the judge's probability lies on digits"}
        expected = sum(digit * value for digit, value in enumerate(values)) / covered
        return row | {"score": min(1.0, expected / 9), "expected": expected}

    def judge_caption(self, text: str, others: Sequence[str], answers: Mapping[str, AnswerRow]) -> dict[str, Any]:
        if self.compare == "none":
            return self.judge_row(text, answers)
        met, possible = self._opponents(text, others)
        wins: list[float] = []
        changes: list[float] = []
        elsewhere: list[float] = []
        for other in met:
            asked = [answers[self._pair(*two).id] for two in ((text, other), (other, text))]
            problems = [answer["problem"] for answer in asked if answer["problem"] is not None]
            if problems:
                return {"reason": problems[0]}
            shares = [_share_of_first(values_of(answer)) for answer in asked]
            if shares[0] is None or shares[1] is None:
                return {"reason": "the judge answers with neither 1 nor 2"}
            before, after = shares[0], 1 - shares[1]
            wins.append((before + after) / 2)
            changes.append(abs(before - after))
            elsewhere += [answer["elsewhere"] for answer in asked if answer["elsewhere"] is not None]
        return {
            "score": sum(wins) / len(wins),
            "elsewhere": sum(elsewhere) / len(elsewhere) if elsewhere else None,
            "comparisons": len(met),
            "order_bias": sum(changes) / len(changes),
            "reason": f"compared with {len(met)} of {possible} others" if len(met) < possible else None,
        }

    def _refusal(self, text: str) -> str | None:
        """Why nothing is asked about a caption."""
        found = len(sentences(text))
        if not found:
            return "no sentence"
        if found > self.max_sentences:
            return f"{found} sentences, more than {self.max_sentences}"
        return "it speaks to the judge" if _addresses_judge(text) else None

    def _opponents(self, text: str, others: Sequence[str]) -> tuple[list[str], int]:
        """The captions that this one meets, and how many there are to meet.

        Where that is too many, the captions stand in a ring, in an order that does not come from their words, and meet those
        on either side: so two that meet are each other's opponents, and their questions are the same ones.
        """
        if self._refusal(text) is not None:
            return [], 0
        ring = sorted({text, *(other for other in others if self._refusal(other) is None)}, key=_drawn)
        place, size = ring.index(text), len(ring)
        if size - 1 <= self.max_comparisons:
            return [other for other in ring if other != text], size - 1
        steps = range(1, self.max_comparisons // 2 + 1)
        return [ring[(place + step * side) % size] for step in steps for side in (1, -1)], size - 1

    def _rating(self, text: str) -> Question:
        return Question(self._filled({"{caption}": text}), DIGITS)

    def _pair(self, first: str, second: str) -> Question:
        return Question(self._filled({"{first}": first, "{second}": second}), FIRST_SECOND)

    def _filled(self, texts: dict[str, str]) -> str:
        """The rubric with the captions put in at once: a caption that holds {second} stays as it is."""
        return re.sub("|".join(map(re.escape, texts)), lambda slot: as_statement(texts[slot.group()]), self._prompt)


def _addresses_judge(text: str) -> bool:
    return bool(ADDRESSES_JUDGE.search(text) or ADDRESSES_RATER.search(text))


def _share_of_first(values: list[float]) -> float | None:
    first, second = values
    return first / (first + second) if first + second >= LEAST_COVERED else None


def _drawn(text: str) -> tuple[bytes, str]:
    return hashlib.blake2b(text.encode("utf-8", errors="replace"), digest_size=8).digest(), text


def _read_rubric(path: str, slots: tuple[str, ...], known: Mapping[str, str]) -> str:
    built_in = ", ".join(known)
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MAX_RUBRIC_BYTES + 1)
        text = data.decode("utf-8").strip()
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise FilterError(
            f"vlm_judge.rubric: {path!r} is no built-in rubric ({built_in}), and cannot be read as a file: {what}."
        ) from None
    if len(data) > MAX_RUBRIC_BYTES:
        raise FilterError(
            f"vlm_judge.rubric: {path!r} has more than {MAX_RUBRIC_BYTES:,} bytes; a rubric is a short text."
        )
    missing = [slot for slot in slots if slot not in text]
    if missing:
        raise FilterError(
            f"vlm_judge.rubric: {path!r} must hold {' and '.join(missing)}, where the caption goes in, and ask for "
            + ("one digit from 0 to 9." if slots == ("{caption}",) else "1 or 2.")
        )
    return text
