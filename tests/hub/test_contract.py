"""What publishing relies on of a Hub, asked through the unmodified clients.

Against the local Hub always; against the real one too where HF_TOKEN may write to the dataset that
CAPTION_FACTORY_TEST_REPO names (use one that holds nothing else: branches, tags and files are added to it).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import BadRequestError, EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

from tests.hub.server import LocalHub
from tests.releases import build

REAL_REPO = os.environ.get("CAPTION_FACTORY_TEST_REPO", "")
REAL_TOKEN = os.environ.get("HF_TOKEN", "")
KINDS = ["local", *(["real"] if REAL_REPO and REAL_TOKEN else [])]


@dataclass
class Place:
    """A branch of its own in a repository of some Hub."""

    api: HfApi
    repo: str
    environment: dict[str, str]
    branch: str = field(default_factory=lambda: f"contract-{uuid.uuid4().hex[:12]}")
    tags: list[str] = field(default_factory=list)

    def head(self) -> str:
        sha = self.api.repo_info(self.repo, repo_type="dataset", revision=self.branch).sha
        assert sha
        return sha

    def commit(self, *operations: object, parent: str | None = None) -> str:
        return self.api.create_commit(
            self.repo,
            list(operations),  # type: ignore[arg-type]
            commit_message="a contract test",
            repo_type="dataset",
            revision=self.branch,
            parent_commit=parent,
        ).oid

    def tag(self, commit: str) -> str:
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.api.create_tag(self.repo, tag=name, revision=commit, repo_type="dataset")
        self.tags.append(name)
        return name


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    if request.param == "real":
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", mode == "lfs")
        environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": str(int(mode == "lfs"))}
        place = Place(HfApi(token=REAL_TOKEN), REAL_REPO, environment)
    else:
        hub: LocalHub = request.getfixturevalue("hub")
        place = Place(HfApi(endpoint=hub.url), "org/contract", hub.environment(tmp_path / "home", mode == "xet"))
    place.api.create_repo(place.repo, repo_type="dataset", exist_ok=True)
    place.api.create_branch(place.repo, branch=place.branch, repo_type="dataset")
    yield place
    for tag in place.tags:
        place.api.delete_tag(place.repo, tag=tag, repo_type="dataset")
    place.api.delete_branch(place.repo, branch=place.branch, repo_type="dataset")


def large(tmp_path: Path, size: int = 50_000) -> tuple[CommitOperationAdd, str]:
    file = tmp_path / f"{uuid.uuid4().hex}.parquet"
    file.write_bytes(os.urandom(size))
    return CommitOperationAdd("data/large.parquet", str(file)), hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_tree_tells_the_sha256_of_large_files_and_git_names_of_small_ones(place: Place, tmp_path: Path) -> None:
    operation, sha256 = large(tmp_path)
    commit = place.commit(operation, CommitOperationAdd("note.txt", b"hello\n"))
    entries = place.api.list_repo_tree(place.repo, recursive=True, revision=commit, repo_type="dataset")
    files = {entry.path: entry for entry in entries}
    assert files["data/large.parquet"].lfs.sha256 == sha256
    assert files["data/large.parquet"].size == 50_000
    assert files["note.txt"].lfs is None
    assert files["note.txt"].blob_id == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_commit_on_a_stale_parent_is_refused(place: Place) -> None:
    parent = place.head()
    place.commit(CommitOperationAdd("a.txt", b"1"), parent=parent)
    with pytest.raises(HfHubHTTPError) as caught:
        place.commit(CommitOperationAdd("b.txt", b"2"), parent=parent)
    assert caught.value.response.status_code == 412


def test_a_tag_cannot_be_made_twice(place: Place) -> None:
    commit = place.commit(CommitOperationAdd("a.txt", b"1"))
    name = place.tag(commit)
    later = place.commit(CommitOperationAdd("a.txt", b"2"))
    with pytest.raises(HfHubHTTPError) as caught:
        place.api.create_tag(place.repo, tag=name, revision=later, repo_type="dataset")
    assert caught.value.response.status_code == 409
    tags = {one.name: one.target_commit for one in place.api.list_repo_refs(place.repo, repo_type="dataset").tags}
    assert tags[name] == commit


def test_a_pointer_to_what_was_never_uploaded_is_refused(place: Place, tmp_path: Path) -> None:
    operation, _ = large(tmp_path)
    operation._upload_mode, operation._is_uploaded = "lfs", True
    assert operation.upload_info.sha256
    with pytest.raises(BadRequestError):
        place.commit(operation)


def test_uploading_twice_and_committing_nothing_new_make_no_commit(place: Place, tmp_path: Path) -> None:
    operation, _ = large(tmp_path)
    place.api.preupload_lfs_files(
        place.repo, [operation], repo_type="dataset", revision=place.branch, free_memory=False
    )
    commit = place.commit(operation)
    again = CommitOperationAdd("data/large.parquet", operation.path_or_fileobj)
    assert place.commit(again) == commit


def test_a_copy_from_another_revision_uploads_nothing(place: Place, tmp_path: Path) -> None:
    operation, sha256 = large(tmp_path)
    commit = place.commit(operation, CommitOperationAdd("note.txt", b"1"))
    place.commit(CommitOperationDelete("data/large.parquet"), CommitOperationDelete("note.txt"))
    place.commit(
        CommitOperationCopy("data/large.parquet", "data/large.parquet", src_revision=commit),
        CommitOperationCopy("note.txt", "note.txt", src_revision=commit),
    )
    info = place.api.get_paths_info(place.repo, ["data/large.parquet"], revision=place.branch, repo_type="dataset")
    assert info[0].lfs.sha256 == sha256


def test_deleting_what_is_not_there_is_an_error(place: Place) -> None:
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        place.commit(CommitOperationDelete("none.txt"))


def test_the_history_names_title_and_message(place: Place) -> None:
    commit = place.commit(CommitOperationAdd("a.txt", b"1"))
    newest = place.api.list_repo_commits(place.repo, repo_type="dataset", revision=place.branch)[0]
    assert (newest.commit_id, newest.title) == (commit, "a contract test")


def test_bad_metadata_of_a_card_is_refused_before_the_commit(place: Place) -> None:
    head = place.head()
    with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
        place.commit(CommitOperationAdd("README.md", b"---\nlicense: [1, {\n---\n"))
    assert place.head() == head


def test_what_is_missing_is_told_apart(place: Place) -> None:
    with pytest.raises(RepositoryNotFoundError):
        place.api.repo_info(f"{place.repo}-{uuid.uuid4().hex}", repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="Revision Not Found"):
        place.api.repo_info(place.repo, repo_type="dataset", revision="no-such-revision")
    with pytest.raises(EntryNotFoundError):
        place.api.hf_hub_download(place.repo, "none.txt", repo_type="dataset", revision=place.branch)


def test_a_token_that_is_none_is_told_apart(place: Place) -> None:
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as caught:
        HfApi(endpoint=place.api.endpoint, token="hf_" + "n" * 34).repo_info(place.repo, repo_type="dataset")
    assert caught.value.response.status_code == 401


def test_a_range_of_a_file_can_be_read(place: Place, tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import get_session

    operation, _ = large(tmp_path)
    commit = place.commit(operation)
    url = hf_hub_url(
        place.repo, "data/large.parquet", repo_type="dataset", revision=commit, endpoint=place.api.endpoint
    )
    answer = get_session().get(url, headers={**build_hf_headers(token=place.api.token), "Range": "bytes=49990-"})
    assert (answer.status_code, len(answer.content)) == (206, 10)
    assert answer.content == Path(operation.path_or_fileobj).read_bytes()[49990:]  # type: ignore[arg-type]


def test_load_dataset_reads_a_tag_with_nothing_of_ours(place: Place, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    commit = place.commit(*(CommitOperationAdd(file.path, str(release.local(file))) for file in release.files))
    tag = place.tag(commit)
    # Arrow may abort the interpreter while it exits after streaming (huggingface/datasets#7566): what was read is tested.
    code = f"""
