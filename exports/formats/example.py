"""The rows of a release as every format needs them: an image, a question, a caption."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exports.formats.image_kind import extension
from exports.pairs import rejected_text
from exports.placeholder import neutral
from exports.release import ReleaseError
from exports.release_row import QUESTION

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 16
BUFFER_BYTES = 1 << 20
ORIGINAL = "original"  # the view that is the source's own text
_PLAIN_KEY = re.compile(r"[a-z0-9_][a-z0-9_-]{0,79}")
_HASHED_KEY = re.compile(r".*-[0-9a-f]{20}")


@dataclass(frozen=True)
class Options:
    """What may be chosen about an export."""

    view: str | None = None  # take this view's kept caption ('original': the source's text); None: the release's choice
    prompts: tuple[str, ...] = ()  # ask one of these, drawn per image, instead of the caption's own prompt
    seed: int = 0  # of that draw
    shard_mb: int = 500  # about how large a Parquet file, tar or text file becomes
    rejected_by: tuple[str, ...] = ()  # of pairs: filters whose verdict makes a candidate the rejected one; (): any


@dataclass(frozen=True, slots=True)
class Example:
    """One row."""

    id: str
    key: str  # stands for the id in file names: [a-z0-9_-], no path, no dot; different for different ids
    image: bytes  # original bytes; b"" for formats without images
    extension: str  # of the image's kind; '' for formats without images
    file_name: str  # key and extension
    question: str
    caption: str
    fields: dict[str, str | int | float | bool | None]  # every flat column of the release, None for NaN
    more: tuple[tuple[str, str], ...] = ()  # further questions and answers, of releases with several turns
    changes: tuple[str, ...] = ()  # what is not as released: neutralised, default_question
    rejected: str = ""  # of pairs: a candidate for the same image and question that a filter turned down

    @property
    def turns(self) -> tuple[tuple[str, str], ...]:
        """The whole conversation as questions and answers."""
        return ((self.question, self.caption), *self.more)


@dataclass
class Tally:
    """What happened to the rows of a release: `read` = `written` + the sum of `left_out`."""

    read: int = 0
    written: int = 0
    words: int = 0  # of written captions, between white space
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> rows
    changed: Counter[str] = field(default_factory=Counter)  # what was changed in a written row -> rows

    def leave_out(self, reason: str) -> None:
        """Count a row that the format cannot hold."""
        self.left_out[reason] += 1

    def wrote(self, example: Example) -> None:
        """Count a row that is written."""
        self.written += 1
        self.words += len(example.caption.split())
        self.changed.update(example.changes)


def conversation(example: Example, mark: str) -> list[dict[str, str]]:
    """The turns as LLaVA writes them (`from`, `value`), the image's mark before the first question."""
    spoken = [part for question, answer in example.turns for part in (("human", question), ("gpt", answer))]
    first, *rest = [{"from": who, "value": text} for who, text in spoken]
    return [{**first, "value": mark + first["value"]}, *rest]


def file_key(id: str) -> str:
    """A name that stands for an id in file names and tar members: the id itself where it is plain, else with a hash.

    Never a path, never with a dot (WebDataset ends the key at the first), never the same for two ids.
    """
    if _PLAIN_KEY.fullmatch(id) and not _HASHED_KEY.fullmatch(id):
        return id
    readable = re.sub(r"[^a-z0-9_]+", "-", id.lower()).strip("-")[:48]
    return f"{readable or 'image'}-{hashlib.sha256(id.encode()).hexdigest()[:20]}"


def read_examples(
    files: list[str],
    options: Options,
    tally: Tally,
    *,
    images: bool = True,
    asks: bool = True,
    pairs: bool = False,
) -> Iterator[Example]:
    """Stream the rows of a release's Parquet files in their order.

    Args:
        files: local Parquet files.
        options: which caption and which question.
        tally: counts what is read and left out. Reasons: no_caption, no_view, with images no_image, unknown_image, with pairs
            no_rejected.
        images: False leaves the image column unread.
        asks: whether a VLM's tokenizer reads question and caption; placeholders in them are made plain then.
        pairs: whether a rejected candidate is wanted beside the caption; rows without one are left out.

    Raises:
        ReleaseError: a file lacks a column that every release has.
    """
    for path in files:
        for row in read_rows(path, images):
            tally.read += 1
            example = example_of(row, options, tally, images, asks, pairs)
            if example is not None:
                yield example


