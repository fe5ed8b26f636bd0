"""Addresses of releases on the Hub: `hub:org/name@v1.2.0`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exports.release import ReleaseError

PREFIX = "hub:"
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
KINDS = ("datasets", "models", "spaces", "buckets")


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A dataset repository, and a revision of it where one is named: a tag, a branch or a full commit."""

    repo: str  # org/name
    revision: str | None = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}{'@' + self.revision if self.revision else ''}"


def is_hub(target: str) -> bool:
    """Whether a target is on the Hub, not a directory."""
    return target.startswith(PREFIX)


def parse_address(text: str) -> HubAddress:
    """Read `hub:org/name` or `hub:org/name@revision`.

    Raises:
        ReleaseError: it is not of this form.
    """
    repo, _, revision = text.removeprefix(PREFIX).partition("@")
    repo = repo.removeprefix("datasets/")
    kind = repo.split("/")[0]
    if not is_hub(text) or not NAME.fullmatch(repo) or (kind in KINDS and repo.count("/") != 1):
        raise ReleaseError(f"'{text}' is no dataset on the Hub; write hub:org/name, or hub:org/name@v1.2.0")
    if kind in KINDS:
        raise ReleaseError(f"'{text}': releases are datasets, not {kind}; write hub:org/name")
    if "@" in text and not re.fullmatch(r"[\w.][\w./-]*", revision):
        raise ReleaseError(f"'{text}': '{revision}' is no revision; write a tag (@v1.2.0) or a full commit")
    return HubAddress(repo, revision or None)


def tag_of(version: str) -> str:
    """The tag of a version."""
    return f"v{version}"
