"""Loop files, the ledger, and what decides whether a round counts."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import yaml

from factory.demo.scenes import draw_scene, scene_key
from factory.demo.truth import claim_kinds, facts_told
from factory.errors import RecipeError, RunError
from factory.models.resolve import resolve_model
from factory.rounds.evaluation import Interval, Judged
from factory.rounds.ledger import Ledger, captioner_of, page, table
from factory.rounds.loop import LoopRun
from factory.rounds.loop_file import load_loop

SHIPPED = Path(__file__).parents[2] / "recipes" / "loops"


def a_loop(tmp_path: Path, **changes: Any) -> Path:
    data = yaml.safe_load((SHIPPED / "vila2.yaml").read_text()) | changes
    file = tmp_path / "loop.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


def loop_run(tmp_path: Path, **changes: Any) -> LoopRun:
    return LoopRun(load_loop(a_loop(tmp_path, **changes)), tmp_path / "loop", lambda line: None)


def judged(worth: list[float], words: float = 20.0, pairs: float = 0.4) -> Judged:
    images = pl.DataFrame(
        {"image_key": [f"{n}" for n in range(len(worth))], "worth": worth, "text": ["a"] * len(worth)}
    )
    return Judged(images, {"words_mean": words, "distinct_2": pairs})


def entry(number: int, word: str, model: str | None = "m") -> dict[str, Any]:
    figures = {"worth": {"mean": 0.5, "low": 0.4, "high": 0.6, "images": 9}}
    arm = {"evaluation": figures, "compute": {"steps": 3, "tokens": 4, "seconds": 1.0}, "kept": 0.5}
    return {"round": number, "model": model, "arms": {"main": arm}, "verdict": {"word": word, "why": "<b>because</b>"}}


# --- the loop file ---


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.name)
def test_shipped_loops_load(file: Path) -> None:
    assert load_loop(file).name == file.stem


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"round": [{"learn": "lables"}]}, "did you mean 'labels'"),
        ({"first": [{"learn": "captions"}]}, "there are no captions yet"),
        ({"arms": {"main": {}}}, "'main' is the round itself"),
        ({"arms": {"bad": {"recipe": {"views": []}}}}, "an arm changes filters, select, repair"),
        ({"guard": {"judge": "claims"}}, "'claims' is not a filter of the captioning recipe"),
        ({"rouns": 3}, "did you mean 'rounds'"),
    ],
)
def test_a_mistake_in_a_loop_file_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_loop(a_loop(tmp_path, **changes))


def test_a_loop_in_which_no_view_is_the_captioner_is_refused(tmp_path: Path) -> None:
    caption = load_loop(a_loop(tmp_path)).caption
    for view in caption["views"]:
        view["model"] = "demo:small"
    with pytest.raises(RecipeError, match="no view says `model: captioner`"):
        load_loop(a_loop(tmp_path, caption=caption))


def test_only_the_demo_world_is_judged_by_its_truth(tmp_path: Path) -> None:
    recipe = load_loop(a_loop(tmp_path)).evaluate.recipe | {"source": {"kind": "folder", "path": "photos"}}
    with pytest.raises(RecipeError, match="only the demo world knows its truth"):
        load_loop(a_loop(tmp_path, evaluate={"by": "truth", "recipe": recipe}))


def test_set_reaches_every_part_of_a_loop(tmp_path: Path) -> None:
    loop = load_loop(a_loop(tmp_path), ("rounds=1", "round.0.training.steps=7", "caption.source.scenes=9"))
    assert (loop.rounds, loop.round[0].training.steps, loop.caption["source"]["scenes"]) == (1, 7, 9)


# --- the verdict ---


def test_a_proven_gain_is_better_an_unproven_one_is_saturated_and_a_loss_keeps_the_parent(tmp_path: Path) -> None:
    run = loop_run(tmp_path)
    before = judged([0.5, 0.6] * 100)
    assert run._verdict(judged([0.6, 0.7] * 100), before)["word"] == "better"
    assert run._verdict(judged([0.5, 0.6] * 100), before)["word"] == "saturated"
    assert run._verdict(judged([0.4, 0.5] * 100), before)["word"] == "worse"


def test_captions_that_collapse_are_worse_however_right_they_are(tmp_path: Path) -> None:
    run = loop_run(tmp_path)
    before = judged([0.5] * 200)
    assert "collapse: mean length" in run._verdict(judged([1.0] * 200, words=8.0), before)["why"]
    assert "collapse: distinct word pairs" in run._verdict(judged([1.0] * 200, pairs=0.1), before)["why"]


def test_a_judge_that_lets_wrong_sentences_through_is_refused_by_kind_of_claim(tmp_path: Path) -> None:
    run = loop_run(tmp_path)
    outcome: Any = SimpleNamespace(selection={"kept": 10})
    good = {"sentences": 900, "right": 0.8, "precision": 0.95, "recall": 0.9}
    audit = {"judge": "vqa", "auroc": 0.95, "kinds": {"count": good, "thing": good | {"precision": 0.5}}}
    assert run._refusals(audit | {"kinds": {"thing": good}}, outcome)[0] == []
    assert "of the kind 'thing'" in run._refusals(audit, outcome)[0][0]
    few = good | {"precision": 0.5, "sentences": 3}
    assert run._refusals(audit | {"kinds": {"thing": few}}, outcome)[0] == []
    problems, warnings = run._refusals(audit | {"kinds": {"word": good | {"precision": 0.5}}}, outcome)
    assert problems == []
    assert "of the kind 'word'" in warnings[0]  # the shipped loop says: its judge cannot read
    assert "AUROC 0.52" in run._refusals(audit | {"auroc": 0.52, "kinds": {}}, outcome)[0][0]


def test_gains_are_paired_by_image() -> None:
    before, now = judged([0.1, 0.9] * 50), judged([0.2, 1.0] * 50)
    gain = now.gain_over(before)
    assert gain.mean == pytest.approx(0.1)
    assert (gain.low, gain.high) == (pytest.approx(0.1), pytest.approx(0.1))


def test_one_image_proves_nothing() -> None:
    assert Interval.of([1.0]).as_json() == {"mean": 1.0, "low": None, "high": None, "images": 1}


# --- the ledger ---


def test_a_worse_or_refused_round_never_captions() -> None:
    entries = [entry(0, "first", "a"), entry(1, "better", "b"), entry(2, "worse", "c"), entry(3, "refused", None)]
    assert captioner_of(entries) == "b"


def test_the_ledger_keeps_what_is_set_aside(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number, word in enumerate(("first", "better", "saturated")):
        ledger.append(entry(number, word))
    assert [one["round"] for one in ledger.keep(1)] == [1, 2]
    assert [one["round"] for one in ledger.entries()] == [0]
    assert len(json.loads((tmp_path / "rounds-before-1.json").read_text())["rounds"]) == 2


def test_a_changed_loop_file_says_which_rounds_are_made_again(tmp_path: Path) -> None:
    run = loop_run(tmp_path)
    for number, word in enumerate(("first", "better")):
        run.ledger.append(entry(number, word) | {"asked": run._asked(number)})
    changed = loop_run(tmp_path, round=[{"learn": "captions", "training": {"steps": 9}}])
    lines = "\n".join(changed.plan())
    assert "round 0: in the ledger" in lines
    assert "1 later round(s) were made or judged by other settings and are made again" in lines


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "rounds.json").write_text('{"rounds": [')
    with pytest.raises(RunError, match=r"rounds\.json is damaged"):
        Ledger(tmp_path).entries()


def test_the_page_escapes_what_it_shows() -> None:
    shown = page([entry(0, "first")], "<script>")
    assert "<b>because" not in shown
    assert "<script>" not in shown


def test_the_table_has_a_line_for_each_arm_and_the_verdict() -> None:
    lines = list(table([entry(0, "first"), entry(1, "refused", None) | {"arms": {}}]))
    assert len(lines) == 3
    assert "refused: " in lines[2]


# --- models of rounds ---


def test_a_round_is_a_model_by_its_ledger(tmp_path: Path) -> None:
    small = resolve_model("demo:small", None)
    Ledger(tmp_path / "loop").append(entry(2, "better", small.path))
    assert resolve_model(f"round:{tmp_path / 'loop'}#2", None).identity == small.identity
    with pytest.raises(RecipeError, match="the rounds 2 have one"):
        resolve_model(f"round:{tmp_path / 'loop'}#1", None)
    with pytest.raises(RecipeError, match="no loop there"):
        resolve_model(f"round:{tmp_path / 'nowhere'}#1", None)
    with pytest.raises(RecipeError, match="write round:DIR#N"):
        resolve_model("round:loops", None)


# --- the truth ---


def test_facts_told_are_those_of_right_sentences_alone() -> None:
    scene = draw_scene(5, 0)
    thing = scene.things[0]
    right = f"There is a {thing.size} {thing.colour} {thing.shape} at the {thing.place}."
    facts = len(scene.things) + 1 + (scene.word is not None)
    assert facts_told(right, scene_key(0), 5) == (1, facts)
    assert facts_told(right + " There are nine shapes.", scene_key(0), 5) == (1, facts)
    assert facts_told("", scene_key(0), 5)[0] == 0


def test_sentences_have_the_kinds_of_their_claims() -> None:
    assert claim_kinds('There is a red circle and the word "SUN".') == ("thing", "word")
    assert claim_kinds("There are three shapes.") == ("count",)
    assert claim_kinds("A lovely day!") == ("other",)


def test_a_round_that_ended_the_loop_is_judged_again_when_the_rules_changed(tmp_path: Path) -> None:
    run = loop_run(tmp_path)
    refused = {"round": 0, "verdict": {"word": "refused"}, "asked": run._asked(0), "rules": run._rules()}
    assert run._standing([refused]) == 1
    changed = LoopRun(
        run.loop.model_copy(update={"guard": run.loop.guard.model_copy(update={"auroc": 0.6})}), run.folder, print
    )
    assert changed._standing([refused]) == 0
    assert changed._standing([refused | {"verdict": {"word": "better"}}]) == 1


# --- mixtures in a loop


MIX = {
    "parts": {"dreams": {"release": "captions", "images": False, "share": 1}, "real": {"release": "labels", "share": 1}}
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mixtures": {"m": {"parts": {"p": {"release": "lables", "share": 1}}}}}, "did you mean 'labels'"),
        ({"mixtures": {"m": {"parts": {"p": {"release": "labels"}}}}}, "parts.p.share: this key is missing"),
        ({"mixtures": {"web": MIX}}, "'web' is a release already"),
        ({"mixtures": {"m": MIX}, "first": [{"learn": "m"}]}, "there are no captions yet"),
        ({"mixtures": {"m": MIX}, "round": [{"learn": "m", "mix": {"web": 1}}]}, "a mixture is learned alone"),
    ],
)
def test_a_mistake_in_a_loop_s_mixture_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_loop(a_loop(tmp_path, **changes))


def test_a_mixture_is_made_once_of_the_round_s_own_release(tmp_path: Path) -> None:
    from exports.mixture import open_mixture
    from tests.releases import build, rows

    captions, labels = (str(build(tmp_path / name, content=rows(6, name)).folder) for name in ("dreamed", "real"))
    run = loop_run(tmp_path, mixtures={"m": MIX}, releases={"web": labels, "labels": labels}, round=[{"learn": "m"}])
    assert run._learns_captions(run.loop.round)
    home = run.folder / "round-1" / "main"
    made = run._mixture(home, "m", {"captions": captions})
    assert Path(made).parent == run.folder / "round-1" / "mixtures"
    parts = open_mixture(made).parts
    assert (parts["dreams"].images, parts["real"].images > 0) == (0, True)
    before = (Path(made) / "manifest.json").stat().st_mtime_ns
    assert run._mixture(run.folder / "round-1" / "other", "m", {"captions": captions}) == made
    assert (Path(made) / "manifest.json").stat().st_mtime_ns == before
    assert run._mixture(home, "m", {"captions": labels}) != made


def test_an_arm_of_other_resolution_trains_and_is_judged_at_it(tmp_path: Path) -> None:
    run = loop_run(tmp_path, arms={"small": {"max_pixels": 1024}})
    chains = dict(run._chains())
    assert {stage.training.max_pixels for stage in chains["small"]} == {1024}
    assert {stage.training.max_pixels for stage in chains["main"]} == {65536}
    assert (run._max_pixels("small"), run._max_pixels("main")) == (1024, None)
