"""Training from a release: what is learned, what it leaves, and what it says when it breaks. Few steps each."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from exports.consume import open_release
from exports.release import ReleaseRow
from factory.demo.checkpoint import checkpoint_path
from factory.demo.language import detailed_caption
from factory.demo.scenes import draw_scene, scene_image
from factory.errors import RecipeError, TrainingError
from factory.models.resolve import resolve_model
from factory.rounds.training import Trained, train
from factory.rounds.training_rows import Rows, choose_rows, find_rows
from factory.rounds.training_settings import Training, load_training
from factory.rounds.trl_loop import explained
from tests.releases import build, row, rows, with_rejected

pytest.importorskip("trl", reason="needs the extra: pip install 'caption-factory[train]'")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
BASE = checkpoint_path("base")
SCENES = 40


def scene_row(index: int) -> ReleaseRow:
    """A scene with its true caption."""
    import dataclasses
    import hashlib

    scene = draw_scene(0, index)
    data, caption = scene_image(scene), detailed_caption(scene, random.Random(index))
    told = row(index, caption)
    return dataclasses.replace(told, id=scene.key, image=data, sha256=hashlib.sha256(data).hexdigest(), caption=caption)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("releases"), content=[scene_row(index) for index in range(SCENES)]).folder)


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray for the trainings of this file."""
    from factory.engines.cluster import ray_cluster

    with ray_cluster(str(tmp_path_factory.mktemp("ray"))):
        yield


def few_steps(**changes: object) -> Training:
    return Training.model_validate(
        {"steps": 3, "batch": 4, "lr": 1e-3, "validation": 0.1, "dtype": "float32"} | changes
    )


