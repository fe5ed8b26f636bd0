"""The members of a tar, read as a stream, with every byte of the archive accounted for.

`tarfile` in stream mode ends quietly at a damaged header and at a missing end mark. Here an archive is whole only when
every block up to its end is a member or zero, and it has an end mark; else TarDamage says where it stops. Formats: ustar,
GNU (long names) and pax, plain or compressed by gzip, bzip2 or xz.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final

BLOCK: Final = 512
MAX_HEADER_BYTES: Final = 1 << 20
"""Of a long name or a pax header; names have at most 4,096 bytes on Linux."""
MAX_ZERO_BYTES: Final = 64 << 20
"""Zero bytes after the end mark; writers fill up to 10,240."""
MAX_RATIO: Final = 200
FREE_BYTES: Final = 1 << 30
"""A compressed archive may unfold to FREE_BYTES and MAX_RATIO times its own size: images hardly compress, bombs do."""
_CHUNK: Final = 1 << 20

_KINDS: Final = {
    tarfile.LNKTYPE: "a hard link to {}: links are not followed",
    tarfile.SYMTYPE: "a symbolic link to {}: links are not followed",
    tarfile.CHRTYPE: "a device, not a file",
    tarfile.BLKTYPE: "a device, not a file",
    tarfile.FIFOTYPE: "a pipe, not a file",
    tarfile.GNUTYPE_SPARSE: "a sparse file, which is not read here",
}
_FILES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LONG: Final = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PAX: Final = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


class TarDamage(Exception):
    """The archive cannot be read from here on; says why."""


@dataclass(slots=True)
class Member:
    """A member that is no folder. `odd`: why it has no content ('' for a file). Surrogates in `name` stand for other bytes."""

    name: str
    size: int
    odd: str
    content: Any = field(default=None, repr=False)

    def read(self) -> bytes:
        """Its bytes; before the next member is asked for. Raises TarDamage where the archive ends within."""
        return self.content()  # type: ignore[no-any-return]


def members(file: IO[bytes]) -> Iterator[Member]:
    """The members of a tar that is open at its beginning.

    Raises:
        TarDamage: after the last member that can be read, where the archive is not whole.
    """
    stream = _Stream(file)
    extra: dict[str, str] = {}
    shared: dict[str, str] = {}
    zeros = 0
    while True:
        block = stream.block()
        if not any(block):
            zeros += max(len(block), 1)
            if len(block) < BLOCK:
                if zeros >= BLOCK and not extra:
                    return
                raise TarDamage("it has no end mark, so it was cut, or its end was lost")
            if zeros > MAX_ZERO_BYTES:
                raise TarDamage(f"more than {MAX_ZERO_BYTES:,} zero bytes in a row")
            continue
        info = _header(block, stream.at - len(block))
        zeros = 0
        if info.type in (*_LONG, *_PAX, tarfile.XGLTYPE):
            if info.size > MAX_HEADER_BYTES:
                raise TarDamage(f"a name or header of {info.size:,} bytes; the limit is {MAX_HEADER_BYTES:,}")
            data = stream.take(info.size)
            stream.skip(-info.size % BLOCK)
            if info.type in _LONG:
                key = "path" if info.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
                extra[key] = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            else:
                (shared if info.type == tarfile.XGLTYPE else extra).update(_pax(data))
            continue
        fields = shared | extra
        extra = {}
        size = _size(info, fields)
        name = fields.get("path", info.name)
        odd = _odd(info, fields)
        if info.type == tarfile.GNUTYPE_SPARSE:
            _skip_sparse_map(stream, block)
        start = stream.at
        if not info.isdir():
            yield Member(name, size, odd, lambda size=size: stream.take(size))
        stream.skip(start + size - stream.at)
        stream.skip(-size % BLOCK)


def _header(block: bytes, at: int) -> tarfile.TarInfo:
    if len(block) < BLOCK:
        raise TarDamage(f"it ends within a header, at byte {at + len(block):,}")
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError) as error:
        raise TarDamage(f"no header of a member at byte {at:,} ({error})") from None


def _size(info: tarfile.TarInfo, fields: dict[str, str]) -> int:
    """Bytes stored for a member."""
    try:
        size = int(fields["size"]) if "size" in fields else info.size
    except ValueError:
        raise TarDamage("a pax header with a size that is no number") from None
    if size < 0:
        raise TarDamage(f"a member of {size:,} bytes")
    if info.type in (*_FILES, tarfile.GNUTYPE_SPARSE) or info.type not in tarfile.SUPPORTED_TYPES:
        return size
    return 0  # links, folders and devices have no data, whatever size they declare


def _odd(info: tarfile.TarInfo, fields: dict[str, str]) -> str:
    if any(name.startswith("GNU.sparse") for name in fields):
        return _KINDS[tarfile.GNUTYPE_SPARSE]
    if info.type in _FILES:
        return ""
    target = fields.get("linkpath", info.linkname)
    return _KINDS.get(info.type, f"a member of type {info.type!r}, which is not read here").format(target)


def _skip_sparse_map(stream: _Stream, block: bytes) -> None:
    more = block[482]
    while more:
        part = stream.take(BLOCK)
        more = part[504]


def _pax(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    while data.strip(b"\0"):
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not len(length) + 1 < int(length[:12]) <= len(data):
            raise TarDamage("a damaged pax header")
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    return found


class _Stream:
    """The plain bytes of an archive; `at` is how many were taken."""

    def __init__(self, file: IO[bytes]) -> None:
        head = file.read(6)
        file.seek(0)
        self.raw = file
        self.at = 0
        self.plain = False
        if head.startswith(b"\x1f\x8b"):
            self.file: IO[bytes] = gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[assignment]
        elif head.startswith(b"BZh"):
            self.file = bz2.BZ2File(file)
        elif head.startswith(b"\xfd7zXZ\0"):
            self.file = lzma.LZMAFile(file)  # noqa: SIM115
        else:
            self.file = file
            self.plain = True
        self.size = _size_of(file) if self.plain else None

    def block(self) -> bytes:
        """The next block; less at the end of the archive."""
        data = self._read(BLOCK)
        while 0 < len(data) < BLOCK and (more := self._read(BLOCK - len(data))):
            data += more
        return data

    def take(self, count: int) -> bytes:
        """Exactly so many bytes."""
        if self.size is not None and count > self.size - self.at:
            raise TarDamage(self._short(count))
        pieces = []
        while count:
            data = self._read(min(count, _CHUNK))
            if not data:
                raise TarDamage(self._short(count))
            pieces.append(data)
            count -= len(data)
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        """Pass over so many bytes."""
        if self.size is not None:
            if count > self.size - self.at:
                raise TarDamage(self._short(count))
            if count > _CHUNK:
                self.file.seek(count, os.SEEK_CUR)
                self.at += count
                return
        while count:
            data = self._read(min(count, _CHUNK))
            if not data:
                raise TarDamage(self._short(count))
            count -= len(data)

    def _short(self, count: int) -> str:
        return f"it ends within a member, of which {count:,} bytes should follow byte {self.at:,}"

    def _read(self, count: int) -> bytes:
        try:
            data = self.file.read(count)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise TarDamage(f"its compression is damaged or cut after byte {self.at:,} ({error})") from None
        except OSError as error:
            raise TarDamage(f"it cannot be read after byte {self.at:,} ({error})") from None
        self.at += len(data)
        if not self.plain and self.at > FREE_BYTES and self.at > FREE_BYTES + MAX_RATIO * self.raw.tell():
            raise TarDamage(f"it unfolds to more than {MAX_RATIO} times its size, at byte {self.at:,}")
        return data


def _size_of(file: IO[bytes]) -> int | None:
    """Bytes of a file that can be asked and sought."""
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    except (OSError, ValueError):
        return None
    return size
