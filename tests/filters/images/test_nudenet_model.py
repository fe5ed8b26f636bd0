import io
import sys
from typing import Any

import polars as pl
import pytest
from PIL import Image, ImageDraw

from filters import FilterError, Nsfw
from filters.images import nudenet_model
from filters.images.nudenet_model import LABELS, UNSAFE


def picture() -> bytes:
    image = Image.new("RGB", (400, 260), (120, 170, 220))
    ImageDraw.Draw(image).rectangle((40, 120, 300, 220), fill=(190, 30, 30))
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def test_a_picture_of_a_box_is_safe_and_what_is_no_picture_has_a_reason() -> None:
    pytest.importorskip("nudenet")
    found = Nsfw(model="nudenet").score(pl.DataFrame({"image": [picture(), b"a dog", None]}))

    assert found["score"].to_list() == [1.0, None, None]
    assert found["reason"].to_list() == [None, "unknown_format", None]
    assert len(Nsfw(model="nudenet").models()["model"]) == len("nudenet:") + 64


def test_its_labels_are_those_of_the_package() -> None:
    package = pytest.importorskip("nudenet.nudenet")

    assert set(LABELS) == set(vars(package)["__labels"])
    assert set(LABELS) > UNSAFE


class Detector:
    """Finds the same boxes in each image."""

    def __init__(self, *boxes: tuple[str, float]) -> None:
        self._boxes = [{"class": name, "score": score} for name, score in boxes]

    def detect(self, _image: Any) -> list[dict[str, Any]]:
        return self._boxes


def test_the_surest_exposed_part_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = (("FACE_FEMALE", 0.9), ("BUTTOCKS_EXPOSED", 0.4), ("BUTTOCKS_EXPOSED", 0.7), ("FEET_EXPOSED", 0.8))
    monkeypatch.setattr(nudenet_model, "load", lambda _name: nudenet_model.NudeNet(Detector(*boxes)))
    frame = pl.DataFrame({"image": [picture()]})

    assert Nsfw(model="nudenet").score(frame).row(0) == (pytest.approx(0.3), "BUTTOCKS_EXPOSED", None)
    assert Nsfw(model="nudenet", labels=("FEET_EXPOSED",)).score(frame)["score"].item() == pytest.approx(0.2)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nudenet", None)
    monkeypatch.setattr(nudenet_model, "find_spec", lambda _name: None)

    with pytest.raises(FilterError, match=r"nsfw: the model 'nudenet' needs .*pip install 'caption-factory\[nsfw\]'"):
        Nsfw(model="nudenet").models()
