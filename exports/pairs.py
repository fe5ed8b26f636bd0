"""Which candidate is the worse one of a pair: the worst of the same image and question that a filter turned down."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

TURNED_DOWN: Final = ("require", "keep_top")
"""The rules of selection by which a filter drops a caption for what it says."""


def rejected_text(
    candidates: Iterable[Mapping[str, Any]],
    chosen: Mapping[str, Any],
    caption: str,
    rejected_by: tuple[str, ...] = (),
) -> str | None:
    """The text of the worst candidate of the chosen one's view and prompt that a filter turned down; None without one.

    Cut or rewritten candidates are no answers of the captioner, so they are not taken.

    Args:
        candidates: all captions of an image, with the fields of `CAPTION_FIELDS` and their scores.
        chosen: the one of them that is released as `caption`.
        rejected_by: filters whose verdict counts; () for any.
    """
    found: list[tuple[float, int, str]] = []
    for one in candidates:
        rule, _, name = (one.get("reason") or "").partition(":")
        answers_the_same = all(one.get(key) == chosen.get(key) for key in ("view", "prompt"))
        is_own = one.get("cut_from") is None and not one.get("rewritten")
        turned_down = rule in TURNED_DOWN and (not rejected_by or name in rejected_by)
        if answers_the_same and is_own and turned_down and one.get("text") and one["text"].strip() != caption.strip():
            score = one.get(f"score_{name}")
            known = score is not None and math.isfinite(score)
            found.append((score if known else 1.0, one.get("candidate") or 0, one["text"]))  # type: ignore[arg-type]
    return min(found)[2] if found else None
