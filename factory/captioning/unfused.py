"""Which fused captions do not stand, and why: the image then has the caption of the view's `fallback`, and the fused one is kept
beside it.

Of CapsFusion's own 10,000 published captions 3.85 % repeat words of the instruction that are in neither input, and contradictory
inputs were fused blindly; VeCLIP's readers asked for a way out where the rewriter refuses. Raise
`factory.work.fingerprint.FUSION_CHECKS` where a verdict could change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

import filters
from factory.runs.tables import FALLBACK_CANDIDATE, Status, Unfused
from filters.references.caption_match import contradiction

CLEAN: Final = 0.5
"""The least score of a caption that has no leak, by the filters' own defaults."""


def inputs_contradict(inputs: Mapping[str, str | None]) -> str | None:
    """Two of these captions that cannot both be right, in words; None where there are none."""
    texts = [(name, text) for name, text in inputs.items() if text is not None]
    for place, (name, text) in enumerate(texts):
        for other, against in texts[place + 1 :]:
            found = contradiction(text, against)
            if found:
                return f"{name} says {', '.join(found)}, {other} denies it"
    return None


def mark_unfused(
    rows: Sequence[dict[str, Any]], inputs: Mapping[str, Mapping[str, str | None]]
) -> list[dict[str, Any]]:
    """Rows of fused captions with `unfused` and `detail` of those that do not stand.

    Args:
        rows: of tables.CAPTIONS.
        inputs: image key -> what its caption was made from, by view.
    """
    told = [place for place, row in enumerate(rows) if row["status"] != Status.failed]
    columns = ("text", "prompt", "inputs")
    frame = pl.DataFrame(
        [[rows[place][name] for name in columns] for place in told], dict.fromkeys(columns, pl.String), orient="row"
    )
    leaks = filters.build("prompt_leak", {}).score(frame)
    traces = filters.build("artifacts", {}).score(frame)
    refusals = filters.build("refusal", {}).score(frame)
    marked = [dict(row) for row in rows]
    for number, place in enumerate(told):
        row = marked[place]
        reason: tuple[Unfused, str] | None = None
        if (refusals["score"][number] or 0.0) < 1.0:
            reason = Unfused.refusal, refusals["span"][number] or ""
        elif (leaks["score"][number] or 0.0) < CLEAN:
            reason = Unfused.leak, leaks["match"][number] or leaks["kind"][number] or ""
        elif (traces["score"][number] or 0.0) < CLEAN:
            reason = Unfused.leak, traces["kind"][number] or ""
        else:
            for name, text in inputs[row["image_key"]].items():
                found = contradiction(row["text"], text) if text is not None else ()
                if found:
                    reason = Unfused.contradiction, f"it says {', '.join(found)}, {name} denies it"
                    break
        if reason is not None:
            row["unfused"], row["detail"] = str(reason[0]), reason[1][:500]
    return marked


def fallback_row(
    row: Mapping[str, Any], stands_for: Mapping[str, Any], reason: Unfused, detail: str | None
) -> dict[str, Any]:
    """The row of the caption that stands for a fused one.

    Args:
        row: the row of the fallback's caption.
        stands_for: the fused row, or what is known of one that was not made.
        reason: why that does not stand. detail: the same in words.
    """
    own = ("image_key", "shard", "view", "fingerprint", "prompt_id", "inputs", "inputs_hash", "parents", "created_ms")
    return {
        **row,
        **{name: stands_for[name] for name in own},
        "candidate": FALLBACK_CANDIDATE,
        "rung": None,
        "cut_from": None,
        "original_hash": None,
        "prompt": None,
        "output_tokens": None,
        "cost": None,
        "unfused": str(reason),
        "detail": detail,
    }
