"""The column in which filters that ask a vision-language model get its answers."""

from typing import Final, TypedDict

import polars as pl

ANSWER: Final = pl.Struct(
    {
        "question": pl.String(),  # Question.id
        "values": pl.List(pl.Float64()),  # of a choice: the probability of each allowed answer; of a text: see Question
        "ends": pl.List(pl.UInt32()),  # of a text: where each token ends in it, in characters; empty for a choice
        "elsewhere": pl.Float64(),  # of a choice: the probability of everything that is not allowed
        "said": pl.String(),  # of an open question: the model's words; null for the others
        "problem": pl.String(),  # why there is no answer; null where there is one
    }
)


class AnswerRow(TypedDict):
    """A row of ANSWER as Python has it."""

    question: str
    values: list[float] | None
    ends: list[int] | None
    elsewhere: float | None
    said: str | None
    problem: str | None


def values_of(answer: AnswerRow) -> list[float]:
    """The values of an answer that has no problem."""
    assert answer["values"] is not None, answer["problem"]
    return answer["values"]


ANSWERS: Final = pl.List(ANSWER)
"""The type of the column `answers`: of each question that was asked about the image, one answer."""
