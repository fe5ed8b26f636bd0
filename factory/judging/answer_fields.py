"""Answers of a judge as rows of tables.ANSWERS, and what they, and the captions beside one, are to a filter that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from factory.runs.clock import now_ms
from factory.runs.tables import CAPTION_KEY
from filters.contract.answers import ANSWER, AnswerRow

if TYPE_CHECKING:
    from filters.asking.questions import Question

ANSWER_FIELDS: Final = [field.name for field in ANSWER.fields]


class AskedRow(AnswerRow):
    """A row of tables.ANSWERS as Python has it."""

    image_key: str
    asked: str
    filter: str | None
    allowed: list[str]
    control: str | None
    created_ms: int


def asked_row(image_key: str, question: Question, problem: str | None = None, control: str | None = None) -> AskedRow:
    """The row of a question without an answer so far, or for ever where there is a problem (500 characters of it are kept)."""
    return {
        "image_key": image_key,
        "question": question.id,
        "asked": question.text,
        "filter": question.asked_by or None,
        "allowed": list(question.allowed),
        "control": control,
        "values": None,
        "ends": None,
        "elsewhere": None,
        "said": None,
        "problem": None if problem is None else problem[:500],
        "created_ms": now_ms(),
    }


def others_of(captions: pl.DataFrame) -> pl.Series:
    """The texts of the other captions of each one's image, view and fingerprint, by candidate: the column `others`."""
    groups: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    rows = captions.select(*CAPTION_KEY, "fingerprint", "text").rows()
    for image, view, candidate, fingerprint, text in rows:
        if text is not None:
            groups.setdefault((image, view, fingerprint), []).append((candidate, text))
    found = [
        [text for number, text in sorted(groups.get((image, view, fingerprint), ())) if number != candidate]
        for image, view, candidate, fingerprint, _ in rows
    ]
    return pl.Series("others", found, pl.List(pl.String))
