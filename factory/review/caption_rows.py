"""Whole captions for a page: the few rows that the index found, with text, lineage, scores and what is said of sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from factory.errors import FactoryError
from factory.recipe import DemoSource
from factory.review.boxes import Box, boxes_in
from factory.review.caption_index import CaptionIndex
from factory.runs.tables import CAPTION_KEY, CUT_CANDIDATES, EDIT_CANDIDATES, PERSON
from factory.work.fusions import fusion_lineage
from factory.work.scorer import Scorer
from filters.asking.questions import VlmFilter
from filters.wording.sentences import sentences

COLUMNS = [
    "shard", *CAPTION_KEY, "rung", "cut_from", "fingerprint", "status", "text", "detail", "finish_reason", "prompt",
    "model", "model_revision", "lora", "output_tokens", "mean_logprob", "width", "height", "image_sha256", "parents", "unfused",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a caption: a sentence, or what stands between two. `score` is the least of the filters that judge it, in
    [0, 1]; `right` what the demo world's truth says.
    """

    text: str  # untrusted
    score: float | None = None
    said: str = ""  # filters, scores and the judge's question; untrusted
    right: bool | None = None
    claims: tuple[tuple[str, float | None, str], ...] = ()  # statement, score and filter of each claim in it; untrusted


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption as a page shows it. Texts and keys are untrusted."""

    shard: str
    image_key: str
    view: str
    candidate: int
    fingerprint: str
    status: str
    text: str
    kept: bool | None
    reason: str | None
    decision: str | None
    scores: tuple[tuple[str, float | None], ...]
    lineage: str
    prompt: str
    model: str
    pieces: tuple[Piece, ...] = ()
    boxes: tuple[Box, ...] = ()  # that its text writes
    sides: tuple[int, int] | None = None  # pixels of the picture that the model saw: its shape
    digest: str = ""  # of the image's bytes

    @property
    def is_edit(self) -> bool:
        """Whether a person wrote it."""
        return self.candidate >= EDIT_CANDIDATES


def captions_of(index: CaptionIndex, places: pl.DataFrame, by_sentence: bool = False) -> list[Caption]:
    """The captions of rows of the index, in their order. `by_sentence`: with what filters and the truth say of sentences."""
    names = index.part_names()
    storage = index.run.storage
    stretches = _stretches(list(places.select("part", "row").iter_rows()))
    columns = {part: _there(index, names[part]) for part, _, _ in stretches}
    lazy = [
        storage.scan([f"captions/{names[part]}.parquet"]).slice(row, count).select(columns[part])
        for part, row, count in stretches
    ]
    found = [row for frame in pl.collect_all(lazy) for row in frame.iter_rows(named=True)]
    captions = []
    for known, read in zip(places.iter_rows(named=True), found, strict=True):
        row = dict.fromkeys(COLUMNS) | read
        pieces = _pieces(index, names[known["part"]], known["row"], row) if by_sentence else ()
        captions.append(_caption(index, known, row, pieces))
    return captions


def _stretches(places: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(part, first row, rows): places that follow each other in a part are read together."""
    found: list[tuple[int, int, int]] = []
    for part, row in places:
        if found and found[-1][0] == part and sum(found[-1][1:]) == row:
            found[-1] = (part, found[-1][1], found[-1][2] + 1)
        else:
            found.append((part, row, 1))
    return found


def _there(index: CaptionIndex, part: str) -> list[str]:
    """The columns that a part has: one of an older version may lack some."""
    schema = index.run.storage.scan([f"captions/{part}.parquet"]).collect_schema()
    return [name for name in COLUMNS if name in schema]


def _caption(index: CaptionIndex, known: dict[str, Any], row: dict[str, Any], pieces: tuple[Piece, ...]) -> Caption:
    return Caption(
        shard=row["shard"],
        image_key=row["image_key"],
        view=row["view"],
        candidate=row["candidate"],
        fingerprint=row["fingerprint"],
        status=row["status"],
        text=row["text"] if row["text"] is not None else row["detail"] or "",
        kept=known["kept"],
        reason=known["reason"],
        decision=known["decision"],
        scores=tuple((name, known[f"score_{name}"]) for name in index.filters),
        lineage=lineage(row),
        prompt=row["prompt"] or "",
        model=_model(row),
        pieces=pieces,
        boxes=boxes_in(row["text"] or ""),
        sides=(row["width"], row["height"]) if row["width"] and row["height"] else None,
        digest=row["image_sha256"] or "",
    )


def lineage(row: dict[str, Any]) -> str:
    """What it was made from, in words."""
    if row["candidate"] >= EDIT_CANDIDATES:
        return f"edited by a person from number {row['cut_from']}"
    words = fusion_lineage(row) or (f"try {row['rung'] + 1}" if row["rung"] else "")
    if row["candidate"] >= CUT_CANDIDATES:
        words += f"{', ' if words else ''}cut from number {row['cut_from']}"
    return words


