"""What a new version changes in the columns, and whether its number says so.

Semantic versions of data: a column removed or of another type is a major version, a column added a minor one.
"""

from __future__ import annotations

from typing import Any

from exports.release import SEMVER


def number_of(version: str) -> tuple[int, int, int]:
    """A version as numbers that compare. Raises ValueError where it is none."""
    match = SEMVER.fullmatch(version)
    if not match:
        raise ValueError(f"'{version}' is no version such as 1.2.0")
    return int(match[1]), int(match[2]), int(match[3])


def schema_problem(old: dict[str, Any], new: dict[str, Any], old_version: str, new_version: str) -> str | None:
    """Why the columns of a new version do not fit its number; None where they do.

    Args:
        old, new: column -> Arrow type as text, as manifests hold them.
        old_version, new_version: semantic versions, the new one higher.
    """
    before, after = flat_columns(old), flat_columns(new)
    gone = sorted(before.keys() - after.keys())
    retyped = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    added = sorted(after.keys() - before.keys())
    was, now = number_of(old_version), number_of(new_version)
    if (gone or retyped) and now[0] == was[0]:
        changes = [f"{name} is gone" for name in gone]
        changes += [f"{name} is {after[name]}, was {before[name]}" for name in retyped]
        return (
            f"columns changed since {old_version} ({'; '.join(changes[:8])}); that is a major version: {was[0] + 1}.0.0"
        )
    if added and now[:2] == was[:2]:
        return f"columns were added since {old_version} ({', '.join(added[:8])}); that is a minor version: {was[0]}.{was[1] + 1}.0"
    return None


def flat_columns(schema: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Every leaf with its type: {"captions": "list<element: struct<text: string>>"} -> {"captions[].text": "string"}."""
    found: dict[str, str] = {}
    for name, kind in schema.items():
        if isinstance(kind, dict):
            found |= flat_columns(kind, f"{prefix}{name}.")
        else:
            found |= _leaves(f"{prefix}{name}", str(kind))
    return found


def _leaves(name: str, kind: str) -> dict[str, str]:
    if kind.startswith("list<") and kind.endswith(">"):
        return _leaves(f"{name}[]", kind[5:-1].partition(": ")[2])
    if kind.startswith("struct<") and kind.endswith(">"):
        found: dict[str, str] = {}
        for part in _parts(kind[7:-1]):
            inner, _, inner_kind = part.partition(": ")
            found |= _leaves(f"{name}.{inner}", inner_kind)
        return found
    return {name: kind}


def _parts(text: str) -> list[str]:
    """Split at the commas that are not inside <> or ()."""
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "<(") - (sign in ">)")
        if sign == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]
