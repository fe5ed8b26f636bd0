"""Publishing: one commit, verified, then a tag; any failure ends in the same state when the command is run again."""

from __future__ import annotations

import dataclasses
import json
import random
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from exports.address import parse_address
from exports.hub import HubRepository, refuse_long_wait
from exports.journal import read_journal
from exports.local_release import LocalRelease
from exports.manifest import sha256_hex
from exports.patience import Patience, Transient, Unreachable
from exports.publish import Published, publish
from exports.release import ReleaseError, ReleaseRow
from tests.hub.faults import KINDS
from tests.hub.repository import Repository, git_blob_oid
from tests.hub.server import LocalHub
from tests.releases import build, rewrite, row, rows

REPO = "org/birds"


def send(release: LocalRelease, hub: LocalHub, **options: Any) -> Published:
    waits = options.pop("patience", None) or Patience(sleep=lambda seconds: None)
    return publish(release, parse_address(f"hub:{REPO}"), endpoint=hub.url, patience=waits, **options)


def published_once(hub: LocalHub, release: LocalRelease) -> Repository:
    """The repository, after checking what must hold after every publication."""
    repository = hub.repositories[REPO]
    commits = repository.history(repository.commits[repository.branches["main"]])
    title = f"Release v{release.version}"
    assert [one.title for one in commits].count(title) == 1
    tree = repository.commits[repository.tags[f"v{release.version}"]].tree
    for file in release.files:
        entry = tree[file.path]
        assert entry.size == file.size
        if entry.sha256:
            assert entry.sha256 == file.sha256
        else:
            assert entry.oid == git_blob_oid(release.local(file).read_bytes())
    for commit in commits:  # nothing half-visible: every commit has all files of its own manifest
        if "manifest.json" in commit.tree:
            content = commit.tree["manifest.json"].content
            assert content is not None
            listed = {file["path"]: file["bytes"] for file in json.loads(content)["files"]}
            assert {path: commit.tree[path].size for path in listed if path != "README.md"} | {
                "README.md": listed["README.md"]
            } == listed
    return repository


