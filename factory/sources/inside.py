"""Files that data names: the one place where a path out of a table, a metadata file or a listing is opened.

A table must not read the disk at will. A path counts only below the source's root, also after links were followed, and
only a regular file of bounded size is read: no pipe, no device, no end. `zip://member::archive`, as `datasets` writes the
images of a zipped folder, is read where the archive lies below the root.
"""

from __future__ import annotations

import os
import posixpath
import zipfile
from typing import IO, Any

from exports.storage import Storage
from factory.sources.files import NotAFile, first_line, open_regular
from factory.sources.source import DETAIL, printable


class Unusable(Exception):
    """A file that is not read: `problem` and `detail` as a SourceRow has them."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(problem, detail)
        self.problem = problem
        self.detail = detail[:DETAIL]


class Root:
    """The folder below which paths may lie, local or any fsspec URL. Pickles without its open archive."""

    def __init__(self, url: str) -> None:
        self.storage = Storage(url)
        self._zip: tuple[str, zipfile.ZipFile] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"storage": self.storage, "_zip": None}

    def read(self, path: str, max_bytes: int) -> bytes:
        """All bytes of the file that a path means: relative to the root, or absolute and below it.

        Raises:
            Unusable: 'missing' where the path leads outside or to no file of bytes, 'too_many_bytes', or 'unreadable'.
        """
        if path.startswith("zip://") and "::" in path:
            member, _, archive = path.removeprefix("zip://").partition("::")
            return self._member(member, archive, max_bytes)
        relative = self._relative(path)
        try:
            with self._open(relative) as file:
                size = _size_of(file)
                if size is not None and size > max_bytes:
                    raise Unusable("too_many_bytes", f"{size:,} bytes, limit {max_bytes:,}")
                data = file.read(max_bytes + 1)
        except Unusable:
            raise
        except (OSError, ValueError) as error:
            words = first_line(error).removeprefix(f"{type(error).__name__}: ")
            raise Unusable("unreadable", f"{printable(relative)}: {words}") from None
        if len(data) > max_bytes:
            raise Unusable("too_many_bytes", f"at least {len(data):,} bytes, limit {max_bytes:,}")
        return data

    def check(self, path: str) -> None:
        """Raises Unusable where `read` would refuse a path whatever its size."""
        relative = self._relative(path)
        try:
            self._open(relative).close()
        except (OSError, ValueError) as error:
            raise Unusable("unreadable", f"{printable(relative)}: {first_line(error)}") from None

    def _relative(self, path: str) -> str:
        """The path below the root. Raises Unusable where it is not."""
        if "\0" in path:
            raise Unusable("missing", f"no file has a NUL character in its name: {path!r}")
        above = next((root for root in self._names() if path.startswith(root)), "")
        relative = path[len(above) :]
        normal = posixpath.normpath(relative)
        if normal.startswith(("/", "../")) or normal in ("..", ".") or "://" in relative:
            raise Unusable("missing", f"path outside of {printable(self.storage.url)}; set root: {printable(path)}")
        return normal

    def _names(self) -> list[str]:
        """What an absolute path below the root may begin with."""
        full = self.storage.full()
        names = [full, self.storage.fs.unstrip_protocol(full), self.storage.url, *self._real_roots()[:1]]
        return [name.rstrip("/") + "/" for name in names]

    def _open(self, relative: str) -> IO[bytes]:
        full = self.storage.full(relative)
        if not self.storage.is_local:
            details = self.storage.fs.info(full)
            if details.get("type") == "directory":
                raise Unusable("missing", f"{printable(relative)}: a folder, not a file")
            return self.storage.fs.open(full, "rb")  # type: ignore[no-any-return]
        real = os.path.realpath(full)
        if not any(real.startswith(root.rstrip("/") + "/") for root in self._real_roots()):
            raise Unusable(
                "missing", f"{printable(relative)}: a link that leads outside of {printable(self.storage.url)}"
            )
        try:
            return open_regular(real)
        except NotAFile as error:
            raise Unusable("missing", f"{printable(relative)}: {error.strerror}") from None

    def _real_roots(self) -> list[str]:
        """The root without links; in the cache of the Hub's client, whose snapshots are links, the blobs beside them too."""
        if not self.storage.is_local:
            return []
        real = os.path.realpath(self.storage.full())
        above, snapshot = os.path.split(os.path.dirname(real))
        blobs = os.path.join(above, "blobs")
        return [real, blobs] if snapshot == "snapshots" and os.path.isdir(blobs) else [real]

    def _member(self, member: str, archive: str, max_bytes: int) -> bytes:
        relative = self._relative(archive)
        try:
            opened = self._archive(relative)
            entry = opened.getinfo(member)
            if entry.file_size > max_bytes:
                raise Unusable("too_many_bytes", f"{entry.file_size:,} bytes, limit {max_bytes:,}")
            with opened.open(entry) as file:
                data = file.read(max_bytes + 1)
        except Unusable:
            raise
        except KeyError:
            raise Unusable("missing", f"no '{printable(member)}' in {printable(relative)}") from None
        except Exception as error:  # zipfile promises no list: bad offsets, encryption, unknown compression, ...
            raise Unusable("unreadable", f"{printable(member)} in {printable(relative)}: {first_line(error)}") from None
        if len(data) > max_bytes:
            raise Unusable("too_many_bytes", f"more bytes than its archive says, limit {max_bytes:,}")
        return data

    def _archive(self, relative: str) -> zipfile.ZipFile:
        if self._zip is None or self._zip[0] != relative:
            if self._zip is not None:
                self._zip[1].close()
                self._zip = None
            self._zip = relative, zipfile.ZipFile(self._open(relative))
        return self._zip[1]


def _size_of(file: IO[bytes]) -> int | None:
    """Bytes of an open file, where that can be told without reading it."""
    try:
        return os.fstat(file.fileno()).st_size
    except (AttributeError, OSError):
        size = getattr(file, "size", None)
        return size if isinstance(size, int) else None