def _model(row: dict[str, Any]) -> str:
    """The last part of the model's name: a directory of this machine is no business of a page."""
    if row["model"] == PERSON:
        return "a person"
    name = (row["model"] or "").rstrip("/")
    is_path = name.startswith(("/", ".", "~")) or "://" in name
    adapter = (row["lora"] or "").rstrip("/").rsplit("/", 1)[-1]
    return (name.rsplit("/", 1)[-1] if is_path else name) + (f" + {adapter}" if adapter else "")


# --- sentences ---------------------------------------------------------------------------------------------------------


def _pieces(index: CaptionIndex, part: str, place: int, row: dict[str, Any]) -> tuple[Piece, ...]:
    text = row["text"]
    if not text:
        return ()
    found = sentences(text)
    judged = [(scorer, _judged(index, scorer, part, place, row)) for scorer in index.work.scorers]
    truth = _truth(index, row["image_key"], [one.text for one in found])
    pieces: list[Piece] = []
    last = 0
    for one, right in zip(found, truth, strict=True):
        if one.start > last:
            pieces.append(Piece(text[last : one.start]))
        score, said = _said(judged, one.start, one.text)
        pieces.append(Piece(text[one.start : one.end], score, said, right, _claims(judged, one.start)))
        last = one.end
    if last < len(text):
        pieces.append(Piece(text[last:]))
    return tuple(pieces)


def _said(judged: list[tuple[Scorer, dict[str, Any]]], start: int, sentence: str) -> tuple[float | None, str]:
    """The least score of a sentence, and all that is said of it."""
    least: float | None = None
    lines = []
    for scorer, row in judged:
        for one in row.get("sentences") or ():
            if one["start"] != start or one["score"] is None:
                continue
            line = f"{scorer.name} {one['score']:.2f}"
            if isinstance(scorer.filter, VlmFilter):
                asked = scorer.filter.asked_of(sentence, _claims_of(row.get("claims") or [], start))
                line += f": {asked}" if asked else ""
            lines.append(line)
            least = one["score"] if least is None else min(least, one["score"])
    return least, "\n".join(lines)


def _claims(judged: list[tuple[Scorer, dict[str, Any]]], start: int) -> tuple[tuple[str, float | None, str], ...]:
    """What a sentence claims, least likely first; what was not asked, as what it hangs on failed, has no score of its own."""
    found = [
        (str(claim["statement"]), claim["score"], scorer.name)
        for scorer, row in judged
        for claim in row.get("claims") or ()
        if claim["start"] == start
    ]
    return tuple(sorted(found, key=lambda claim: (claim[1] is None, claim[1] or 0.0)))


def _claims_of(claims: list[dict[str, Any]], start: int) -> list[dict[str, Any]]:
    """The claims of a sentence, and below those that were skipped the ones that failed them."""
    found = [claim for claim in claims if claim["start"] == start]
    for claim in found:  # grows as it goes
        if claim["state"] == "skipped":
            found += [claims[parent] for parent in claim["parents"] if claims[parent] not in found]
    return found


def _judged(index: CaptionIndex, scorer: Scorer, part: str, place: int, row: dict[str, Any]) -> dict[str, Any]:
    """The row of a filter's scores about a caption, where it judges sentences."""
    file = f"scores/{scorer.name}/{part}.{scorer.fingerprint}.parquet"
    if not scorer.filter.judges_sentences or not index.run.storage.exists(file):
        return {}
    scan = index.run.storage.scan([file])
    columns = [name for name in ("sentences", "claims") if name in scan.collect_schema()]
    if "sentences" not in columns:
        return {}
    keys = [*CAPTION_KEY, "caption_fingerprint"]
    wanted = (*(row[name] for name in CAPTION_KEY), row["fingerprint"])
    here = scan.slice(place, 1).select(*keys, *columns).collect()
    if here.height and here.select(keys).row(0) == wanted:  # mostly a score part has the rows of its caption part
        return here.row(0, named=True)
    same = [pl.col(name) == value for name, value in zip(keys, wanted, strict=True)]
    found = scan.filter(same).select(columns).head(1).collect()
    return found.row(0, named=True) if found.height else {}


def _truth(index: CaptionIndex, key: str, texts: list[str]) -> list[bool | None]:
    source = index.work.recipe.source
    if not isinstance(source, DemoSource) or not texts:
        return [None] * len(texts)
    from factory.demo.truth import judge_captions

    try:
        return [verdict.correct for verdict in judge_captions(texts, [key] * len(texts), source.seed)]
    except (ValueError, FactoryError):  # not the key of a scene
        return [None] * len(texts)