@pytest.fixture(scope="module")
def trained(release: str, ray: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(release, tmp_path_factory.mktemp("checkpoints") / "one", few_steps())


# ---- settings


def test_a_misspelt_setting_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("steps: 10\nbach: 4\n")
    with pytest.raises(RecipeError, match=r"train\.yaml:2: bach: unknown key; did you mean 'batch'\?"):
        load_training(str(tmp_path / "train.yaml"))
    with pytest.raises(RecipeError, match="steps and epochs both say how long"):
        load_training(None, ("steps=3", "epochs=1"))
    with pytest.raises(RecipeError, match="may train the language model alone"):
        load_training(None, ("lora={merge: false}",))
    assert load_training(None, ("lora.rank=4", "train=[language]")).lora.rank == 4  # type: ignore[union-attr]


# ---- rows


def chosen(target: str, tmp_path: Path, held_out: frozenset[str] = frozenset(), **changes: object) -> Rows:
    learned = [find_rows(open_release(target), 1.0, None, tmp_path)]
    return choose_rows(learned, few_steps(**changes), held_out)


def test_held_out_and_validation_images_are_not_learned(release: str, tmp_path: Path) -> None:
    out = frozenset(scene_row(index).sha256 for index in range(10))
    found = chosen(release, tmp_path, out, epochs=3, steps=None)
    counted = {"rows": 40, "images": 40, "without_caption": 0, "held_out": 10, "validation": 3, "learned": 27}
    assert found.counts == counted
    assert set(found.order) == set(range(10, 40)) - set(found.validation)
    assert len(found.order) == found.steps * 4
    again = chosen(release, tmp_path, epochs=1, steps=None)
    assert len(again.validation) == 4
    with pytest.raises(TrainingError, match="nothing is left to learn"):
        chosen(release, tmp_path, frozenset(scene_row(index).sha256 for index in range(SCENES)))


def test_every_row_is_learned_before_one_is_learned_again(release: str, tmp_path: Path) -> None:
    found = chosen(release, tmp_path, steps=18, validation=0.1)
    first = found.order[:36]
    assert len(set(first)) == 36
    assert (found.order == chosen(release, tmp_path, steps=18, validation=0.1).order).all()
    assert (found.order != chosen(release, tmp_path, steps=18, validation=0.1, seed=1).order).any()


def test_releases_are_mixed_in_their_shares(release: str, tmp_path: Path) -> None:
    other = build(tmp_path / "other", content=rows(7)).folder
    learned = [
        find_rows(open_release(target), weight, None, tmp_path / "data")
        for target, weight in ((release, 1.0), (str(other), 3.0))
    ]
    found = choose_rows(learned, few_steps(steps=20), frozenset())
    assert (found.order >= SCENES).sum() == 60
    assert 10 <= (found.order[:20] >= SCENES).sum() <= 20  # spread, not one after the other


def test_a_release_without_the_view_says_which_it_has(release: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no caption of the view 'detailed'.*it has: self"):
        train(release, tmp_path / "one", few_steps(view="detailed"))


def test_what_is_no_hash_is_refused(release: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("scene-0000001\n")
    with pytest.raises(TrainingError, match="64 hex digits"):
        train(release, tmp_path / "one", few_steps(), tmp_path / "list")


# ---- the built-in trainer


def test_dpo_learns_from_captions_that_were_turned_down(tmp_path: Path, ray: None) -> None:
    pairs = [with_rejected(scene_row(index), scene_row(index + 1).caption) for index in range(SCENES - 1)]
    told = build(tmp_path / "pairs", content=[*pairs, scene_row(SCENES)]).folder
    settings = few_steps(method="dpo", start="demo:small", train=("language",), lr=1e-4)
    done = train(str(told), tmp_path / "one", settings)
    assert (done.counts["rows"], done.counts["without_caption"], done.steps) == (SCENES - 1, 1, 3)
    before = load_file(checkpoint_path() / "model.safetensors")
    after = load_file(Path(done.checkpoint) / "model.safetensors")
    assert {name for name in before if not before[name].equal(after[name])}


def test_dpo_on_a_release_without_rejected_captions_says_how_to_get_some(release: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nothing for dpo to learn: ask for several candidates"):
        train(release, tmp_path / "one", few_steps(method="dpo"))


def test_a_training_leaves_a_checkpoint_whose_tower_is_the_start_s(trained: Trained) -> None:
    checkpoint = Path(trained.checkpoint)
    before, after = load_file(BASE / "model.safetensors"), load_file(checkpoint / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert not any("vision_model" in name for name in changed)
    assert {str(one.dtype) for one in after.values()} == {"torch.bfloat16"}
    for name in ("tokenizer.json", "chat_template.jinja", "processor_config.json"):
        assert (checkpoint / name).read_bytes() == (BASE / name).read_bytes(), name
    assert trained.steps == 3
    assert trained.validation_loss is not None
    assert trained.tokens is not None
    assert trained.tokens > 3 * 4 * 16
    assert trained.counts["learned"] == 36
    assert trained.parents["start"]["identity"] == resolve_model("demo:base", None).identity
    points = [json.loads(line) for line in Path(trained.curve or "").read_text().splitlines()]
    assert [point["step"] for point in points if "loss" in point] == [1, 2, 3]
    assert [point["step"] for point in points if "validation_loss" in point] == [1, 2, 3]


def test_a_finished_training_is_not_done_again_and_another_is_not_mixed_in(trained: Trained, release: str) -> None:
    identity = resolve_model(trained.checkpoint, None).identity
    assert train(release, trained.checkpoint, few_steps()) == trained
    assert resolve_model(trained.checkpoint, None).identity == identity
    with pytest.raises(TrainingError, match="belongs to another training: lr changed"):
        train(release, trained.checkpoint, few_steps(lr=2e-3))


def test_a_merged_adapter_is_a_whole_checkpoint(release: str, ray: None, tmp_path: Path) -> None:
    done = train(release, tmp_path / "one", few_steps(lora={"rank": 4}, train=["language"], lr=1e-2))
    before, after = load_file(BASE / "model.safetensors"), load_file(tmp_path / "one" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all("text_model.layers" in name for name in changed)
    assert done.validation_loss is not None


def test_a_loss_that_is_no_number_stops_the_training(release: str, ray: None, tmp_path: Path) -> None:
    broken = copied(BASE, tmp_path / "broken")
    spoil(broken, "text_model.layers.0.mlp.up_proj", float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan at step 1: lower lr"):
        train(release, tmp_path / "one", few_steps(start=str(broken)))


def test_memory_and_disk_are_told_with_what_to_do() -> None:
    settings = few_steps(batch=16)
    out = explained(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), settings)
    assert "set micro_batch to 8 (the batch stays 16)" in str(out)
    full = explained(OSError(errno.ENOSPC, "No space left on device"), settings)
    assert "it goes on from the last one" in str(full)
    assert explained(KeyError("other"), settings) is None


# ---- another trainer


def copied(checkpoint: Path, to: Path) -> Path:
    shutil.copytree(checkpoint, to, dirs_exist_ok=True)
    return to


def spoil(checkpoint: Path, words: str, value: float) -> None:
    """Set the weights with this in their name to one value."""
    weights = load_file(checkpoint / "model.safetensors")
    for name, weight in weights.items():
        if words in name:
            weight.fill_(value)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})


def outside(code: str, *arguments: str) -> Training:
    return few_steps(command=[sys.executable, "-c", code, *arguments])


COPY = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)"


def test_another_trainer_gets_the_rows_and_leaves_a_checkpoint(release: str, tmp_path: Path) -> None:
    code = (
        "import sys, shutil; from datasets import load_dataset; d = load_dataset(sys.argv[3]); "
        "assert len(d['train']) == 12 and len(d['validation']) == 4, d; assert d['train'][0]['images'][0].size; "
        + COPY.removeprefix("import shutil, sys; ")
    )
    done = train(release, tmp_path / "one", outside(code, "{start}", "{to}", "{sft}"))
    assert resolve_model(done.checkpoint, None).identity == resolve_model("demo:base", None).identity
    assert done.canary["image"] != done.canary["blank"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('no such option'); raise SystemExit(3)", "exit code 3; the last lines .*\n  no such option"),
        ("pass", "exit code 0 and left nothing"),
        ("import sys; open(sys.argv[2] + '/notes.txt', 'w')", r"left no checkpoint there .*notes\.txt"),
    ],
)
def test_a_trainer_that_fails_or_leaves_nothing_is_told(release: str, tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        train(release, tmp_path / "one", outside(code, "{start}", "{to}"))
    assert not (tmp_path / "one" / "config.json").exists()


def test_a_trainer_that_is_not_installed_is_told(release: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no program 'swift-of-nowhere'"):
        train(release, tmp_path / "one", few_steps(command=["swift-of-nowhere", "{to}"]))


def test_a_checkpoint_that_cannot_be_the_next_captioner_is_refused(release: str, tmp_path: Path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(TrainingError) as error:
            train(release, tmp_path / f"to-{name}", outside(COPY, str(tmp_path / name), "{to}"))
        return str(error.value)

    blind = copied(BASE, tmp_path / "blind")
    spoil(blind, "connector", 0.0)
    assert "does not see images" in refused("blind")

    spoil(copied(BASE, tmp_path / "nan"), "text_model.norm", float("nan"))
    assert "hold NaN or infinity" in refused("nan")

    cut = copied(BASE, tmp_path / "cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:100_000])
    assert "does not load" in refused("cut")

    partial = copied(BASE, tmp_path / "partial") / "model.safetensors"
    weights = {name: one for name, one in load_file(partial).items() if "layers.1" not in name}
    save_file(weights, partial, metadata={"format": "pt"})
    assert "are missing" in refused("partial")

    tokens = copied(BASE, tmp_path / "tokens") / "tokenizer.json"
    read = json.loads(tokens.read_text())
    words = read["model"]["vocab"]
    words["Ġcircle"], words["Ġsquare"] = words["Ġsquare"], words["Ġcircle"]
    tokens.write_text(json.dumps(read))
    assert "its tokenizer is not that of" in refused("tokens")


# ---- killed


def saved_by(work: Path, attempt: int) -> bool:
    """Whether the process of this attempt, not one that outlives a killed one, has written a checkpoint."""
    began = (work / "attempts.txt").read_text().split() if (work / "attempts.txt").exists() else []
    states = work.glob("checkpoint-*/trainer_state.json")
    return len(began) == attempt and any(int(path.parent.name.split("-")[1]) > int(began[-1]) for path in states)


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_in_the_same_weights(release: str, tmp_path: Path) -> None:
    def command(to: Path) -> list[str]:
        changes = ("steps=80", "batch=4", "lr=1e-3", "checkpoint_every=4", "dtype=float32")
        sets = [word for change in changes for word in ("--set", change)]
        return [sys.executable, "-m", "factory", "train", release, "--to", str(to), *sets]

    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True, timeout=300)
    broken = tmp_path / "broken"
    for attempt in (1, 2):
        process = subprocess.Popen(command(broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not saved_by(broken / ".training", attempt):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command(broken), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line)["step"] for line in (broken / ".training" / "curve.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    began = [int(step) for step in (broken / ".training" / "attempts.txt").read_text().split()]
    assert began[0] == 0 < began[1] < began[2], began
    assert resolve_model(str(broken), None).identity == resolve_model(str(tmp_path / "whole"), None).identity
