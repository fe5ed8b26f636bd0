"""A release against its manifest, its bytes and what they mean: in a directory, or on the Hub as it is served today."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from exports.address import COMMIT, HubAddress, is_hub, parse_address, tag_of
from exports.content_check import Open, content_problems
from exports.hub import MAIN, HubRepository, RemoteFile
from exports.local_release import ReleaseFile, damage, find_release, read_manifest, strangers
from exports.manifest import MANIFEST
from exports.patience import Patience
from exports.release import SEMVER, ReleaseError

Report = Callable[[str], None]


@dataclass(frozen=True)
class Verified:
    """What was compared. `problems` is empty where every byte is right."""

    target: str
    version: str
    commit: str | None  # on the Hub
    files: int
    bytes: int  # of content that was read
    others: int  # files beside the release; allowed on the Hub, a problem in a directory
    problems: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As JSON data."""
        return {"ok": not self.problems, **asdict(self)}

    def lines(self) -> list[str]:
        """For a terminal."""
        at = f" (commit {self.commit})" if self.commit else ""
        state = f"{len(self.problems)} problems" if self.problems else "every byte, row and id as in the manifest"
        head = f"{self.target}{at}: version {self.version}, {self.files} files, {self.bytes:,} bytes: {state}"
        return [head, *(f"  {line}" for line in self.problems)]


def verify(
    target: str, endpoint: str | None = None, patience: Patience | None = None, report: Report | None = None
) -> Verified:
    """Compare a release with its manifest: every byte, and the rows, ids, columns, version and licence that it tells of.

    Args:
        target: a directory (a release, or of versions: the newest), or hub:org/name@v1.2.0. Without a revision, main.
        endpoint, patience: for the Hub.
        report: called with a line of progress.

    Returns:
        What was compared, with every problem. Nothing is written; the Hub's files are read as a stream.

    Raises:
        ReleaseError: there is no release, its manifest cannot be read, or the Hub cannot be reached.
    """
    report = report or (lambda line: None)
    if is_hub(target):
        return _verify_hub(parse_address(target), endpoint, patience or Patience(), report)
    release = find_release(target)
    found = damage(release, release.files, report)
    other = strangers(release)
    found += _content(release.manifest, release.files, found, _opener(release.folder), release.folder.resolve().name)
    found += [f"{path}: not in the manifest" for path in other]
    size = sum(file.size for file in release.files)
    return Verified(str(release.folder), release.version, None, len(release.files), size, len(other), found)


def commit_of(hub: HubRepository, revision: str, patience: Patience) -> str:
    """The commit of a revision. Raises ReleaseError where it is not there, with the tags that are."""
    commit = patience.call(lambda: hub.commit_of(revision))
    if commit is not None:
        return commit
    if patience.call(lambda: hub.commit_of(MAIN)) is None:
        raise ReleaseError(f"{hub.repo} is not on the Hub, or this token may not see it; check the name and the token")
    tags = ", ".join(sorted(patience.call(hub.references).tags)) or "none"
    raise ReleaseError(f"{hub.repo} has no {revision}; its tags: {tags}")


def version_problem(revision: str, version: str) -> str | None:
    """Why a manifest's version does not belong to a revision, where the revision is the tag of a version."""
    if revision.startswith("v") and SEMVER.fullmatch(revision[1:]) and revision != tag_of(version):
        return f"{MANIFEST}: version {version} under the tag {revision}"
    return None


def _verify_hub(address: HubAddress, endpoint: str | None, patience: Patience, report: Report) -> Verified:
    hub = HubRepository(address.repo, endpoint)
    revision = address.revision or MAIN
    commit = commit_of(hub, revision, patience)
    tree = patience.call(lambda: hub.tree(commit))
    if MANIFEST not in tree:
        raise ReleaseError(f"{address} has no {MANIFEST}, so it is no release")
    manifest, files = read_manifest(hub.read(MANIFEST, commit), f"{MANIFEST} of {address}")
    problem = version_problem(revision, str(manifest["version"]))
    found = [problem] if problem else []
    found += list(_damage(hub, commit, tree, files, report))
    found += _content(manifest, files, found, lambda path: hub.open(path, commit), None)
    others = len(tree.keys() - {file.path for file in files} - {MANIFEST})
    size = sum(file.size for file in files)
    return Verified(str(address), str(manifest["version"]), commit, len(files) + 1, size, others, found)


def _content(
    manifest: dict[str, Any], files: Iterable[ReleaseFile], damaged: list[str], open_file: Open, folder: str | None
) -> list[str]:
    """What the files say other than the manifest; damaged ones have been told of already."""
    broken = {line.partition(": ")[0] for line in damaged}
    if any(file.path in broken for file in files if file.is_data):
        return []
    return content_problems(manifest, [file for file in files if file.path not in broken], open_file, folder)


def _opener(folder: Path) -> Open:
    return lambda path: (folder / path).open("rb")


def _damage(
    hub: HubRepository, commit: str, tree: dict[str, RemoteFile], files: Iterable[ReleaseFile], report: Report
) -> Iterable[str]:
    for file in files:
        remote = tree.get(file.path)
        if remote is None:
            yield f"{file.path}: missing"
        elif remote.size != file.size:
            yield f"{file.path}: {remote.size:,} bytes instead of {file.size:,}"
        elif remote.sha256 not in (None, file.sha256):
            yield f"{file.path}: the content is not what the manifest says"
        else:
            report(f"reading {file.path}")
            digest = hashlib.sha256()
            for piece in hub.stream(file.path, commit):
                digest.update(piece)
            if digest.hexdigest() != file.sha256:
                yield f"{file.path}: the content is not what the manifest says"


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit, which nobody can move."""
    return bool(COMMIT.fullmatch(revision))
