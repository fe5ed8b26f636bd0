"""Calibration: what is promised holds on rows that nobody labelled, and a record says what it was made from."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import polars as pl
import pytest

from filters import FilterError
from filters.calibration.calibrate import calibrate
from filters.calibration.calibration import Calibration

RESAMPLES = 200


def captions(count: int, seed: int = 0, *, slope: float = 8.0) -> pl.DataFrame:
    """Scored captions with the truth about them: `good` says much, `weak` a little, `noise` nothing."""
    rng = np.random.default_rng(seed)
    good, weak, noise = rng.random(count), rng.random(count), rng.random(count)
    right = rng.random(count) < 1 / (1 + np.exp(-(slope * good + 1.5 * weak - 3)))
    return pl.DataFrame(
        {
            "image_key": [f"image-{row}" for row in range(count)],
            "view": rng.choice(["short", "detailed"], count),
            "good": good,
            "weak": weak,
            "noise": noise,
            "label": right,
        }
    )


POPULATION = captions(20_000)


def labelled(count: int, seed: int) -> pl.DataFrame:
    return POPULATION.sample(count, seed=seed)


def kept(calibration: Calibration, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(calibration.score() >= calibration.threshold)


def held_on_unseen(score: str | list[str], count: int, target: float, **options: Any) -> tuple[int, int]:
    """Of RESAMPLES calibrations: how many name a threshold, and of how many of those the unseen rows keep the promise."""
    named = held = 0
    for seed in range(RESAMPLES):
        sample = labelled(count, seed)
        calibration = calibrate(sample, score, target_precision=target, population=POPULATION, **options)
        if calibration.threshold is not None:
            named += 1
            unseen = POPULATION.join(sample, on="image_key", how="anti")
            held += kept(calibration, unseen)["label"].mean() >= target
    return named, held


@pytest.mark.parametrize(
    ("score", "target", "confidence"), [("good", 0.9, 0.9), ("good", 0.95, 0.8), (["good", "weak", "noise"], 0.9, 0.9)]
)
def test_the_promised_precision_holds_on_unseen_rows_as_often_as_promised(
    score: str | list[str], target: float, confidence: float
) -> None:
    named, held = held_on_unseen(score, 400, target, confidence=confidence)
    assert named > RESAMPLES * 0.8, "a promise that is hardly ever made is no use"
    assert RESAMPLES - named + held >= RESAMPLES * confidence


def test_a_score_that_says_nothing_is_promised_nothing() -> None:
    share = POPULATION["label"].mean()
    named, _ = held_on_unseen("noise", 300, share + 0.02, confidence=0.9)
    assert named <= RESAMPLES * 0.1


def test_labels_only_bring_the_threshold_of_the_best_keep_rate_nearer() -> None:
    rates = [
        calibrate(labelled(count, 1), "good", target_precision=0.95, population=POPULATION).all.kept.keep_rate
        for count in (300, 1000, 5000)
    ]
    reach = POPULATION.sort("good", descending=True)["label"].cast(pl.Float64).cum_sum() / np.arange(1, 20_001)
    best = np.flatnonzero(reach.to_numpy() >= 0.95).max() / 20_000
    assert rates[0] < rates[1] < rates[2] <= best + 0.02
    assert rates[2] > 0.9 * best


def test_where_labels_prove_too_little_the_number_that_would_is_about_right() -> None:
    few = calibrate(labelled(120, 4), "good", target_precision=0.97, population=POPULATION)
    assert few.threshold is None
    needed = few.all.labels_needed
    assert needed is not None

    def named(count: int) -> int:
        made = [calibrate(labelled(count, seed), "good", target_precision=0.97) for seed in range(20)]
        return sum(calibration.threshold is not None for calibration in made)

    assert named(needed // 3) <= 4
    assert named(needed * 3) >= 16


def test_where_no_threshold_reaches_the_target_more_labels_are_not_asked_for() -> None:
    calibration = calibrate(labelled(500, 1), "noise", target_precision=0.99, population=POPULATION)
    assert calibration.threshold is None
    assert calibration.all.labels_needed is None


def test_a_keep_rate_is_that_of_the_population_and_the_threshold_keeps_it() -> None:
    calibration = calibrate(labelled(500, 2), "good", target_precision=0.9, population=POPULATION)
    assert calibration.all.kept is not None
    share = kept(calibration, POPULATION).height / POPULATION.height
    assert calibration.all.kept.keep_rate == pytest.approx(share, abs=1e-6)


def test_strata_are_told_apart_and_add_up() -> None:
    calibration = calibrate(labelled(500, 2), "good", target_precision=0.9, strata=["view"], population=POPULATION)
    views = {part.value: part for part in calibration.strata if part.by == "view"}
    assert list(views) == ["detailed", "short"]
    assert sum(part.labels for part in views.values()) == calibration.all.labels == 500
    assert sum(part.right for part in views.values()) == calibration.all.right
    assert all(part.own is not None and part.own.threshold != calibration.threshold for part in views.values())


def test_one_caption_of_each_image_counts_whatever_the_order() -> None:
    rows = labelled(300, 3)
    twice = pl.concat([rows, rows.with_columns(good=1 - pl.col("good"))]).sort("image_key", "good")
    calibration = calibrate(twice, "good", target_precision=0.9, group="image_key")
    assert calibration.labels.used == 300
    assert calibration.labels.set_aside == {"same_image_key": 300}


def test_the_order_of_the_labels_does_not_matter() -> None:
    rows = labelled(300, 3)
    for score in ("good", ["good", "weak"]):
        first, again = (
            calibrate(some, score, target_precision=0.9, group="image_key", strata=["view"], population=POPULATION)
            for some in (rows, rows.sample(fraction=1, shuffle=True, seed=9))
        )
        assert first.id == again.id


def test_a_stack_is_tested_on_rows_that_it_was_not_fitted_on() -> None:
    calibration = calibrate(labelled(600, 5), ["good", "weak"], target_precision=0.9)
    assert calibration.stack is not None
    assert calibration.stack.fitted_on + calibration.labels.tested == calibration.labels.used == 600
    assert calibration.all.labels == calibration.labels.tested


def test_a_record_is_read_back_as_it_was_and_an_edited_one_is_refused() -> None:
    calibration = calibrate(
        labelled(400, 5), ["good", "weak"], target_precision=0.9, strata=["view"], method="isotonic"
    )
    text = calibration.to_json()
    assert Calibration.from_json(text) == calibration
    assert Calibration.from_json(text).id == calibration.id == json.loads(text)["id"]
    edited = json.dumps(json.loads(text) | {"threshold": 0.1})
    with pytest.raises(FilterError, match="changed after it was made"):
        Calibration.from_json(edited)
    for broken in ("", "[]", "{}", "null", '{"format": 2}', text[:-20]):
        with pytest.raises(FilterError, match="no calibration"):
            Calibration.from_json(broken)


def test_applying_a_record_takes_no_scipy() -> None:
    text = calibrate(labelled(400, 5), ["good", "weak"], target_precision=0.9).to_json()
    code = f"""
