"""Records of caption files: JSON lines, JSON (lists, COCO annotations), CSV, TSV, plain text; .gz too.

A record is a dict, or `Bad`, a line that cannot be read and why. A damaged line costs itself alone. Text may be UTF-8 or,
by its byte order mark, UTF-16.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any, Final, NamedTuple

from factory.sources.caption_text import encoding_of, parse_json
from factory.sources.files import open_file

TEXT: Final = (".txt",)
CSV: Final = (".csv", ".tsv")
JSON_LINES: Final = (".jsonl", ".ndjson")
JSON: Final = (".json",)
SUFFIXES: Final = (".parquet", *(f"{end}{gz}" for end in (*JSON_LINES, *CSV, *TEXT) for gz in ("", ".gz")))
"""Of caption files that a folder is searched for."""
JSON_SUFFIXES: Final = (".json", ".json.gz")
"""Searched for where a folder has no other: beside others they often hold settings."""

LONGEST: Final = 16_000_000
"""Bytes of a line, a CSV field, or an entry of a JSON list."""
MAX_JSON_BYTES: Final = 2_000_000_000
MAX_SPAN: Final = 1_000
"""Lines of one CSV record; an open quote would take all that follow."""
_CHUNK: Final = 1 << 20


class Bad(NamedTuple):
    """What cannot be read, where (a line, or a range of them) and why."""

    where: str
    why: str


Record = dict[str, Any] | Bad


class WrongFile(Exception):
    """A file that holds no captions in any known form; says what was found."""


def is_kind(url: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a file, perhaps compressed, is of a kind."""
    return url.lower().removesuffix(".gz").endswith(suffixes)


def open_plain(url: str) -> IO[bytes]:
    """The file as a stream of plain bytes. Raises OSError; a damaged .gz raises EOFError, OSError or zlib.error when read."""
    file = open_file(url)
    return gzip.open(file, "rb") if url.lower().endswith(".gz") else file  # type: ignore[return-value]


def encoding(url: str) -> str:
    """The encoding of a file's text by its beginning."""
    with open_plain(url) as file:
        return encoding_of(file.read(4096))


def cuttable(url: str) -> bool:
    """Whether a file can be read in ranges of bytes, each beginning at a line."""
    return is_kind(url, (*TEXT, *JSON_LINES)) and not url.lower().endswith(".gz") and encoding(url).startswith("utf-8")


def records(url: str, start: int = 0, end: int | None = None, longest: int = LONGEST) -> Iterator[Record]:
    """The records of a file, or of the lines that begin in a range of its bytes. A longer line than `longest` bytes is Bad.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read further. WrongFile: a JSON document without captions.
    """
    if is_kind(url, CSV):
        yield from _csv_records(url)
    elif is_kind(url, JSON):
        yield from _json_records(url)
    else:
        parse = _text_record if is_kind(url, TEXT) else _json_record
        keep_blank = parse is _text_record
        for number, line in _lines(url, start, end, keep_blank, longest):
            where = f"line {number:,}" if not start else f"line {number:,} after byte {start:,}"
            yield parse(line, where) if len(line) <= longest else Bad(where, f"a line of more than {longest:,} bytes")


# --- lines ---


def _lines(url: str, start: int, end: int | None, keep_blank: bool, longest: int) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line without its end, as UTF-8) of the lines that begin in the range.

    Of a line longer than `longest` only its beginning, one byte longer than allowed.
    """
    with open_plain(url) as opened:
        file = opened if start or end is not None else _utf8(opened)
        if start:
            file.seek(start - 1)
            _skip_line(file)
        number = 0
        while end is None or file.tell() < end:
            line = file.readline(longest + 1)
            if not line:
                return
            if len(line) > longest and not line.endswith(b"\n"):
                _skip_line(file)
            number += 1
            stripped = line.rstrip(b"\r\n")
            if number == 1 and not start:
                stripped = stripped.removeprefix(b"\xef\xbb\xbf")
            if keep_blank or stripped.strip():
                yield number, stripped


def _skip_line(file: IO[bytes]) -> None:
    while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
        pass


def _utf8(file: IO[bytes]) -> IO[bytes]:
    """The file from its beginning, as UTF-8 whatever its encoding is."""
    name = encoding_of(file.read(4096))
    file.seek(0)
    return file if name.startswith("utf-8") else io.BufferedReader(_Recoded(file, name), _CHUNK)


class _Recoded(io.RawIOBase):
    """A file in another encoding, read as UTF-8."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="")
        self._left = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer. Returns the bytes in it, 0 at the end."""
        if not self._left:
            self._left = self._text.read(1 << 16).encode("utf-8", errors="replace")
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _text_record(line: bytes, _: str) -> Record:
    return {"text": line.decode("utf-8", errors="replace")}


def _json_record(line: bytes, where: str) -> Record:
    try:
        record = parse_json(line.decode("utf-8", errors="replace"))
    except ValueError as error:
        return Bad(where, str(error))
    return record if isinstance(record, dict) else Bad(where, f"{type(record).__name__} instead of a JSON object")


# --- CSV ---


def _csv_records(url: str) -> Iterator[Record]:
    """Records by the header's names. Of a record that is wrong only its first line is lost: the others are read anew."""
    csv.field_size_limit(LONGEST)
    dialect: type[csv.Dialect] = csv.excel_tab if is_kind(url, (".tsv",)) else csv.excel
    with open_plain(url) as file:
        lines = _TextLines(file)
        header: list[str] | None = None
        while True:
            lines.begin()
            try:
                values = next(csv.reader(lines, dialect))
                why = ""
            except StopIteration:
                return
            except csv.Error as error:
                values, why = [], str(error)
            if header is None and not why:
                header = values if any(value.strip() for value in values) else None
                continue
            if not why and not values:
                continue
            if header is None:
                yield Bad(lines.where(), why)
                lines.give_back()
            elif why or len(values) != len(header) or lines.cut:
                yield Bad(lines.where(), why or f"{len(values)} fields, but the header has {len(header)}")
                lines.give_back()
            else:
                yield dict(zip(header, values, strict=True))


