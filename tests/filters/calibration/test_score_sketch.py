"""The sketch of a score: exact to a bin, the same in pieces as in one, and the best share without a sort."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.calibration.score_sketch import BINS, ScoreSketch, in_best_share
from filters.wording.length_bucket import length_bucket


def scores(count: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame({"score": rng.random(count) ** 2, "view": rng.choice(["a", "b"], count, p=[0.9, 0.1])})


def test_a_cut_keeps_the_share_of_each_stratum_to_within_a_bin() -> None:
    rows = scores(50_000)
    cuts = {row["view"]: row for row in ScoreSketch.of(rows, "score", ["view"]).cuts(0.3).iter_rows(named=True)}
    for view, part in rows.group_by("view"):
        cut = cuts[str(view[0])]
        last = part["score"].sort(descending=True)[math.ceil(part.height * 0.3) - 1]
        assert cut["threshold"] <= last < cut["threshold"] + 1 / BINS


def test_pieces_merged_are_the_whole() -> None:
    rows = scores(10_000)
    whole = ScoreSketch.of(rows, "score", ["view"])
    merged = ScoreSketch.of(rows[:100], "score", ["view"]).merge(
        ScoreSketch.of(rows[100:5000], "score", ["view"]), ScoreSketch.of(rows[5000:].lazy(), "score", ["view"])
    )
    order = ["view", "bin"]
    assert merged.bins.sort(order).equals(whole.bins.sort(order))
    assert merged.cuts(0.2).sort("view").equals(whole.cuts(0.2).sort("view"))


def test_the_size_of_a_sketch_does_not_grow_with_the_rows() -> None:
    assert ScoreSketch.of(scores(200_000), "score").bins.height <= BINS


def test_null_and_nan_scores_are_left_out_and_the_ends_are_inside() -> None:
    sketch = ScoreSketch.of(pl.DataFrame({"score": [None, float("nan"), 0.0, 1.0]}), "score")
    assert sketch.counts().sum() == 2
    assert sketch.keep_rate(1.0) == 0.5
    assert sketch.keep_rate(0.0) == 1.0
    assert ScoreSketch.of(pl.DataFrame({"score": []}, schema={"score": pl.Float64}), "score").keep_rate(0.5) == 0.0


rows = st.lists(
    st.tuples(
        st.none() | st.just(float("nan")) | st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1), st.sampled_from("ab")
    ),
    max_size=40,
)


@given(rows, st.floats(0.01, 1.0), st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_best_share_is_what_a_sort_would_give(some: list[Any], share: float, by_view: bool) -> None:
    frame = pl.DataFrame(some, schema={"score": pl.Float64, "view": pl.String}, orient="row")
    found = in_best_share(frame, "score", share, ["view"] if by_view else [], pl.lit(True)).to_list()
    expected = [False] * frame.height
    for view in "ab" if by_view else ["ab"]:
        mine = [
            (-score, place)
            for place, (score, of) in enumerate(some)
            if of in view and score is not None and not math.isnan(score)
        ]
        for _, place in sorted(mine)[: math.ceil(len(mine) * share - 1e-9)]:
            expected[place] = True
    assert found == expected


def test_length_buckets_meet_without_gaps() -> None:
    texts = [None, "", "one", "w " * 8, "w " * 9, "w " * 128, "w " * 129, "犬です。"]
    frame = pl.DataFrame({"text": texts})
    assert frame.select(bucket=length_bucket(pl.col("text")))["bucket"].to_list() == [
        None, "0-8 words", "0-8 words", "0-8 words", "9-16 words", "65-128 words", "129+ words", "0-8 words"
    ]  # fmt: skip
