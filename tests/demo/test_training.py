"""Training: the measure is right, and a run writes a checkpoint with its card."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.demo.scene_probe import scene_labels
from factory.demo.scenes import draw_scene


def test_auroc_is_the_share_of_pairs_in_order():
    from factory.demo.measure import auroc

    assert auroc([0.9, 0.8, 0.1, 0.2], [True, True, False, False]) == 1.0
    assert auroc([0.5, 0.5], [True, False]) == 0.5
    assert auroc([0.1, 0.2, 0.3], [True, True, True]) is None


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), max_size=20))
def test_auroc_agrees_with_counting_pairs(scored):
    from factory.demo.measure import auroc

    pairs = [(p, n) for p, positive in scored if positive for n, other in scored if not other]
    wins = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs)
    found = auroc([score for score, _ in scored], [positive for _, positive in scored])
    assert found == (pytest.approx(wins / len(pairs)) if pairs else None)


def test_the_probe_labels_tell_scenes_apart():
    labels = {tuple(scene_labels(draw_scene(0, index, "train"))) for index in range(300)}
    truths = {(s.things, s.word) for s in (draw_scene(0, index, "train") for index in range(300))}
    assert len(labels) == len(truths)


def test_the_same_settings_train_the_same_model():
    import torch

    from factory.demo.checkpoint import Architecture
    from factory.demo.train import Settings, train

    settings = Settings(scenes=60, steps=3, batch=4, one_shape_steps=1, two_shape_steps=1)
    tiny = Architecture(hidden=32, feed_forward=32, vision_layers=1, text_layers=1)
    first, second = (train(settings, tiny)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_command_writes_a_checkpoint_with_its_card(tmp_path):
    options = ["--scenes=60", "--steps=1", "--batch=4", "--evaluation-scenes=1", "--hidden=32", "--feed-forward=32"]
    command = [sys.executable, "-m", "factory.demo.train", f"--out={tmp_path}", *options]
    subprocess.run(command, check=True, capture_output=True)
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {p.name for p in tmp_path.iterdir()}
    card = (tmp_path / "README.md").read_text()
    assert "## Measured on 1 scenes" in card
    assert "python -m factory.demo.train --out" in card
