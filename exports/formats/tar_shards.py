"""Tar shards of samples, with the places of their parts: what webdataset and energon share."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

END = b"\0" * (2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class Part:
    """One member of a sample: where its content lies in the tar, in bytes."""

    name: str  # the extension
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: from its first header to the next sample's, in bytes."""

    key: str
    offset: int
    size: int
    parts: tuple[Part, ...]


@dataclass
class TarShards:
    """Writes `train-NNNNN.tar`, a new one when the last has `limit` bytes. The same samples give the same bytes.

    Headers are written here, since `tarfile` keeps every member in memory.
    """

    folder: Path
    limit: int
    names: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)  # SHA-256 of the samples of each tar
    position: int = 0  # where the samples of the tar being written end, in bytes
    _file: IO[bytes] | None = None
    _digest: Any = None
    _keys: set[str] = field(default_factory=set)

    def holds(self, key: str) -> bool:
        """Whether the tar that the next sample goes to has one of that key; readers would merge two."""
        return key in self._keys and self.position < self.limit

    def add(self, key: str, parts: dict[str, bytes]) -> Sample:
        """Append a sample; parts by extension. Its tar is `names[-1]`."""
        if self._file is None or self.position >= self.limit:
            self.close()
            self._open()
        start = self.position
        places = []
        for name, data in parts.items():
            member = tarfile.TarInfo(f"{key}.{name}")  # no time, no owner
            member.size = len(data)
            self._write(member.tobuf(tarfile.USTAR_FORMAT))
            places.append(Part(name, self.position, len(data)))
            self._write(data)
            self._write(b"\0" * (-len(data) % tarfile.BLOCKSIZE))
        self._keys.add(key)
        self.counts[-1] += 1
        return Sample(key, start, self.position - start, tuple(places))

    def close(self) -> None:
        """End the tar being written."""
        if self._file is not None:
            self._file.write(END)
            self._file.close()
            self.digests.append(self._digest.hexdigest())
        self._file = None

    def _open(self) -> None:
        self.names.append(f"train-{len(self.names):05d}.tar")
        self.counts.append(0)
        self._keys.clear()
        self._digest = hashlib.sha256()
        self.position = 0
        self._file = (self.folder / self.names[-1]).open("wb")

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self._digest.update(data)
        self.position += len(data)
