"""Publish a release: upload, one commit, verification against the manifest, then a tag that is never moved.

The remote state decides what is to be done next, never the memory of what was sent. Each pass reads it anew:

    no repository           -> create it
    tag is there            -> the same release: done. Another one: an error, for tags never move
    release is on main      -> verify it, tag it         (an earlier attempt died between the two)
    anything else           -> upload, commit on top of the head that was read, verify, tag

A request whose answer is lost, a crash, or somebody else's commit in between therefore all end in the same way: read again
and go on. A reader of main sees the old release or the new one, never a part. Above STAGED_ABOVE shards the commit is put
together on a staging branch and tagged there; main then gets it in one commit of pointers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from exports.address import HubAddress, tag_of
from exports.gate import check_gate
from exports.hub import MAIN, HubRepository, References
from exports.journal import record
from exports.local_release import CARD, LocalRelease, ReleaseFile, damage
from exports.manifest import MANIFEST, sha256_hex
from exports.patience import Patience, Transient
from exports.publish_plan import (
    PublishPlan,
    Tree,
    card_is_ours,
    check_limits,
    check_strangers,
    check_succession,
    differences,
    is_same,
    listed,
    make_plan,
    upload_groups,
)
from exports.release import ReleaseError
from exports.schema_change import number_of

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

STAGED_ABOVE = 100  # shards; the Hub advises 50-100 files a commit and gives a commit 60 s
Report = Callable[[str], None]


@dataclass(frozen=True)
class Published:
    """Where a release is now. With `dry_run`, what would be done; `commit` is None then."""

    repo: str
    version: str
    tag: str
    commit: str | None  # pin this one; the tag is for humans
    url: str
    manifest_sha256: str
    is_new: bool  # whether it was not published yet when this call began
    added: list[str] = field(default_factory=list)
    added_bytes: int = 0
    deleted: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a terminal."""
        changes = f"{len(self.added)} files ({_bytes(self.added_bytes)}) to add, {len(self.deleted)} to delete"
        if self.commit is None:
            return [f"dry run  {self.tag} of {self.repo}: {changes}", *(f"  add    {path}" for path in self.added),
                    *(f"  delete {path}" for path in self.deleted)]  # fmt: skip
        state = "published" if self.is_new else "published before, nothing sent"
        return [
            f"release  {self.url} ({state})",
            f"pinned   hub:{self.repo}@{self.commit}",
            f"load     load_dataset({self.repo!r}, revision={self.tag!r})",
        ]


def publish(
    release: LocalRelease,
    address: HubAddress,
    *,
    private: bool = False,
    dry_run: bool = False,
    force_card: bool = False,
    endpoint: str | None = None,
    patience: Patience | None = None,
    report: Report | None = None,
    staged_above: int = STAGED_ABOVE,
) -> Published:
    """Publish a local release as a tagged version of a dataset on the Hub. Calling it again goes on where it stopped.

    Args:
        release: from `local_release.find_release`.
        address: the repository; created where it is missing. A revision in it must be the release's tag.
        private: create the repository as a private one.
        dry_run: change nothing; say what would be done.
        force_card: replace a README that was edited by hand.
        endpoint: another Hub than HF_ENDPOINT.
        patience: waits and tries; the default goes on for about two minutes without any success.
        report: called with a line of progress.
        staged_above: number of shards above which a staging branch is used.

    Returns:
        Where it is. Nothing is sent where it was published before.

    Raises:
        ReleaseError: what is wrong and what to do; nothing half-published is visible then.
    """
    return _Publisher(
        release,
        HubRepository(address.repo, endpoint),
        private=private,
        dry_run=dry_run,
        force_card=force_card,
        patience=patience or Patience(),
        report=report or (lambda line: None),
        staged_above=staged_above,
    ).run(address)