import sys
import polars as pl
from filters.calibration.calibration import Calibration
calibration = Calibration.from_json({text!r})
print(pl.DataFrame({{"good": [0.1, 0.9], "weak": [0.5, None]}}).select(calibration.score()).height)
print(sorted(set(sys.modules) & {{"scipy", "sklearn"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n[]\n"


def test_the_name_and_version_are_not_part_of_what_a_record_is() -> None:
    calibration = calibrate(labelled(200, 5), "good", target_precision=0.8)
    assert calibration.model_copy(update={"name": "other", "version": 7}).id == calibration.id
    assert calibrate(labelled(200, 6), "good", target_precision=0.8).id != calibration.id


def test_another_captioner_is_told_from_the_same_one() -> None:
    marks = {"short": {"model": "a", "prompt": "p"}, "detailed": {"model": "a", "prompt": "q"}}
    calibration = calibrate(labelled(200, 5), "good", target_precision=0.8, captioner=marks)
    assert calibration.differences(marks) == []
    assert calibration.differences({"short": {"model": "b", "prompt": "p"}}) == [
        "the view 'short' has another model since"
    ]
    assert calibration.differences({"ocr": {}}) == ["the view 'ocr' had no labels"]


def test_labels_that_are_no_random_sample_are_warned_about() -> None:
    best = POPULATION.sort("good").tail(3000).sample(300, seed=1)
    (warning,) = calibrate(best, "good", target_precision=0.9, population=POPULATION).warnings
    assert "no random sample" in warning
    assert calibrate(labelled(300, 1), "good", target_precision=0.9, population=POPULATION).warnings == ()


def test_nulls_are_counted_not_guessed() -> None:
    rows = labelled(300, 1).with_columns(
        good=pl.when(pl.int_range(pl.len()) < 10).then(None).otherwise("good"),
        label=pl.when(pl.int_range(pl.len()) >= 280).then(None).otherwise("label"),
    )
    calibration = calibrate(rows, "good", target_precision=0.8)
    assert calibration.labels.set_aside == {"no_label": 20, "unscored": 10}
    assert (calibration.labels.given, calibration.labels.used) == (300, 270)


@pytest.mark.parametrize("values", [[1, 0] * 150, [1.0, 0.0] * 150])
def test_labels_may_be_zeros_and_ones(values: list[Any]) -> None:
    rows = labelled(300, 1).with_columns(label=pl.Series(values))
    assert calibrate(rows, "good", target_precision=0.8).all.right == 150


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drop": "label"}, r"no column 'label'; they have 'image_key', 'view'"),
        ({"drop": "good"}, "no column 'good'"),
        ({"label": pl.lit(2)}, "holds 2; a label is true or 1"),
        ({"label": pl.lit("yes")}, "holds 'yes'; a label is true or 1"),
        ({"label": pl.lit(True)}, "All 300 usable labels say right"),
        ({"label": pl.lit(0)}, "All 300 usable labels say wrong"),
        ({"label": pl.lit(None)}, r"No labelled row can be used \(300 no_label set aside\)"),
        ({"good": pl.lit(None)}, r"No labelled row can be used \(300 unscored set aside\)"),
        ({"good": pl.lit("high")}, "holds String, not numbers"),
        ({"good": pl.col("good") * 5}, "scores lie between 0 and 1"),
    ],
)
def test_bad_labels_are_one_message_that_helps(change: dict[str, Any], words: str) -> None:
    rows = labelled(300, 1)
    rows = rows.drop(change["drop"]) if "drop" in change else rows.with_columns(**change)
    with pytest.raises(FilterError, match=words):
        calibrate(rows, "good", target_precision=0.9)


def test_a_share_out_of_range_or_an_empty_table_is_refused() -> None:
    for target, confidence in ((0.0, 0.9), (1.0, 0.9), (95, 0.9), (0.9, 1.0), (float("nan"), 0.9)):
        with pytest.raises(FilterError, match="share above 0 and below 1"):
            calibrate(labelled(300, 1), "good", target_precision=target, confidence=confidence)
    with pytest.raises(FilterError, match="No labelled row"):
        calibrate(POPULATION.head(0), "good", target_precision=0.9)
    with pytest.raises(FilterError, match="population has no column good"):
        calibrate(labelled(300, 1), "good", target_precision=0.9, population=POPULATION.drop("good"))


def test_a_stack_of_too_few_labels_says_how_many_it_takes() -> None:
    with pytest.raises(FilterError, match="at least 10 right and 10 wrong rows"):
        calibrate(labelled(40, 1), ["good", "weak"], target_precision=0.9)
