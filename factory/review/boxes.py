"""Boxes on pictures: those that a caption writes, those that experts found, and on the demo world those of the truth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from factory.recipe import DemoSource
from factory.review.caption_index import CaptionIndex

GRID: Final = 999
"""Grounded captions count from 0 to this, from the top left corner."""
MOST: Final = 60
"""Boxes on one picture."""
CAPTION, TRUTH = "caption", "truth"
_EXPERTS: Final = "experts"
_NUMBER: Final = r"\s*(\d{1,4})\s*"
_FOUR: Final = re.compile(
    rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]|\({_NUMBER},{_NUMBER}\)\s*,\s*\({_NUMBER},{_NUMBER}\)"
)
"""[xmin,ymin,xmax,ymax], or (xmin,ymin),(xmax,ymax)."""
_MARK: Final = re.compile(r"</?[a-z_]+>|<\|[a-z_]+\|>", re.IGNORECASE)
_NAME_WORDS: Final = 4
_JOINING: Final = frozenset(
    ["a", "an", "the", "and", "or", "with", "is", "are", "there", "of", "in", "on", "at", "to", "by"]
)
"""Words that lead to a name and are none of it."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in shares of the picture's width and height, [0, 1], left < right and top < bottom. `by`: caption, truth, or an
    expert's name. `name` is untrusted.
    """

    left: float
    top: float
    right: float
    bottom: float
    name: str
    by: str

    @property
    def kind(self) -> str:
        """Of its colour: caption, truth or expert."""
        return self.by if self.by in (CAPTION, TRUTH) else "expert"


def boxes_in(text: str) -> tuple[Box, ...]:
    """The boxes that a caption writes, each named by the words before it. What is no box (a corner beyond the grid or before the other)
    is left out.
    """
    found: list[Box] = []
    last = 0
    for match in _FOUR.finditer(text):
        left, top, right, bottom = (int(number) for number in match.groups() if number is not None)
        name = _words_before(text[last : match.start()])
        last = match.end()
        if left < right <= GRID + 1 and top < bottom <= GRID + 1 and len(found) < MOST:
            edges = [min(1.0, edge / GRID) for edge in (left, top, right, bottom)]
            found.append(Box(edges[0], edges[1], edges[2], edges[3], name, CAPTION))
    return tuple(found)


def _words_before(text: str) -> str:
    clause = re.split(r"[.;:!?\n\[\](){}]", _MARK.sub(" ", text).rstrip(" ,([{"))[-1]
    words = clause.replace(",", " ").split()[-_NAME_WORDS:]
    joining = [place for place, word in enumerate(words[:-1]) if word.lower() in _JOINING]
    words = words[joining[-1] + 1 :] if joining else words
    return " ".join(words)


def known_boxes(index: CaptionIndex, key: str, digests: Sequence[str]) -> tuple[Box, ...]:
    """The boxes that the run knows of an image besides its captions: of experts (by the hash of its bytes), and of the truth."""
    found = [*_of_experts(index, key, digests), *_of_truth(index, key)]
    return tuple(found[:MOST])


def _of_experts(index: CaptionIndex, key: str, digests: Sequence[str]) -> list[Box]:
    storage = index.run.storage
    if not storage.exists(_EXPERTS):
        return []
    found: list[Box] = []
    for expert in storage.child(_EXPERTS).directories():
        paths = [f"{_EXPERTS}/{expert}/{name}" for name in storage.names(f"{_EXPERTS}/{expert}", ".parquet")]
        if not paths:
            continue
        rows = storage.scan(paths)
        schema = rows.collect_schema()
        if not {"findings", "image_key", "image_sha256", "created_ms"} <= set(schema):
            continue
        here = (pl.col("image_key") == key) | pl.col("image_sha256").is_in(list(digests))
        newest = rows.filter(here).sort("created_ms").tail(1).select("findings").collect()
        for finding in (newest["findings"].to_list() or [None])[0] or []:
            found += _of_finding(finding, expert)
    return found


def _of_finding(finding: dict[str, Any], expert: str) -> list[Box]:
    edges = finding.get("box") or []
    if len(edges) != 4:
        return []
    left, top, right, bottom = (min(1.0, max(0.0, float(edge))) for edge in edges)
    sure = finding.get("confidence")
    name = str(finding.get("text") or "")[:60] + ("" if sure is None else f" {sure:.2f}")
    return [Box(left, top, right, bottom, name, expert)] if left < right and top < bottom else []


def _of_truth(index: CaptionIndex, key: str) -> list[Box]:
    source = index.work.recipe.source
    if not isinstance(source, DemoSource):
        return []
    from factory.demo.truth import true_boxes

    try:
        return [Box(*edges, name, TRUTH) for name, edges in true_boxes(key, source.seed)]
    except ValueError:  # not the key of a scene
        return []
