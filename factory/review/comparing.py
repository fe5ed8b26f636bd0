"""Two makers of captions on the same images, judged blind by people, and beside them by a judge that is asked the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from exports.storage import Storage
from factory.comparison.pair_judge import ask_pairs
from factory.comparison.verdicts import (
    COMPARISON_TABLE,
    CONFIDENCE,
    PAIR,
    QUESTIONS,
    Agreement,
    Rate,
    agreements,
    agreements_of_people,
    last_answers,
    rates,
    rates_by,
    seconds_an_answer,
)
from factory.errors import RunError
from factory.recipe import did_you_mean
from factory.review.sides import side_of
from factory.rounds.loop_file import Wins
from factory.runs.growing_part import GrowingPart
from factory.runs.run import Run
from factory.runs.tables import COMPARISONS
from filters.wording.length_bucket import length_bucket

JUDGED: Final = "judged-pairs"
"""Directory with what judges said, beside the answers of people."""
USUAL_STRATA: Final = ("view", "length")
_LEFT_RIGHT: Final = ("left", "right", "tie")


@dataclass(frozen=True)
class JudgeVerdicts:
    """What a judge said of the pairs. `verdicts`: as those of people (factory.comparison.verdicts), a where the first side won in both
    orders, b where the second did, tie where the order decided. `order_bias` in [0, 1], by question; `seconds` of all questions.
    """

    name: str
    verdicts: pl.DataFrame
    order_bias: Mapping[str, float]
    unanswered: int
    seconds: float | None

    @property
    def seconds_an_answer(self) -> float | None:
        """Of one pair and question, in both orders; None where it was not measured."""
        asked = self.verdicts.height + self.unanswered
        return None if self.seconds is None or not asked else self.seconds / asked


class Comparison:
    """A draw of pairs and the answers about it, kept in the run of the first side, or where `out` says."""

    def __init__(
        self,
        first: str,
        second: str,
        count: int = 200,
        out: str | None = None,
        seed: int = 0,
        by: Sequence[str] = (),
    ) -> None:
        """`by`: names by which win rates are parted; unset, by view and length. Raises RunError where a side is none, there is nothing
        to compare, or a name is not known.
        """
        self.sides = {"a": side_of(first), "b": side_of(second)}
        self.run = Run(Storage(out)) if out else self._own_run()
        self.seed = seed
        self.judge: JudgeVerdicts | None = None
        a, b = (side.texts for side in self.sides.values())
        both = a.select("image_key", "shard", "text").join(
            b.select("image_key", pl.col("shard").alias("shard_b"), pl.col("text").alias("text_b")),
            on="image_key",
            how="inner",
        )
        self.common = both.height
        different = both.filter(pl.col("text") != pl.col("text_b"))
        self.same = both.height - different.height
        if different.is_empty():
            raise RunError(
                f"{first} and {second} have {self.common:,} images in common and no two different captions of one; nothing to compare"
            )
        order = pl.col("image_key").hash(seed + 1)
        pairs = different.sort(order, "image_key").head(count)
        texts = [_digest(one, two) for one, two in pairs.select("text", "text_b").iter_rows()]
        is_left = (pl.col("image_key").hash(seed + 2) % 2) == 0
        left = pl.when(is_left).then(pl.lit("a")).otherwise(pl.lit("b")).alias("left")
        self.pairs = pairs.with_columns(pl.Series("texts", texts, pl.String), left)
        self.strata = self._parted(by)
        self._table = GrowingPart(self.run, COMPARISON_TABLE, COMPARISONS)

    def _own_run(self) -> Run:
        homes = [side.home for side in self.sides.values() if side.home is not None]
        if not homes:
            raise RunError("neither side is a run in which the answers could be kept; say where: --out DIR")
        return homes[0]

    # --- strata -------------------------------------------------------------------------------------------------------

    def _parted(self, by: Sequence[str]) -> pl.DataFrame:
        """image_key, texts, and a column for each name: of the first side where it knows it, else of the second."""
        sides = list(self.sides.values())
        known = list(dict.fromkeys(["length", *(name for side in sides for name in side.known)]))
        for name in by:
            if name not in known:
                raise RunError(f"--by {name}: not known of these captions{did_you_mean(name, known, every=True)}")
        names = list(by) or [name for name in USUAL_STRATA if name in known]
        longer = (
            pl.when(pl.col("text").str.len_chars() >= pl.col("text_b").str.len_chars()).then("text").otherwise("text_b")
        )
        rows = self.pairs.select(*PAIR, longer.alias("longer"))
        rows = rows.select(*PAIR, *([length_bucket(pl.col("longer")).alias("length")] if "length" in names else []))
        for side in sides:
            wanted = [name for name in names if name in side.known and name not in rows.columns]
            if wanted:
                rows = rows.join(side.fields(self.pairs, wanted), on="image_key", how="left", maintain_order="left")
        return rows.select(*PAIR, *names)

    # --- people -------------------------------------------------------------------------------------------------------

    def next_pair(self, annotator: str) -> dict[str, Any] | None:
        """The first pair and question without an answer of this person; None where all have one."""
        answered = self._mine(annotator)
        for question in QUESTIONS:
            done = answered.filter(pl.col("question") == question).select(PAIR)
            left = self.pairs.join(done, on=PAIR, how="anti", maintain_order="left")
            if left.height:
                row = left.row(0, named=True)
                texts = {"a": row["text"], "b": row["text_b"]}
                right = "b" if row["left"] == "a" else "a"
                return {**row, "question": question, "left_text": texts[row["left"]], "right_text": texts[right]}
        return None

    def done(self, annotator: str) -> tuple[int, int]:
        """Answers of this person, and those that are wanted."""
        mine = self._mine(annotator).join(self.pairs.select(PAIR), on=PAIR, how="semi")
        return mine.height, self.pairs.height * len(QUESTIONS)

    def answer(self, annotator: str, image_key: str, question: str, chosen: str) -> bool:
        """Write down which was chosen: left, right or tie. False where the draw has no such image or question."""
        found = self.pairs.filter(pl.col("image_key") == image_key)
        if found.is_empty() or question not in QUESTIONS or chosen not in _LEFT_RIGHT:
            return False
        row = found.row(0, named=True)
        left = row["left"]
        other = "b" if left == "a" else "a"
        answer = {"left": left, "right": other, "tie": "tie"}[chosen]
        self._table.append([{**self._named(row), "question": question, "answer": answer, "annotator": annotator}])
        return True

    def undo(self, annotator: str) -> bool:
        """Take back the last answer of this person."""
        mine = self._mine(annotator)
        if mine.is_empty():
            return False
        self._table.append([{**mine.tail(1).row(0, named=True), "answer": "undone"}])
        return True

    def answers(self) -> pl.DataFrame:
        """What people said of the pairs that are drawn."""
        return self._all_answers().join(self.pairs.select(PAIR), on=PAIR, how="semi", maintain_order="left")

    def _named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        names = {name: side.name for name, side in self.sides.items()}
        return {**names, "image_key": row["image_key"], "texts": row["texts"], "left": row["left"]}

    def _all_answers(self) -> pl.DataFrame:
        rows = last_answers(self.run)
        for name, side in self.sides.items():
            same = [told for told in rows[name].unique() if _place(told) == _place(side.name)]
            rows = rows.filter(pl.col(name).is_in(same))
        return rows

    def _mine(self, annotator: str) -> pl.DataFrame:
        return self._all_answers().filter(pl.col("annotator") == annotator)

    # --- a judge ------------------------------------------------------------------------------------------------------

    def ask(self, judge: str | dict[str, Any], quiet: bool = True) -> JudgeVerdicts:
        """Ask a judge both questions about every pair, in both orders; what it said is kept beside the answers of people.

        Raises RecipeError where the judge is none, RunError where no side has pictures, or the answers are not kept on this machine.
        """
        Wins(judge=judge, rubrics=tuple(QUESTIONS))
        if not self.run.storage.is_local:
            raise RunError(f"{self.run.url}: a judge's answers are kept on this machine; say where: --out DIR")
        side = next((one for one in self.sides.values() if one.has_pictures), None)
        if side is None:
            raise RunError("neither side has pictures that a judge could look at; name a run or a release")
        home = Path(self.run.storage.full()) / JUDGED
        pairs = self.pairs.select("image_key", "text", text_before="text_b").sort("image_key")
        verdicts, bias, seconds, unanswered = [], {}, [], 0
        for question in QUESTIONS:
            asked = ask_pairs(pairs, side.beside, judge, question, home, quiet)
            answered = asked.rows.drop_nulls("score")
            unanswered += asked.rows.height - answered.height
            half = pl.col("order_bias") / 2
            said = (
                pl.when(pl.col("score") - half > 0.5)
                .then(pl.lit("a"))
                .when(pl.col("score") + half < 0.5)
                .then(pl.lit("b"))
            )
            named = answered.select(
                "image_key", said.otherwise(pl.lit("tie")).alias("answer"), question=pl.lit(question)
            )
            verdicts.append(named.join(self.pairs.select(PAIR), on="image_key", how="inner"))
            if answered.height:
                bias[question] = round(float(answered["order_bias"].mean()), 4)  # type: ignore[arg-type]
            seconds.append(asked.seconds)
        known = [one for one in seconds if one is not None]
        self.judge = JudgeVerdicts(
            _judge_name(judge),
            pl.concat(verdicts),
            bias,
            unanswered,
            sum(known) if len(known) == len(seconds) else None,
        )
        return self.judge

    # --- what came of it ----------------------------------------------------------------------------------------------

    def rates(self) -> list[Rate]:
        """Of each question, how often the first side was preferred, by all people together."""
        return rates(self.answers())

    def rates_by(self, verdicts: pl.DataFrame) -> dict[str, dict[str, list[Rate]]]:
        """Name -> stratum -> the rates of each question; names with one stratum only are left out."""
        found = {name: rates_by(verdicts, self.strata, name) for name in self.strata.columns[len(PAIR) :]}
        return {name: parts for name, parts in found.items() if len(parts) > 1}

    def agreements(self) -> list[Agreement]:
        """Of the judge with people, and of every two people."""
        answers = self.answers()
        people = agreements_of_people(answers)
        if self.judge is None or answers.is_empty():
            return people
        return [*agreements(answers, self.judge.verdicts, ("people", self.judge.name)), *people]

    def costs(self, person_hour: float | None = None, judge_hour: float | None = None) -> list[dict[str, Any]]:
        """Of people and the judge: `who`, `answers`, `seconds_per_1000` (working seconds; None where nothing tells), and
        `money_per_1000` at a price of an hour of one of them (of a person, of the judge's machine); None for no price.
        """
        answers = self.answers()
        rows = [("people", answers.height, seconds_an_answer(answers), person_hour)]
        if self.judge is not None:
            rows.append((self.judge.name, self.judge.verdicts.height, self.judge.seconds_an_answer, judge_hour))
        return [
            {
                "who": who,
                "answers": count,
                "seconds_per_1000": None if seconds is None else round(1000 * seconds, 1),
                "money_per_1000": None if seconds is None or hour is None else round(1000 * seconds * hour / 3600, 4),
            }
            for who, count, seconds, hour in rows
        ]

    def lines(self, person_hour: float | None = None, judge_hour: float | None = None) -> Iterator[str]:
        """The win rates for a terminal."""
        answers = self.answers()
        people = answers["annotator"].n_unique()
        yield f"A is {self.sides['a'].name}, B is {self.sides['b'].name}"
        yield f"{self.common:,} images in common, {self.same:,} with the same caption; {self.pairs.height:,} pairs drawn"
        yield f"{answers.height:,} answers of {people:,} {'person' if people == 1 else 'people'}"
        voices = [("people", answers)]
        if self.judge is not None:
            voices.append((self.judge.name, self.judge.verdicts))
        for who, verdicts in voices:
            for rate in rates(verdicts):
                yield f"{who}: {_line(rate)}"
            for name, parts in self.rates_by(verdicts).items() if verdicts.height else ():
                for stratum, found in parts.items():
                    for rate in found:
                        if rate.a + rate.b + rate.tie:
                            yield f"  {name} {stratum}: {_line(rate)}"
        if self.judge is not None:
            told = ", ".join(f"{QUESTIONS[question]} {bias:.2f}" for question, bias in self.judge.order_bias.items())
            yield f"order bias of {self.judge.name} (0 none, 1 the order alone decides): {told or 'nothing was answered'}"
        for one in self.agreements():
            share = "-" if one.agreement is None else f"{one.agreement:.0%}"
            kappa = "-" if one.kappa is None else f"{one.kappa:.2f}"
            yield (
                f"{one.first} and {one.second} agree: {QUESTIONS[one.question]} {share} of {one.both - one.tied:,} that both decided, "
                f"kappa {kappa}; {one.tied:,} ties of either"
            )
        for cost in self.costs(person_hour, judge_hour):
            if cost["seconds_per_1000"] is not None:
                money = "" if cost["money_per_1000"] is None else f", {cost['money_per_1000']:,.2f} in money"
                yield f"1,000 answers of {cost['who']}: {cost['seconds_per_1000']:,.0f} s{money}"

    def summary(self, person_hour: float | None = None, judge_hour: float | None = None) -> dict[str, Any]:
        """As JSON data."""
        answers = self.answers()
        found: dict[str, Any] = {
            "a": self.sides["a"].name, "b": self.sides["b"].name, "common": self.common, "same": self.same,
            "pairs": self.pairs.height, "confidence": CONFIDENCE, "people": answers["annotator"].n_unique(),
            "questions": [rate.as_json() for rate in rates(answers)], "by": _strata_json(self.rates_by(answers)),
            "agreements": [one.as_json() for one in self.agreements()], "costs": self.costs(person_hour, judge_hour),
        }  # fmt: skip
        if self.judge is not None:
            found["judge"] = {
                "name": self.judge.name,
                "questions": [rate.as_json() for rate in rates(self.judge.verdicts)],
                "by": _strata_json(self.rates_by(self.judge.verdicts)),
                "order_bias": dict(self.judge.order_bias),
                "unanswered": self.judge.unanswered,
                "seconds": self.judge.seconds,
            }
        return found


def _line(rate: Rate) -> str:
    counts = f"A {rate.a:,}, B {rate.b:,}, tie {rate.tie:,}"
    if rate.share is None:
        return f"{QUESTIONS[rate.question]} {counts}"
    return f"{QUESTIONS[rate.question]} {counts}: A in {rate.words} of those that are no tie"


def _strata_json(found: Mapping[str, Mapping[str, list[Rate]]]) -> dict[str, Any]:
    return {
        name: {stratum: [rate.as_json() for rate in part] for stratum, part in parts.items()}
        for name, parts in found.items()
    }


def _judge_name(judge: str | Mapping[str, Any]) -> str:
    """Without an address or a directory of this machine."""
    name = judge if isinstance(judge, str) else str(judge.get("name") or judge.get("model") or "judge")
    return name.rstrip("/").rsplit("/", 1)[-1] if name.startswith(("/", ".", "~")) else name


def _digest(first: str, second: str) -> str:
    return hashlib.sha256(f"{first}\x1f{second}".encode()).hexdigest()[:16]


def _place(name: str) -> str:
    """A side by where it lies, so that runs/first, runs/first/ and its whole path are one; other names as they are."""
    url, mark, part = name.partition("#")
    return f"{Path(url).resolve()}{mark}{part}" if "://" not in url and Path(url).exists() else name
