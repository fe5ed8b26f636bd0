"""What the answers of a judge, and the captions beside one, are to a filter that asks."""

from __future__ import annotations

from typing import Final

import polars as pl

from factory.runs.tables import CAPTION_KEY
from filters.contract.answers import ANSWER

ANSWER_FIELDS: Final = [field.name for field in ANSWER.fields]


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
