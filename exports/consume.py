"""Open a release: exactly that version, checked byte for byte, also when the Hub is down.

`load_dataset(..., revision=...)` falls back to another revision in its cache when the Hub does not answer, even for a full
commit. So a release is opened in three steps instead: its tag becomes a commit, the files of that commit come into the
local cache, and the manifest says whether they are the release.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exports.address import HubAddress, is_hub, parse_address
from exports.hub import DATASET, HubRepository, explain
from exports.local_release import LocalRelease, damage, find_release, open_local
from exports.manifest import MANIFEST
from exports.patience import Patience, Transient, Unreachable
from exports.publish_plan import listed
from exports.release import SEMVER, ReleaseError
from exports.verify import commit_of, is_commit, version_problem

if TYPE_CHECKING:
    import datasets

DEFAULT_FOLDER = {"default": "data"}  # the folder of a config; others are named after it
Report = Callable[[str], None]


@dataclass(frozen=True)
class OpenedRelease:
    """A release on this disk. `commit` pins it on the Hub; None where it was opened from a directory."""

    release: LocalRelease
    repo: str | None
    commit: str | None

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.release.folder

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest."""
        return self.release.manifest

    @property
    def version(self) -> str:
        """The semantic version."""
        return self.release.version

    def data_files(self, config: str = "default", split: str = "train") -> list[str]:
        """The Parquet files of a config and split, in their order. Raises ReleaseError where there are none."""
        folder = DEFAULT_FOLDER.get(config, config)
        start = f"{folder}/{split}-"
        found = sorted(file.path for file in self.release.files if file.path.startswith(start) and file.is_data)
        if not found:
            raise ReleaseError(f"{self.folder} has no config '{config}' with a split '{split}'")
        return [str(self.folder / path) for path in found]

    def load(
        self, config: str = "default", split: str = "train", streaming: bool = False, **options: Any
    ) -> datasets.Dataset | datasets.IterableDataset:
        """The rows as a `datasets` dataset, from this disk alone. `options` go to `load_dataset` (columns, cache_dir)."""
        from datasets import load_dataset

        files = {split: self.data_files(config, split)}
        return load_dataset("parquet", data_files=files, split=split, streaming=streaming, **options)


def open_release(
    target: str | Path,
    *,
    endpoint: str | None = None,
    cache_dir: str | None = None,
    check: bool = True,
    patience: Patience | None = None,
    report: Report | None = None,
) -> OpenedRelease:
    """Open a release for training or reading.

    Args:
        target: hub:org/name@v1.2.0, hub:org/name@<40-digit commit>, a release's directory, or one that holds versions
            (the newest). A branch is refused: it moves.
        endpoint: another Hub than HF_ENDPOINT.
        cache_dir: another cache than HF_HUB_CACHE.
        check: compare every byte with the manifest (about 1 GB/s); False compares sizes only.
        patience: how long to wait for the Hub; by default a few seconds, where the cache may serve instead.
        report: called with a line of progress.

    Returns:
        The release on this disk. With the Hub down, what the cache holds of that very commit.

    Raises:
        ReleaseError: no such release, not pinned, its tag was moved, bytes differ, or the Hub is down and the cache does
            not hold all of it.
    """
    report = report or (lambda line: None)
    if not is_hub(str(target)):
        opened = OpenedRelease(find_release(target), None, None)
    else:
        address = parse_address(str(target))
        hub = HubRepository(address.repo, endpoint)
        commit = _pinned(hub, address, cache_dir, patience or Patience(tries=3))
        opened = OpenedRelease(_fetch(hub, address, commit, cache_dir, report), address.repo, commit)
    wrong = damage(opened.release, opened.release.files, report) if check else _wrong_sizes(opened.release)
    if wrong and opened.commit is not None:
        wrong = _fetch_again(opened, endpoint, cache_dir, report)
    if wrong:
        raise ReleaseError(f"{opened.folder} is not the release that its manifest describes:\n" + listed(wrong))
    return opened


def released_file(target: str | Path, path: str, *, endpoint: str | None = None, cache_dir: str | None = None) -> Path:
    """One file of a release on this disk, checked against the manifest; no other file is fetched.

    Args:
        target: as for `open_release`.
        path: of the file within the release, for example recipe.yaml.

    Raises:
        ReleaseError: as `open_release`, or the release has no such file.
    """
    if not is_hub(str(target)):
        release = find_release(target)
    else:
        address = parse_address(str(target))
        hub = HubRepository(address.repo, endpoint)
        commit = _pinned(hub, address, cache_dir, Patience(tries=3))
        release = _fetch(hub, address, commit, cache_dir, lambda line: None, only=path)
    found = [file for file in release.files if file.path == path]
    if not found:
        raise ReleaseError(f"{target} has no {path}")
    if wrong := damage(release, found):
        raise ReleaseError(f"{release.folder} is not the release that its manifest describes:\n" + listed(wrong))
    return release.local(found[0])


