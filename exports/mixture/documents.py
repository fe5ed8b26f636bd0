"""The documents of a part of a mixture, streamed in a seeded order."""

from __future__ import annotations

import glob
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from exports.consume import OpenedRelease, Report, open_release
from exports.formats.example import ORIGINAL, Example, Options, Tally, example_of, read_rows
from exports.formats.image_kind import extension
from exports.mixture.mixture_file import MixturePart
from exports.mixture.token_counts import Count, pieces, words
from exports.release import ReleaseError

BUFFER_BYTES: Final = 64_000_000
"""Images that the documents of a shuffle buffer hold at most."""
LINE_BYTES: Final = 64_000_000
"""A longer line of a text file is left out."""
IMAGE_BYTES: Final = 100_000_000
REASONS: Final = {
    "no_caption": "no caption",
    "no_view": "no kept caption of that view",
    "no_image": "no image bytes",
    "unknown_image": "image of no known kind",
    "not_both": "an image without both a synthetic and an original caption",
    "no_question": "a caption that is no question and answer",
    "short": "shorter than `shortest`",
    "not_json": "a line that is no JSON object",
    "not_utf8": "a line that is not UTF-8",
    "long_line": f"a line above {LINE_BYTES:,} bytes",
    "no_text": "no text",
    "not_interleaved": "`texts` and `images` that do not fit together",
    "image_elsewhere": "an image that is a URL, or a path outside the file's directory; fetch it first",
}


@dataclass(frozen=True, slots=True)
class Document:
    """One row of a mixture. Captions have `messages`, interleaved documents `texts` (None stands for the next image), texts `text`.
    `about`: SHA-256 (hex) of the image that a text was written about, where it stands without it.
    """

    id: str
    kind: str
    images: tuple[tuple[bytes, str], ...] = ()  # bytes and a file name
    messages: tuple[tuple[str, str], ...] | None = None  # role, content
    texts: tuple[str | None, ...] | None = None
    text: str | None = None
    about: str | None = None

    @property
    def written(self) -> list[str]:
        """All of its texts."""
        if self.messages is not None:
            return [content for _, content in self.messages]
        return [self.text] if self.text is not None else [one for one in self.texts or () if one]

    def tokens(self, count: Count, image_tokens: int) -> int:
        """What it counts."""
        return sum(count(text) for text in self.written) + image_tokens * len(self.images)

    def words(self) -> int:
        """Its words between white space, without those of questions."""
        if self.messages is not None:
            return sum(words(content) for role, content in self.messages if role == "assistant")
        return sum(words(text) for text in self.written)

    @property
    def bytes(self) -> int:
        """About what it holds in memory."""
        return sum(len(data) for data, _ in self.images) + sum(len(text) for text in self.written)


@dataclass
class PartTally:
    """What happened to the documents of a part: reason -> how many were left out, and how many texts were cut into pieces."""

    left_out: Counter[str] = field(default_factory=Counter)
    cut: int = 0


