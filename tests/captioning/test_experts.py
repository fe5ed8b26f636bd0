"""Experts beside a real captioner: printed words read by rapidocr stand in prompts, a crash costs one image, nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import factory
from factory.demo.scenes import draw_scene, scene_image
from tests.command import fail, succeed
from tests.experts.own_experts import CRASHES, picture
from tests.recipes import TINY_ENGINE, demo_recipe, write_recipe

OWN = "tests.experts.own_experts"


def recipe_of(folder: Path) -> dict[str, Any]:
    images = folder / "images"
    images.mkdir()
    with_word = [scene for scene in (draw_scene(3, number) for number in range(60)) if scene.word is not None]
    for scene in with_word[:4]:
        (images / f"{scene.word.word}-{scene.key}.png").write_bytes(scene_image(scene))  # type: ignore[union-attr]
    (images / "crash.png").write_bytes(picture(CRASHES))
    view = {
        "name": "detailed",
        "model": "demo:small",
        "prompts": ['The web page says: "{ocr|none}" and {wide}. Describe the image in detail.'],
        "sampling": {"max_tokens": 96},
        "engine": TINY_ENGINE,
        "without": "skip",
    }
    experts = {
        "ocr": {"kind": "rapidocr", "timeout_s": 600},
        "wide": {"kind": f"{OWN}:Widths", "notes": str(folder / "notes.txt"), "timeout_s": 600},
    }
    return demo_recipe(
        source={"kind": "folder", "path": str(images)}, views=[view], experts=experts, filters=[], select={}
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two starts of an engine, on a machine that may be busy
def test_what_experts_find_stands_in_prompts_and_is_found_once(tmp_path: Path) -> None:
    raw = recipe_of(tmp_path)
    out = tmp_path / "run"

    answer = json.loads(succeed("run", write_recipe(tmp_path, raw), "--out", out, "--json", timeout=900))

    accounts = {one["name"]: one for one in answer["experts"]}
    assert (accounts["ocr"]["found"], accounts["ocr"]["nothing"], accounts["ocr"]["failed"]) == (4, 1, 0)
    assert (accounts["wide"]["found"], accounts["wide"]["reasons"]) == (4, {"crashed": 1})
    captions = factory.Run(out).captions()
    by_key = {row["image_key"]: row for row in captions.iter_rows(named=True)}
    assert by_key["crash.png"]["reason"] == "no_context"
    assert "wide failed on this image" in by_key["crash.png"]["detail"]
    made = captions.filter(pl.col("status") != "failed")
    assert made.height == 4
    for row in made.iter_rows(named=True):
        assert row["image_key"].partition("-")[0].upper() in row["prompt"]
        assert "pixels" in row["inputs"]
    assert "expert ocr" in (out / "report.html").read_text()
    looked = (tmp_path / "notes.txt").read_text().split()
    assert len(looked) == 6  # with the plain picture before the start

    raw["views"].append({**raw["views"][0], "name": "again", "without": "caption"})
    plan = json.loads(succeed("plan", write_recipe(tmp_path, raw), "--out", out, "--json"))
    assert [one["reused"] for one in plan["experts"]] == [5, 4]
    answer = json.loads(succeed("run", write_recipe(tmp_path, raw), "--out", out, "--json", timeout=900))

    assert {one["name"]: one["images_now"] for one in answer["experts"]} == {"ocr": 0, "wide": 1}  # the crash again
    assert len((tmp_path / "notes.txt").read_text().split()) == 8
    again = factory.Run(out).captions().filter(pl.col("view") == "again", pl.col("image_key") == "crash.png")
    assert again["prompt"].to_list() == ['The web page says: "none" and unknown. Describe the image in detail.']
    assert again["status"].to_list() != ["failed"]


def test_an_expert_that_cannot_be_loaded_ends_the_run_before_it_starts(tmp_path: Path) -> None:
    raw = recipe_of(tmp_path)
    raw["experts"] = {"ocr": {"kind": f"{OWN}:Broken"}, "wide": {"kind": f"{OWN}:Widths"}}
    said = fail("run", write_recipe(tmp_path, raw), "--out", tmp_path / "run")
    assert "experts.ocr: cannot be loaded: OSError: its model is gone" in said
    assert not list((tmp_path / "run").glob("logs/engine-*.log"))
