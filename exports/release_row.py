"""What goes into a release: one row per image, and the batches of rows that travel through the build."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from exports.columns import CAPTION_FIELDS, rest_schema
from exports.placeholder import neutral

if TYPE_CHECKING:
    import polars as pl

LICENCE_FIELDS: Final = ("license", "licence", "source_license", "image_license")
"""Fields of a source that name the licence of an image, as people write it."""
QUESTION: Final = "Describe the image."
"""Asked for a caption that comes without a question."""
BATCH_ROWS: Final = 512
BATCH_BYTES: Final = 16_000_000


@dataclass(frozen=True, slots=True)
class Turn:
    """A question about the image and its answer; `view` is what the answer comes from."""

    question: str
    answer: str
    view: str


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """One image of a release with its captions."""

    id: str
    image: bytes | None  # original bytes; None in a set of captions without images
    file_name: str | None  # suggests a format to readers; never a path of the machine
    caption: str  # the chosen one
    view: str  # its view
    original: str | None
    fields: dict[str, Any]  # what the source says beside: url, license, ...
    sha256: str | None
    width: int | None  # of the source image, pixels as stored
    height: int | None
    scores: dict[str, float | None]  # of the chosen caption, by filter
    captions: list[dict[str, Any]]  # all views and candidates, with lineage (CAPTION_FIELDS)
    source: str | None = None  # where in the source it is, for example 'webdataset:00012.tar'
    turns: tuple[
        Turn, ...
    ] = ()  # the conversation for training; () means the prompt of the caption (or QUESTION) and it
    keep: bool = True
    drop_reason: str | None = None


@dataclass(slots=True)
class RowBatch:
    """Rows on their way into shards: the images beside a frame of everything else, in the same order.

    Images stay Python bytes until their row group is written, so they are copied once.
    `rest` has the columns of the default config but `image`, and `file_name`.
    """

    images: list[bytes | None]
    rest: pl.DataFrame

    @property
    def sizes(self) -> list[int]:
        """Bytes of each image, 0 without one."""
        return [len(image) if image else 0 for image in self.images]


def batches(rows: Iterable[ReleaseRow | RowBatch], filters: Iterable[str]) -> Iterator[RowBatch]:
    """Rows put together to batches; batches pass."""
    names = list(filters)
    waiting: list[ReleaseRow] = []
    size = 0
    for row in rows:
        if isinstance(row, RowBatch):
            yield row
            continue
        waiting.append(row)
        size += len(row.image or b"")
        if len(waiting) == BATCH_ROWS or size >= BATCH_BYTES:
            yield _batch(waiting, names)
            waiting, size = [], 0
    if waiting:
        yield _batch(waiting, names)


def _batch(rows: list[ReleaseRow], filters: list[str]) -> RowBatch:
    import polars as pl

    schema = rest_schema(filters)
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    for row in rows:
        record = {
            "id": row.id,
            "file_name": row.file_name,
            "caption": neutral(row.caption),
            "view": row.view,
            "original": row.original,
            "source": row.source,
            "source_fields": source_fields(row.fields),
            "license": licence_of(row.fields),
            "sha256": row.sha256,
            "bytes": None if row.image is None else len(row.image),
            "width": row.width,
            "height": row.height,
            "keep": row.keep,
            "drop_reason": row.drop_reason,
            "turns": [
                {"question": neutral(turn.question), "answer": neutral(turn.answer), "view": turn.view}
                for turn in row.turns or (_only_turn(row),)
            ],
            "captions": [_caption(one, filters) for one in row.captions],
            **{f"score_{name}": row.scores.get(name) for name in filters},
        }
        for name, values in columns.items():
            values.append(record[name])
    frame = pl.DataFrame([pl.Series(name, values, schema[name]) for name, values in columns.items()])
    return RowBatch([row.image for row in rows], frame)


def _only_turn(row: ReleaseRow) -> Turn:
    """The caption as the answer to the prompt it was made with; to QUESTION where that is not known."""
    own = (one for one in row.captions if one.get("view") == row.view and one.get("text") == row.caption)
    prompt = next((one.get("prompt") for one in own), None)
    return Turn(prompt if prompt and prompt.strip() else QUESTION, row.caption, row.view)


def _caption(caption: dict[str, Any], filters: list[str]) -> dict[str, Any]:
    return {name: caption.get(name) for name in (*CAPTION_FIELDS, *(f"score_{name}" for name in filters))}


def source_fields(fields: dict[str, Any]) -> str | None:
    """The fields of the source as JSON; None where there are none."""
    return json.dumps(fields, sort_keys=True, default=str) if fields else None


def texts_of_fields(fields: str | None) -> list[str]:
    """Every text and whole number in `source_fields`, at whatever depth; the text itself where it is no JSON."""
    if not fields:
        return []
    try:
        pending = [json.loads(fields)]
    except (ValueError, RecursionError):
        return [fields]
    found = []
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif value is not None and not isinstance(value, bool | float):
            found.append(str(value))
    return found


def licence_of(fields: dict[str, Any]) -> str | None:
    """What the source's fields say about the licence of an image."""
    found = (value for name, value in fields.items() if name.lower() in LICENCE_FIELDS)
    return next((value for value in found if isinstance(value, str) and value), None)
