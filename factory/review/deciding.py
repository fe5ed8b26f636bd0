"""Decisions of people on captions: accept, reject, and a text written anew. Nothing is written over."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from factory.errors import RunError
from factory.review.caption_index import CaptionIndex
from factory.review.caption_rows import Caption, captions_of
from factory.runs import tables
from factory.runs.by_people import DECISION_TABLE
from factory.runs.clock import now_ms
from factory.runs.growing_part import GrowingPart
from factory.runs.run import Run
from factory.runs.tables import DECISIONS, EDIT_CANDIDATES, PERSON, Status
from factory.runs.writer_lock import RunLock

MOST_CHARACTERS = 40_000
MOST_EDITS = 10_000
"""Of one image and view: candidate numbers are 16 bits wide."""


@dataclass(frozen=True, slots=True)
class CaptionName:
    """What names a caption of a run."""

    image_key: str
    view: str
    candidate: int
    fingerprint: str


class Deciding:
    """Writes decisions into a run. Refused while another process writes to it."""

    def __init__(self, index: CaptionIndex) -> None:
        self.index = index
        self._table = GrowingPart(index.run, DECISION_TABLE, DECISIONS)

    def decide(self, name: CaptionName, decision: str, annotator: str) -> None:
        """Write `accepted`, `rejected` or `undone` about a caption.

        Raises RunError where there is no such caption, it has no text to accept, or the run is being written.
        """
        caption = self._caption(name)
        if decision == "accepted" and caption.status == Status.failed:
            raise RunError("a failed caption has no text to accept; run the recipe again, which retries it")
        with RunLock(self.index.run):
            self._table.append([self._row(caption, decision, annotator)])
        self.index.look_again()

    def edit(self, name: CaptionName, text: str, annotator: str) -> int:
        """Write a text as a new candidate made from a caption, and accept it. Returns the candidate's number.

        Raises RunError where there is no such caption, it failed, the text is empty, too long or unchanged, or the run is
        being written.
        """
        text = text.replace("\r\n", "\n").strip()
        if not text or len(text) > MOST_CHARACTERS:
            raise RunError(f"a caption has between 1 and {MOST_CHARACTERS:,} characters; this has {len(text):,}")
        run = self.index.run
        with RunLock(run):
            caption = self._caption(name)
            if caption.status == Status.failed:
                raise RunError("a failed caption cannot be edited; run the recipe again, which retries it")
            if caption.text == text:
                raise RunError("the text is as it was; accept the caption instead")
            row = _whole_row(run, caption)
            candidate = _next_edit(run, caption)
            run.append("captions", _edited(row, caption, text, candidate))
            edit = CaptionName(caption.image_key, caption.view, candidate, caption.fingerprint)
            self._table.append([{**self._row(caption, "accepted", annotator), "candidate": edit.candidate}])
        self.index.look_again()
        return candidate

    def _row(self, caption: Caption, decision: str, annotator: str) -> dict[str, object]:
        return {
            "image_key": caption.image_key,
            "shard": caption.shard,
            "view": caption.view,
            "candidate": caption.candidate,
            "fingerprint": caption.fingerprint,
            "decision": decision,
            "annotator": annotator,
        }

    def _caption(self, name: CaptionName) -> Caption:
        places = self.index.of_image(name.image_key).filter(pl.col("candidate") == name.candidate)
        for caption in captions_of(self.index, places):
            if (caption.image_key, caption.view, caption.fingerprint) == (name.image_key, name.view, name.fingerprint):
                return caption
        raise RunError("the run has no such caption any more; load the page again")


def _whole_row(run: Run, caption: Caption) -> pl.DataFrame:
    """All columns of a caption."""
    rows = run.scan("captions", tables.CAPTIONS).filter(
        pl.col("image_key") == caption.image_key, pl.col("shard") == caption.shard, pl.col("view") == caption.view,
        pl.col("candidate") == caption.candidate, pl.col("fingerprint") == caption.fingerprint,
        pl.col("status") == caption.status,
    )  # fmt: skip
    return rows.head(1).collect()


def _next_edit(run: Run, caption: Caption) -> int:
    same = (pl.col("image_key") == caption.image_key) & (pl.col("view") == caption.view)
    there = run.scan("captions", tables.CAPTIONS).filter(same, pl.col("candidate") >= EDIT_CANDIDATES)
    last = there.select(pl.col("candidate").max()).collect().item()
    number = EDIT_CANDIDATES if last is None else int(last) + 1
    if number >= EDIT_CANDIDATES + MOST_EDITS:
        raise RunError(f"this image has {MOST_EDITS:,} edited captions, which is all that fit")
    return number


def _edited(row: pl.DataFrame, caption: Caption, text: str, candidate: int) -> pl.DataFrame:
    """The row of the new candidate: the fingerprint of what it was made from, so that it counts as long as that does."""
    none = ("rung", "stop_reason", "output_tokens", "mean_logprob", "min_logprob", "sentence_logprobs",
            "seed", "model_revision", "lora", "template_sha256", "prompt_tokens", "max_tokens", "reason", "detail")  # fmt: skip
    changed = {
        "text": text,
        "candidate": candidate,
        "cut_from": caption.candidate,
        "status": Status.ok,
        "finish_reason": "stop",  # complete, as whoever wrote it means it
        "model": PERSON,
        "engine": PERSON,
        "created_ms": now_ms(),
    }
    columns = [pl.lit(None, tables.CAPTIONS[name]).alias(name) for name in none]
    columns += [pl.lit(value, tables.CAPTIONS[name]).alias(name) for name, value in changed.items()]
    return row.with_columns(columns).select(list(tables.CAPTIONS))
