"""What is unfaithful is written again, then cut: new candidates with their lineage, and nothing written over."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from factory.evaluation.by_truth import with_truth
from factory.repair.cutting import without_the_rest
from factory.runs.run import find_run
from factory.scoring.sentence_table import sentence_table
from factory.work.work import reopen
from filters.wording.sentences import sentences
from tests.captioned_run import captioned, select_again
from tests.command import fail, succeed
from tests.recipes import TINY_ENGINE, demo_recipe, write_recipe

LEAST = 0.6
LADDER = [{"temperature": 0.9, "n": 2, "max_tokens": 96}]


def recipe(**changes: Any) -> dict[str, Any]:
    view = {
        "name": "detailed",
        "model": "demo:small",
        "prompts": [{"text": "Describe the image in details."}],
        "sampling": {"max_tokens": 32},
        "engine": TINY_ENGINE,
    }
    return demo_recipe(
        source={"kind": "demo", "scenes": 32, "seed": 77},
        views=[view],
        filters=["token_confidence", "vqa_faithfulness"],
        repair={"by": "vqa_faithfulness", "least": LEAST, "regenerate": LADDER, "cut": True},
        select={"best_of": "vqa_faithfulness", "require": {"vqa_faithfulness": LEAST}},
        **changes,
    )


def captions(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "captions" / "*.parquet", missing_columns="insert").sort("image_key", "candidate")


def scored(run: Path) -> pl.DataFrame:
    scores = pl.read_parquet(run / "scores" / "vqa_faithfulness" / "*.parquet")
    return captions(run).join(scores, on=["image_key", "view", "candidate"], how="left")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with repair, and then `--retry truncated`."""
    folder = tmp_path_factory.mktemp("repair")
    path = write_recipe(folder, recipe())
    first = succeed("run", path, "--out", folder / "run")
    assert re.search(r"repair   \d+ of 32 images unfaithful by vqa_faithfulness below 0.6", first), first
    captions(folder / "run").write_parquet(folder / "first.parquet")
    succeed("run", path, "--out", folder / "run", "--retry", "truncated")
    return folder / "run"


def test_only_what_is_unfaithful_is_written_again_and_it_says_so(run: Path) -> None:
    rows = scored(run)
    first = rows.filter(pl.col("rung").is_null(), pl.col("cut_from").is_null())
    again = rows.filter(pl.col("rung") == 1, pl.col("cut_from").is_null())
    assert first["image_key"].n_unique() == first.height == 32
    unfaithful = set(first.filter(pl.col("score") < LEAST)["image_key"])
    assert 0 < len(unfaithful) < 32
    assert set(again["image_key"]) == unfaithful
    assert set(again["candidate"]) == {100, 101}
    assert set(again["fingerprint"]).isdisjoint(first["fingerprint"])


def test_a_cut_caption_has_what_was_supported_and_its_parent_is_as_it_was(run: Path) -> None:
    rows = scored(run)
    cuts = rows.filter(pl.col("cut_from").is_not_null())
    assert cuts.height
    for cut in cuts.iter_rows(named=True):
        (parent,) = rows.filter(image_key=cut["image_key"], candidate=cut["cut_from"]).to_dicts()
        kept = [
            one.text
            for one, judged in zip(sentences(parent["text"]), parent["sentences"], strict=True)
            if judged["score"] >= LEAST
        ]
        assert [one.text for one in sentences(cut["text"])] == kept
        assert cut["score"] >= LEAST  # by the same judge
        assert cut["mean_logprob"] < 0
        assert len(cut["sentence_logprobs"]) == len(kept)
    before = pl.read_parquet(run.parent / "first.parquet")
    same = captions(run).join(before, on=["image_key", "view", "candidate", "fingerprint", "text"], how="semi")
    assert same.height == before.height


def test_the_better_of_old_and_new_is_kept_by_the_same_judge(run: Path) -> None:
    rows = scored(run).filter(pl.col("status") == "ok")
    kept = pl.read_parquet(run / "selection.parquet").filter("kept")
    chosen = kept.select("image_key", "view", "candidate").join(rows, on=["image_key", "view", "candidate"])
    best = rows.group_by("image_key").agg(pl.col("score").max().alias("best")).filter(pl.col("best") >= LEAST)
    assert chosen.height == best.height
    assert chosen.join(best, on="image_key").filter(pl.col("score") < pl.col("best")).is_empty()


