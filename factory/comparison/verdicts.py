"""Which caption of a pair was preferred, by people and by a judge: win rates with intervals, by stratum, and agreement.

Verdicts are a frame with `image_key`, `texts` (hash of the two captions), `question` (of QUESTIONS), `answer` (of ANSWERS) and `annotator`;
those of people also have `a`, `b` and `created_ms`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from factory.runs.run import Run
from factory.runs.tables import COMPARISONS
from filters.calibration.binomial import interval

COMPARISON_TABLE: Final = "comparisons"
QUESTIONS: Final = {
    "made_up": "Which has fewer made-up things?",
    "says_more": "Which says more?",
}
"""The two questions of VILA² (arXiv 2407.17453): hallucination, and detail. A caption that says more can easily make up more.
A judge is asked the same: they are rubrics of the filter vlm_judge, too."""
ANSWERS: Final = ("a", "b", "tie")
CONFIDENCE: Final = 0.95
PAIR: Final = ["image_key", "texts"]
PAUSE_S: Final = 120.0
"""Longer between two answers of a person is a break, and no time of answering."""
LEAST: Final = 5
"""A stratum with fewer pairs is told together with other such ones."""
OTHERS: Final = "others, each with few"


@dataclass(frozen=True, slots=True)
class Rate:
    """How often the first was preferred: of `a + b` verdicts that were no tie, with Clopper and Pearson's interval at 95 %."""

    question: str
    a: int
    b: int
    tie: int
    share: float | None
    low: float
    high: float

    @classmethod
    def of(cls, question: str, answers: pl.Series) -> Rate:
        """Of the answers to one question."""
        counts = {str(name): int(number) for name, number in answers.value_counts().iter_rows()}
        return cls.counted(question, *(counts.get(name, 0) for name in ANSWERS))

    @classmethod
    def counted(cls, question: str, a: int, b: int, tie: int) -> Rate:
        """Of counts."""
        low, high = interval(a, a + b, CONFIDENCE)
        return cls(question, a, b, tie, a / (a + b) if a + b else None, float(low), float(high))

    def swapped(self) -> Rate:
        """The same with the second in the place of the first."""
        return Rate.counted(self.question, self.b, self.a, self.tie)

    @property
    def words(self) -> str:
        """The share with its interval."""
        return "-" if self.share is None else f"{self.share:.0%} ({self.low:.0%} to {self.high:.0%})"

    def as_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "question": self.question, "a": self.a, "b": self.b, "tie": self.tie,
            "share_a": self.share, "low": self.low, "high": self.high,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two who said of the same pairs which is better. `agreement` and `kappa` (Cohen 1960) are about those that both decided;
    kappa is None where chance explains all, agreement where there are none. `tied`: pairs that at least one of them called a tie.
    """

    first: str
    second: str
    question: str
    both: int
    tied: int
    agreement: float | None
    kappa: float | None

    def as_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {name: getattr(self, name) for name in self.__slots__}


def last_answers(run: Run) -> pl.DataFrame:
    """The last answer of each person to each question about each pair, oldest first; without those that were taken back."""
    rows = run.scan(COMPARISON_TABLE, COMPARISONS).collect().sort("created_ms")
    keys = ["a", "b", "annotator", "question", *PAIR]
    return rows.unique(keys, keep="last", maintain_order=True).filter(pl.col("answer") != "undone")


def rates(verdicts: pl.DataFrame) -> list[Rate]:
    """Of each question, how often the first side was preferred, by all together."""
    return [Rate.of(question, _to(verdicts, question)["answer"]) for question in QUESTIONS]


def rates_by(verdicts: pl.DataFrame, strata: pl.DataFrame, column: str) -> dict[str, list[Rate]]:
    """Win rates of each stratum, those with most pairs first; in the order of their numbers where their names begin with one.

    Args:
        strata: image_key, texts and the column, one row a pair.
    """
    values = strata.select(*PAIR, pl.col(column).cast(pl.String).fill_null("none").alias("stratum"))
    counts = values["stratum"].value_counts().sort(["count", "stratum"], descending=[True, False])
    large = counts.filter(pl.col("count") >= LEAST)["stratum"].to_list()
    numbers = {name: re.match(r"\d{1,18}", name) for name in large}
    if all(numbers.values()):
        large.sort(key=lambda name: int(numbers[name].group()))  # type: ignore[union-attr]
    named = pl.when(pl.col("stratum").is_in(large)).then("stratum").otherwise(pl.lit(OTHERS)).alias("stratum")
    rows = verdicts.join(values.with_columns(named), on=PAIR, how="inner")
    names = [*large, *([OTHERS] if len(large) < counts.height else [])]
    return {name: rates(rows.filter(pl.col("stratum") == name)) for name in names}


def agreements(first: pl.DataFrame, second: pl.DataFrame, names: tuple[str, str]) -> list[Agreement]:
    """How far the verdicts of two agree, by question; those without a common pair are left out. Of several people at one side, each
    verdict counts.
    """
    found = []
    for question in QUESTIONS:
        mine = _to(first, question).select(*PAIR, "answer")
        other = _to(second, question).select(*PAIR, pl.col("answer").alias("other"))
        both = mine.join(other, on=PAIR, how="inner")
        decided = both.filter(pl.col("answer") != "tie", pl.col("other") != "tie")
        if both.height:
            found.append(
                Agreement(*names, question, both.height, both.height - decided.height, *_beyond_chance(decided))
            )
    return found


def agreements_of_people(verdicts: pl.DataFrame) -> list[Agreement]:
    """Of every two people."""
    people = sorted(verdicts["annotator"].unique())
    of = {name: verdicts.filter(pl.col("annotator") == name) for name in people}
    pairs = itertools.combinations(people, 2)
    return [one for first, second in pairs for one in agreements(of[first], of[second], (first, second))]


def seconds_an_answer(answers: pl.DataFrame) -> float | None:
    """Mean seconds that a person took for an answer: between two of the same person, breaks left out. None where none tell."""
    gaps = answers.sort("created_ms").select((pl.col("created_ms").diff().over("annotator") / 1000).alias("gap"))["gap"]
    worked = gaps.filter((gaps > 0) & (gaps <= PAUSE_S))
    mean: Any = worked.mean()
    return None if mean is None else float(mean)


def _to(verdicts: pl.DataFrame, question: str) -> pl.DataFrame:
    return verdicts.filter(pl.col("question") == question)


def _beyond_chance(decided: pl.DataFrame) -> tuple[float | None, float | None]:
    if decided.is_empty():
        return None, None
    same, first, second = decided.select(
        (pl.col("answer") == pl.col("other")).mean().alias("same"),
        (pl.col("answer") == "a").mean().alias("first"),
        (pl.col("other") == "a").mean().alias("second"),
    ).row(0)
    by_chance = first * second + (1 - first) * (1 - second)
    return same, ((same - by_chance) / (1 - by_chance) if by_chance < 1 else None)


# --- rounds ------------------------------------------------------------------------------------------------------------

ROUND: Final = "round {}"
"""What a round of a loop is called in its own table of answers."""


def people_on_rounds(run: Run) -> dict[tuple[int, int], dict[str, Rate]]:
    """What people said of the rounds of a loop, whose directory is `run`: (later, earlier round) -> question -> how often the later
    one was preferred.
    """
    found: dict[tuple[int, int], list[pl.DataFrame]] = {}
    for (first, second), answers in _by_sides(last_answers(run)):
        numbers = _number(first), _number(second)
        if None in numbers:
            continue
        mirror = {"a": "b", "b": "a"}
        later, earlier = sorted((number for number in numbers if number is not None), reverse=True)
        turned = answers if numbers[0] == later else answers.with_columns(pl.col("answer").replace(mirror))
        found.setdefault((later, earlier), []).append(turned)
    return {
        pair: {rate.question: rate for rate in rates(pl.concat(frames)) if rate.a + rate.b + rate.tie}
        for pair, frames in sorted(found.items())
    }


def _by_sides(answers: pl.DataFrame) -> Iterator[tuple[tuple[str, str], pl.DataFrame]]:
    for (first, second), rows in answers.group_by("a", "b", maintain_order=True):
        yield (str(first), str(second)), rows


def _number(name: str) -> int | None:
    prefix, _, number = name.partition(" ")
    return int(number) if prefix == ROUND.partition(" ")[0] and number.isdecimal() else None


def rounds_as_json(found: Mapping[tuple[int, int], Mapping[str, Rate]]) -> list[dict[str, Any]]:
    """What people said of rounds, as JSON data."""
    return [
        {"round": later, "over": earlier, "questions": [rate.as_json() for rate in rates_.values()]}
        for (later, earlier), rates_ in found.items()
    ]
