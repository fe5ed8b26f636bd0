"""Selection: every caption is kept or dropped for one stated reason, whatever the order of the rows."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.recipe import Select
from factory.selection.buckets import Buckets
from factory.selection.select import _decided, decide


def captions(*rows: dict[str, Any]) -> pl.DataFrame:
    base = {
        "shard": "s",
        "view": "v",
        "candidate": 0,
        "fingerprint": "f",
        "status": "ok",
        "reason": None,
        "created_ms": 0,
        "good": 1.0,
    }
    filled = [{"text_hash": number, "image_key": f"k{number:02d}", **base, **row} for number, row in enumerate(rows)]
    schema = {"text_hash": pl.UInt64, "reason": pl.String, "candidate": pl.Int16, "good": pl.Float64}
    return pl.DataFrame(filled, schema_overrides=schema)


def verdicts(frame: pl.DataFrame, **rules: Any) -> list[str | None]:
    decided = decide(frame, Select(**rules).model_dump(), seed=1)
    assert decided["kept"].to_list() == decided["reason"].is_null().to_list()
    return decided["reason"].to_list()


def test_failed_and_truncated_captions_are_dropped_with_their_state() -> None:
    frame = captions({"status": "failed", "reason": "timeout"}, {"status": "truncated"}, {})
    assert verdicts(frame) == ["failed:timeout", "truncated", None]
    assert verdicts(frame, accept=("ok", "truncated")) == ["failed:timeout", None, None]


def test_a_threshold_keeps_what_reaches_it_and_names_what_could_not_be_scored() -> None:
    frame = captions({"good": 0.5}, {"good": 0.49}, {"good": None}, {"good": float("nan")})
    assert verdicts(frame, require={"good": 0.5}) == [None, "require:good", "unscored:good", "unscored:good"]


def test_a_filter_that_cannot_judge_a_caption_may_let_it_pass() -> None:
    frame = captions({"good": 0.49}, {"good": None})
    assert verdicts(frame, require={"good": 0.5}, keep_unscored=["good"]) == ["require:good", None]


def test_keep_top_keeps_the_share_of_what_still_stands() -> None:
    frame = captions(*[{"good": score / 10} for score in range(10)], {"good": 1.0, "status": "truncated"})
    assert verdicts(frame, keep_top={"good": 0.3}) == ["keep_top:good"] * 7 + [None] * 3 + ["truncated"]


def test_best_of_keeps_one_candidate_an_image_and_view() -> None:
    rows = [
        {"image_key": "a", "candidate": number, "good": score} for number, score in enumerate([0.1, 0.9, 0.9, None])
    ]
    frame = captions(*rows, {"image_key": "a", "view": "w", "good": 0.0})
    assert verdicts(frame, best_of="good") == ["best_of:good", None, "best_of:good", "best_of:good", None]


def test_exact_duplicates_keep_the_first_key() -> None:
    frame = captions({"text_hash": 7}, {"text_hash": 7}, {"text_hash": 8}, {"text_hash": 7, "view": "w"})
    assert verdicts(frame, dedup=["exact"]) == [None, "dedup:exact", None, None]


def test_a_dropped_caption_is_no_reason_to_drop_its_duplicate() -> None:
    frame = captions({"text_hash": 7, "status": "truncated"}, {"text_hash": 7})
    assert verdicts(frame, dedup=["exact"]) == ["truncated", None]


def test_a_budget_counts_images_and_draws_the_same_ones_again() -> None:
    frame = captions(*[{"image_key": f"k{number // 2:02d}", "candidate": number % 2} for number in range(40)])
    first = verdicts(frame, budget=5)
    assert first.count(None) == 10
    assert first == verdicts(frame, budget=5)


def test_the_same_key_in_two_shards_is_kept_once() -> None:
    assert verdicts(captions({"image_key": "a", "shard": "s1"}, {"image_key": "a", "shard": "s2"})) == [
        None,
        "duplicate_key",
    ]


RULES = {
    "top of views": {"require": {"good": 0.2}, "keep_top": {"good": 0.8}, "best_of": "good"},
    "top of all": {"keep_top": {"good": {"share": 0.5, "by": []}}, "dedup": ("exact",)},
    "budget": {"best_of": "good", "dedup": ("exact",), "budget": 4},
}


rows = st.lists(
    st.fixed_dictionaries(
        {
            "image_key": st.sampled_from("abcdef"),
            "candidate": st.integers(0, 2),
            "view": st.sampled_from("vw"),
            "good": st.none() | st.floats(0, 1),
            "status": st.sampled_from(["ok", "ok", "truncated", "failed"]),
            "text_hash": st.integers(0, 3),
        }
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda row: (row["image_key"], row["view"], row["candidate"]),
)


@given(rows, st.randoms())
@settings(max_examples=60, deadline=None)
def test_decisions_do_not_depend_on_the_order_of_rows(some: list[dict[str, Any]], shuffler: random.Random) -> None:
    frame = captions(*some)
    order = list(range(frame.height))
    shuffler.shuffle(order)
    rules = Select(
        require={"good": 0.2}, keep_top={"good": 0.8}, best_of="good", dedup=("exact",), budget=4
    ).model_dump()
    decided = decide(frame, rules, seed=3)
    assert decided.equals(decide(frame[order], rules, seed=3))
    assert decided.height == frame.height
    assert decided.filter("kept")["image_key"].n_unique() <= 4


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@given(some=rows, count=st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_decisions_do_not_depend_on_how_images_are_put_into_buckets(
    some: list[dict[str, Any]], count: int, rules: dict[str, Any]
) -> None:
    frame = captions(*some)
    chosen = Select(**rules).model_dump()
    with tempfile.TemporaryDirectory() as folder:
        buckets = Buckets(Path(folder), count=count)
        for number in range(count):
            frame.filter(pl.col("image_key").hash(1) % count == number).write_ipc(buckets._file(number))
        decided = pl.concat(_decided(buckets, chosen, 3))
    assert decided.sort("image_key", "view", "candidate").equals(decide(frame, chosen, seed=3))


def decided_by_people(*decisions: str | None, **columns: Any) -> pl.DataFrame:
    rows = [
        {"good": 0.1, **{name: values[place] for name, values in columns.items()}} for place in range(len(decisions))
    ]
    return captions(*rows).with_columns(pl.Series("decision", decisions, pl.String))


def test_what_a_person_accepted_is_kept_whatever_the_rules_say() -> None:
    frame = decided_by_people("accepted", None, "rejected", good=[0.1, 0.9, 0.9])
    assert verdicts(frame, reviewed="first", require={"good": 0.5}) == [None, None, "reviewed:rejected"]
    assert verdicts(frame, reviewed="first", keep_top={"good": 0.3})[0] is None


def test_the_other_candidates_of_an_accepted_one_are_dropped() -> None:
    frame = decided_by_people(
        None, "accepted", None, image_key=["a", "a", "b"], candidate=[0, 1, 0], good=[0.9, 0.1, 0.2]
    )
    assert verdicts(frame, reviewed="first", best_of="good") == ["reviewed:other_accepted", None, None]


def test_only_what_people_accepted_can_be_asked_for() -> None:
    frame = decided_by_people("accepted", None, "rejected")
    assert verdicts(frame, reviewed="only") == [None, "reviewed:not_accepted", "reviewed:rejected"]


def test_a_person_cannot_accept_a_failed_caption_or_the_second_row_of_a_key() -> None:
    frame = decided_by_people(
        "accepted", "accepted", "accepted", image_key=["a", "b", "b"], candidate=[0, 0, 0], created_ms=[1, 1, 2],
        status=["failed", "ok", "ok"],
    )  # fmt: skip
    assert verdicts(frame, reviewed="first") == ["failed:unknown", None, "duplicate_key"]


def test_recipes_without_the_rule_about_people_have_the_fingerprints_they_had() -> None:
    assert "reviewed" not in Select().model_dump()
    assert "reviewed" not in Select().model_dump(mode="json")
    assert Select(reviewed="first").model_dump(mode="json")["reviewed"] == "first"
