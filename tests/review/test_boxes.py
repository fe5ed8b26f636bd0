"""Boxes on pictures: of captions, experts and the truth."""

from __future__ import annotations

import re
from io import BytesIO

import polars as pl
import pytest
from PIL import Image
from starlette.testclient import TestClient

from factory.demo.scenes import draw_scene, scene_image, scene_key
from factory.demo.truth import true_boxes
from factory.review.boxes import boxes_in, known_boxes
from factory.review.caption_index import CaptionIndex
from factory.runs.run import Run
from tests.review.conftest import client_of, rewrite_first


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("There is a red dog [100,200,300,400].", [("red dog", 0.1)]),
        ("A man [0, 0, 999, 999] holds a cup [10,20,30,40].", [("man", 0.0), ("cup", 0.01)]),
        ("<ref>the cat</ref><box>[[5,5,10,10]]</box>", [("cat", 0.005)]),
        ("<|object_ref_start|>cat<|object_ref_end|><|box_start|>(5,5),(10,10)<|box_end|>", [("cat", 0.005)]),
        ("[300,200,100,400] is turned round, and [1,2,3,4000] beyond the grid.", []),
        ("In [1, 2, 3] and [2020] nothing is meant.", []),
    ],
)
def test_the_boxes_of_a_caption_are_those_it_writes(text: str, found: list[tuple[str, float]]) -> None:
    assert [(box.name, pytest.approx(box.left, abs=0.002)) for box in boxes_in(text)] == found


def test_a_caption_of_boxes_alone_is_cut() -> None:
    assert len(boxes_in("[1,2,3,4]" * 5_000)) == 60


def test_the_boxes_of_the_truth_hold_the_pixels_of_their_things() -> None:
    scene = draw_scene(3, 4)
    picture = Image.open(BytesIO(scene_image(scene))).convert("RGB")
    background = picture.getpixel((0, 0))
    for _, (left, top, right, bottom) in true_boxes(scene_key(4), 3):
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        middle = picture.getpixel((int((left + right) / 2 * picture.width), int((top + bottom) / 2 * picture.height)))
        assert isinstance(middle, tuple)
        assert isinstance(background, tuple)
        far = max(abs(one - other) for one, other in zip(middle, background, strict=True))
        assert far > 30


def test_what_a_caption_and_an_expert_say_is_drawn_and_hostile_names_do_nothing(run: Run) -> None:
    row = rewrite_first(run, text='A "><script>x</script> dog [100,200,300,400] runs.')
    finding = {"text": "<b>dog</b>", "confidence": 0.5, "box": [0.1, 0.2, 0.3, 0.4]}
    table = pl.DataFrame(
        {
            "image_key": [row["image_key"]] * 2,
            "image_sha256": [row["image_sha256"]] * 2,
            "findings": [[], [finding, finding | {"box": None}]],
            "created_ms": [1, 2],
        }
    )
    run.append("experts/detector", table)
    index = CaptionIndex(run)
    known = known_boxes(index, row["image_key"], [row["image_sha256"]])
    assert [box.name for box in known if box.by == "detector"] == ["<b>dog</b> 0.50"]
    assert any(box.by == "truth" for box in known)
    client = client_of(index)
    page = client.get("/image", params={"key": row["image_key"]}).text
    assert page.count('<g class="box expert">') == 1
    assert page.count('<g class="box caption">') == 1
    assert "<script>x" not in page
    assert "<b>dog" not in page
    assert '<g class="box caption">' in client.get("/").text


def test_boxes_lie_on_a_picture_of_any_shape(run: Run, index: CaptionIndex) -> None:
    row = rewrite_first(run, text="A dog [0,0,999,999].")
    client: TestClient = client_of(CaptionIndex(run))
    page = client.get("/image", params={"key": row["image_key"]}).text
    width, height = map(int, re.findall(r'viewBox="0 0 (\d+) (\d+)"', page)[0])
    shown = client.get("/picture", params={"shard": row["shard"], "key": row["image_key"], "size": "large"}).content
    assert Image.open(BytesIO(shown)).size == (width, height)
    assert f'<rect x="0.00" y="0.00" width="{width}.00" height="{height}.00">' in page
