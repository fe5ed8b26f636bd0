"""Scenes: the same everywhere, never shared between splits, pictures that open, rows without truth."""

import dataclasses
import hashlib
import subprocess
import sys
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from factory.demo.language import scene_claims
from factory.demo.scenes import PLACES, ROWS, SHAPES, SIZES, draw_scene, scene_image, scene_index, scene_key
from factory.demo.source_row import noisy_caption, source_row, source_rows, web_text
from factory.demo.truth import judge_caption_of

_DIGEST = """
import hashlib
from factory.demo.source_row import source_row
digest = hashlib.sha256()
for index in range(12):
    row = source_row(5, index)
    digest.update(repr((row.key, row.text)).encode() + row.image)
print(digest.hexdigest())
"""


def test_rows_are_the_same_in_another_process():
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    here = hashlib.sha256()
    for index in range(12):
        row = source_row(5, index)
        here.update(repr((row.key, row.text)).encode() + row.image)
    assert digests == {here.hexdigest() + "\n"}


def test_a_seed_and_an_index_each_change_the_scene():
    scenes = {(s.things, s.word) for s in (draw_scene(seed, index) for seed in range(20) for index in range(20))}
    assert len(scenes) > 390  # one-shape scenes may coincide


def test_no_truth_is_in_two_splits_even_for_the_same_seed():
    truths = {
        split: {(s.things, s.word) for s in (draw_scene(0, index, split) for index in range(3000))}
        for split in ("train", "world", "heldout")
    }
    assert not truths["train"] & truths["world"]
    assert not truths["train"] & truths["heldout"]
    assert not truths["world"] & truths["heldout"]


def test_every_scene_keeps_the_rules_of_the_world():
    words = 0
    for index in range(500):
        scene = draw_scene(2, index)
        places = [thing.place for thing in scene.things]
        assert 1 <= len(places) <= 4
        assert len(set(places)) == len(places)
        assert places == sorted(places, key=PLACES.index)
        assert all(thing.shape in SHAPES and thing.size in SIZES for thing in scene.things)
        if scene.word is not None:
            words += 1
            row = ROWS.index(scene.word.place)
            assert all(PLACES.index(place) // 3 != row for place in places)
    assert 0.18 < words / 500 < 0.32


def test_every_picture_opens_and_all_formats_and_oblong_sizes_occur():
    formats, oblong = set(), 0
    for index in range(120):
        with Image.open(BytesIO(scene_image(draw_scene(3, index)))) as image:
            image.load()
            assert min(image.size) >= 64
            assert max(image.size) <= 224
            assert max(image.size) / min(image.size) <= 1.5
            formats.add(image.format)
            oblong += image.size[0] != image.size[1]
    assert formats == {"PNG", "JPEG", "WEBP"}
    assert oblong > 20


def test_a_row_holds_key_image_and_text_and_nothing_else():
    rows = list(source_rows(4, 200))
    assert [field.name for field in dataclasses.fields(rows[0])] == ["key", "image", "text"]
    assert rows[12].key == "scene-0000012"
    assert len({row.key for row in rows}) == 200
    texts = [row.text for row in rows if row.text is not None]
    assert 0.5 < len(texts) / 200 < 0.7
    assert "" in texts


def test_web_text_is_a_property_of_the_scene_not_of_the_call():
    scenes = [draw_scene(1, index) for index in range(50)]
    assert [web_text(scene) for scene in scenes] == [web_text(scene) for scene in scenes]


@given(st.integers(min_value=0, max_value=10**9))
def test_a_key_gives_back_its_index(index):
    assert scene_index(scene_key(index)) == index


@pytest.mark.parametrize("key", ["", "scene-", "scene-x", "scene-٣", "photo-0000001", "0000001", "scene--1"])
def test_a_foreign_key_is_refused(key):
    with pytest.raises(ValueError, match="not the key of a demo scene"):
        scene_index(key)


@pytest.mark.parametrize("wrong", [0.0, 0.6])
def test_a_noisy_caption_is_wrong_in_the_share_of_facts_that_was_asked_for(wrong):
    errors = {"swapped": 0.5, "neighbour": 0.25, "omitted": 0.25}
    facts = right = 0
    for index in range(1000):
        scene = draw_scene(0, index)
        text = noisy_caption(scene, wrong, errors)
        assert text == noisy_caption(scene, wrong, errors)
        judged = judge_caption_of(text, scene)
        assert all(sentence.parsed for sentence in judged.sentences)
        right += sum(sentence.correct for sentence in judged.sentences)
        facts += len(scene_claims(scene))
    assert 1 - right / facts == pytest.approx(wrong, abs=0.03)


def test_what_is_only_left_out_leaves_true_sentences():
    for index in range(100):
        scene = draw_scene(0, index)
        judged = judge_caption_of(noisy_caption(scene, 0.5, {"omitted": 1.0}), scene)
        assert judged.sentences
        assert sum(not sentence.correct for sentence in judged.sentences) <= 1