def _pinned(hub: HubRepository, address: HubAddress, cache_dir: str | None, patience: Patience) -> str:
    """The commit of a pinned address: from the Hub; where it does not answer, what this machine saw the tag at before."""
    revision = address.revision
    if revision is None or not (is_commit(revision) or (revision[0] == "v" and SEMVER.fullmatch(revision[1:]))):
        raise ReleaseError(f"{address} is not pinned; name a version (hub:{address.repo}@v1.2.0) or a full commit")
    if is_commit(revision):
        return revision
    known = _seen_before(hub, revision, cache_dir)
    try:
        commit = commit_of(hub, revision, patience)
    except Unreachable:
        if known is None:
            raise
        return known
    if known not in (None, commit):
        raise ReleaseError(
            f"{address} was commit {known} on this machine and is {commit} now: somebody moved the tag, and a release "
            f"never changes. To take either, pin it: hub:{address.repo}@{commit}"
        )
    if known is None:
        patience.call(lambda: _remember(hub, revision, cache_dir))
    return commit


def _seen_before(hub: HubRepository, revision: str, cache_dir: str | None) -> str | None:
    from huggingface_hub.errors import RevisionResolutionError

    try:
        return hub.api.resolve_revision(
            hub.repo, repo_type=DATASET, revision=revision, cache_dir=cache_dir, local_files_only=True
        ).resolved
    except RevisionResolutionError:
        return None


def _remember(hub: HubRepository, revision: str, cache_dir: str | None) -> None:
    try:
        hub.api.resolve_revision(hub.repo, repo_type=DATASET, revision=revision, cache_dir=cache_dir)
    except Exception as error:
        raise explain(error, f"asking for {revision}", hub.repo) from None


def _fetch(
    hub: HubRepository,
    address: HubAddress,
    commit: str,
    cache_dir: str | None,
    report: Report,
    only: str | None = None,
) -> LocalRelease:
    from huggingface_hub import snapshot_download

    def download(patterns: list[str]) -> Path:
        try:
            return Path(
                snapshot_download(
                    hub.repo,
                    repo_type=DATASET,
                    revision=commit,
                    allow_patterns=patterns,
                    cache_dir=cache_dir,
                    endpoint=hub.api.endpoint,
                )
            )
        except Exception as error:
            raise _not_complete(error, address, commit) from None

    report(f"fetching {address}")
    folder = download([MANIFEST])
    if not (folder / MANIFEST).exists():
        raise ReleaseError(f"{address} has no {MANIFEST}, so it is no release")
    release = open_local(folder)
    problem = version_problem(address.revision or "", release.version)
    if problem:
        raise ReleaseError(f"{address} is not what its tag says: {problem}")
    download([_as_pattern(file.path) for file in release.files if only in (None, file.path)])
    return release


def _not_complete(error: Exception, address: HubAddress, commit: str) -> Exception:
    from huggingface_hub.errors import LocalEntryNotFoundError

    failure = explain(error, f"fetching {address}", address.repo)
    if isinstance(error, LocalEntryNotFoundError) or isinstance(failure, Transient):
        return ReleaseError(
            f"{address} (commit {commit}) is not wholly in the local cache and the Hub does not answer; "
            "run again when it does. No other revision is taken instead"
        )
    return failure


def _as_pattern(path: str) -> str:
    """A path as a pattern that matches itself alone."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in path)


def _wrong_sizes(release: LocalRelease) -> list[str]:
    files = [(file, release.local(file)) for file in release.files]
    return [
        f"{file.path}: not {file.size:,} bytes"
        for file, path in files
        if not path.is_file() or path.stat().st_size != file.size
    ]


def _fetch_again(opened: OpenedRelease, endpoint: str | None, cache_dir: str | None, report: Report) -> list[str]:
    """Fetch the damaged files of the cache once more. Returns what is wrong then."""
    from huggingface_hub import hf_hub_download

    release = opened.release
    assert opened.repo
    for file in release.files:
        if damage(release, [file]):
            report(f"fetching {file.path} again")
            try:
                hf_hub_download(
                    opened.repo,
                    file.path,
                    repo_type=DATASET,
                    revision=opened.commit,
                    cache_dir=cache_dir,
                    endpoint=endpoint,
                    force_download=True,
                )
            except Exception as error:
                failure = explain(error, f"fetching {file.path}", opened.repo)
                raise ReleaseError(f"{release.local(file)} is damaged and cannot be fetched again: {failure}") from None
    return damage(release, release.files)
