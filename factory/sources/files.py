"""Which files a path means: a file, a folder, a glob, or {00000..00099} braces; local or any fsspec URL."""

from __future__ import annotations

import re

from factory.errors import SourceError

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_LIST = re.compile(r"\{([^{}]*,[^{}]*)\}")
MAX_FILES = 10_000_000


def find_files(path: str, suffixes: tuple[str, ...]) -> list[str]:
    """Full URLs of the files a path means, sorted; one entry per file (a tar or Parquet shard, not an image).

    Args:
        path: a file, a folder (searched recursively for `suffixes`), a glob, or a path with braces.
        suffixes: endings of the files wanted in a folder.

    Raises:
        SourceError: nothing there.
    """
    found = [url for one in expand_braces(path) for url in _find(one, suffixes)]
    if not found:
        raise SourceError(f"{path}: no {' or '.join(suffixes)} files there; is the path right?")
    return found


def _find(path: str, suffixes: tuple[str, ...]) -> list[str]:
    from fsspec.core import url_to_fs

    fs, root = url_to_fs(path)
    if any(sign in path for sign in "*?["):
        names = [name for name in fs.glob(root) if name.endswith(suffixes)]
    elif fs.isdir(root):
        names = [name for name in fs.find(root) if name.endswith(suffixes)]
    elif fs.exists(root):
        names = [root]
    else:
        raise SourceError(f"{path}: no such file or folder")
    return [fs.unstrip_protocol(name) for name in sorted(names)]


def expand_braces(path: str) -> list[str]:
    """`{00..02}` and `{a,b}` expanded as a shell does, leading zeros kept."""
    found = [match for match in (_RANGE.search(path), _LIST.search(path)) if match]
    if not found:
        return [path]
    match = min(found, key=lambda one: one.start())
    if match.re is _RANGE:
        first, last = match.groups()
        count = abs(int(last) - int(first)) + 1
        if count > MAX_FILES:
            raise SourceError(f"{path}: stands for {count:,} files; the limit is {MAX_FILES:,}")
        width = len(first) if first.startswith("0") else 0
        step = 1 if int(last) >= int(first) else -1
        options = [f"{number:0{width}d}" for number in range(int(first), int(last) + step, step)]
    else:
        options = match.group(1).split(",")
    head, tail = path[: match.start()], path[match.end() :]
    return [expanded for option in options for expanded in expand_braces(head + option + tail)]


def stat_of(url: str) -> str:
    """Something that changes when a file does: size and, where the system tells, its time or tag."""
    from fsspec.core import url_to_fs

    fs, name = url_to_fs(url)
    details = fs.info(name)
    mark = details.get("ETag") or details.get("etag") or details.get("mtime") or details.get("LastModified") or ""
    return f"{details.get('size')}:{mark}"


def relative_names(urls: list[str]) -> list[str]:
    """Short stable names of files: what remains below their common folder."""
    if len(urls) == 1:
        return [urls[0].rsplit("/", 1)[-1]]
    folders = [url.split("/")[:-1] for url in urls]
    common = 0
    while all(len(parts) > common and parts[common] == folders[0][common] for parts in folders):
        common += 1
    return ["/".join(url.split("/")[common:]) for url in urls]
