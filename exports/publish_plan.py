"""What a repository lacks of a release, what it has too much, and what forbids to publish there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from exports.address import tag_of
from exports.hub import RemoteFile
from exports.local_release import CARD, LocalRelease, ReleaseFile
from exports.manifest import MANIFEST
from exports.release import SEMVER, ReleaseError
from exports.schema_change import number_of, schema_problem

Tree = dict[str, RemoteFile]
SHOWN = 12
MOST_PER_FOLDER = 10_000  # huggingface.co/docs/hub/storage-limits
UPLOAD_GROUP = 50  # files uploaded between two lines of progress
REPEATS_IMAGES = "sft/"
MOST_BYTES = 500_000_000_000


@dataclass(frozen=True)
class PublishPlan:
    """What one commit has to do: `add` these files, `delete` these paths. All others stay."""

    add: tuple[ReleaseFile, ...]
    delete: tuple[str, ...]

    @property
    def add_bytes(self) -> int:
        """Size of the files to add, before the Hub finds what it has already."""
        return sum(file.size for file in self.add)


def make_plan(release: LocalRelease, tree: Tree, previous: dict[str, Any] | None) -> PublishPlan:
    """Compare a release with the files of a commit. `previous`: the manifest in that commit; its files are ours to delete."""
    ours = {file.path for file in release.files}
    add = tuple(file for file in release.files if not is_same(release, file, tree.get(file.path)))
    delete = tuple(sorted(path for path in _paths(previous) if path in tree and path not in ours))
    return PublishPlan(add, delete)


def differences(release: LocalRelease, tree: Tree) -> list[str]:
    """How the files of a commit differ from the release; [] where every file of it is there, byte for byte."""
    found = []
    for file in release.files:
        remote = tree.get(file.path)
        if remote is None:
            found.append(f"{file.path}: missing")
        elif remote.size != file.size:
            found.append(f"{file.path}: {remote.size:,} bytes instead of {file.size:,}")
        elif not is_same(release, file, remote):
            found.append(f"{file.path}: another content")
    return found


def is_same(release: LocalRelease, file: ReleaseFile, remote: RemoteFile | None) -> bool:
    """Whether the Hub has this very content. Costs no download: the Hub tells SHA-256, or git's name, of each file."""
    if remote is None or remote.size != file.size:
        return False
    return remote.sha256 == file.sha256 if remote.sha256 else remote.git_oid == release.git_oid(file)


def check_succession(release: LocalRelease, tags: Iterable[str], previous: dict[str, Any] | None) -> None:
    """Whether this release may follow what is published.

    Args:
        release: to be published, not tagged yet.
        tags: tags of the repository.
        previous: the manifest on the main branch, if any; not the one of this release.

    Raises:
        ReleaseError: the version is not higher than the last, another release of the same version is on main, the
            repository holds releases of something else, or the columns changed more than the version says.
    """
    version = release.version
    published = [tag[1:] for tag in tags if tag.startswith("v") and SEMVER.fullmatch(tag[1:])]
    last = max(published, key=number_of, default=None)
    if last is not None and number_of(version) < number_of(last):
        raise ReleaseError(
            f"{tag_of(last)} is published already and {version} is lower; release.version must be above {last}"
        )
    if previous is None:
        return
    was = str(previous["version"])
    name, old_name = release.manifest.get("name"), previous.get("name")
    if name != old_name:
        raise ReleaseError(f"the repository holds releases of '{old_name}', this is '{name}'; publish to another one")
    if was == version and was not in published:
        raise ReleaseError(
            f"another {version} is on the main branch without a tag: somebody is publishing it now, or was interrupted. "
            f"Publish that one again to finish it, or give this one a higher version"
        )
    if number_of(version) < number_of(was):
        raise ReleaseError(f"version {was} is on the main branch already and {version} is lower")
    problem = schema_problem(previous.get("schema") or {}, release.manifest.get("schema") or {}, was, version)
    if problem:
        raise ReleaseError(problem)


def check_strangers(release: LocalRelease, tree: Tree, previous: dict[str, Any] | None) -> None:
    """Whether files of somebody else are in the way. They are never changed; what is not in the way stays.

    Raises:
        ReleaseError: a list of files that would be replaced, or read as rows of this release.
    """
    ours = {file.path: file for file in release.files}
    known = {*_paths(previous), MANIFEST, CARD}
    folders = {path.split("/")[0] for path in ours if path.endswith(".parquet") and "/" in path}
    in_the_way = [
        path
        for path, remote in sorted(tree.items())
        if path not in known
        and (
            (path in ours and not is_same(release, ours[path], remote))
            or (path not in ours and path.split("/")[0] in folders and path.endswith(".parquet"))
        )
    ]
    if in_the_way:
        raise ReleaseError(
            "files that no release put there are in the way; move them, or publish to another repository:\n"
            + listed(in_the_way)
        )


def check_limits(release: LocalRelease) -> None:
    """Raises ReleaseError where the Hub would refuse the commit, but only after everything was uploaded."""
    folders = Counter(file.path.rpartition("/")[0] for file in release.files)
    for folder, files in folders.items():
        if files > MOST_PER_FOLDER:
            raise ReleaseError(
                f"{folder}/ has {files:,} files and the Hub takes {MOST_PER_FOLDER:,} in a folder; use larger shards (release.shard_mb)"
            )
    for file in release.files:
        if file.size > MOST_BYTES:
            raise ReleaseError(
                f"{file.path} has {file.size / 1e9:,.0f} GB and the Hub takes {MOST_BYTES / 1e9:,.0f} GB in a file; "
                "use smaller shards (release.shard_mb)"
            )


def card_is_ours(remote_sha256: str, previous: dict[str, Any] | None) -> bool:
    """Whether the card in the repository is the one that the last release put there, unchanged."""
    files = previous["files"] if previous else []
    return any(one.get("path") == CARD and one.get("sha256") == remote_sha256 for one in files)


def listed(lines: Iterable[str], shown: int = SHOWN) -> str:
    """Lines for a message, the first of them and how many more."""
    lines = list(lines)
    more = [f"  ... and {len(lines) - shown:,} more"] if len(lines) > shown else []
    return "\n".join([f"  {line}" for line in lines[:shown]] + more)


def _paths(manifest: dict[str, Any] | None) -> set[str]:
    """The paths that a release of this manifest put into a repository. They are untrusted, so only strings count."""
    files = manifest["files"] if manifest else []
    return {one["path"] for one in files if isinstance(one, dict) and isinstance(one.get("path"), str)}


def upload_groups(files: Sequence[ReleaseFile]) -> list[list[ReleaseFile]]:
    """Files in groups that are uploaded one after the other, at most UPLOAD_GROUP each.

    Files of one group travel at once, and equal chunks are found only in what is there already. So the config that repeats
    the images of another comes after it: its images are not sent again.
    """
    first = [file for file in files if not file.path.startswith(REPEATS_IMAGES)]
    second = [file for file in files if file.path.startswith(REPEATS_IMAGES)]
    return [
        part[start : start + UPLOAD_GROUP] for part in (first, second) for start in range(0, len(part), UPLOAD_GROUP)
    ]
