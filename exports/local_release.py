"""A release in a local directory: its manifest, its files, and whether they are what the manifest says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from exports.manifest import MANIFEST, sha256_hex
from exports.release import SEMVER, ReleaseError

CARD = "README.md"
CHUNK = 1 << 20
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file of a release, as the manifest says; `sha256` is 64 hex digits, `size` is bytes."""

    path: str
    size: int
    sha256: str

    @property
    def is_data(self) -> bool:
        """Whether it holds rows."""
        return self.path.endswith(".parquet")


@dataclass(frozen=True)
class LocalRelease:
    """A release in a directory. `files` are all of them, the manifest itself too."""

    folder: Path
    manifest: dict[str, Any]
    files: tuple[ReleaseFile, ...]

    @property
    def version(self) -> str:
        """The semantic version."""
        return str(self.manifest["version"])

    @property
    def manifest_sha256(self) -> str:
        """What identifies the release: SHA-256 of the manifest's bytes."""
        return next(file.sha256 for file in self.files if file.path == MANIFEST)

    def local(self, file: ReleaseFile) -> Path:
        """Where a file is."""
        return self.folder / file.path

    def git_oid(self, file: ReleaseFile) -> str:
        """git's name of a file's content, which is how the Hub names small files."""
        digest = hashlib.sha1(b"blob %d\0" % file.size)
        with self.local(file).open("rb") as handle:
            while piece := handle.read(CHUNK):
                digest.update(piece)
        return digest.hexdigest()


def open_local(folder: Path | str) -> LocalRelease:
    """Read the manifest of a release in a local directory. Nothing else is read.

    Raises:
        ReleaseError: no release is there, or its manifest is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReleaseError(f"{folder}: no such directory")
    try:
        data = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise ReleaseError(f"{folder} has no {MANIFEST}, so it is no release{_versions_there(folder)}") from None
    manifest, files = read_manifest(data, str(folder / MANIFEST))
    return LocalRelease(folder, manifest, (*files, ReleaseFile(MANIFEST, len(data), sha256_hex(data))))


def read_manifest(data: bytes, where: str) -> tuple[dict[str, Any], tuple[ReleaseFile, ...]]:
    """A manifest and the files that it lists. It may come from anywhere, so paths that leave the release are refused.

    Raises:
        ReleaseError: it is damaged, or no manifest of a release.
    """
    try:
        manifest = json.loads(data)
        files = tuple(ReleaseFile(one["path"], int(one["bytes"]), str(one["sha256"])) for one in manifest["files"])
        version = str(manifest["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{where} is damaged ({type(error).__name__}: {error})") from None
    for file in files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or "\\" in file.path or file.path in ("", MANIFEST):
            raise ReleaseError(f"{where} lists '{file.path}', which is no path inside a release")
    if not SEMVER.fullmatch(version):
        raise ReleaseError(f"{where}: '{version}' is no version such as 1.2.0")
    return manifest, files


def find_release(target: Path | str, version: str | None = None) -> LocalRelease:
    """The release in a directory, or in the directory that holds its versions.

    Args:
        target: a release, or the directory above it.
        version: the one wanted; None means the release itself, or the newest version.

    Raises:
        ReleaseError: it is not there, or the release has another version.
    """
    if "://" in str(target):
        raise ReleaseError(f"{target} is not on this disk; copy the release here first")
    folder = Path(target)
    if (folder / MANIFEST).exists() or not folder.is_dir():
        release = open_local(folder)
        if version not in (None, release.version):
            raise ReleaseError(
                f"{folder} is version {release.version}, not {version}. A release never changes: "
                f"build {version} (release.version in the recipe), or publish --version {release.version}"
            )
        return release
    known = versions_in(folder)
    if not known or version not in (None, *known):
        wanted = f"version {version}" if version else "release"
        raise ReleaseError(f"{folder} holds no {wanted}{_versions_there(folder)}")
    return open_local(folder / (version or known[-1]))


def versions_in(folder: Path) -> list[str]:
    """The versions in a directory, oldest first."""
    from exports.release import released_versions
    from exports.storage import Storage

    return released_versions(Storage(str(folder)))


def damage(release: LocalRelease, files: Iterable[ReleaseFile], progress: Progress | None = None) -> list[str]:
    """What is wrong with files of a release, byte for byte; [] where nothing is. Reads each file once."""
    found = []
    for file in files:
        path = release.local(file)
        if progress:
            progress(f"checking {file.path}")
        try:
            size = path.stat().st_size
            if size != file.size:
                found.append(f"{file.path}: {size:,} bytes instead of {file.size:,}")
            elif _sha256(path) != file.sha256:
                found.append(f"{file.path}: the content is not what the manifest says")
        except FileNotFoundError:
            found.append(f"{file.path}: missing")
    return found


def strangers(release: LocalRelease) -> list[str]:
    """Files in the directory that the manifest does not list."""
    known = {file.path for file in release.files}
    found = (path.relative_to(release.folder).as_posix() for path in release.folder.rglob("*") if path.is_file())
    return sorted(path for path in found if path not in known)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _versions_there(folder: Path) -> str:
    known = versions_in(folder)
    return f"; there {'is' if len(known) == 1 else 'are'} {', '.join(known)}" if known else ""
