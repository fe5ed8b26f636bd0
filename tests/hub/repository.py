"""What the local Hub stores of one repository: commits, their trees, branches and tags."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace

GITATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n*.tar filter=lfs diff=lfs merge=lfs -text\n"


@dataclass(frozen=True)
class Entry:
    """One file of a tree. `sha256` marks a large file, `content` a regular one."""

    size: int
    oid: str  # git's name of the blob: of the content, or of the pointer to a large file
    sha256: str | None = None
    content: bytes | None = None

    @property
    def no_op_oid(self) -> str:
        """What the preupload answer says, for the client to see that nothing changed."""
        return self.sha256 or self.oid


@dataclass(frozen=True)
class Commit:
    """A snapshot of all files."""

    oid: str
    parent: str | None
    title: str
    message: str
    date: str
    tree: dict[str, Entry]


def git_blob_oid(content: bytes) -> str:
    """git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def regular(content: bytes) -> Entry:
    """A file that git stores itself."""
    return Entry(len(content), git_blob_oid(content), content=content)


def large(sha256: str, size: int) -> Entry:
    """A file that git stores a pointer to."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return Entry(size, git_blob_oid(pointer), sha256=sha256)


@dataclass
class Repository:
    """Commits and references of one repository."""

    id: str
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.commits:
            self.add_commit("main", "initial commit", "", {".gitattributes": regular(GITATTRIBUTES)})

    def add_commit(self, branch: str, title: str, message: str, tree: dict[str, Entry]) -> Commit:
        """Put a commit on a branch."""
        parent = self.branches.get(branch)
        names = "".join(f"{path} {entry.oid}\n" for path, entry in sorted(tree.items()))
        oid = hashlib.sha1(f"{self.id}|{parent}|{title}|{names}|{len(self.commits)}".encode()).hexdigest()
        date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        commit = Commit(oid, parent, title, message, date, tree)
        self.commits[oid] = commit
        self.branches[branch] = oid
        return commit

    def find(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag or a full commit name."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(oid)

    def history(self, commit: Commit) -> list[Commit]:
        """A commit and its ancestors, newest first."""
        found = []
        current: Commit | None = commit
        while current is not None:
            found.append(current)
            current = self.commits.get(current.parent) if current.parent else None
        return found

    def edit(self, branch: str, title: str, files: dict[str, bytes | None]) -> Commit:
        """What somebody does on the website: write regular files, or remove them (None)."""
        tree = dict(self.commits[self.branches[branch]].tree)
        for path, content in files.items():
            if content is None:
                del tree[path]
            else:
                tree[path] = regular(content)
        return self.add_commit(branch, title, "", tree)

    def damage(self, revision: str, path: str) -> None:
        """Replace a file in a commit without a new commit, as no honest Hub does."""
        commit = self.find(revision)
        assert commit is not None
        entry = commit.tree[path]
        commit.tree[path] = replace(entry, sha256="0" * 64) if entry.sha256 else regular(b"damaged")
