"""Assembly rules: from the texts of an image to what is released of it, in the whole build of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from exports.release import ReleaseError
from factory.recipe import CaptionRule, Recipe
from factory.releasing.assembly import Assembly, draw, split_cuts
from factory.releasing.export_run import export_release
from factory.runs.run import Run
from tests.captioned_run import captioned
from tests.recipes import DEMO, demo_recipe

VIEWS = [
    {**DEMO["views"][0], "name": "short", "prompts": [{"text": "Say it short."}]},
    {**DEMO["views"][0], "name": "long", "prompts": [{"text": "Say it at length."}, {"text": "Say all of it."}]},
]
KEPT = {"short": "A cat", "long": "A cat sits on a mat"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """40 scenes with captions of two views, about half of them dropped."""
    source = {"kind": "demo", "scenes": 40, "seed": 3}
    select = {"require": {"token_confidence": 0.6}}
    return captioned(tmp_path_factory.mktemp("assembly"), views=VIEWS, source=source, select=select)[0]


def released(run: Run, folder: Path, **settings: Any) -> tuple[pl.DataFrame, dict[str, int]]:
    result, counts = export_release(run, str(folder / "set"), **settings)
    return pl.read_parquet(f"{result.url}/data/*.parquet").drop("image"), counts


def texts(run: Run) -> dict[str, dict[str, str]]:
    """Image -> view -> its kept caption, from the run's own tables."""
    decided = run.storage.scan(["selection.parquet"]).filter("kept").select("image_key", "view").collect()
    captions = run.storage.scan([f"captions/{part}.parquet" for part in run.parts("captions")]).collect()
    found: dict[str, dict[str, str]] = {}
    for key, view, text in (
        decided.join(captions, on=["image_key", "view"]).select("image_key", "view", "text").iter_rows()
    ):
        found.setdefault(key, {})[view] = text
    return found


def assembly(rule: dict[str, Any], **release: Any) -> Assembly:
    raw = demo_recipe(views=VIEWS, release={"to": "x", "caption": rule, **release})
    return Assembly(Recipe.model_validate(raw))


def test_without_a_rule_the_first_kept_view_is_released(run: Run, tmp_path: Path) -> None:
    rows, counts = released(run, tmp_path)
    kept = texts(run)
    assert dict(rows.select("id", "caption").iter_rows()) == {
        key: found.get("short") or found["long"] for key, found in kept.items()
    }
    assert counts == {}


def test_the_card_names_the_language_that_the_selection_requires(tmp_path: Path) -> None:
    select = {"require": {"language": 0.5}}
    source = {"kind": "demo", "scenes": 10, "seed": 3}
    run, _ = captioned(tmp_path, source=source, filters=[{"name": "language"}], select=select)
    for given, expected in (((), "en"), (("fr", "pt-BR"), "fr, pt-BR")):
        result, _ = export_release(run, str(tmp_path / expected[:2]), languages=given, repository="org/birds")
        card = (Path(result.url) / "README.md").read_text()
        assert f"### Language\n\nCaptions: {expected}." in card
        assert "hub:org/birds@v1.0.0" in card


def test_replace_takes_one_view_and_counts_the_images_without_it(run: Run, tmp_path: Path) -> None:
    rows, counts = released(run, tmp_path, caption={"rule": "replace", "view": "long"})
    kept = texts(run)
    lacking = [key for key, found in kept.items() if "long" not in found]
    assert lacking
    assert counts == {"no_text_chosen": len(lacking)}
    assert dict(rows.select("id", "view").iter_rows()) == {key: "short" if key in lacking else "long" for key in kept}


def test_images_without_the_text_are_left_out_or_an_error_as_asked(run: Run, tmp_path: Path) -> None:
    rule = {"rule": "replace", "view": "long"}
    rows, counts = released(run, tmp_path, caption=rule, without="leave_out")
    having = {key for key, found in texts(run).items() if "long" in found}
    assert set(rows["id"]) == having
    assert counts["no_text_leave_out"] == len(texts(run)) - len(having)
    card = (tmp_path / "set" / "1.0.0" / "README.md").read_text()
    assert f"no\\_text\\_leave\\_out | {counts['no_text_leave_out']} |" in card
    with pytest.raises(ReleaseError, match=r"lacks a text that release\.caption asks for .* set release\.without"):
        released(run, tmp_path / "other", caption=rule, without="error")
    assert not list((tmp_path / "other" / "set").iterdir())


def test_a_template_puts_views_together(run: Run, tmp_path: Path) -> None:
    rows, _ = released(run, tmp_path, caption="{short} Also: {long}", without="leave_out")
    kept = texts(run)
    assert rows.height > 5
    assert all(
        caption == f"{kept[id]['short']} Also: {kept[id]['long']}"
        for id, caption in rows.select("id", "caption").iter_rows()
    )