@dataclass
class _Publisher:
    """One call of `publish`. Holds what may be reused between passes: finished uploads and checked files."""

    release: LocalRelease
    hub: HubRepository
    private: bool
    dry_run: bool
    force_card: bool
    patience: Patience
    report: Report
    staged_above: int
    checked: set[str] = field(default_factory=set)
    uploads: dict[str, CommitOperationAdd] = field(default_factory=dict)
    no_journal: bool = False
    done: PublishPlan = field(default_factory=lambda: PublishPlan((), ()))

    @property
    def tag(self) -> str:
        return tag_of(self.release.version)

    @property
    def title(self) -> str:
        return f"Release {self.tag}"

    @property
    def description(self) -> str:
        return f"manifest sha256: {self.release.manifest_sha256}"

    @property
    def staging(self) -> str:
        return f"staging/{self.tag}-{self.release.manifest_sha256[:12]}"

    def run(self, address: HubAddress) -> Published:
        if address.revision not in (None, self.tag):
            raise ReleaseError(f"{address}: this is version {self.release.version}, which is tagged {self.tag}")
        self.hub.require_token()
        self.report(f"checking {self.release.folder}")
        stated = self.release.manifest.get("repository")
        if stated not in (None, address.repo):
            raise ReleaseError(
                f"{self.release.folder}: its card says that it is {stated} (release.repository); publish it there, or build it for "
                f"{address.repo}: factory export RUN --to DIR --repository {address.repo}"
            )
        check_limits(self.release)
        check_gate(self.release)
        if not self.dry_run:
            self._record("started")
        while True:
            try:
                published = self._pass()
                break
            except Transient as error:
                self.report(f"{error}; looking again")
                self.patience.wait(error)
        if not self.dry_run:
            self._record("published", commit=published.commit, is_new=published.is_new)
        return published

    def _pass(self) -> Published:
        """Read the remote state, do what it lacks. Whatever raises Transient, the next pass reads again."""
        head = self.hub.commit_of(MAIN)
        if head is None:
            if self.dry_run:
                return self._planned(make_plan(self.release, {}, None))
            self.report(f"creating {self.hub.repo}")
            self.hub.create(self.private)
            head = self.hub.commit_of(MAIN)
            if head is None:
                raise Transient(f"{self.hub.repo} was created and is not there yet")
        if self.private and not self.hub.is_private():
            raise ReleaseError(
                f"{self.hub.repo} exists and is public; make it private on the Hub, or leave out --private"
            )
        references = self.hub.references()
        tree = self.hub.tree(head)
        previous = self.hub.manifest(tree, head)
        tagged = references.tags.get(self.tag)
        if tagged is not None:
            return self._finish(tagged, head, tree, previous, references)
        if self._is_ours(tree):
            ready = self._whole_commit(head)
            if ready is not None:
                return self._planned(PublishPlan((), ())) if self.dry_run else self._tag(ready)
        else:
            check_succession(self.release, references.tags, previous)
        check_strangers(self.release, tree, previous)
        self._check_card(head, tree, previous)
        plan = make_plan(self.release, tree, previous)
        self._check_bytes(plan)
        if self.dry_run:
            return self._planned(plan)
        self.done = plan
        shards = sum(file.is_data for file in plan.add)
        if shards > self.staged_above:
            return self._publish_staged(plan, head, references)
        self._upload(plan.add, MAIN)
        self.report(f"committing {len(plan.add)} files")
        commit = self._commit(plan.add, plan.delete, self.title, head, MAIN)
        self._record("committed", commit=commit)
        self._verify(commit)
        return self._tag(commit)

    # --- stages ---

    def _check_card(self, head: str, tree: Tree, previous: dict[str, Any] | None) -> None:
        card = next((file for file in self.release.files if file.path == CARD), None)
        if self.force_card or card is None or CARD not in tree or is_same(self.release, card, tree[CARD]):
            return
        if not card_is_ours(sha256_hex(self.hub.read(CARD, head)), previous):
            raise ReleaseError(
                f"{CARD} in {self.hub.repo} was written by hand; run again with --force-card to replace it "
                "(the old one stays in the repository's history), or remove it there"
            )

    def _check_bytes(self, plan: PublishPlan) -> None:
        files = [file for file in plan.add if file.path not in self.checked]
        broken = damage(self.release, files, self.report)
        if broken:
            raise ReleaseError(f"{self.release.folder} is damaged; build it again:\n" + listed(broken))
        self.checked |= {file.path for file in files}

    def _upload(self, files: Sequence[ReleaseFile], branch: str) -> None:
        total, sent, done = sum(file.size for file in files), 0, 0
        for group in upload_groups(files):
            self.report(f"uploading file {done + 1} of {len(files)}, {_bytes(sent)} of {_bytes(total)}")
            self.hub.upload([self._addition(file) for file in group], branch)
            self.patience.progress()
            sent += sum(file.size for file in group)
            done += len(group)

    def _addition(self, file: ReleaseFile) -> CommitOperationAdd:
        from huggingface_hub import CommitOperationAdd

        if file.path not in self.uploads:
            self.uploads[file.path] = CommitOperationAdd(file.path, str(self.release.local(file)))
        return self.uploads[file.path]

    def _commit(self, files: Sequence[ReleaseFile], delete: Sequence[str], title: str, parent: str, branch: str) -> str:
        from huggingface_hub import CommitOperationDelete

        additions = [self._addition(file) for file in files]
        for file, addition in zip(files, additions, strict=True):
            if addition.upload_info.sha256.hex() != file.sha256:  # the client hashed what it sent
                raise ReleaseError(f"{self.release.local(file)} changed while it was uploaded; build the release again")
        commit = self.hub.commit(
            [*additions, *(CommitOperationDelete(path) for path in delete)], title, self.description, parent, branch
        )
        self.patience.progress()
        return commit

    def _verify(self, commit: str) -> None:
        """Raises ReleaseError where a commit is not the release, byte for byte."""
        wrong = differences(self.release, self.hub.tree(commit))
        if wrong:
            raise ReleaseError(
                f"commit {commit} of {self.hub.repo} is not what was sent, so it was not tagged:\n" + listed(wrong)
            )

    def _tag(self, commit: str) -> Published:
        self.report(f"tagging {self.tag}")
        self.hub.tag(self.tag, commit)
        # A proxy may answer in the Hub's place: what counts is what the Hub has.
        there = self.hub.references().tags.get(self.tag)
        if there != commit:
            raise Transient(f"{self.tag} was made, but the Hub has {there or 'no such tag'}")
        self.patience.progress()
        return self._published(commit, is_new=True)

    # --- an earlier attempt's work ---

    def _is_ours(self, tree: Tree) -> bool:
        """Whether a commit holds this release's manifest, to the byte."""
        manifest = next(file for file in self.release.files if file.path == MANIFEST)
        return is_same(self.release, manifest, tree.get(MANIFEST))

    def _whole_commit(self, head: str) -> str | None:
        """The commit that an earlier attempt made, if it holds the whole release: the release's own, else the head."""
        own = [
            commit for commit, title, message in self.hub.history(MAIN)
            if title == self.title and self.release.manifest_sha256 in message
        ]  # fmt: skip
        for commit in [*own, head]:
            if not differences(self.release, self.hub.tree(commit)):
                return commit
        return None

    def _finish(
        self, tagged: str, head: str, tree: Tree, previous: dict[str, Any] | None, references: References
    ) -> Published:
        """The tag is there. Check that it is this release; where a staged one has not reached main yet, take it there."""
        tagged_tree = self.hub.tree(tagged)
        if not self._is_ours(tagged_tree):
            raise ReleaseError(
                f"{self.tag} of {self.hub.repo} is another release, and a tag is never moved; "
                "give this one a higher version"
            )
        wrong = differences(self.release, tagged_tree)
        if wrong:
            raise ReleaseError(f"{self.tag} of {self.hub.repo} is damaged:\n" + listed(wrong))
        if previous is not None and number_of(str(previous["version"])) >= number_of(self.release.version):
            if self.staging in references.branches and not self.dry_run:
                self.hub.delete_branch(self.staging)
            return self._published(tagged, is_new=bool(self.done.add))
        if self.dry_run:
            return self._planned(make_plan(self.release, tree, previous))
        return self._bring_to_main(tagged, head, tree, previous, references)

    # --- many shards ---

    def _publish_staged(self, plan: PublishPlan, head: str, references: References) -> Published:
        """Put the release together on a branch of its own, verify and tag it there, then take it to main at once.

        The branch is named after the manifest, so what an interrupted attempt left on it is always of this release.
        """
        tip = references.branches.get(self.staging)
        if tip is None:
            self.hub.create_branch(self.staging, head)
            tip = self.hub.commit_of(self.staging)
            if tip is None:
                raise Transient(f"{self.staging} was created and is not there yet")
        tree = self.hub.tree(tip)
        missing = [file for file in plan.add if not is_same(self.release, file, tree.get(file.path))]
        last = [file for file in missing if not file.is_data]
        shards = [file for file in missing if file.is_data]
        groups = upload_groups(shards)
        for number, group in enumerate(groups, 1):
            self._upload(group, self.staging)
            self.report(f"committing group {number} of {len(groups)} to {self.staging}")
            tip = self._commit(group, (), f"Stage {self.tag}: group {number}", tip, self.staging)
        delete = [path for path in plan.delete if path in tree]
        if last or delete:
            self._upload(last, self.staging)
            tip = self._commit(last, delete, f"Stage {self.tag}: manifest and card", tip, self.staging)
        self._record("staged", commit=tip)
        self._verify(tip)
        self._tag(tip)
        return self._pass()  # which finds the tag, and main without it

    def _bring_to_main(
        self, tagged: str, head: str, tree: Tree, previous: dict[str, Any] | None, references: References
    ) -> Published:
        """One commit of pointers to what the tag holds already; nothing is uploaded again."""
        from huggingface_hub import CommitOperationCopy, CommitOperationDelete

        check_strangers(self.release, tree, previous)
        self._check_card(head, tree, previous)
        plan = make_plan(self.release, tree, previous)
        self.report(f"taking {self.tag} to main")
        copies = [CommitOperationCopy(file.path, file.path, src_revision=tagged) for file in plan.add]
        deletes = [CommitOperationDelete(path) for path in plan.delete]
        commit = self.hub.commit([*copies, *deletes], self.title, self.description, head, MAIN)
        self.patience.progress()
        self._verify(commit)
        self._record("on main", commit=commit)
        if self.staging in references.branches:
            self.hub.delete_branch(self.staging)
        return self._published(tagged, is_new=True)

    # --- telling ---

    def _record(self, event: str, **facts: Any) -> None:
        if self.no_journal:
            return
        try:
            record(
                self.release.folder.resolve().parent,
                event,
                repo=self.hub.repo,
                version=self.release.version,
                manifest_sha256=self.release.manifest_sha256,
                **facts,
            )
        except ReleaseError as error:
            self.no_journal = True
            self.report(f"going on without a record of it: {error}")

    def _planned(self, plan: PublishPlan) -> Published:
        self.done = plan
        return self._published(None, is_new=bool(plan.add))

    def _published(self, commit: str | None, is_new: bool) -> Published:
        return Published(
            repo=self.hub.repo,
            version=self.release.version,
            tag=self.tag,
            commit=commit,
            url=f"{self.hub.api.endpoint}/datasets/{self.hub.repo}/tree/{self.tag}",
            manifest_sha256=self.release.manifest_sha256,
            is_new=is_new,
            added=[file.path for file in self.done.add] if is_new else [],
            added_bytes=self.done.add_bytes if is_new else 0,
            deleted=list(self.done.delete) if is_new else [],
        )


def _bytes(number: int) -> str:
    return f"{number / 1e9:,.2f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"
