"""What the demo world's truth says of a run's captions, before and after selection."""

from __future__ import annotations

from typing import Any

import polars as pl

from factory.report.data import Fact
from factory.runs.run import SELECTION
from factory.runs.tables import CAPTION_KEY
from factory.work.work import Work


def demo_truth(work: Work) -> dict[str, Any] | None:
    """Sentences of the captions that are true, before and after selection; only the demo world knows."""
    from factory.recipe import DemoSource

    if not isinstance(work.recipe.source, DemoSource):
        return None
    from factory.demo.truth import sentence_accuracy

    decided = work.run.storage.scan([SELECTION])
    columns = ["shard", *CAPTION_KEY, "text", "rung", "cut_from"]
    texts = work.captions().select(columns).drop_nulls("text")
    joined = decided.join(texts, on=["shard", *CAPTION_KEY], how="inner").collect()
    first = joined.filter(pl.col("rung").is_null(), pl.col("cut_from").is_null())
    pairs = {"before": first, "after": joined.filter("kept")}
    result: dict[str, Any] = {}
    for name, frame in pairs.items():
        correct, total = sentence_accuracy(frame.select("text", "image_key").iter_rows(), work.recipe.source.seed)
        result[name] = {"correct": correct, "sentences": total, "captions": frame.height}
    return result


def truth_facts(truth: dict[str, Any] | None) -> tuple[Fact, ...]:
    if not truth:
        return ()
    return tuple(
        Fact(f"correct sentences {name} selection", f"{share(part):.1%} ({part['correct']:,} of {part['sentences']:,})")
        for name, part in ((name, truth[name]) for name in ("before", "after"))
    )


def share(part: dict[str, int]) -> float:
    """Correct sentences over all, 0 where there are none."""
    return part["correct"] / part["sentences"] if part["sentences"] else 0.0


def wrong_sentences(work: Work, key: str, text: str) -> tuple[tuple[int, int], ...]:
    """The sentences of a caption that are not true, as characters from and to; () where the truth is not known."""
    from factory.recipe import DemoSource

    if not isinstance(work.recipe.source, DemoSource) or not text:
        return ()
    from factory.demo.truth import judge_caption

    found, end = [], 0
    for sentence in judge_caption(text, key, work.recipe.source.seed).sentences:
        start = text.index(sentence.text, end)
        end = start + len(sentence.text)
        if not sentence.correct:
            found.append((start, end))
    return tuple(found)
