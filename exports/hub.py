"""The one place that talks to the Hub: one dataset repository, with every failure told apart.

The client retries uploads, downloads and listings by itself. It does not retry commits, tags, references and repository
information, and it must not: when their answer is lost, they may have taken effect. Such failures are `Transient` here;
whoever calls reads the remote state again before doing anything.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeVar

from exports.manifest import MANIFEST
from exports.patience import Patience, Transient, Unreachable
from exports.redact import redact
from exports.release import ReleaseError

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

MAIN = "main"
DATASET = "dataset"
UNSURE = {408, 409, 412, 425, 429}  # and all of 5xx
CHUNK = 1 << 20
ANSWER_TIMEOUT_S = 180.0  # the Hub gives up a commit after 60 s
CONNECT_TIMEOUT_S = 10.0
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file in a repository. `sha256` is known of large files only, `git_oid` names the content of the others."""

    path: str
    size: int  # bytes
    git_oid: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class References:
    """Branches and tags of a repository, each with its commit."""

    branches: dict[str, str]
    tags: dict[str, str]


class HubRepository:
    """A dataset repository on the Hub.

    Every method raises `Transient` where trying again may help (the effect of a write is then unknown) and ReleaseError
    where the user has to act. No message holds a token.
    """

    def __init__(self, repo: str, endpoint: str | None = None) -> None:
        """`repo`: org/name. `endpoint`: None means HF_ENDPOINT, or the public Hub."""
        from huggingface_hub import HfApi

        self.repo = repo
        self.api = HfApi(endpoint=endpoint)

    # --- reading ---

    def require_token(self) -> None:
        """Raises ReleaseError where there is no token."""
        from huggingface_hub import get_token

        if not get_token():
            raise ReleaseError("no Hub token: run 'hf auth login', or set HF_TOKEN to a token that may write")

    def commit_of(self, revision: str = MAIN) -> str | None:
        """The commit of a branch, tag or commit; None where the repository or the revision is not there (or hidden)."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        def ask() -> str | None:
            try:
                return self.api.repo_info(self.repo, repo_type=DATASET, revision=revision, timeout=60).sha
            except (RepositoryNotFoundError, RevisionNotFoundError) as error:
                if "Invalid credentials" in str(error):
                    raise
                return None

        return self._call(f"asking for {revision}", ask)

    def is_private(self) -> bool:
        """Whether the repository is private."""
        info = self._call(
            "asking for the repository", lambda: self.api.repo_info(self.repo, repo_type=DATASET, timeout=60)
        )
        return bool(info.private)

    def references(self) -> References:
        """Branches and tags."""
        found = self._call("listing tags", lambda: self.api.list_repo_refs(self.repo, repo_type=DATASET))
        return References(
            {one.name: one.target_commit for one in found.branches}, {one.name: one.target_commit for one in found.tags}
        )

    def tree(self, commit: str) -> dict[str, RemoteFile]:
        """All files of a commit by path."""
        from huggingface_hub import RepoFile
        from huggingface_hub.errors import RevisionNotFoundError

        def ask() -> dict[str, RemoteFile]:
            try:
                entries = self.api.list_repo_tree(self.repo, recursive=True, revision=commit, repo_type=DATASET)
                files = [entry for entry in entries if isinstance(entry, RepoFile)]
            except RevisionNotFoundError:  # a commit that the Hub told of is there, if not on this server yet
                raise Transient(f"the Hub does not know commit {commit} yet") from None
            return {
                file.path: RemoteFile(file.path, file.size, file.blob_id, file.lfs.sha256 if file.lfs else None)
                for file in files
            }

        return self._call("listing files", ask)

    def history(self, revision: str) -> list[tuple[str, str, str]]:
        """Commits of a revision as (commit, title, message), newest first."""
        found = self._call(
            "listing commits", lambda: self.api.list_repo_commits(self.repo, repo_type=DATASET, revision=revision)
        )
        return [(one.commit_id, one.title, one.message) for one in found]

    def stream(self, path: str, commit: str) -> Iterator[bytes]:
        """The content of a file in pieces; a broken connection is taken up where it broke."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils._headers import build_hf_headers
        from huggingface_hub.utils._http import get_session, hf_raise_for_status

        url = hf_hub_url(self.repo, path, repo_type=DATASET, revision=commit, endpoint=self.api.endpoint)
        patience, done = Patience(tries=5), 0
        while True:
            headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
            headers |= {"Range": f"bytes={done}-"} if done else {}
            try:
                with get_session().stream("GET", url, headers=headers, timeout=ANSWER_TIMEOUT_S) as response:
                    if done and response.status_code == 416:  # it broke after the last byte
                        return
                    hf_raise_for_status(response)
                    for piece in response.iter_bytes(CHUNK):
                        done += len(piece)
                        patience.progress()
                        yield piece
                    return
            except Exception as error:
                failure = explain(error, f"reading {path}", self.repo)
                if not isinstance(failure, Transient):
                    raise failure from None
                patience.wait(failure)

    def read(self, path: str, commit: str) -> bytes:
        """The content of a small file."""
        return b"".join(self.stream(path, commit))

    @contextmanager
    def open(self, path: str, commit: str) -> Iterator[IO[bytes]]:
        """A file for reading at any place; only what is read is fetched."""
        from huggingface_hub import HfFileSystem

        try:
            system = HfFileSystem(endpoint=self.api.endpoint, token=self.api.token)
            with system.open(f"datasets/{self.repo}@{commit}/{path}", "rb", cache_type="none") as file:
                yield file
        except ReleaseError:
            raise
        except Exception as error:
            failure = explain(error, f"reading {path}", self.repo)
            if isinstance(failure, Transient):
                raise Unreachable(f"{failure}; run the same command again") from None
            raise failure from None

    def manifest(self, tree: dict[str, RemoteFile], commit: str) -> dict[str, Any] | None:
        """The manifest in a commit, None where there is none. Raises ReleaseError where it is not one of ours."""
        if MANIFEST not in tree:
            return None
        try:
            found = json.loads(self.read(MANIFEST, commit))
            if not isinstance(found["files"], list) or not isinstance(found["version"], str):
                raise ValueError("not a manifest")
        except (ValueError, KeyError, TypeError):
            raise ReleaseError(
                f"{MANIFEST} in {self.repo} was not written by a release; publish to another repository"
            ) from None
        return dict(found)

    # --- writing ---

    def create(self, private: bool) -> None:
        """Create the repository if it is not there."""

        def ask() -> None:
            try:
                self.api.create_repo(self.repo, repo_type=DATASET, private=private or None, exist_ok=True)
            except KeyError:  # a conflict that does not say where the repository is
                raise Transient(f"creating {self.repo}: the Hub is busy with it") from None

        self._call("creating the repository", ask)

    def create_branch(self, branch: str, commit: str) -> None:
        """Create a branch if it is not there."""
        self._call(
            f"creating {branch}",
            lambda: self.api.create_branch(self.repo, branch=branch, revision=commit, repo_type=DATASET, exist_ok=True),
        )

    def delete_branch(self, branch: str) -> None:
        """Delete a branch."""
        self._call(f"deleting {branch}", lambda: self.api.delete_branch(self.repo, branch=branch, repo_type=DATASET))

    def upload(self, additions: Sequence[CommitOperationAdd], branch: str) -> None:
        """Send the content of files ahead of their commit. What the Hub has already is not sent."""
        self._call(
            "uploading",
            lambda: self.api.preupload_lfs_files(
                self.repo, additions, repo_type=DATASET, revision=branch, free_memory=False
            ),
        )

    def commit(
        self,
        operations: Sequence[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete],
        title: str,
        description: str,
        parent: str,
        branch: str = MAIN,
    ) -> str:
        """One commit on top of `parent`; fails where the branch has moved on. Returns the commit."""
        done = self._call(
            "committing",
            lambda: self.api.create_commit(
                self.repo,
                operations,
                commit_message=title,
                commit_description=description,
                repo_type=DATASET,
                revision=branch,
                parent_commit=parent,
            ),
        )
        return str(done.oid)

    def tag(self, tag: str, commit: str) -> None:
        """Create a tag; `Transient` where it exists, so that it is looked at before anything else is done.

        It has no message: a tag with one is an object of its own, and references would name that instead of the commit.
        """
        self._call(
            f"tagging {tag}", lambda: self.api.create_tag(self.repo, tag=tag, revision=commit, repo_type=DATASET)
        )

    def _call(self, what: str, function: Callable[[], Result]) -> Result:
        try:
            return function()
        except (Transient, ReleaseError):
            raise
        except Exception as error:
            raise explain(error, what, self.repo) from None


