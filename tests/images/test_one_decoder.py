"""Filters and captioners see the same: one decoder, one verdict on the same bytes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from factory.images.prepare import Rejection, prepare_image
from factory.images.reasons import Reason
from factory.recipe import ImageSettings
from filters.images.decoding.problems import Problem
from filters.images.image_facts import look
from filters.images.pixels import REASONS, UnreadableImage, decode
from tests import pictures
from tests.pictures import encoded, picture

ANY_SHAPE = ImageSettings(min_side=1, max_aspect=100_000, max_pixels=89_478_485)
SAME_REASON = {
    Reason.not_an_image: "unknown_format",
    Reason.unsupported_format: "unknown_format",
    Reason.out_of_memory: "too_many_pixels",
}


def awkward() -> dict[str, bytes]:
    """Files of every format, valid and not, on which two decoders might disagree."""
    shades = np.arange(48 * 32, dtype=np.float32).reshape(32, 48)
    lab = pictures.tiff(16, 16, b"\x80\x40\x10\x20\x30\x40" * 256, {258: (16, 16, 16), 262: 8, 277: 3})
    files = {
        "empty": b"",
        "text": b"a dog on a beach",
        "svg": pictures.SVG,
        "web page": pictures.HTML,
        "icon": encoded(picture(32, 32), "ICO"),
        "tga": encoded(picture(), "TGA"),
        "float tiff": encoded(Image.fromarray(shades), "TIFF"),
        "16-bit tiff": encoded(Image.fromarray(shades.astype(np.uint16)), "TIFF"),
        "12-bit tiff": pictures.tiff(16, 8, b"\x80\x08\x00" * 64, {258: 12}),
        "lab tiff": lab,
        "64-bit tiff": pictures.tiff(16, 16, bytes(2048), {258: 64, 339: 3}),
        "camera raw": pictures.tiff(16, 16, bytes(256), {50706: 1}),
        "big tiff": encoded(picture(), "TIFF", big_tiff=True),
        "png bomb": pictures.png_bomb(),
        "gif bomb": pictures.gif_bomb(),
        "webp bomb": pictures.webp_bomb(),
        "jpeg bomb": pictures.jpeg_declaring(60_000, 60_000),
        "jpeg scans": pictures.jpeg_with_scans(500),
        "jpeg 2000 bomb": pictures.jpeg2000_declaring(60_000, 60_000),
        "tiff bomb": pictures.tiff(60_000, 60_000, bytes(16), {}),
        "ppm bomb": b"P6 60000 60000 255\n",
        "plain ppm": b"P3 2000 2000 255\n",
        "slow bmp": pictures.bmp(2000, 2000, 1, b"\0\1"),
        "one pixel": encoded(picture(1, 1), "PNG"),
        "gif with a larger frame": encoded(picture(), "GIF")[:6] + b"\4\0\4\0" + encoded(picture(), "GIF")[10:],
    }
    for name, data in pictures.samples().items():
        files |= {
            name: data,
            f"{name} cut": data[: len(data) // 2],
            f"{name} without its end": data[:-2],
            f"{name} with more behind": data + b"\0" * 50,
        }
        noise = random.Random(name)
        for damage in range(6):
            damaged = bytearray(data)
            for _ in range(1 + damage // 2):
                damaged[noise.randrange(len(data))] = noise.randrange(256)
            files[f"{name} damaged {damage}"] = bytes(damaged)
    return files


FILES = awkward()


def test_the_problems_of_the_decoder_are_reasons_of_the_factory() -> None:
    assert {problem.value for problem in Problem} <= {reason.value for reason in Reason}
    assert {SAME_REASON.get(Reason(problem.value), problem.value) for problem in Problem} == REASONS.keys()


def seen_by_filters(data: bytes) -> tuple[bytes, tuple[int, int]] | str:
    """Pixels and size, or the reason."""
    try:
        image = decode(data)
    except UnreadableImage as unreadable:
        return unreadable.reason
    return image.tobytes(), image.size


@pytest.mark.parametrize("name", FILES)
def test_filters_and_captioners_agree_on_every_file(name: str) -> None:
    prepared = prepare_image(FILES[name], ANY_SHAPE)
    if isinstance(prepared, Rejection):
        assert seen_by_filters(FILES[name]) == SAME_REASON.get(prepared.reason, prepared.reason.value)
    else:
        assert seen_by_filters(FILES[name]) == (prepared.rgb, (prepared.width, prepared.height))


@pytest.mark.parametrize("name", FILES)
def test_a_small_look_has_the_verdict_of_a_large_one(name: str) -> None:
    small = prepare_image(FILES[name], ImageSettings(min_side=1, max_aspect=100_000, max_pixels=4_096))
    reason = SAME_REASON.get(small.reason, small.reason.value) if isinstance(small, Rejection) else None

    assert look(FILES[name]).reason == reason
    assert isinstance(small, Rejection) == isinstance(prepare_image(FILES[name], ANY_SHAPE), Rejection)
