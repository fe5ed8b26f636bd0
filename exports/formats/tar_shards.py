"""Tar shards of samples, with the places of their parts: what webdataset and energon share."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
    """Writes `train-NNNNN.tar`, a new one when the last has `limit` bytes. The same samples give the same bytes."""

    folder: Path
    limit: int
    names: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)  # SHA-256 of keys and contents
    _tar: tarfile.TarFile | None = None
    _file: Any = None
    _digest: Any = None
    _keys: set[str] = field(default_factory=set)

    def holds(self, key: str) -> bool:
        """Whether the tar being written has a sample of that key; readers would merge two."""
        return key in self._keys

    def add(self, key: str, parts: dict[str, bytes]) -> Sample:
        """Append a sample; parts by extension. Its tar is `names[-1]`."""
        if self._tar is None or self._tar.offset >= self.limit:
            self.close()
            self._open()
        tar = self._tar
        assert tar is not None
        start = tar.offset
        places = []
        for name, data in parts.items():
            member = tarfile.TarInfo(f"{key}.{name}")  # no time, no owner
            member.size = len(data)
            header = tar.offset
            tar.addfile(member, io.BytesIO(data))
            places.append(Part(name, tar.offset - _padded(len(data)), len(data)))
            assert places[-1].offset - header >= tarfile.BLOCKSIZE
            self._digest.update(f"{member.name}\0{len(data)}\0".encode())
            self._digest.update(data)
        tar.members.clear()  # tarfile keeps all members otherwise
        self._keys.add(key)
        self.counts[-1] += 1
        return Sample(key, start, tar.offset - start, tuple(places))

    @property
    def position(self) -> int:
        """Where the samples of the tar being written end, in bytes."""
        return self._tar.offset if self._tar is not None else 0

    def close(self) -> None:
        """End the tar being written."""
        if self._tar is not None:
            self._tar.close()
            self._file.close()
            self.digests.append(self._digest.hexdigest())
        self._tar = None

    def _open(self) -> None:
        self.names.append(f"train-{len(self.names):05d}.tar")
        self.counts.append(0)
        self._keys.clear()
        self._digest = hashlib.sha256()
        self._file = (self.folder / self.names[-1]).open("wb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