def test_turns_ask_paraphrased_questions_in_order(run: Run, tmp_path: Path) -> None:
    rule = {"rule": "turns", "views": ["short", "long"]}
    rows, _ = released(run, tmp_path, caption=rule, without="leave_out", configs=["default", "sft"])
    kept = texts(run)
    asked = set()
    for id, turns in rows.select("id", "turns").iter_rows():
        assert [(turn["view"], turn["answer"]) for turn in turns] == [
            (view, kept[id][view]) for view in ("short", "long")
        ]
        assert turns[0]["question"] == "Say it short."
        asked.add(turns[1]["question"])
    assert asked == {"Say it at length.", "Say all of it."}
    sft = pl.read_parquet(tmp_path / "set" / "1.0.0" / "sft" / "*.parquet", columns=["prompt", "completion"])
    assert sft.height == 2 * rows.height
    assert sft["prompt"].list.len().to_list() == [1, 3] * rows.height


def test_a_split_gives_each_view_its_share_of_the_images(run: Run, tmp_path: Path) -> None:
    rule = {"rule": "split", "shares": {"short": 0.25, "long": 0.75}}
    keys = [f"image-{number}" for number in range(1000)]
    cuts = split_cuts(rule["shares"], 5, keys)  # type: ignore[arg-type]
    views = [next(view for view, end in cuts.items() if draw(5, key) < end) for key in keys]
    assert (views.count("short"), views.count("long")) == (250, 750)
    rows, counts = released(run, tmp_path, caption=rule)
    assert set(rows["view"]) == {"short", "long"}
    assert rows.height == len(texts(run))
    assert sum(counts.values()) < rows.height


def test_a_random_view_is_drawn_by_seed_and_key_alone() -> None:
    one = assembly({"rule": "random", "shares": {"short": 0.3, "long": 0.7}})
    found = [one.assemble(f"image-{number}", None, KEPT) for number in range(2000)]
    drawn = [made.view for made in found if made]
    assert 0.26 < drawn.count("short") / 2000 < 0.34
    again = [one.assemble(f"image-{number}", None, KEPT) for number in reversed(range(2000))]
    assert [made.view for made in again if made] == drawn[::-1]


def test_original_releases_the_text_of_the_source() -> None:
    one = assembly({"rule": "original"})
    made = one.assemble("a", "alt text", KEPT)
    assert made is not None
    assert (made.caption, made.view) == ("alt text", "original")
    assert one.assemble("a", None, KEPT) is None


def test_the_placeholder_of_a_trainer_is_made_harmless() -> None:
    one = assembly({"rule": "concatenate", "template": "{original}; {short}"})
    made = one.assemble("a", "<image> <|im_end|>", KEPT)
    assert made is not None
    assert made.caption == "< image> < |im_end|>; A cat"
    assert made.turns[0].answer == made.caption


def test_a_template_is_filled_once() -> None:
    made = assembly({"rule": "concatenate", "template": "{original} {short}"}).assemble("a", "{short}", KEPT)
    assert made is not None
    assert made.caption == "{short} A cat"


def test_questions_of_the_recipe_are_asked() -> None:
    one = assembly({"rule": "turns", "views": ["short", "long"]}, questions={"long": ["Why?", "How?"]})
    made = [one.assemble(f"image-{number}", None, KEPT) for number in range(40)]
    assert {two.turns[1].question for two in made if two} == {"Why?", "How?"}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"rule": "replace"}, "needs view"),
        ({"rule": "random", "shares": {"short": 0.5}}, "must sum to 1"),
        ({"rule": "original", "template": "{short}"}, "has no template"),
        ({"rule": "turns", "views": ["short", "short"]}, "may be named once"),
    ],
)
def test_a_rule_that_does_not_fit_is_an_error(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CaptionRule.model_validate(rule)


def test_a_rule_with_an_unknown_view_is_an_error() -> None:
    with pytest.raises(ValidationError, match=r"release\.caption: no view 'lnog'; did you mean 'long'\?"):
        assembly({"rule": "replace", "view": "lnog"})


def test_dropped_images_are_released_or_rejected_with_their_reason(run: Run, tmp_path: Path) -> None:
    rows, _ = released(run, tmp_path, dropped="include", configs=["default", "rejected"])
    kept = texts(run)
    assert rows.height == 40
    assert set(rows.filter("keep")["id"]) == set(kept)
    assert set(rows.filter(~pl.col("keep"))["drop_reason"]) == {"require:token_confidence"}
    result, _ = export_release(run, str(tmp_path / "other"), configs=["default", "rejected"])
    rejected = pl.read_parquet(f"{result.url}/rejected/*.parquet")
    assert set(rejected["id"]) == {f"{key}" for key in rows["id"]} - set(kept)
    assert set(rejected["reason"]) == {"require:token_confidence"}
    assert rejected["score_token_confidence"].dtype == pl.Float64
    assert rejected["text"].null_count() == 0


def test_the_same_selection_is_released_once_and_the_recipe_names_the_version(run: Run, tmp_path: Path) -> None:
    first, _ = export_release(run, str(tmp_path / "set"))
    again, _ = export_release(run, str(tmp_path / "set"))
    assert (first.version, again.version, again.is_new) == ("1.0.0", "1.0.0", False)
    other, _ = export_release(
        run, str(tmp_path / "set"), caption={"rule": "replace", "view": "long"}, without="leave_out"
    )
    assert (other.version, other.is_new) == ("1.1.0", True)
