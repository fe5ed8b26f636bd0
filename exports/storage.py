"""The one place that opens storage: a directory, local or any fsspec URL, whose files appear whole or not at all.

It lives in the lowest package that reads and writes, so that releases and run tables share it.
"""

from __future__ import annotations

import errno
import os
import posixpath
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from fsspec import AbstractFileSystem

# A single PUT on these is visible whole or not at all; other remote systems get a temporary name and a move.
ATOMIC_PUT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "memory", "oci", "oss"}


_LAST = "manifest.json"
"""Of a release: it is there once all other files are."""


@dataclass(frozen=True)
class Storage:
    """A directory. Holds only its URL, so it travels between processes.

    Paths given to its methods are relative and use '/'.
    """

    url: str

    @cached_property
    def _opened(self) -> tuple[AbstractFileSystem, str]:
        from fsspec.core import url_to_fs

        fs, root = url_to_fs(self.url)
        return fs, root.rstrip("/") or root

    def __getstate__(self) -> dict[str, str]:
        return {"url": self.url}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)

    @property
    def fs(self) -> AbstractFileSystem:
        """The fsspec file system."""
        return self._opened[0]

    @property
    def is_local(self) -> bool:
        """Whether this is a directory of the local disk."""
        return "file" in _protocols(self.fs)

    def full(self, path: str = "") -> str:
        """The path as the file system knows it."""
        return posixpath.join(self._opened[1], path) if path else self._opened[1]

    def child(self, path: str) -> Storage:
        """A directory below this one."""
        return Storage(posixpath.join(self.url, path))

    def make(self) -> None:
        """Create the directory. Raises OSError where the system refuses."""
        self.fs.makedirs(self.full(), exist_ok=True)

    def exists(self, path: str = "") -> bool:
        """Whether a file or directory exists."""
        return bool(self.fs.exists(self.full(path)))

    def read(self, path: str) -> bytes:
        """All bytes of a file; raises FileNotFoundError."""
        return self.fs.cat_file(self.full(path))  # type: ignore[no-any-return]

    def open(self, path: str, mode: str = "rb") -> IO[bytes]:
        """Open a file."""
        return self.fs.open(self.full(path), mode)  # type: ignore[no-any-return]

    def write(self, path: str, data: bytes) -> None:
        """Write a file that appears whole or not at all, replacing an older one."""
        if not self.is_local and _protocols(self.fs) & ATOMIC_PUT:
            self.fs.pipe_file(self.full(path), data)
            return
        temporary = self._temporary(path)
        try:
            with self.open(temporary, "wb") as file:
                file.write(data)
                if self.is_local:
                    file.flush()
                    os.fsync(file.fileno())
            self.move(temporary, path)
        except BaseException:
            self.remove(temporary)
            raise

    def write_new(self, path: str, data: bytes) -> None:
        """Write a file below directories that may not exist yet."""
        self.fs.makedirs(posixpath.dirname(self.full(path)), exist_ok=True)
        self.write(path, data)

    def write_parquet(self, path: str, frame: pl.DataFrame) -> None:
        """Write a frame as one whole Parquet file."""
        import io

        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd", compression_level=1)
        self.write_new(path, buffer.getvalue())

    def write_frames(self, path: str, frames: Iterable[pl.DataFrame], schema: pl.Schema) -> None:
        """Write frames of one schema as one Parquet file, a row group each, that appears whole or not at all."""
        import polars as pl
        import pyarrow.parquet as pq

        temporary = self._temporary(path)
        self.fs.makedirs(posixpath.dirname(self.full(path)), exist_ok=True)
        try:
            with (
                self.open(temporary, "wb") as file,
                pq.ParquetWriter(file, pl.DataFrame(schema=schema).to_arrow().schema, compression="zstd") as writer,
            ):
                for frame in frames:
                    writer.write_table(frame.cast(schema).to_arrow(), row_group_size=max(1, frame.height))
            if self.is_local:
                _onto_the_disk(self.full(temporary))
            self.move(temporary, path)
        except BaseException:
            self.remove(temporary)
            raise

    def move(self, source: str, target: str) -> None:
        """Rename within this directory, replacing the target; on the local disk the new name outlives a power cut."""
        if self.is_local:
            if os.path.isdir(self.full(source)):
                for folder, _, _ in os.walk(self.full(source)):
                    _onto_the_disk(folder)
            os.replace(self.full(source), self.full(target))
            _onto_the_disk(posixpath.dirname(self.full(target)))
            return
        first = self.full(source).rstrip("/")
        if not self.fs.isdir(first):
            self.fs.mv(first, self.full(target))
            return
        # File by file: object stores have no folders, and some of their libraries try to copy those they list. What says
        # that a release is whole comes last.
        files = sorted(self.fs.find(first), key=lambda name: (posixpath.basename(name) == _LAST, name))
        for name in files:
            goal = self.full(target) + name[len(first) :]
            self.fs.makedirs(posixpath.dirname(goal), exist_ok=True)
            self.fs.cp_file(name, goal)
        self.fs.rm(first, recursive=True)

    def remove(self, path: str) -> None:
        """Remove a file; it may be gone already."""
        try:
            self.fs.rm_file(self.full(path))
        except FileNotFoundError:
            return

    def remove_tree(self, path: str) -> None:
        """Remove a directory with everything in it; it may be gone already."""
        if self.exists(path):
            self.fs.rm(self.full(path), recursive=True)

    def names(self, path: str = "", suffix: str = "") -> list[str]:
        """Sorted names of the files directly in a directory that end with `suffix`; temporary ones left out."""
        self.fs.invalidate_cache()
        try:
            entries = self.fs.ls(self.full(path), detail=True)
        except FileNotFoundError:
            return []
        found = [posixpath.basename(entry["name"].rstrip("/")) for entry in entries if entry["type"] == "file"]
        return sorted(name for name in found if name.endswith(suffix) and not name.startswith(".tmp-"))

    def sizes(self, path: str = "", suffix: str = "") -> dict[str, int]:
        """The bytes of the files that `names` gives, in its order."""
        self.fs.invalidate_cache()
        try:
            entries = self.fs.ls(self.full(path), detail=True)
        except FileNotFoundError:
            return {}
        found = {
            posixpath.basename(one["name"].rstrip("/")): int(one["size"] or 0)
            for one in entries
            if one["type"] == "file"
        }
        return {name: found[name] for name in sorted(found) if name.endswith(suffix) and not name.startswith(".tmp-")}

    def directories(self, path: str = "") -> list[str]:
        """Sorted names of the directories directly in a directory."""
        self.fs.invalidate_cache()
        try:
            entries = self.fs.ls(self.full(path), detail=True)
        except FileNotFoundError:
            return []
        return sorted(
            posixpath.basename(entry["name"].rstrip("/")) for entry in entries if entry["type"] == "directory"
        )

    def scan(self, paths: list[str]) -> pl.LazyFrame:
        """A lazy frame over Parquet files of one schema (missing columns are null); at least one path."""
        import polars as pl

        full = [self.full(path) for path in paths]
        if self.is_local:
            return pl.scan_parquet(full, missing_columns="insert", extra_columns="ignore", glob=False)
        import pyarrow.dataset

        return pl.scan_pyarrow_dataset(pyarrow.dataset.dataset(full, format="parquet", filesystem=self.fs))

    def walk(self, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Every file below a directory as (relative path, details), directory by directory, never as one list."""
        pending = [path]
        while pending:
            directory = pending.pop()
            if self.is_local:
                yield from self._walk_local(directory, pending)
                continue
            for entry in self.fs.ls(self.full(directory), detail=True):
                relative = posixpath.join(directory, posixpath.basename(entry["name"].rstrip("/")))
                if entry["type"] == "directory":
                    pending.append(relative)
                else:
                    yield relative, entry

    def _walk_local(self, directory: str, pending: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        with os.scandir(self.full(directory)) as entries:
            for entry in entries:
                relative = posixpath.join(directory, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(relative)
                else:
                    try:
                        found = entry.stat()
                        yield relative, {"size": found.st_size, "mtime": found.st_mtime_ns}
                    except OSError:
                        yield relative, {"size": None}

    def _temporary(self, path: str) -> str:
        return posixpath.join(posixpath.dirname(path), f".tmp-{uuid.uuid4().hex}-{posixpath.basename(path)[-40:]}")


def _onto_the_disk(path: str) -> None:
    """Wait until a file's bytes, or a directory's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # a network file system that cannot do it for directories
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF) or not os.path.isdir(path):
            raise
    finally:
        os.close(handle)


def _protocols(fs: AbstractFileSystem) -> set[str]:
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