def prepare_process() -> None:
    """For a process of our own: a time limit for every request, and no secrets in what the client logs.

    The client has no limit and would wait for a dead server forever; its warnings hold URLs that carry permissions.
    """
    import httpx2
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def bounded() -> httpx2.Client:
        client = default_client_factory()
        client.timeout = httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=None)
        client.event_hooks["response"].append(refuse_long_wait)
        return client

    set_client_factory(bounded)
    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.addFilter(_redacted)


def refuse_long_wait(response: Any) -> None:
    """Stop the client's own back-off where the Hub asks for a longer wait than `Patience` has: it would sleep through it.

    Raises:
        Transient: with the wait that is asked for.
    """
    wait = _asked_wait(response.headers) if response.status_code in (429, 503) else None
    if wait is not None and wait > Patience.most_asked_s:
        raise Transient(f"the Hub answered {response.status_code}", wait)


def _redacted(entry: logging.LogRecord) -> bool:
    entry.msg, entry.args = redact(entry.getMessage()), None
    return True


def explain(error: BaseException, what: str, repo: str) -> Exception:
    """What a failure of the client means: `Transient`, a ReleaseError that says what to do, or the error itself (a bug)."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, (Transient, ReleaseError)):
        return error
    if isinstance(error, OfflineModeIsEnabled):
        return Unreachable(f"{repo}: HF_HUB_OFFLINE is set, so the Hub is not asked; unset it")
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error, what, repo)
    if isinstance(error, (httpx2.TransportError, json.JSONDecodeError)):
        connected = not isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
        return Transient(
            f"{what} in {repo}: the Hub did not answer ({redact(str(error)) or type(error).__name__})", None, connected
        )
    if isinstance(error, ValueError) and "README.md" in str(error):
        return ReleaseError(f"the Hub does not accept the card's metadata: {redact(str(error))}")
    if isinstance(error, OSError) and error.errno is not None:
        return error
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # one of several parallel uploads
        return explain(error.__cause__, what, repo)
    if type(error).__module__.startswith("hf_xet") or isinstance(error, (ConnectionError, RuntimeError, TimeoutError)):
        return _explain_xet(error, what, repo)
    return error if isinstance(error, Exception) else RuntimeError(str(error))


def _explain_status(error: Any, what: str, repo: str) -> Exception:
    from huggingface_hub.errors import RepositoryNotFoundError

    status = error.response.status_code
    text = redact(str(error.server_message or error)).strip().splitlines()
    said = text[-1] if text else str(status)
    if status in UNSURE or status >= 500:
        return Transient(f"{what} in {repo}: the Hub answered {status} ({said})", _asked_wait(error.response.headers))
    if status == 401 and "Invalid credentials" in str(error):
        return ReleaseError("the Hub does not accept this token: run 'hf auth login' again, or correct HF_TOKEN")
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return ReleaseError(
            f"{repo} is not on the Hub, or this token may not see it; check the name and the token ('hf auth whoami')"
        )
    if status == 403:
        return ReleaseError(
            f"{what} in {repo}: this token has no right to do it ({said}); use one with write access to this repository"
        )
    return ReleaseError(f"{what} in {repo}: the Hub answered {status} ({said})")


def _explain_xet(error: BaseException, what: str, repo: str) -> Exception:
    text = redact(str(error)).strip().splitlines()
    said = text[-1] if text else type(error).__name__
    if "No space left" in said or "os error 28" in said:
        return ReleaseError(f"{what} in {repo}: no space left for the client's cache; set HF_HOME to a larger disk")
    if "XetAuthentication" in type(error).__name__ or "401" in said or "403" in said:
        return ReleaseError(f"{what} in {repo}: this token has no right to do it ({said})")
    return Transient(f"{what} in {repo}: {said}")


def _asked_wait(headers: Any) -> float | None:
    """Seconds that an answer asks to wait: `RateLimit: "api";r=0;t=55`, or `Retry-After: 55`; None where it does not."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds + 1)
    after = headers.get("Retry-After", "")
    return float(after) if after.isdigit() else None