class Corpus:
    """A part of a mixture, opened. `inputs`: what it reads, by hash."""

    def __init__(
        self, name: str, part: MixturePart, seed: int, buffer: int, count: Count, report: Report | None
    ) -> None:
        self.name = name
        self.part = part
        self.seed = seed
        self.buffer = buffer
        self.count = count
        self.tally = PartTally()
        self.epoch = 0
        self.inputs: list[dict[str, str]] = []
        self.releases: list[OpenedRelease] = []
        self.files: list[tuple[str, OpenedRelease | None]]
        if part.release is not None:
            chosen = part.release if part.replay == "accumulate" else part.release[-1:]
            self.releases = [open_release(one, report=report) for one in chosen]
            self.files = [(file, opened) for opened in self.releases for file in opened.data_files()]
            self.inputs = [
                {
                    "release": f"{one.manifest.get('name', one.folder.name)} {one.version}",
                    "manifest_sha256": one.release.manifest_sha256,
                }
                for one in self.releases
            ]
        else:
            found = _files(name, part.interleaved or part.text or ())
            self.files = [(file, None) for file in found]
            self.inputs = [{"file": Path(file).name, "sha256": _sha256(file)} for file in found]

    def documents(self) -> Iterator[Document]:
        """All documents, `epochs` times, each time in another order. Memory is that of the shuffle buffer.

        Raises:
            ReleaseError: the part has nothing that can be used.
        """
        while self.epoch < self.part.epochs:
            self.epoch += 1
            order = list(self.files)
            rng = random.Random(f"{self.seed}\0{self.name}\0{self.epoch}")
            rng.shuffle(order)
            empty = True
            for document in _shuffled(self._epoch(order), self.buffer, rng):
                empty = False
                yield document
            if empty:
                reasons = ", ".join(f"{count:,} {REASONS[name]}" for name, count in self.tally.left_out.items())
                raise ReleaseError(
                    f"parts.{self.name}: it has no document that can be used: {reasons or 'it is empty'}"
                )

    def _epoch(self, files: Sequence[tuple[str, OpenedRelease | None]]) -> Iterator[Document]:
        group: list[Example] = []
        for file, release in files:
            if release is None:
                yield from self._read_file(file)
                continue
            for example in self._examples(file):
                if self.part.together == 1:
                    yield from self._caption(example)
                    continue
                group.append(example)
                if len(group) == self.part.together:
                    yield _joined(group)
                    group = []
        if group:  # fewer than `together` are left
            yield _joined(group)

    def _examples(self, file: str) -> Iterator[Example]:
        part, tally = self.part, Tally()
        asks = part.images
        for row in read_rows(file, part.images):
            example = None
            if part.synthetic is None:
                example = example_of(row, Options(view=part.view), tally, part.images, asks, False)
            else:
                views = [part.view, ORIGINAL]
                both = [example_of(dict(row), Options(view=one), Tally(), part.images, asks, False) for one in views]
                if None in both:
                    self.tally.left_out["not_both"] += 1
                    continue
                example = both[0] if self._draw(str(row["id"])) < part.synthetic else both[1]
            if example is not None:
                yield example
        self.tally.left_out.update(tally.left_out)

    def _draw(self, id: str) -> float:
        """In [0, 1), the same for an image in every mixture of this seed, whatever the probability is."""
        digest = hashlib.sha256(f"synthetic\0{self.seed}\0{self.epoch}\0{id}".encode()).digest()
        return int.from_bytes(digest[:7]) / 2**56

    def _caption(self, example: Example) -> Iterator[Document]:
        if not self.part.images:
            about = example.fields.get("sha256")
            yield from self._texts(example.id, example.caption, str(about) if about else None)
            return
        if self.part.answers:
            question, mark, answer = example.caption.partition("?")
            if not mark or not question.strip() or not answer.strip():
                self.tally.left_out["no_question"] += 1
                return
            said = (("user", question.strip() + mark), ("assistant", answer.strip()))
            yield Document(example.id, "captions", ((example.image, example.file_name),), messages=said)
            return
        messages = tuple(
            (role, text) for turn in example.turns for role, text in zip(("user", "assistant"), turn, strict=True)
        )
        yield Document(example.id, "captions", ((example.image, example.file_name),), messages=messages)

    def _texts(self, id: str, text: str, about: str | None = None) -> Iterator[Document]:
        """A text as one document, or in pieces."""
        if not text.strip():
            self.tally.left_out["no_text"] += 1
            return
        parts = [text]
        if self.part.longest is not None and self.count(text) > self.part.longest:
            parts = pieces(text, self.part.longest, self.count)
            self.tally.cut += 1
        for place, one in enumerate(parts):
            if self.count(one) < self.part.shortest:
                self.tally.left_out["short"] += 1
            else:
                yield Document(f"{id}#{place}" if len(parts) > 1 else id, "text", text=one, about=about)

    def _read_file(self, file: str) -> Iterator[Document]:
        name = Path(file).name
        if self.part.text is not None:
            for number, text in self._plain_texts(file):
                yield from self._texts(f"{name}:{number}", text)
            return
        for number, row in self._records(file, ["texts", "images"]):
            document = self._interleaved(f"{name}:{number}", row, Path(file).parent)
            if document is not None:
                yield document

    def _plain_texts(self, file: str) -> Iterator[tuple[int, str]]:
        if Path(file).suffix == ".txt":
            for number, line in self._lines(file):
                yield number, line.rstrip("\r\n")
            return
        column = self.part.column
        for number, row in self._records(file, [column]):
            if isinstance(row.get(column), str):
                yield number, row[column]
            else:
                self.tally.left_out["no_text"] += 1

    def _lines(self, file: str) -> Iterator[tuple[int, str]]:
        with open(file, "rb") as handle:
            number = 0
            while line := handle.readline(LINE_BYTES + 1):
                number += 1
                if len(line) > LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = handle.readline(LINE_BYTES)
                    self.tally.left_out["long_line"] += 1
                    continue
                try:
                    yield number, line.decode()
                except UnicodeDecodeError:
                    self.tally.left_out["not_utf8"] += 1

    def _records(self, file: str, columns: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of a Parquet or JSON lines file, from number 1."""
        if Path(file).suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                parquet = pq.ParquetFile(file)
            except (pa.ArrowInvalid, OSError) as error:
                raise ReleaseError(f"parts.{self.name}: {file} cannot be read as Parquet: {str(error)[:200]}") from None
            with parquet:
                missing = [name for name in columns if name not in parquet.schema_arrow.names]
                if missing:
                    has = ", ".join(parquet.schema_arrow.names[:10])
                    hint = ", or name it with `column`" if self.part.text else ""
                    raise ReleaseError(
                        f"parts.{self.name}: {file} has no column {', '.join(missing)} (it has {has}){hint}"
                    )
                number = 0
                for batch in parquet.iter_batches(16, columns=columns, use_threads=False):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row
            return
        for number, line in self._lines(file):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield number, row
            else:
                self.tally.left_out["not_json"] += 1

    def _interleaved(self, id: str, row: dict[str, Any], folder: Path) -> Document | None:
        texts, images = row.get("texts"), row.get("images")
        if not _fits(texts, images):
            self.tally.left_out["not_interleaved"] += 1
            return None
        assert isinstance(texts, list)
        assert isinstance(images, list)
        found: list[tuple[bytes, str]] = []
        for image in images:
            if image is None:
                continue
            data = _image_bytes(image, folder)
            kind = extension(data) if isinstance(data, bytes) and data else None
            if kind is None:
                self.tally.left_out[data if isinstance(data, str) else "unknown_image" if data else "no_image"] += 1
                return None
            assert isinstance(data, bytes)
            found.append((data, f"{len(found)}.{kind}"))
        return Document(id, "interleaved", tuple(found), texts=tuple(texts))


def _joined(group: list[Example]) -> Document:
    texts = tuple(text for one in group for text in (None, one.caption))
    return Document(group[0].id, "interleaved", tuple((one.image, one.file_name) for one in group), texts=texts)


def _fits(texts: Any, images: Any) -> bool:
    """Whether these are an interleaved document: lists of one length of which one has something at each place (OBELICS), or
    texts in which None stands for the next of the images.
    """
    if not isinstance(texts, list) or not isinstance(images, list) or not texts:
        return False
    if not all(text is None or isinstance(text, str) for text in texts):
        return False
    gaps = [text is None for text in texts]
    if len(texts) == len(images) and all((image is not None) == gap for image, gap in zip(images, gaps, strict=True)):
        return True
    return len(images) == sum(gaps) and None not in images


def _image_bytes(image: Any, folder: Path) -> bytes | str:
    """The bytes of an image of a document, b"" where it has none, or the reason why it is left out."""
    path = image
    if isinstance(image, dict):
        if isinstance(image.get("bytes"), bytes):
            return bytes(image["bytes"])
        path = image.get("path")
    if isinstance(path, bytes):
        return path
    if not isinstance(path, str) or not path:
        return b""
    if "://" in path or "\0" in path:
        return "image_elsewhere"
    file = (folder / path).resolve()
    try:
        if not file.is_relative_to(folder.resolve()) or not file.is_file():
            return "image_elsewhere"
        return file.read_bytes() if file.stat().st_size <= IMAGE_BYTES else "unknown_image"
    except OSError:
        return "image_elsewhere"


def _shuffled(documents: Iterator[Document], buffer: int, rng: random.Random) -> Iterator[Document]:
    """Drawn from the next `buffer` documents, or fewer where their images are large."""
    waiting: list[Document] = []
    size = 0
    for document in documents:
        waiting.append(document)
        size += document.bytes
        while len(waiting) > buffer or size > BUFFER_BYTES:
            drawn = _drawn(waiting, rng)
            size -= drawn.bytes
            yield drawn
    while waiting:
        yield _drawn(waiting, rng)


def _drawn(waiting: list[Document], rng: random.Random) -> Document:
    place = rng.randrange(len(waiting))
    waiting[place], waiting[-1] = waiting[-1], waiting[place]
    return waiting.pop()


def _files(name: str, patterns: tuple[str, ...]) -> list[str]:
    kinds = (".parquet", ".jsonl", ".txt")
    found: list[str] = []
    for pattern in patterns:
        here = [str(Path(pattern).expanduser())] if Path(pattern).expanduser().is_file() else []
        here = here or sorted(one for one in glob.glob(str(Path(pattern).expanduser())) if Path(one).is_file())
        if not here:
            raise ReleaseError(f"parts.{name}: no file {pattern}; name a file or a glob on this disk")
        found += here
    other = [file for file in found if Path(file).suffix not in kinds]
    if other:
        raise ReleaseError(f"parts.{name}: {other[0]} is none of {', '.join(kinds)}")
    return found


def _sha256(file: str) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