import os
from datasets import load_dataset, Image
loaded = load_dataset({place.repo!r}, revision={tag!r}, split="train")
assert isinstance(loaded.features["image"], Image), loaded.features
assert loaded[3]["image"].size == (24, 24)
streamed = list(load_dataset({place.repo!r}, revision={tag!r}, split="train", streaming=True))
assert [row["caption"] for row in streamed] == loaded["caption"][:], streamed
import pyarrow.parquet as pq
table = pq.read_table("hf://datasets/{place.repo}@{tag}/data/train-00000.parquet", columns=["id"])
print(loaded.num_rows, table.num_rows, flush=True)
os._exit(0)
"""
    environment = {**os.environ, **place.environment}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "20 20"


# --- the local Hub alone ---


@pytest.mark.parametrize("mode", ["lfs"])
def test_files_above_a_size_travel_in_parts(hub: LocalHub, tmp_path: Path, mode: str) -> None:
    hub.multipart_bytes = 20_000
    api = HfApi(endpoint=hub.url)
    api.create_repo("org/parts", repo_type="dataset")
    operation, sha256 = large(tmp_path)
    api.create_commit("org/parts", [operation], commit_message="parts", repo_type="dataset")
    assert len(hub.requests("lfs_part")) == 3
    assert hashlib.sha256((hub.files.objects / sha256).read_bytes()).hexdigest() == sha256


@pytest.mark.parametrize("mode", ["lfs"])
def test_a_token_is_not_sent_to_another_origin(hub: LocalHub, tmp_path: Path, mode: str) -> None:
    api = HfApi(endpoint=hub.url)
    api.create_repo("org/origin", repo_type="dataset")
    operation, _ = large(tmp_path)
    api.create_commit("org/origin", [operation], commit_message="one", repo_type="dataset")
    api.hf_hub_download("org/origin", "data/large.parquet", repo_type="dataset")
    assert [one.status for one in hub.requests("content")] == [200]