def test_truncated_captions_are_written_again_with_more_room_when_asked(run: Path) -> None:
    rows = captions(run).filter(pl.col("cut_from").is_null())
    ended = (
        rows.filter(pl.col("candidate") < 100 * 50).group_by("image_key").agg((pl.col("status") == "truncated").all())
    )
    truncated = set(ended.filter("status")["image_key"])
    again = rows.filter(pl.col("candidate") >= 100 * 50)
    assert truncated
    assert set(again["image_key"]) == truncated
    assert set(again["max_tokens"]) == {64}
    assert (again["status"] == "ok").all()


def test_a_repaired_run_has_nothing_left_to_do(run: Path) -> None:
    before = captions(run)
    out = json.loads(succeed("run", run.parent / "recipe.yaml", "--out", run, "--json"))
    assert captions(run).equals(before)
    assert out["repair"]["rungs"][0]["number"] == 1
    assert out["images"]["ok"] + out["images"]["truncated"] == 32


def test_what_was_never_answered_is_asked_again_when_asked(run: Path, tmp_path: Path) -> None:
    for file in (run / "answers").rglob("*.parquet"):
        rows = pl.read_parquet(file)
        lost = pl.int_range(pl.len()) == 0
        empty = pl.lit(None, rows.schema["values"])
        rows.with_columns(
            pl.when(lost).then(pl.lit("no answer within 1 s")).otherwise("problem").alias("problem"),
            pl.when(lost).then(empty).otherwise("values").alias("values"),
        ).write_parquet(file)
    succeed("run", run.parent / "recipe.yaml", "--out", run, "--retry", "unanswered")
    answers = pl.concat(
        [pl.read_parquet(file) for file in (run / "answers").rglob("*.parquet")], how="diagonal_relaxed"
    )
    asked = answers.filter(pl.col("control").is_null()).group_by("image_key", "question")
    assert asked.agg(pl.col("problem").is_null().any()).filter(~pl.col("problem")).is_empty()


# --- without an engine -------------------------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {"filters": ["token_confidence"], "select": {}}
CUT: dict[str, Any] = {
    "filters": [{"token_confidence": {"use": "min"}}],
    "repair": {"by": "token_confidence", "least": 0.3, "cut": True},
    "select": {"best_of": "token_confidence"},
}


def test_cutting_by_what_the_engine_returned_makes_captions_truer(tmp_path: Path) -> None:
    run, _ = captioned(tmp_path, **CUT)
    table = with_truth(sentence_table(reopen(run)), 3)
    cut = table.filter(pl.col("cut_from").is_not_null())
    parents = cut.select("image_key", candidate=pl.col("cut_from")).unique()
    whole = table.join(parents, on=["image_key", "candidate"], how="semi")
    assert cut.height > 20
    assert cut["right"].mean() > whole["right"].mean() + 0.05  # type: ignore[operator]
    assert cut.group_by("image_key", "candidate").len().height == parents.height


def test_sentences_are_calibrated_and_a_caption_is_as_good_as_its_least_one(tmp_path: Path) -> None:
    run, raw = captioned(tmp_path, source={"kind": "demo", "scenes": 600, "seed": 3}, **PLAIN)
    out = succeed("calibrate", run.url, "--truth", "demo", "--target-precision", "0.95", "--filter", "token_confidence")
    assert "of the sentences that reach it are right" in out
    reference = "calibration:token_confidence-v1"
    least = json.loads((Path(run.url) / "calibrations" / "token_confidence-v1.json").read_text())
    assert least["unit"] == "sentence"
    select_again(run, raw | {"select": {"require": {"token_confidence": reference}}})
    kept = pl.read_parquet(Path(run.url) / "selection.parquet").filter("kept")
    table = sentence_table(reopen(run))
    worst = table.group_by("image_key", "candidate").agg(pl.col("token_confidence").min())
    should = worst.filter(pl.col("token_confidence") >= least["threshold"])
    assert set(kept["image_key"]) == set(should["image_key"])
    right = with_truth(table.filter("kept"), 3)["right"].mean()
    assert right >= 0.95  # type: ignore[operator]


def test_labels_with_a_start_are_about_sentences(tmp_path: Path) -> None:
    run, _ = captioned(tmp_path, **PLAIN)
    table = with_truth(sentence_table(reopen(run)), 3)
    labels = table.select("image_key", "view", "candidate", "start", label=pl.col("right"))
    labels.write_parquet(tmp_path / "labels.parquet")
    named = succeed("calibrate", run.url, "--labels", tmp_path / "labels.parquet", "--target-precision", "0.9")
    known = succeed("calibrate", run.url, "--truth", "demo", "--target-precision", "0.9")
    assert named == known


