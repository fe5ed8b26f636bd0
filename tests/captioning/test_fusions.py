"""Fusions: what is made from what, what is redone when, what does not stand and what stands for it. No engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from factory.errors import RecipeError
from factory.outcome import Outcome
from factory.recipe import Recipe
from factory.runs.tables import FALLBACK_CANDIDATE
from tests.fake_captions import plan_of, run_fake
from tests.recipes import demo_recipe

DETAILED = {"name": "detailed", "model": "demo:small", "prompts": ["Describe the image in details."]}
FUSED = {
    "name": "fused",
    "from": ["original", "detailed"],
    "model": "demo:small",
    "prompts": ["Merge the two sentences with their real-world knowledge: {original|none} / {detailed}"],
}
IMAGES = 12


def recipe(**changes: Any) -> dict[str, Any]:
    source = {"kind": "demo", "scenes": IMAGES, "seed": 3, "text": "truth"}
    plain = {"source": source, "original": True, "views": [DETAILED, FUSED], "filters": ["added_facts"], "select": {}}
    return demo_recipe(**plain | changes)


def says(**texts: str) -> Any:
    """What views say: their text, with the key of the image where it has a place for it."""
    return lambda ready, key, candidate: texts[ready.name].format(key=key)


USUAL = says(detailed="A picture that is called {key}.", fused="A merged picture that is called {key}.")


def rows(outcome: Outcome, view: str = "fused") -> pl.DataFrame:
    """The captions of a view that count."""
    return outcome.work.captions().filter(pl.col("view") == view).collect().sort("image_key", "candidate")


def verdicts(outcome: Outcome) -> dict[tuple[bool, str | None], int]:
    decided = outcome.work.run.storage.scan(["selection.parquet"]).filter(pl.col("view") == "fused").collect()
    return {(kept, reason): number for kept, reason, number in decided.group_by("kept", "reason").len().iter_rows()}


def test_a_fused_caption_knows_what_it_was_made_from(tmp_path: Path) -> None:
    outcome, _ = run_fake(recipe(), str(tmp_path / "run"), say=USUAL)
    made = rows(outcome)
    assert made.height == IMAGES
    originals = dict(rows(outcome, "original").select("image_key", "text").iter_rows())
    for row in made.iter_rows(named=True):
        assert [parent["view"] for parent in row["parents"]] == ["original", "detailed"]
        assert row["inputs"].splitlines() == [
            originals[row["image_key"]],
            f"A picture that is called {row['image_key']}.",
        ]
        assert originals[row["image_key"]] in row["prompt"]
    assert outcome.accounts["ok"] == IMAGES
    assert outcome.selection["fusions"]["fused"] == {
        "from": ["original", "detailed"], "fallback": "detailed", "fused": IMAGES, "failed": 0, "unfused": {},
    }  # fmt: skip
    again = plan_of(recipe(), str(tmp_path / "run"))
    assert {view.name: (view.reused, view.to_caption) for view in again.counts}["fused"] == (IMAGES, 0)
    assert not again.engine_needs


def test_another_caption_of_an_input_redoes_the_fusions_of_it_and_no_others(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    run_fake(recipe(), out, say=USUAL)
    pool = [{"text": DETAILED["prompts"][0], "id": "p1"}, {"text": "Describe it.", "id": "p2"}]
    changed = recipe(views=[DETAILED | {"prompts": pool}, FUSED])
    plan = plan_of(changed, out)
    redone = {view.name: view.to_caption for view in plan.counts}
    assert 0 < (redone["detailed"] or 0) < IMAGES
    assert redone["fused"] == redone["detailed"]
    outcome, made = run_fake(changed, out, say=says(detailed="Another one of {key}.", fused="A merged {key}."))
    assert made == 2 * (redone["detailed"] or 0)
    texts = rows(outcome)["text"].to_list()
    assert len(texts) == IMAGES
    assert sum(text.startswith("A merged picture") for text in texts) == IMAGES - (redone["fused"] or 0)


def test_other_texts_of_the_source_redo_the_fusions_of_them(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    run_fake(recipe(), out, say=USUAL)
    source = recipe()["source"] | {"text": "alt"}
    outcome, made = run_fake(recipe(source=source), out, say=USUAL)
    assert made == IMAGES  # the fusions alone
    assert rows(outcome).height == IMAGES


def test_a_caption_that_leaks_is_kept_beside_the_one_that_stands_for_it(tmp_path: Path) -> None:
    leaky = says(detailed="A picture that is called {key}.", fused="A {key} that showcases real-world knowledge.")
    outcome, _ = run_fake(recipe(), str(tmp_path / "run"), say=leaky)
    made = rows(outcome)
    fallen, stands = (made.filter((pl.col("candidate") == FALLBACK_CANDIDATE) == is_one) for is_one in (False, True))
    assert fallen.height == stands.height == IMAGES
    assert set(fallen["unfused"]) == set(stands["unfused"]) == {"leak"}
    assert fallen["text"].str.contains("real-world knowledge").all()
    assert stands["text"].to_list() == [f"A picture that is called {key}." for key in stands["image_key"]]
    assert verdicts(outcome) == {(False, "fusion:leak"): IMAGES, (True, None): IMAGES}
    assert outcome.selection["fusions"]["fused"]["unfused"] == {"leak": IMAGES}
    assert any(f"{IMAGES} images have that of detailed instead ({IMAGES} leak)" in line for line in outcome.lines())


@pytest.mark.parametrize(
    ("detailed", "fused", "reason"),
    [
        ("There is a red ball.", "I'm sorry, but I cannot merge these sentences.", "refusal"),
        ("There is a red ball.", "There is a green ball.", "contradiction"),
    ],
)
def test_refusals_and_contradictions_fall_back(tmp_path: Path, detailed: str, fused: str, reason: str) -> None:
    alone = FUSED | {"from": ["detailed"], "prompts": ["Say it again: {detailed}"]}
    say = says(detailed=detailed, fused=fused)
    outcome, _ = run_fake(recipe(views=[DETAILED, alone]), str(tmp_path / "run"), say=say)
    assert verdicts(outcome) == {(False, f"fusion:{reason}"): IMAGES, (True, None): IMAGES}


def test_inputs_that_contradict_each_other_are_not_fused(tmp_path: Path) -> None:
    short = DETAILED | {"name": "short", "prompts": ["Describe it."]}
    both = FUSED | {"from": ["short", "detailed"], "prompts": ["{short} {detailed}"]}
    say = says(short="A green ball.", detailed="A red ball.", fused="never asked")
    outcome, _ = run_fake(recipe(views=[DETAILED, short, both]), str(tmp_path / "run"), say=say)
    made = rows(outcome)
    assert set(made["text"]) == {"A green ball."}
    assert set(made["unfused"]) == {"contradiction"}
    assert made["detail"][0] == "short says green ball, detailed denies it"


def test_an_image_without_an_input_has_the_fallback_or_fails(tmp_path: Path) -> None:
    source = recipe()["source"] | {"text": "none"}
    needy = FUSED | {"prompts": ["{original} {detailed}"]}
    outcome, _ = run_fake(recipe(source=source, views=[DETAILED, needy]), str(tmp_path / "one"), say=USUAL)
    assert verdicts(outcome) == {(True, None): IMAGES}
    assert set(rows(outcome)["unfused"]) == {"no_input"}
    other = needy | {"fallback": "original"}
    outcome, _ = run_fake(recipe(source=source, views=[DETAILED, other]), str(tmp_path / "two"), say=USUAL)
    assert verdicts(outcome) == {(False, "failed:no_input"): IMAGES}
    assert outcome.accounts["failed"] == IMAGES
    again = plan_of(recipe(source=source, views=[DETAILED, other]), str(tmp_path / "two"))
    assert not again.engine_needs  # nothing else would come of it


def test_a_fusion_of_fusions_follows_what_it_is_made_from(tmp_path: Path) -> None:
    twice = {"name": "twice", "from": ["fused", "detailed"], "model": "demo:small", "prompts": ["{fused} {detailed}"]}
    raw, out = recipe(views=[twice, FUSED, DETAILED]), str(tmp_path / "run")
    say = says(detailed="A picture {key}.", fused="A merged picture {key}.", twice="A picture {key} merged twice.")
    outcome, made = run_fake(raw, out, say=say)
    assert made == 3 * IMAGES
    assert rows(outcome, "twice")["inputs"][0].startswith("A merged picture")
    raw["views"][1] = FUSED | {"prompts": ["Merge: {original|none} {detailed}"]}
    again = {view.name: view.to_caption for view in plan_of(raw, out).counts}
    assert again == {"twice": IMAGES, "fused": IMAGES, "detailed": 0}


def test_captions_of_others_are_fused_without_images(tmp_path: Path) -> None:
    file = tmp_path / "captions.jsonl"
    file.write_text("".join(f'{{"image_key": "{key}", "caption": "A dog named {key}."}}\n' for key in "abc"))
    view = FUSED | {"from": ["original"], "prompts": ["Say it better: {original}"]}
    raw = recipe(source={"kind": "captions", "path": str(file)}, views=[view])
    outcome, made = run_fake(raw, str(tmp_path / "run"), say=says(fused="It is a dog named {key}."))
    assert made == 3
    assert verdicts(outcome) == {(True, None): 3}
    assert outcome.accounts["ok"] == outcome.accounts["source_rows"] == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"views": [DETAILED, FUSED | {"from": ["original", "detialed"], "prompts": ["{original}{detialed}"]}]}, "'detailed'"),
        ({"views": [FUSED | {"from": ["fused"], "prompts": ["{fused}"]}]}, "fused is made from fused"),
        ({"views": [DETAILED, FUSED | {"prompts": ["{detailed}"]}]}, "no place for {original}"),
        ({"views": [DETAILED, FUSED | {"fallback": "other"}]}, "not among from"),
        ({"original": False}, "set original: true"),
        ({"views": [DETAILED | {"fallback": "other"}]}, "only a fusion has one"),
        ({"views": [DETAILED, FUSED | {"image": {"max_pixels": 99}}]}, "shown no image"),
    ],
)  # fmt: skip
def test_what_cannot_be_fused_is_told_before_anything_starts(changes: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, RecipeError), match=words):
        Recipe.model_validate(recipe(**changes))


def test_who_saw_the_image_judges_the_fused_caption(tmp_path: Path) -> None:
    plan = plan_of(recipe(filters=[{"vqa_faithfulness": {"judge": "self"}}]), str(tmp_path / "run"))
    judges = plan.work.scorers[0].judges
    assert judges["fused"].ready.name == "detailed"
    assert set(plan.work.asked_at_once) == {"detailed"}
    alone = FUSED | {"from": ["original"], "prompts": ["{original}"]}
    with pytest.raises(RecipeError, match="these captions come from elsewhere"):
        plan_of(recipe(views=[alone], filters=["vqa_faithfulness"]), str(tmp_path / "run"))
