"""Which files a path means: a file, a folder, a glob, or {00000..00099} braces; local or any fsspec URL. And how they are opened."""

from __future__ import annotations

import errno
import io
import math
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from factory.errors import SourceError
from factory.sources.source import printable

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_LIST = re.compile(r"\{([^{}]*,[^{}]*)\}")
MAX_FILES = 10_000_000
MAX_DIGITS: Final = 18
ANSWER_SECONDS: Final = 30.0
"""How long a remote system may take for its first answer: a name that nothing answers to should end in seconds."""

EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Protocol -> the extra of this package that reads it."""

T = TypeVar("T")


def file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of a path or URL, and the path on it.

    Raises:
        SourceError: no file can have this name, or a package for its protocol is missing (the extra is named).
    """
    from fsspec.core import url_to_fs

    if "\0" in url:
        raise SourceError(f"{url!r}: no file has a NUL character in its name")
    protocol = url.split("::")[-1].partition("://")[0]
    try:
        fs, root = url_to_fs(url)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        advice = f'pip install "caption-factory[{extra}]"' if extra else str(error).splitlines()[0]
        raise SourceError(f"{printable(url)}: {protocol}:// needs a package that is not installed; {advice}") from None
    except ValueError as error:
        raise SourceError(
            f"{printable(url)}: no address that can be read here ({str(error).splitlines()[0]})"
        ) from None
    except OSError as error:
        raise SourceError(f"{printable(url)}: cannot be reached: {first_line(error)}") from None
    return fs, str(root)