def test_a_calibration_of_whole_captions_cuts_nothing(tmp_path: Path) -> None:
    run, raw = captioned(tmp_path, **PLAIN)
    rows = with_truth(sentence_table(reopen(run)), 3)
    labels = rows.group_by("image_key", "view", "candidate").agg(pl.col("right").all().alias("label"))
    labels.write_parquet(tmp_path / "labels.parquet")
    options = ("--target-precision", "0.8", "--filter", "token_confidence")
    succeed("calibrate", run.url, "--labels", tmp_path / "labels.parquet", *options)
    raw |= {"repair": {"by": "calibration:token_confidence-v1", "cut": True}, "select": {"best_of": "token_confidence"}}
    said = fail("run", write_recipe(tmp_path, raw), "--out", run.url)
    assert "calibration:token_confidence-v1 is about whole captions; calibrate sentences" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repair": {"by": "vqa_faithfulnes", "least": 0.5, "cut": True}}, "did you mean 'vqa_faithfulness'"),
        ({"repair": {"by": "vqa_faithfulness", "least": 0.5}}, "say what to do"),
        ({"repair": {"by": "vqa_faithfulness", "cut": True}}, "name the least score"),
        ({"repair": {"by": "calibration:a-v1", "least": 0.5, "cut": True}}, "has its own threshold"),
        ({"select": {}}, "say which one is kept with select.best_of"),
        ({"repair": {"by": "vqa_faithfulness", "least": 0.5, "regenerate": [{}]}}, "would write the same caption again"),
        (
            {"repair": {"by": "vqa_faithfulness", "least": 0.5, "regenerate": [{"n": 2}]}},
            "greedy candidates would be the same",
        ),
        ({"filters": ["vqa_faithfulness", "length"], "repair": {"by": "length", "least": 0.5, "cut": True}},
         "length does not judge sentences"),
    ],
)  # fmt: skip
def test_a_repair_that_cannot_be_is_told_before_anything_starts(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    assert words in fail("plan", write_recipe(tmp_path, recipe() | changes), "--out", tmp_path / "run")


def test_a_retry_that_nobody_defined_is_an_error(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, demo_recipe())
    assert "does not say which captions are unfaithful" in fail(
        "run", path, "--out", tmp_path / "r", "--retry", "unfaithful"
    )
    assert "'wrong' is none of" in fail("run", path, "--out", tmp_path / "r", "--retry", "wrong")


def test_the_text_that_is_left_keeps_its_lines() -> None:
    text = "A dog runs.\n\nA cat sleeps. A bird sings.\nThe sun shines."
    found = sentences(text)
    left, places = without_the_rest(text, found, [found[0], found[2], found[3]])
    assert left == "A dog runs.\n\nA bird sings.\nThe sun shines."
    assert [left[place:].split()[1] for place in places] == ["dog", "bird", "sun"]
    assert without_the_rest(text, found, found[:1]) == ("A dog runs.", [0])


def test_nothing_is_cut_where_a_sentence_was_not_judged_or_none_is_supported() -> None:
    from factory.repair.cutting import _cut

    row = {"text": "A dog runs. A cat sleeps.", "candidate": 0, "fingerprint": "f", "sentence_logprobs": None}
    row |= {"status": "ok", "finish_reason": "stop"}
    assert _cut(row, {0: 0.9, 12: None}, 0.5, "self") is None
    assert _cut(row, {0: 0.1, 12: 0.2}, 0.5, "self") is None
    assert _cut(row, {0: 0.9, 12: 0.8}, 0.5, "self") is None
    assert _cut(row, {0: 0.9, 12: 0.2}, 0.5, "self")["text"] == "A dog runs."  # type: ignore[index]


def test_a_run_of_before_is_found(tmp_path: Path) -> None:
    """A captions table without the columns of repair still reads."""
    run, raw = captioned(tmp_path, **PLAIN)
    for file in (Path(run.url) / "captions").glob("*.parquet"):
        pl.read_parquet(file).drop("rung", "cut_from").write_parquet(file)
    assert sentence_table(reopen(find_run(run.url))).height
    select_again(run, raw | {"select": {"budget": 10}})