def test_a_release_becomes_one_commit_and_a_tag(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    published = send(release, hub)
    repository = published_once(hub, release)
    assert published.commit == repository.tags["v1.0.0"] == repository.branches["main"]
    assert published.is_new
    assert ".gitattributes" in repository.commits[published.commit].tree
    assert not repository.private


def test_publishing_again_sends_nothing(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    first = send(release, hub)
    stored = hub.files.stored_bytes()
    hub.log.clear()
    again = send(release, hub)
    assert (again.commit, again.is_new, again.added_bytes) == (first.commit, False, 0)
    assert hub.files.stored_bytes() == stored
    assert {one.endpoint for one in hub.log} <= {"info", "refs", "tree", "resolve"}


def test_the_files_travel_in_the_mode_asked_for(hub: LocalHub, tmp_path: Path, mode: str) -> None:
    send(build(tmp_path / "birds"), hub)
    assert bool(hub.requests("xet_token")) == (mode == "xet")
    assert bool(hub.requests("lfs_put")) == (mode == "lfs")


def test_a_second_version_sends_what_changed_and_deletes_what_is_gone(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.release.ROW_GROUP_BYTES", 10_000)
    first = build(tmp_path / "birds", content=rows(30), shard_bytes=10_000)
    shards = [file.path for file in first.files if file.is_data]
    assert len(shards) > 4
    send(first, hub)
    fewer = build(tmp_path / "birds", "1.1.0", rows(20), shard_bytes=10_000)
    published = send(fewer, hub)
    left = [file.path for file in fewer.files if file.is_data]
    assert published.deleted == shards[len(left) :]
    assert shards[0] not in published.added  # its rows are the same
    repository = hub.repositories[REPO]
    tree = repository.commits[repository.branches["main"]].tree
    assert sorted(path for path in tree if path.startswith("data/")) == left
    published_once(hub, first)
    published_once(hub, fewer)


def test_a_file_of_ours_that_somebody_removed_is_no_problem(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.release.ROW_GROUP_BYTES", 10_000)
    first = build(tmp_path / "birds", content=rows(30), shard_bytes=10_000)
    send(first, hub)
    shards = [file.path for file in first.files if file.is_data]
    repository = hub.repositories[REPO]
    repository.edit("main", "removed by hand", {shards[0]: None, shards[-1]: None})
    published = send(build(tmp_path / "birds", "1.1.0", rows(20), shard_bytes=10_000), hub)
    assert shards[0] in published.added
    assert shards[-1] not in published.deleted
    assert "v1.1.0" in repository.tags


def test_files_that_are_not_ours_stay(hub: LocalHub, tmp_path: Path) -> None:
    send(build(tmp_path / "birds"), hub)
    repository = hub.repositories[REPO]
    repository.edit("main", "add a note", {"note.txt": b"by hand", "data/readme.txt": b"by hand too"})
    second = build(tmp_path / "birds", "1.1.0", rows(20, "Another caption"))
    send(second, hub)
    tree = repository.commits[repository.branches["main"]].tree
    assert tree["note.txt"].content == b"by hand"
    assert "data/readme.txt" in tree


def test_foreign_rows_in_our_folder_stop_it(hub: LocalHub, tmp_path: Path) -> None:
    hub.repositories[REPO] = Repository(REPO)
    hub.repositories[REPO].edit("main", "other data", {"data/train-old.parquet": b"PAR1"})
    with pytest.raises(ReleaseError, match=r"in the way.*\n  data/train-old\.parquet"):
        send(build(tmp_path / "birds"), hub)
    assert hub.repositories[REPO].tags == {}


def test_a_card_edited_by_hand_is_replaced_only_by_force(hub: LocalHub, tmp_path: Path) -> None:
    send(build(tmp_path / "birds"), hub)
    repository = hub.repositories[REPO]
    repository.edit("main", "better words", {"README.md": b"---\nlicense: mit\n---\nby hand"})
    second = build(tmp_path / "birds", "1.1.0", rows(20, "Another caption"))
    with pytest.raises(ReleaseError, match=r"README\.md in org/birds was written by hand.*--force-card"):
        send(second, hub)
    assert "v1.1.0" not in repository.tags
    assert repository.commits[repository.branches["main"]].title == "better words"
    send(second, hub, force_card=True)
    published_once(hub, second)


def test_a_tag_with_another_content_is_an_error_and_stays(hub: LocalHub, tmp_path: Path) -> None:
    send(build(tmp_path / "birds"), hub)
    before = dict(hub.repositories[REPO].tags)
    other = build(tmp_path / "other", content=rows(20, "Another caption"))
    with pytest.raises(ReleaseError, match=r"v1\.0\.0 of org/birds is another release, and a tag is never moved"):
        send(other, hub)
    assert hub.repositories[REPO].tags == before


def test_a_release_whose_card_names_another_repository_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"its card says that it is org/cats .* --repository org/birds"):
        send(build(tmp_path / "cats", repository="org/cats"), hub)
    assert REPO not in hub.repositories
    send(build(tmp_path / "birds", repository=REPO), hub)


def test_a_lower_version_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    send(build(tmp_path / "birds", "2.0.0"), hub)
    with pytest.raises(ReleaseError, match=r"v2\.0\.0 is published already and 1\.9\.0 is lower"):
        send(build(tmp_path / "other", "1.9.0", rows(20, "Another caption")), hub)


def test_an_older_version_published_again_leaves_main_alone(hub: LocalHub, tmp_path: Path) -> None:
    first = build(tmp_path / "birds")
    send(first, hub)
    send(build(tmp_path / "birds", "1.1.0", rows(20, "Another caption")), hub)
    head = hub.repositories[REPO].branches["main"]
    assert not send(first, hub).is_new
    assert hub.repositories[REPO].branches["main"] == head


def test_columns_may_change_with_a_major_version_only(hub: LocalHub, tmp_path: Path) -> None:
    send(build(tmp_path / "birds"), hub)
    changed = build(tmp_path / "birds", "1.1.0", rows(20, scores={"other": 0.5}))
    with pytest.raises(ReleaseError, match=r"score_length is gone.*major version: 2\.0\.0"):
        send(changed, hub)
    send(build(tmp_path / "birds", "2.0.0", rows(20, scores={"other": 0.5})), hub)


def test_a_repository_of_another_dataset_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    send(build(tmp_path / "birds"), hub)
    other = rewrite(build(tmp_path / "cats", "1.1.0", rows(20, "A cat")), name="cats")
    with pytest.raises(ReleaseError, match="holds releases of 'birds', this is 'cats'"):
        send(other, hub)
    hub.repositories[REPO].edit("main", "mine", {"manifest.json": b'{"manifest_version": 3}'})
    with pytest.raises(ReleaseError, match=r"manifest\.json in org/birds was not written by a release"):
        send(build(tmp_path / "birds", "1.2.0", rows(20, "A third")), hub)


def test_a_damaged_shard_is_found_before_anything_is_sent(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    shard = release.folder / "data" / "train-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[2000] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ReleaseError, match=r"is damaged; build it again:\n  data/train-00000"):
        send(release, hub)
    assert not hub.requests("preupload", "commit", "tag")


def test_a_shard_that_changes_while_it_is_uploaded_is_not_committed(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    shard = release.folder / "data" / "train-00000.parquet"

    def change() -> None:
        data = bytearray(shard.read_bytes())
        data[2000] ^= 1
        shard.write_bytes(data)

    hub.fail("preupload", "call", action=change)
    with pytest.raises(ReleaseError, match="changed while it was uploaded"):
        send(release, hub)
    assert not hub.requests("commit", "tag")


def test_a_hub_that_loses_a_file_gets_no_tag(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    hub.fail("commit", "call after", action=lambda: hub.repositories[REPO].damage("main", "data/train-00000.parquet"))
    with pytest.raises(ReleaseError, match=r"not what was sent, so it was not tagged:\n  data/train-00000"):
        send(release, hub)
    assert hub.repositories[REPO].tags == {}


def test_a_missing_wrong_or_read_only_token_is_one_message(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = build(tmp_path / "birds")
    monkeypatch.setenv("HF_TOKEN", "hf_" + "w" * 34)
    with pytest.raises(ReleaseError, match="does not accept this token"):
        send(release, hub)
    monkeypatch.setenv("HF_TOKEN", hub.reader)
    with pytest.raises(ReleaseError, match="no right to do it"):
        send(release, hub)
    hub.repositories[REPO] = Repository(REPO)
    with pytest.raises(ReleaseError, match="no right to do it"):
        send(release, hub)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ReleaseError, match="no Hub token: run 'hf auth login'"):
        send(release, hub)


def test_a_private_release_does_not_go_to_a_public_repository(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    hub.repositories[REPO] = Repository(REPO)
    with pytest.raises(ReleaseError, match="exists and is public"):
        send(release, hub, private=True)
    del hub.repositories[REPO]
    send(release, hub, private=True)
    assert hub.repositories[REPO].private


def test_a_dry_run_changes_nothing_and_says_what_it_would_do(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    planned = send(release, hub, dry_run=True)
    assert planned.commit is None
    assert planned.added == [file.path for file in release.files]
    assert hub.repositories == {}
    send(release, hub)
    log = len(hub.log)
    second = build(tmp_path / "birds", "1.1.0", rows(20, "Another caption"))
    assert set(send(second, hub, dry_run=True).added) == {file.path for file in second.files}
    assert {one.method for one in hub.log[log:]} == {"GET"}
    assert [one["version"] for one in read_journal(tmp_path / "birds")] == ["1.0.0"] * 3


def test_the_journal_says_what_was_published_where(hub: LocalHub, tmp_path: Path) -> None:
    published = send(build(tmp_path / "birds"), hub)
    events = read_journal(tmp_path / "birds")
    assert [one["event"] for one in events] == ["started", "committed", "published"]
    assert events[-1]["commit"] == published.commit
    assert events[-1]["manifest_sha256"] == published.manifest_sha256


def test_a_commit_of_somebody_else_in_between_is_no_problem(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    send(release, hub)
    repository = hub.repositories[REPO]
    hub.fail("commit", "call", action=lambda: repository.edit("main", "in between", {"note.txt": b"mine"}))
    second = build(tmp_path / "birds", "1.1.0", rows(20, "Another caption"))
    send(second, hub)
    published_once(hub, second)
    assert repository.commits[repository.tags["v1.1.0"]].tree["note.txt"].content == b"mine"
    assert [one.status for one in hub.requests("commit")][-2:] == [412, 200]


def test_two_publishers_of_the_same_release_make_one_commit(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    hub.repositories[REPO] = Repository(REPO)
    other: list[Published] = []
    hub.fail("commit", "call", action=lambda: other.append(send(release, hub)))
    published = send(release, hub)
    published_once(hub, release)
    assert other[0].commit == published.commit


def test_two_publishers_of_different_releases_of_one_version_cannot_both_win(hub: LocalHub, tmp_path: Path) -> None:
    first = build(tmp_path / "birds")
    second = build(tmp_path / "other", content=rows(20, "Another caption"))
    hub.repositories[REPO] = Repository(REPO)
    refused: list[str] = []

    def second_publisher() -> None:
        with pytest.raises(ReleaseError) as caught:
            send(second, hub)
        refused.append(str(caught.value))

    hub.fail("tag", "call", action=second_publisher)
    send(first, hub)
    published_once(hub, first)
    assert "another 1.0.0 is on the main branch without a tag" in refused[0]


def test_publishers_in_threads_make_one_commit(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    found: list[Published] = []
    threads = [threading.Thread(target=lambda: found.append(send(release, hub))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    published_once(hub, release)
    assert len({one.commit for one in found}) == 1
    assert len(found) == 3


def test_an_attempt_that_died_between_commit_and_tag_is_finished(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    hub.fail("tag", "503", times=9)
    with pytest.raises(ReleaseError, match="Run the same command again"):
        send(release, hub, patience=Patience(tries=2, sleep=lambda seconds: None))
    hub.faults.clear()
    commit = hub.repositories[REPO].branches["main"]
    hub.repositories[REPO].edit("main", "edited in between", {"README.md": b"by hand"})
    assert send(release, hub).commit == commit
    published_once(hub, release)


def photos(caption: str) -> list[ReleaseRow]:
    """60 images of 60 kB, so that they are chunks of their own."""
    images = [(number, random.Random(number).randbytes(60_000)) for number in range(60)]
    return [
        dataclasses.replace(row(number, f"{caption} {number}"), image=data, sha256=sha256_hex(data))
        for number, data in images
    ]


@pytest.mark.parametrize("mode", ["xet"])
def test_other_captions_and_the_images_of_sft_are_not_sent_again(hub: LocalHub, tmp_path: Path, mode: str) -> None:
    release = build(tmp_path / "birds", content=photos("A caption"), configs=("default", "sft", "text"))
    images = 60 * 60_000
    assert sum(file.size for file in release.files) > 2 * images
    send(release, hub)
    first = hub.files.stored_bytes()
    assert images < first < 1.1 * images
    send(build(tmp_path / "birds", "1.1.0", photos("Another one"), configs=("default", "sft", "text")), hub)
    assert 0 < hub.files.stored_bytes() - first < 0.05 * images


def test_what_an_attempt_uploaded_is_not_sent_again(hub: LocalHub, tmp_path: Path) -> None:
    release = build(tmp_path / "birds")
    fault = hub.fail("commit", "503", times=9)
    with pytest.raises(ReleaseError, match="the Hub answered 503"):
        send(release, hub, patience=Patience(tries=1))
    fault.times = 0
    stored, puts = hub.files.stored_bytes(), len(hub.requests("lfs_put"))
    assert stored > 0
    send(release, hub)
    assert (hub.files.stored_bytes(), len(hub.requests("lfs_put"))) == (stored, puts)


def test_what_the_hub_would_refuse_after_the_upload_is_refused_before(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.publish_plan.MOST_PER_FOLDER", 2)
    release = many_shards(tmp_path, monkeypatch)
    with pytest.raises(ReleaseError, match=r"data/ has 12 files and the Hub takes 2 in a folder; use larger shards"):
        send(release, hub)
    assert hub.log == []


def test_the_hub_is_waited_for_as_long_as_it_asks(hub: LocalHub, tmp_path: Path) -> None:
    waits: list[float] = []
    hub.retry_after_s = 7
    hub.fail("refs", "429")
    send(build(tmp_path / "birds"), hub, patience=Patience(sleep=waits.append))
    assert waits == [7.0]
    hub.retry_after_s = 3600
    hub.fail("refs", "429")
    with pytest.raises(ReleaseError, match="asks to wait 60 minutes"):
        send(build(tmp_path / "birds", "1.1.0", rows(20, "B")), hub, patience=Patience(sleep=waits.append))


ENDPOINTS = ("info", "refs", "tree", "resolve", "preupload", "validate_yaml", "commit", "tag")


FAULTS = [
    (endpoint, kind)
    for endpoint in ENDPOINTS
    for kind in (*KINDS, "409 after", "504 after")
    if not kind.startswith(("409", "412")) or endpoint in ("commit", "tag")
]


@pytest.mark.parametrize(("endpoint", "kind"), FAULTS)
def test_any_single_fault_is_survived_without_running_again(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, kind: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    send(build(tmp_path / "birds"), hub)
    fault = hub.fail(endpoint, kind)
    release = build(tmp_path / "birds", "1.1.0", rows(20, "Another caption"))
    send(release, hub)
    assert fault.fired
    published_once(hub, release)


# --- many shards ---


def many_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str = "1.0.0", caption: str = "A"
) -> LocalRelease:
    monkeypatch.setattr("exports.release.ROW_GROUP_BYTES", 1)
    return build(tmp_path / "birds", version, rows(12, caption), shard_bytes=1)


def test_many_shards_are_staged_and_reach_main_in_one_commit(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.publish_plan.UPLOAD_GROUP", 5)
    hub.page = 4
    release = many_shards(tmp_path, monkeypatch)
    published = send(release, hub, staged_above=10)
    repository = published_once(hub, release)
    assert published.commit == repository.tags["v1.0.0"]
    main = repository.commits[repository.branches["main"]]
    assert main.parent is not None
    assert repository.commits[main.parent].title == "initial commit"
    assert list(repository.branches) == ["main"]
    assert len(hub.requests("commit")) == 3 + 1 + 1
    again = many_shards(tmp_path, monkeypatch, "1.1.0", "B")
    send(again, hub, staged_above=10)
    published_once(hub, again)


STAGED_REQUESTS = [
    ("branch", 0), ("commit", 0), ("commit", 2), ("commit", 3), ("commit", 4), ("tag", 0), ("tree", 2), ("tree", 5),
    ("info", 3), ("paths_info", 0), ("branch_delete", 0),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "skip"), STAGED_REQUESTS)
def test_a_staged_release_survives_a_lost_answer(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, skip: int
) -> None:
    monkeypatch.setattr("exports.publish_plan.UPLOAD_GROUP", 5)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    release = many_shards(tmp_path, monkeypatch)
    fault = hub.fail(endpoint, "drop after", skip=skip)
    send(release, hub, staged_above=10)
    assert fault.fired
    repository = published_once(hub, release)
    assert list(repository.branches) == ["main"]


def test_an_answer_of_a_proxy_is_not_taken_for_a_tag(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that answers 200 with a page of its own: the Hub never saw the tag."""
    release = build(tmp_path / "birds")
    asked: list[str] = []

    def proxy(self: Any, tag: str, commit: str) -> None:
        asked.append(tag)
        if len(asked) > 2:
            real(self, tag, commit)

    real = HubRepository.tag
    monkeypatch.setattr(HubRepository, "tag", proxy)
    published = send(release, hub)
    assert len(asked) == 3
    assert hub.repositories[REPO].tags["v1.0.0"] == published.commit
    monkeypatch.setattr(HubRepository, "tag", lambda self, tag, commit: None)
    with pytest.raises(ReleaseError, match="was made, but the Hub has no such tag; given up after"):
        send(build(tmp_path / "birds", "1.1.0", rows(9)), hub)


def test_a_directory_that_cannot_be_written_is_published_without_a_record(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ReleaseError("published.jsonl cannot be written (Read-only file system); make room or give access")

    monkeypatch.setattr("exports.publish.record", refuse)
    said: list[str] = []
    published = send(build(tmp_path / "birds"), hub, report=said.append)
    assert published.is_new
    assert sum("going on without a record" in line for line in said) == 1


@pytest.mark.parametrize("headers", [{"Retry-After": "3600"}, {"RateLimit": '"api";r=0;t=3599'}])
def test_a_long_rate_limit_ends_the_command_and_the_client_does_not_sleep_through_it(headers: dict[str, str]) -> None:
    with pytest.raises(Transient) as caught:
        refuse_long_wait(httpx2.Response(429, headers=headers))
    with pytest.raises(Unreachable, match="asks to wait 60 minutes"):
        Patience(sleep=lambda seconds: None).wait(caught.value)
    refuse_long_wait(httpx2.Response(429, headers={"Retry-After": "30"}))