def is_local(fs: AbstractFileSystem) -> bool:
    """Whether a file system is the local disk."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def first_line(error: BaseException) -> str:
    """What an error says, in one line of at most 160 characters."""
    words = (error.strerror if isinstance(error, OSError) else None) or str(error)
    line = next((line.strip() for line in words.splitlines() if line.strip()), "")
    return printable(f"{type(error).__name__}: {line}" if line else type(error).__name__)[:160]


def find_files(path: str, suffixes: tuple[str, ...]) -> list[str]:
    """Full URLs of the files a path means, sorted; one entry per file (a tar or Parquet shard, not an image).

    Args:
        path: a file, a folder (searched recursively for `suffixes`), a glob, or a path with braces.
        suffixes: endings of the files wanted in a folder, upper or lower case.

    Raises:
        SourceError: nothing there, or it cannot be reached.
    """
    found: list[str] = []
    for number, one in enumerate(expand_braces(path)):
        try:
            found += _find(one, suffixes, first=number == 0)
        except SourceError:
            raise
        except Exception as error:  # every storage library has exceptions of its own
            raise SourceError(f"{printable(path)}: cannot be listed: {first_line(error)}") from None
    if not found:
        raise SourceError(f"{printable(path)}: no {' or '.join(suffixes)} files there; is the path right?")
    return found


def _find(path: str, suffixes: tuple[str, ...], first: bool) -> list[str]:
    fs, root = file_system(path)
    if first:
        answers(fs, root, path)
    if any(sign in path for sign in "*?["):
        names = [name for name in fs.glob(root) if name.lower().endswith(suffixes)]
    elif fs.isdir(root):
        names = [name for name in fs.find(root) if name.lower().endswith(suffixes)]
    elif fs.exists(root):
        names = [root]
    else:
        raise SourceError(f"{printable(path)}: no such file or folder")
    return [fs.unstrip_protocol(name) for name in sorted(names)]


def answers(fs: AbstractFileSystem, root: str, path: str) -> None:
    """Make sure that a remote system answers at all, within ANSWER_SECONDS. Raises SourceError."""
    if is_local(fs):
        return
    words = f"{printable(path)}: no answer within {ANSWER_SECONDS:.0f} s; is the address right?"
    try:
        in_time(lambda: fs.exists(root), words)
    except SourceError:
        raise
    except Exception as error:  # every storage library has exceptions of its own
        advice = "; give it credentials as its library reads them (docs/sources.md)" if _asks_who(error) else ""
        raise SourceError(f"{printable(path)}: cannot be looked at: {first_line(error)}{advice}") from None


def _asks_who(error: Exception) -> bool:
    """Whether an error of a storage library is about who asks."""
    return isinstance(error, PermissionError) or "credential" in f"{type(error).__name__} {error}".lower()


def in_time(call: Callable[[], T], words: str, seconds: float = ANSWER_SECONDS) -> T:
    """The result of a call, or SourceError(words) where it takes longer. Its own exceptions come through."""
    result: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            result.append(call())
        except BaseException as error:  # raised again below, in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not result:
        raise SourceError(words)
    return result[0]


def expand_braces(path: str) -> list[str]:
    """`{00..02}` and `{a,b}` expanded as a shell does, leading zeros kept.

    Raises:
        SourceError: it stands for more than MAX_FILES files; told before any of them is made.
    """
    sizes = [_range_size(match, path) for match in _RANGE.finditer(path)]
    sizes += [match.group(1).count(",") + 1 for match in _LIST.finditer(path)]
    _limit(math.prod(sizes), path)
    found: list[str] = []
    for one in _expand(path):
        found.append(one)
        if len(found) > MAX_FILES:
            _limit(len(found), path)
    return found


def _limit(count: int, path: str) -> None:
    if count > MAX_FILES:
        name = path if len(path) <= 200 else path[:197] + "..."
        raise SourceError(f"{printable(name)}: stands for {count:,} files; the limit is {MAX_FILES:,}")


def _range_size(match: re.Match[str], path: str) -> int:
    first, last = match.groups()
    if max(len(first), len(last)) > MAX_DIGITS:
        raise SourceError(f"{printable(path)[:200]}: a range with numbers of more than {MAX_DIGITS} digits")
    return abs(int(last) - int(first)) + 1


def _expand(path: str) -> Iterator[str]:
    found = [match for match in (_RANGE.search(path), _LIST.search(path)) if match]
    if not found:
        yield path
        return
    match = min(found, key=lambda one: one.start())
    head, tail = path[: match.start()], path[match.end() :]
    for option in _options(match, path):
        yield from _expand(head + option + tail)


def _options(match: re.Match[str], path: str) -> Iterator[str]:
    if match.re is _LIST:
        yield from match.group(1).split(",")
        return
    first, last = match.groups()
    _limit(_range_size(match, path), path)
    width = len(first) if first.startswith("0") else 0
    step = 1 if int(last) >= int(first) else -1
    for number in range(int(first), int(last) + step, step):
        yield f"{number:0{width}d}"


def open_file(url: str) -> IO[bytes]:
    """A file that a user named, opened for reading.

    Raises:
        SourceError: as `file_system`. OSError: it cannot be read, or is a pipe or a device, which may never end.
    """
    from fsspec.spec import AbstractBufferedFile

    fs, name = file_system(url)
    if is_local(fs):
        return open_regular(name)
    opened = fs.open(name, "rb")
    # The files of remote systems read lines of any length alone.
    return io.BufferedReader(opened, 1 << 20) if isinstance(opened, AbstractBufferedFile) else opened


class NotAFile(OSError):
    """A folder, pipe, socket or device where a file should be."""


def open_regular(path: str) -> IO[bytes]:
    """A file of the local disk. Raises OSError, also for what is no regular file, without waiting for a pipe's writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise NotAFile(errno.EINVAL, f"{kind_of(mode)}, not a file", path)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def kind_of(mode: int) -> str:
    """In words, what a thing on the disk with this `st_mode` is."""
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((words for is_kind, words in kinds.items() if is_kind(mode)), "a device")


def size_of(url: str) -> int | None:
    """Bytes of a file, None where the system does not tell. Raises OSError."""
    fs, name = file_system(url)
    size = fs.info(name).get("size")
    return None if size is None else int(size)


def stat_of(url: str) -> str:
    """Something that changes when a file does: size and, where the system tells, its time or tag; '' where it cannot be told."""
    fs, name = file_system(url)
    try:
        details: dict[str, Any] = fs.info(name)
    except OSError:
        return ""
    return mark_of(details)


def mark_of(details: dict[str, Any]) -> str:
    """The same of what a file system says of a file."""
    mark = details.get("ETag") or details.get("etag") or details.get("mtime") or details.get("LastModified") or ""
    return f"{details.get('size')}:{mark}"


def relative_names(urls: list[str]) -> list[str]:
    """Short stable names of files: what remains below their common folder."""
    if len(urls) == 1:
        return [printable(urls[0].rsplit("/", 1)[-1])]
    folders = [url.split("/")[:-1] for url in urls]
    common = 0
    while all(len(parts) > common and parts[common] == folders[0][common] for parts in folders):
        common += 1
    return [printable("/".join(url.split("/")[common:])) for url in urls]
