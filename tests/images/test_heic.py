"""HEIC is read where its package is installed, and named with what to install where not."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from factory.cli.doctor import examine_heic
from factory.images.prepare import PreparedImage, Rejection, prepare_image
from factory.images.reasons import Reason
from factory.recipe import ImageSettings
from filters.images.pixels import decode
from tests import pictures
from tests.pictures import encoded, picture

SETTINGS = ImageSettings()
WITHOUT = """
import sys
sys.modules["pillow_heif"] = None
from factory.images.prepare import prepare_image
from factory.recipe import ImageSettings
for brand in (b"heic", b"mif1", b"heix", b"msf1"):
    print(*vars_of(prepare_image(b"\\0\\0\\0\\x18ftyp" + brand + b"\\0\\0\\0\\0mif1heic" + bytes(40), ImageSettings())))
"""


def test_without_its_package_the_reason_names_the_extra() -> None:
    script = "def vars_of(rejection): return rejection.reason, rejection.detail\n" + WITHOUT
    lines = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert lines.count("unsupported_format HEIC") == 4
    assert lines.count("caption-factory[heic]") == 4


def test_the_doctor_names_the_extra() -> None:
    check = examine_heic()
    assert check.state in ("ok", "note")
    assert ("caption-factory[heic]" in check.advice) == (check.state == "note")


def heic(image: Image.Image, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    return encoded(image, "HEIF", **options)


def test_heic_is_read_upright_and_within_the_budget() -> None:
    stored = picture(480, 320).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.info["exif"] = exif.tobytes()  # from there the writer takes how to turn it, and says so as HEIF does
    data = heic(stored, quality=95)
    outcome = prepare_image(data, ImageSettings(max_pixels=20_000))

    assert isinstance(outcome, PreparedImage), outcome
    assert (outcome.source_format, outcome.frames) == ("HEIF", 1)
    assert outcome.width * outcome.height <= 20_000
    found = decode(data)
    assert found.size == (480, 320)
    for (x, y), colour in pictures.CORNERS.items():
        pixel = found.getpixel((int(x * 480), int(y * 320)))
        assert all(abs(one - other) < 40 for one, other in zip(pixel, colour, strict=True))


def test_a_heic_that_is_cut_or_too_large_has_its_reason() -> None:
    data = heic(picture(480, 320))
    for end in range(30, len(data) - 1, max(1, len(data) // 40)):
        outcome = prepare_image(data[:end], SETTINGS)
        assert isinstance(outcome, Rejection)
        assert outcome.reason == Reason.truncated
    outcome = prepare_image(data, ImageSettings(max_source_pixels=480 * 320 - 1))
    assert isinstance(outcome, Rejection)
    assert outcome.reason == Reason.too_many_pixels


def test_a_damaged_heic_always_has_an_outcome() -> None:
    data = heic(picture(96, 64))
    for at in range(0, len(data), 5):
        damaged = data[:at] + b"\xff\x00\x7f" + data[at + 3 :]
        assert isinstance(prepare_image(damaged, SETTINGS), PreparedImage | Rejection)