class _TextLines:
    """Lines of a text file for a CSV reader, of which those after the first of a record can be given back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = _utf8(file)
        self._again: list[str] = []
        self._taken: list[str] = []
        self._number = 0
        self.cut = False

    def __iter__(self) -> _TextLines:
        return self

    def __next__(self) -> str:
        if len(self._taken) >= MAX_SPAN:
            self.cut = True
            raise StopIteration
        line = self._again.pop() if self._again else self._next_line()
        if not line:
            raise StopIteration
        self._taken.append(line)
        self._number += 1
        return line

    def _next_line(self) -> str:
        data = self._file.readline(LONGEST + 1)
        if len(data) > LONGEST and not data.endswith(b"\n"):
            _skip_line(self._file)
        text = data.decode("utf-8", errors="replace")
        return text.removeprefix("\ufeff") if self._number == 0 else text

    def begin(self) -> None:
        """The next line begins a record."""
        self._taken = []
        self.cut = False

    def where(self) -> str:
        """The line at which the record begins."""
        return f"line {self._number - len(self._taken) + 1:,}"

    def give_back(self) -> None:
        """Read all lines but the first of this record anew."""
        self._again += reversed(self._taken[1:])
        self._number -= max(0, len(self._taken) - 1)


# --- JSON ---


def _json_records(url: str) -> Iterator[Record]:
    """The records of a JSON document: a list of objects or texts, COCO annotations, one list in an object, names and captions.

    A file named .json that holds JSON lines is read as such.
    """
    with open_plain(url) as opened:
        file = _utf8(opened)
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace")
        head = text.read(_CHUNK)
        first = head.lstrip()[:1]
        if first == "[":
            yield from _list_records(head, text)
            return
        if first == "{" and _first_line_is_all(head):
            yield from (_json_record(line, f"line {number:,}") for number, line in _lines(url, 0, None, False, LONGEST))
            return
        whole = head + text.read(MAX_JSON_BYTES)
        if len(whole) >= MAX_JSON_BYTES:
            raise WrongFile(f"a JSON object of more than {MAX_JSON_BYTES:,} bytes; save it as JSON lines")
    try:
        content = parse_json(whole)
    except ValueError as error:
        yield Bad("the document", str(error))
        return
    yield from _document_records(content)


def _first_line_is_all(head: str) -> bool:
    """Whether a text begins with a JSON object in one line, and another line follows."""
    line, _, rest = head.lstrip().partition("\n")
    try:
        return isinstance(parse_json(line), dict) and bool(rest.strip())
    except ValueError:
        return False


def _document_records(content: Any) -> Iterator[Record]:
    if not isinstance(content, dict):
        raise WrongFile(f"holds a {type(content).__name__}, neither a list nor an object")
    notes = content.get("annotations")
    if isinstance(notes, list) and isinstance(content.get("images", []), list):
        yield from _coco_records(content.get("images", []), notes)
        return
    lists = [
        name for name, value in content.items() if isinstance(value, list) and any(isinstance(v, dict) for v in value)
    ]
    if len(lists) == 1:
        yield from (_as_record(value, number) for number, value in enumerate(content[lists[0]], 1))
        return
    if content and all(isinstance(value, str) or _is_texts(value) for value in content.values()):
        yield from ({"id": name, "text": value} for name, value in content.items())
        return
    raise WrongFile(
        f"an object without a list of captions; its keys: {', '.join(map(str, islice(content, 20))) or 'none'}"
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _coco_records(images: list[Any], notes: list[Any]) -> Iterator[Record]:
    """One record an image, with all its captions, as `caption`; a list of annotations without captions keeps its own names."""
    names = {one["id"]: one for one in images if isinstance(one, dict) and isinstance(one.get("id"), (int, str))}
    by_image: dict[Any, list[Any]] = {}
    for number, note in enumerate(notes, 1):
        if not isinstance(note, dict) or not isinstance(note.get("image_id"), (int, str)) or "caption" not in note:
            yield _as_record(note, number)
            continue
        by_image.setdefault(note["image_id"], []).append(note["caption"])
    for image, captions in by_image.items():
        yield {**names.get(image, {}), "image_id": image, "caption": captions}


def _as_record(value: Any, number: int) -> Record:
    if isinstance(value, str):
        return {"text": value}
    return (
        value if isinstance(value, dict) else Bad(f"entry {number:,}", f"{type(value).__name__} instead of an object")
    )


def _list_records(head: str, rest: IO[str]) -> Iterator[Record]:
    """The entries of a JSON list, one by one: the list is never in memory."""
    decoder = json.JSONDecoder()
    buffer = head.lstrip()[1:]
    number = 0
    while True:
        buffer = buffer.lstrip(" \t\r\n,")
        if buffer.startswith("]"):
            return
        try:
            value, length = decoder.raw_decode(buffer)
            whole = length < len(buffer)  # a number at the very end may go on
            why = ""
        except RecursionError:
            whole, why = False, "nested too deeply"
        except ValueError as error:
            whole, why = False, str(error)
        if not whole:
            more = rest.read(max(_CHUNK, len(buffer))) if len(buffer) <= LONGEST else ""
            if more:
                buffer += more
                continue
            words = f"not JSON ({why})" if why else "no end of the list"
            yield Bad(f"entry {number + 1:,} and all after it", f"{words}; the file may be cut")
            return
        number += 1
        yield _as_record(value, number)
        buffer = buffer[length:]
