"""Cutting unsupported sentences out of captions: the rest is a candidate of its own, with its lineage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from factory.repair.faithful import FAITHFUL, Judgement
from factory.runs import tables
from factory.runs.clock import now_ms
from factory.runs.done_set import DoneSet
from factory.runs.run import new_part_name
from factory.runs.tables import CAPTION_KEY, CUT_CANDIDATES, Status
from factory.work.fingerprint import cut_fingerprint
from factory.work.work import Work
from filters.wording.sentences import Sentence, sentences


def cut_part(work: Work, part: str, judgement: Judgement, wanted: DoneSet, done: DoneSet) -> int:
    """Cut the captions of one part whose (image, view) is in `wanted` and that are not in `done`. Returns how many were made.

    A caption is left as it is where a sentence was not judged, where all of them are supported, or none.
    """
    rows = work.part(part).filter(
        pl.col("candidate") < CUT_CANDIDATES,
        pl.col("status") != Status.failed,
        pl.col("text").is_not_null(),
    )
    captions = rows.collect()
    captions = captions.filter(wanted.contains(captions.select("image_key", "view", fingerprint=pl.lit(""))))
    if captions.is_empty():
        return 0
    judged = judgement.sentences(work, part, captions)
    keys = [*CAPTION_KEY, "fingerprint"]
    scores = {
        tuple(key): dict(zip(starts, found, strict=True))
        for *key, starts, found in judged.group_by(keys).agg("start", FAITHFUL).iter_rows()
    }
    made = []
    for row in captions.iter_rows(named=True):
        cut = _cut(row, scores.get(tuple(row[name] for name in keys), {}), judgement.least, work.cut_by or "")
        if cut is not None:
            made.append(cut)
    frame = pl.DataFrame(made, schema=tables.CAPTIONS, orient="row").unique(
        CAPTION_KEY, keep="first", maintain_order=True
    )
    candidate = pl.col("candidate").cast(pl.String)
    names = frame.select("image_key", pl.concat_str("view", candidate, separator="\x1f").alias("view"), "fingerprint")
    frame = frame.filter(~pl.Series(done.contains(names), dtype=pl.Boolean))
    if frame.is_empty():
        return 0
    into = new_part_name()
    _copy_answers(work, part, into, frame["image_key"].unique().to_list())
    work.run.append("captions", frame, into)
    return frame.height


def _cut(row: dict[str, Any], scores: dict[int, float | None], least: float, by: str) -> dict[str, Any] | None:
    found = sentences(row["text"])
    if any(scores.get(one.start) is None for one in found):
        return None
    kept = [one for one in found if (scores[one.start] or 0.0) >= least]
    if not kept or len(kept) == len(found):
        return None
    text, places = without_the_rest(row["text"], found, kept)
    logprobs = _logprobs(row["sentence_logprobs"], kept, places)
    complete = kept[-1].start == found[-1].start
    return {
        **row,
        "text": text,
        "candidate": row["candidate"] + CUT_CANDIDATES,
        "cut_from": row["candidate"],
        "fingerprint": cut_fingerprint(row["fingerprint"], by),
        # A caption that was cut off in its last sentence is complete without it.
        "status": row["status"] if complete else Status.ok,
        "finish_reason": row["finish_reason"] if complete else "stop",
        "output_tokens": None,
        "sentence_logprobs": logprobs,
        "mean_logprob": _mean(logprobs),
        "min_logprob": min((one["min"] for one in logprobs), default=None) if logprobs else None,
        "created_ms": now_ms(),
    }


def without_the_rest(text: str, found: Sequence[Sentence], kept: Sequence[Sentence]) -> tuple[str, list[int]]:
    """The text with these of its sentences alone, the white space after each as it was, and where each begins in it."""
    ends = [*(one.start for one in found[1:]), len(text)]
    spans = {one.start: text[one.start : end] for one, end in zip(found, ends, strict=True)}
    pieces = [spans[one.start] for one in kept]
    places, length = [], 0
    for piece in pieces:
        places.append(length)
        length += len(piece)
    return "".join(pieces).rstrip(), places


def _logprobs(
    values: list[dict[str, Any]] | None, kept: Sequence[Sentence], places: Sequence[int]
) -> list[dict[str, Any]] | None:
    if values is None:
        return None
    by_start = {one["start"]: one for one in values}
    return [
        {**by_start[one.start], "start": place, "end": place + one.end - one.start}
        for one, place in zip(kept, places, strict=True)
        if one.start in by_start
    ]


def _mean(logprobs: list[dict[str, Any]] | None) -> float | None:
    tokens = sum(one["tokens"] or 0 for one in logprobs or ())
    return sum(one["mean"] * one["tokens"] for one in logprobs or ()) / tokens if tokens else None


def _copy_answers(work: Work, part: str, into: str, keys: list[str]) -> None:
    """What judges said about the sentences of these images holds for the cut captions too."""
    fingerprints = {judge.fingerprint for scorer in work.scorers for judge in scorer.judges.values()}
    for fingerprint in fingerprints:
        answers = work.run.answers(fingerprint, part).filter(
            pl.col("image_key").is_in(keys), pl.col("control").is_null()
        )
        if answers.height:
            work.run.append(f"answers/{fingerprint}", answers, f"{into}.made")