def flat_schema(files: list[str]) -> dict[str, str]:
    """The flat columns of a release and their Arrow types: what `Example.fields` holds."""
    import pyarrow.parquet as pq

    return {column.name: str(column.type) for column in _flat(pq.read_schema(files[0]))}


def _flat(schema: pa.Schema) -> list[pa.Field]:
    import pyarrow as pa

    kinds = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
    )
    return [column for column in schema if any(kind(column.type) for kind in kinds)]


def read_rows(path: str, images: bool) -> Iterator[dict[str, Any]]:
    """The rows of one file of a release as `example_of` takes them. Raises ReleaseError where it is no such file."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
        schema = file.schema_arrow
        needed = ["id", "caption", *(["image"] if images else [])]
        missing = [name for name in needed if name not in schema.names]
        if missing:
            raise ReleaseError(f"{Path(path).name} has no column {', '.join(missing)}, so it is no shard of a release")
        columns = [column.name for column in _flat(schema)]
        columns += [
            name for name in ("image", "captions", "turns") if name in schema.names and (images or name != "image")
        ]
        for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
            yield from batch.to_pylist()


def example_of(
    row: dict[str, Any], options: Options, tally: Tally, images: bool, asks: bool, pairs: bool
) -> Example | None:
    """One row as a format takes it; None, and the reason counted in `tally`, where it cannot. Takes columns out of `row`."""
    candidates = row.pop("captions", None) or []
    turns = row.pop("turns", None) or []
    image = row.pop("image", None)
    chosen, caption = _chosen(row, candidates, options)
    if not caption or not caption.strip():
        tally.leave_out("no_caption" if options.view is None else "no_view")
        return None
    rejected: str | None = ""
    if pairs:
        rejected = rejected_text(candidates, chosen, caption, options.rejected_by) if chosen else None
    if rejected is None:
        tally.leave_out("no_rejected")
        return None
    data, kind = b"", ""
    if images:
        data = (image or {}).get("bytes") or b""
        kind = extension(data) or ""
        if not kind:
            tally.leave_out("unknown_image" if data else "no_image")
            return None
    id = str(row["id"])
    key = file_key(id)
    question = QUESTION
    changes = []
    more: list[tuple[str, str]] = []
    if asks:
        turns = [(turn["question"], turn["answer"]) for turn in turns] if options.view is None else []
        own = _question(id, turns, chosen, options)
        released = [(own or QUESTION, caption), *turns[1:]]
        (question, caption), *more = [(neutral(asked), neutral(answer)) for asked, answer in released]
        changes = [] if own else ["default_question"]
        plain_rejected = neutral(rejected)
        changes += [] if ([(question, caption), *more], plain_rejected) == (released, rejected) else ["neutralised"]
        rejected = plain_rejected
    fields = {name: _plain(value) for name, value in row.items()} | {"caption": caption}
    name = f"{key}.{kind}" if kind else key
    return Example(id, key, data, kind, name, question, caption, fields, tuple(more), tuple(changes), rejected)


def _chosen(
    row: dict[str, Any], candidates: list[dict[str, Any]], options: Options
) -> tuple[dict[str, Any] | None, str | None]:
    """The candidate that a row's caption is, where it is one, and its text."""
    if options.view == ORIGINAL:
        return None, row.get(ORIGINAL)
    view = row.get("view") if options.view is None else options.view
    kept = [one for one in candidates if one.get("view") == view and one.get("kept")]
    if options.view is not None:
        return (kept[0], _text(kept[0])) if kept else (None, None)
    caption = row["caption"]
    return next((one for one in kept if neutral(_text(one)) == caption), None), caption


def _text(candidate: dict[str, Any]) -> str:
    return candidate.get("rewritten") or candidate.get("text") or ""


def _question(id: str, turns: list[tuple[str, str]], chosen: dict[str, Any] | None, options: Options) -> str | None:
    if options.prompts:
        digest = hashlib.sha256(f"{options.seed}\0{id}".encode()).digest()
        return options.prompts[int.from_bytes(digest[:8]) % len(options.prompts)]
    if turns and turns[0][0] != QUESTION:
        return turns[0][0]
    prompt = (chosen or {}).get("prompt")
    return prompt if prompt and prompt.strip() else None


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
