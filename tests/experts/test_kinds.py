"""Which expert a recipe means, and what is wrong with it, said before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import factory
from factory.experts.contract import ExpertError
from factory.experts.kinds import build_expert
from factory.plugins import load_plugin
from factory.recipe import as_recipe, recipe_yaml
from factory.work.experts import expert_fingerprint
from tests.experts import own_experts
from tests.recipes import demo_recipe

pytestmark = pytest.mark.usefixtures("plugins_forgotten")
OWN = "tests.experts.own_experts"


def recipe(experts: object, prompt: str = "Words: {ocr}. Describe the image.") -> dict[str, object]:
    raw = demo_recipe(experts=experts)
    raw["views"][0]["prompts"] = [prompt]
    return raw


@pytest.mark.parametrize(
    ("experts", "said"),
    [
        ({"ocr": {"kind": "rapidocrr"}}, "experts: ocr: unknown kind 'rapidocrr'; did you mean 'rapidocr'"),
        ({"ocr": {}}, "'kind' is missing: .*rapidocr"),
        ({"ocr": "rapidocr"}, r"an expert is written \{kind: rapidocr\}"),
        ({"ocr": {"kind": "rapidocr", "min_conf": 1}}, "min_conf: unknown key; did you mean 'min_confidence'"),
        ({"ocr": {"kind": "rapidocr", "min_confidence": 2}}, "min_confidence: .*less than or equal to 1"),
        ({"ocr": {"kind": "os:system"}}, "'os:system' is no expert: a subclass"),
        ({"ocr": {"kind": f"{OWN}:not_one"}}, "is no expert: a subclass"),
        ({"ocr": {"kind": "no_such_package:read"}}, "cannot be imported: ModuleNotFoundError"),
        ({"ocr": {"kind": "a b:c"}}, "is no module:name"),
        ({"original": {"kind": "rapidocr"}}, "'original' is the source's own text"),
        ({"ocrs": {"kind": "rapidocr"}}, r"no expert 'ocr' to put into \{ocr\}; did you mean 'ocrs'"),
        ({}, r"no expert 'ocr' to put into \{ocr\}; known: original; add it to experts, or write \{\{ocr\}\}"),
    ],
)
def test_what_is_wrong_with_experts_is_said(experts: object, said: str) -> None:
    with pytest.raises(factory.RecipeError, match=said):
        as_recipe(recipe(experts))


def test_a_prompt_of_the_ladder_may_ask_for_experts_too() -> None:
    raw = recipe({}, "Describe.") | {"filters": ["token_confidence"], "select": {"best_of": "token_confidence"}}
    raw["repair"] = {
        "by": "token_confidence",
        "least": 0.5,
        "regenerate": [{"prompt": "See {objects}.", "temperature": 1}],
    }
    with pytest.raises(factory.RecipeError, match="no expert 'objects'"):
        as_recipe(raw)


def test_braces_that_are_no_place_stay() -> None:
    as_recipe(recipe({}, 'Answer {{ocr}} as {"a": 1} or {caption, list} or { x }.'))


def test_a_recipe_with_experts_is_written_and_read_again() -> None:
    experts = {"ocr": {"kind": "rapidocr", "min_confidence": 0.8}, "wide": {"kind": f"{OWN}:Widths", "unit": "px"}}
    read = as_recipe(recipe(experts))
    assert as_recipe(yaml.safe_load(recipe_yaml(read))) == read


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "detector", "model": "nowhere"}, "experts.ocr: detector: 'nowhere' is no directory, and no Hub id"),
        ({"kind": "tagger", "model": "owner/name"}, "experts.ocr: tagger.revision: .* pin it"),
        ({"kind": "rapidocr", "detection": "/no/such.onnx"}, "there is no file '/no/such.onnx'"),
    ],
)
def test_a_plan_says_which_file_an_expert_lacks(settings: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(factory.RecipeError, match=said):
        factory.plan(recipe({"ocr": settings}), tmp_path / "run")


def test_a_plan_says_which_extra_an_expert_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    there = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == "rapidocr" else there(name, *rest))
    with pytest.raises(factory.RecipeError, match=r"experts.ocr: .*pip install 'caption-factory\[ocr\]'"):
        factory.plan(recipe({"ocr": {"kind": "rapidocr"}}), tmp_path / "run")


def test_a_plan_says_what_experts_would_do(tmp_path: Path) -> None:
    experts = {"ocr": {"kind": "rapidocr"}, "wide": {"kind": f"{OWN}:Widths"}}
    plan = factory.plan(recipe(experts), tmp_path / "run")
    assert "expert ocr (rapidocr): 0 images reused, 24 at most to look at, for detailed" in repr(plan)
    assert f"expert wide ({OWN}:Widths): no prompt asks for it, so it does not run; write {{wide}} into one" in repr(
        plan
    )
    assert [one["to_look"] for one in plan.summary()["experts"]] == [24, 0]


def test_a_fingerprint_is_of_what_an_expert_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    first = expert_fingerprint(build_expert({"kind": "rapidocr"}))
    assert first == expert_fingerprint(build_expert({"kind": "rapidocr", "timeout_s": 5, "threads": 2}))
    assert first != expert_fingerprint(build_expert({"kind": "rapidocr", "min_confidence": 0.9}))
    assert first != expert_fingerprint(build_expert({"kind": "rapidocr", "max_chars": 10}))
    own = expert_fingerprint(build_expert({"kind": f"{OWN}:Widths"}))
    assert own != expert_fingerprint(build_expert({"kind": f"{OWN}:heights"}))
    monkeypatch.setattr("factory.experts.contract.code_of", lambda kind: "edited")
    assert own != expert_fingerprint(build_expert({"kind": f"{OWN}:Widths"}))


def test_a_function_is_an_expert_with_its_parameters() -> None:
    made = build_expert({"kind": f"{OWN}:heights", "unit": "px"})
    assert (made.name, made.version, made.summary()) == ("heights", 3, "How high an image is.")
    with pytest.raises(ExpertError, match="units: unknown key; did you mean 'unit'"):
        build_expert({"kind": f"{OWN}:heights", "units": "px"})


def test_a_plugin_file_brings_experts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.experts.kinds._registered", {})
    monkeypatch.setattr("factory.plugins._brought", {})
    file = tmp_path / "mine.py"
    file.write_text(Path(own_experts.__file__).read_text())
    assert set(load_plugin(file).experts) == {"widths", "broken", "heights"}
    raw = recipe({"ocr": {"kind": "widths"}}) | {"plugins": [str(file)]}
    assert type(as_recipe(raw).experts["ocr"]).__name__ == "Widths"
    file.write_text(file.read_text().replace('"widths"', '"rapidocr"'))
    with pytest.raises(factory.FactoryError, match="there is an expert of the kind 'rapidocr' already"):
        load_plugin(file)


def test_the_code_of_a_release_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe({"ocr": {"kind": f"{OWN}:heights"}})))
    with pytest.raises(factory.RecipeError, match="code of others is not run"):
        as_recipe(file, released=True)


def test_paths_of_experts_do_not_go_public() -> None:
    from factory.releasing.machine_paths import public_recipe

    raw = {"experts": {"ocr": {"kind": "rapidocr", "detection": "/home/me/det.onnx", "list": ["/home/me/a", "b/c"]}}}
    public = yaml.safe_load(public_recipe(yaml.safe_dump(raw)))
    assert public["experts"]["ocr"] == {"kind": "rapidocr", "detection": "det.onnx", "list": ["a", "b/c"]}
