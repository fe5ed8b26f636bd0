import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from factory.images.prepare import PreparedImage, Rejection, prepare_image, thumbnail
from factory.images.reasons import REASONS, Reason
from factory.recipe import ImageSettings
from tests import pictures
from tests.pictures import BLUE, CORNERS, GREEN, GREY, RED, WHITE, Colour, encoded, picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # broken metadata

SAMPLES = pictures.samples()
DEFAULT = ImageSettings()


def prepared(data: bytes, **settings_: Any) -> PreparedImage:
    outcome = prepare_image(data, ImageSettings(**settings_))
    assert isinstance(outcome, PreparedImage), outcome
    return outcome


def reason(data: bytes, **settings_: Any) -> Reason:
    outcome = prepare_image(data, ImageSettings(**settings_))
    assert isinstance(outcome, Rejection), outcome
    return outcome.reason


def array(image: PreparedImage) -> np.ndarray:
    return np.frombuffer(image.rgb, np.uint8).reshape(image.height, image.width, 3)


def assert_colour(image: PreparedImage, place: tuple[float, float], colour: Colour, tolerance: int) -> None:
    found = array(image)[int(place[1] * image.height), int(place[0] * image.width)].astype(int)
    assert np.abs(found - colour).max() <= tolerance, f"{tuple(found)} is not {colour} at {place}"


def assert_corners(image: PreparedImage, tolerance: int = 12) -> None:
    for place, colour in CORNERS.items():
        assert_colour(image, place, colour, tolerance)


# ---- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format_keeps_its_colours_and_places(name: str) -> None:
    image = prepared(SAMPLES[name])
    assert (image.width, image.height) == (image.source_width, image.source_height) == (48, 32)
    assert image.source_format == name.split()[0]
    assert image.frames == 1
    assert len(image.rgb) == 48 * 32 * 3
    assert_corners(image)


def test_lossless_formats_come_out_exactly() -> None:
    for name in ("PNG", "PNG alpha", "BMP", "TIFF", "TIFF LZW", "PPM", "WEBP lossless", "JPEG2000 file"):
        assert prepared(SAMPLES[name]).rgb == picture().tobytes(), name


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_all_exif_orientations_come_out_upright_and_alike(format_: str) -> None:
    for orientation in range(1, 9):
        image = prepared(pictures.oriented(orientation, format_))
        assert (image.width, image.height) == (48, 32)
        stored = (32, 48) if orientation >= 5 else (48, 32)
        assert (image.source_width, image.source_height) == stored
        assert_corners(image)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0nothing of the kind", b"Exif\0\0II*\0\xff\xff\xff\xff broken"])
def test_broken_exif_does_not_lose_the_image(format_: str, exif: bytes) -> None:
    assert_corners(prepared(encoded(picture(), format_, quality=95, exif=exif)))


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_the_first_frame_of_an_animation_is_used(format_: str) -> None:
    others = [Image.new("RGB", (48, 32), colour) for colour in ("black", "white")]
    image = prepared(encoded(picture(), format_, save_all=True, append_images=others))
    assert image.frames == 3
    assert_corners(image, tolerance=30)


# ---- colours --------------------------------------------------------------------------------------------------------


def test_cmyk_red_stays_red_in_adobe_jpeg_and_tiff() -> None:
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    for data in (encoded(red, "JPEG", quality=95), encoded(red, "TIFF")):
        assert_colour(prepared(data), (0.5, 0.5), (255, 0, 0), 4)


def test_transparency_is_composited_on_white() -> None:
    image = Image.new("RGBA", (32, 32), (*RED, 255))
    image.paste((0, 0, 0, 0), (16, 0, 32, 16))
    image.paste((0, 0, 0, 128), (16, 16, 32, 32))
    for format_, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG2000", {}), ("AVIF", {})):
        result = prepared(encoded(image, format_, **options))
        assert_colour(result, (0.25, 0.5), RED, 10)
        assert_colour(result, (0.75, 0.25), WHITE, 10)
        assert_colour(result, (0.75, 0.75), (127, 127, 127), 10)


def test_a_fully_transparent_image_is_white() -> None:
    assert set(prepared(encoded(Image.new("RGBA", (16, 16), (9, 9, 9, 0)), "PNG")).rgb) == {255}


def test_palette_transparency_of_one_colour_and_of_graded_alpha() -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([*RED, *BLUE, *GREEN])
    image.paste(1, (16, 0, 32, 32))
    for transparency, expected in (
        (1, WHITE),
        (bytes([255, 0, 255]), WHITE),
        (bytes([255, 128, 255]), (147, 157, 227)),
    ):
        result = prepared(encoded(image, "PNG", transparency=transparency))
        assert_colour(result, (0.25, 0.5), RED, 0)
        assert_colour(result, (0.75, 0.5), expected, 1)
    assert_colour(prepared(encoded(image, "GIF", transparency=1)), (0.75, 0.5), WHITE, 0)


def test_grey_with_alpha() -> None:
    image = Image.new("LA", (32, 32), (100, 255))
    image.paste((0, 51), (16, 0, 32, 32))
    result = prepared(encoded(image, "PNG"))
    assert_colour(result, (0.25, 0.5), (100, 100, 100), 0)
    assert_colour(result, (0.75, 0.5), (204, 204, 204), 1)


def test_bilevel_images() -> None:
    image = Image.new("1", (32, 32), 1)
    image.paste(0, (16, 0, 32, 32))
    for data in (encoded(image, "PNG"), encoded(image, "TIFF", compression="group4"), encoded(image, "PPM")):
        result = prepared(data)
        assert_colour(result, (0.25, 0.5), WHITE, 0)
        assert_colour(result, (0.75, 0.5), (0, 0, 0), 0)


def sixteen(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    row = sixteen(*[0] * 8, *[32768] * 8, *[65535] * 8)
    result = prepared(pictures.png(24, 12, 16, 0, [row] * 12))
    for place, level in ((0.1, 0), (0.5, 128), (0.9, 255)):
        assert_colour(result, (place, 0.5), (level,) * 3, 0)
    little = np.frombuffer(row * 12, ">u2").astype("<u2").tobytes()
    assert prepared(pictures.tiff(24, 12, little, {258: 16})).rgb == result.rgb
    assert prepared(b"P5 24 12 65535\n" + row * 12).rgb == result.rgb


def test_16_bit_grey_with_a_transparent_value() -> None:
    transparent = pictures.png_chunk(b"tRNS", sixteen(256))
    result = prepared(pictures.png(16, 8, 16, 0, [sixteen(*[256] * 8, *[257] * 8)] * 8, transparent))
    assert_colour(result, (0.25, 0.5), WHITE, 0)
    assert_colour(result, (0.75, 0.5), (1, 1, 1), 0)


def test_16_bit_with_alpha() -> None:
    grey = pictures.png(16, 8, 16, 4, [sixteen(*[32768, 65535] * 8, *[0, 13107] * 8)] * 8)
    assert_colour(prepared(grey), (0.25, 0.5), GREY, 0)
    assert_colour(prepared(grey), (0.75, 0.5), (204, 204, 204), 1)
    colour = pictures.png(16, 8, 16, 6, [sixteen(*[65535, 0, 32768, 65535] * 8, *[0, 0, 0, 0] * 8)] * 8)
    assert_colour(prepared(colour), (0.25, 0.5), (255, 0, 128), 0)
    assert_colour(prepared(colour), (0.75, 0.5), WHITE, 0)


def test_the_transparent_colour_of_a_16_bit_png() -> None:
    transparent = pictures.png_chunk(b"tRNS", sixteen(51200, 10240, 2560))
    row = sixteen(*[51200, 10240, 2560] * 8, *[2560, 10240, 51200] * 8)
    result = prepared(pictures.png(16, 8, 16, 2, [row] * 8, transparent))
    assert_colour(result, (0.25, 0.5), WHITE, 0)
    assert_colour(result, (0.75, 0.5), (10, 40, 200), 0)


def test_12_bit_grey_is_scaled_by_12_bits() -> None:
    two_pixels = bytes([0x80, 0x08, 0x00])  # 0x800 twice: half of 4095
    assert_colour(prepared(pictures.tiff(16, 8, two_pixels * 64, {258: 12})), (0.5, 0.5), GREY, 1)


def test_white_is_zero_in_16_bit_tiff() -> None:
    pixels = np.full((8, 16), 65535, "<u2").tobytes()
    assert set(prepared(pictures.tiff(16, 8, pixels, {258: 16, 262: 0})).rgb) == {0}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-50.0, 0.0, 50.0], [0, 128, 255]),
        ([0.0, float("nan"), 1.0], [0, 0, 255]),
        ([0.0, float("inf"), 1.0], [0, 255, 255]),
        ([7.0, 7.0, 7.0], [7, 7, 7]),
    ],
)
def test_float_grey_is_scaled_by_its_range(values: list[float], expected: list[int]) -> None:
    pixels = np.repeat(np.array(values, np.float32), 8)[None].repeat(8, 0)
    result = array(prepared(encoded(Image.fromarray(pixels), "TIFF")))
    assert result[4, [4, 12, 20], 0].tolist() == expected


def test_32_bit_grey_is_scaled_by_its_range() -> None:
    pixels = np.repeat(np.array([-1000, 0, 1000], np.int32), 8)[None].repeat(8, 0)
    result = array(prepared(encoded(Image.fromarray(pixels), "TIFF")))
    assert result[4, [4, 12, 20], 0].tolist() == [0, 128, 255]


def test_cielab_tiff_with_8_and_16_bits() -> None:
    # sRGB (255, 0, 0) is Lab (54, 81, 70), (0, 0, 252) about (30, 68, -112)
    eight = Image.new("LAB", (16, 16), (round(54 * 2.55), 81 + 128, 70 + 128))
    sixteen_bit = struct.pack("<Hhh", round(54 * 655.35), 81 * 256, 70 * 256) * 256
    dark_blue = struct.pack("<Hhh", round(30 * 655.35), 68 * 256, -112 * 256) * 256
    tags: dict[int, int | tuple[int, ...]] = {258: (16, 16, 16), 262: 8, 277: 3}
    assert_colour(prepared(encoded(eight, "TIFF")), (0.5, 0.5), (255, 0, 0), 6)
    assert_colour(prepared(pictures.tiff(16, 16, sixteen_bit, tags)), (0.5, 0.5), (255, 0, 0), 6)
    assert_colour(prepared(pictures.tiff(16, 16, dark_blue, tags)), (0.5, 0.5), (0, 0, 252), 30)


# ---- colour profiles ------------------------------------------------------------------------------------------------

LAB_GREEN, SRGB_GREEN = (60, -40, 30), (73, 162, 88)
RGB_PROFILE, GREY_PROFILE, CMYK_PROFILE = (
    pictures.icc_profile(space, LAB_GREEN) for space in (b"RGB ", b"GRAY", b"CMYK")
)
MIDDLE = Image.new("RGB", (16, 16), GREY)
MIDDLE_CMYK = Image.new("CMYK", (16, 16), (128, 128, 128, 128))
GREY16_ALPHA = pictures.png(16, 8, 16, 4, [sixteen(*[32768, 65535] * 16)] * 8, pictures.png_icc_chunk(GREY_PROFILE))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(MIDDLE, "JPEG", icc_profile=RGB_PROFILE), id="JPEG"),
        pytest.param(encoded(MIDDLE, "PNG", icc_profile=RGB_PROFILE), id="PNG"),
        pytest.param(encoded(MIDDLE, "WEBP", icc_profile=RGB_PROFILE), id="WEBP"),
        pytest.param(encoded(MIDDLE, "AVIF", icc_profile=RGB_PROFILE), id="AVIF"),
        pytest.param(encoded(MIDDLE, "TIFF", icc_profile=RGB_PROFILE), id="TIFF"),
        pytest.param(encoded(MIDDLE.quantize(8), "PNG", icc_profile=RGB_PROFILE), id="PNG palette"),
        pytest.param(encoded(MIDDLE_CMYK, "JPEG", icc_profile=CMYK_PROFILE), id="JPEG CMYK"),
        pytest.param(encoded(MIDDLE_CMYK, "TIFF", icc_profile=CMYK_PROFILE), id="TIFF CMYK"),
        pytest.param(encoded(MIDDLE.convert("L"), "PNG", icc_profile=GREY_PROFILE), id="PNG grey"),
        pytest.param(encoded(MIDDLE.convert("L"), "JPEG", icc_profile=RGB_PROFILE), id="JPEG grey with profile of RGB"),
        pytest.param(GREY16_ALPHA, id="PNG 16-bit grey with alpha"),
    ],
)
def test_embedded_colour_profiles_are_applied(data: bytes) -> None:
    assert_colour(prepared(data), (0.5, 0.5), SRGB_GREEN, 4)


def test_a_profile_colours_what_is_opaque_and_leaves_the_rest_white() -> None:
    image = MIDDLE.convert("RGBA")
    image.paste((0, 0, 0, 0), (8, 0, 16, 16))
    result = prepared(encoded(image, "PNG", icc_profile=RGB_PROFILE))
    assert_colour(result, (0.25, 0.5), SRGB_GREEN, 4)
    assert_colour(result, (0.75, 0.5), WHITE, 0)


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert prepared(encoded(picture(), "PNG", icc_profile=profile)).rgb == picture().tobytes()


@pytest.mark.parametrize(
    "profile",
    [
        b"not a profile",
        RGB_PROFILE[:200],
        CMYK_PROFILE,
        GREY_PROFILE,
        RGB_PROFILE.replace(b"prtr", b"link", 1),
        RGB_PROFILE.ljust(5_000_000, b"\0"),
    ],
    ids=["garbage", "cut", "of CMYK", "of grey", "device link", "huge"],
)
def test_an_unusable_profile_is_ignored(profile: bytes) -> None:
    assert prepared(encoded(picture(), "TIFF", icc_profile=profile)).rgb == picture().tobytes()


# ---- size -----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(width=st.integers(8, 160), height=st.integers(8, 160), max_pixels=st.integers(1, 30_000))
def test_the_result_is_the_largest_in_the_budget_that_keeps_the_aspect(
    width: int, height: int, max_pixels: int
) -> None:
    image = prepared(encoded(Image.new("L", (width, height)), "PNG", compress_level=1), max_pixels=max_pixels)
    assert image.width * image.height <= max_pixels
    assert len(image.rgb) == image.width * image.height * 3
    if width * height <= max_pixels:
        assert (image.width, image.height) == (width, height)
    else:
        scale = (max_pixels / (width * height)) ** 0.5
        assert min(max_pixels, scale * width - 1 - 1e-6) <= image.width <= max(1, scale * width + 1e-6)
        assert min(max_pixels, scale * height - 1 - 1e-6) <= image.height <= max(1, scale * height + 1e-6)


def test_an_elongated_image_keeps_one_pixel_a_side() -> None:
    image = prepared(encoded(Image.new("RGB", (4000, 8), RED), "PNG"), max_pixels=100, max_aspect=1000)
    assert (image.width, image.height) == (100, 1)


def smooth(mode: str, width: int, height: int) -> Image.Image:
    """A picture without fine detail, in which any shift, seam or wrong scale shows."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    if mode == "I;16":
        return Image.fromarray((x * y * 65535).astype(np.uint16))
    if mode == "F":
        return Image.fromarray((x * y).astype(np.float32))
    bands = [(255 * band).astype(np.uint8) for band in (x, y, x * y, (1 + np.sin(9 * x)) / 2)]
    return (
        Image.fromarray(np.dstack(bands)).convert("RGB").convert(mode)
        if mode != "RGBA"
        else Image.fromarray(np.dstack(bands))
    )


def on_white(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """The plain way: everything at full size, then one careful resize."""
    if image.mode in ("I;16", "F"):
        scale = 65535 if image.mode == "I;16" else 1
        image = Image.fromarray((np.asarray(image) / scale * 255 + 0.5).astype(np.uint8))
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), dtype=int)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "I;16", "F", "YCbCr", "CMYK"])
@pytest.mark.parametrize("max_pixels", [300_000, 4_096])
def test_large_images_are_shrunk_like_in_one_careful_step(mode: str, max_pixels: int) -> None:
    image = smooth(mode, 1501, 1307)
    result = prepared(
        encoded(image, "PNG" if mode in ("L", "P", "RGB", "RGBA", "I;16") else "TIFF"), max_pixels=max_pixels
    )
    assert (result.source_width, result.source_height) == (1501, 1307)
    difference = np.abs(array(result) - on_white(image, (result.width, result.height)))
    assert difference.max() <= (12 if mode == "P" else 4)
    assert difference.mean() < 1


@pytest.mark.parametrize(("format_", "options"), [("JPEG", {"quality": 95}), ("JPEG2000", {})])
@pytest.mark.parametrize("size", [(1501, 1307), (1600, 1200), (1023, 1025)])
@pytest.mark.parametrize("max_pixels", [1_000_000, 100_000, 4_096])
def test_shrinking_while_decoding_keeps_the_picture(
    format_: str, options: dict[str, Any], size: tuple[int, int], max_pixels: int
) -> None:
    image = smooth("RGB", *size)
    result = prepared(encoded(image, format_, **options), max_pixels=max_pixels)
    assert (result.source_width, result.source_height) == size
    difference = np.abs(array(result) - on_white(image, (result.width, result.height)))
    assert difference.max() <= 10
    assert difference.mean() < 2


def test_fine_patterns_become_their_mean_not_moire() -> None:
    checkers = Image.fromarray((np.indices((1200, 1200)).sum(0) % 2 * 255).astype(np.uint8))
    for data in (
        encoded(checkers, "PNG"),
        encoded(checkers.convert("1"), "PNG"),
        encoded(checkers, "JPEG", quality=95),
    ):
        values = array(prepared(data, max_pixels=4_096))
        assert np.abs(values.astype(int) - 127).max() <= 3


def test_a_thumbnail_is_a_small_jpeg_of_the_same_picture() -> None:
    large = prepared(encoded(picture(480, 320), "PNG"))
    small = Image.open(io.BytesIO(thumbnail(large, 60)))
    assert (small.format, small.size) == ("JPEG", (60, 40))
    assert_corners(prepared(thumbnail(large, 60)))
    assert Image.open(io.BytesIO(thumbnail(large))).size == (320, 213)
    assert Image.open(io.BytesIO(thumbnail(prepared(SAMPLES["PNG"])))).size == (48, 32)


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_every_reason_is_explained_in_one_line() -> None:
    assert set(REASONS) == set(Reason)
    assert all(text.endswith(".") and "\n" not in text for text in REASONS.values())


FOREIGN = {
    "svg": (pictures.SVG, Reason.unsupported_format),
    "javascript": (pictures.JAVASCRIPT, Reason.not_an_image),
    "web page": (pictures.HTML, Reason.not_an_image),
    "text cut inside a character": (b"x" + "ä".encode() * 3000, Reason.not_an_image),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", Reason.unsupported_format),
    "pdf": (b"%PDF-1.7\n", Reason.unsupported_format),
    "photoshop": (b"8BPS\0\1" + bytes(40), Reason.unsupported_format),
    "icon": (encoded(picture(32, 32), "ICO"), Reason.unsupported_format),
    "jpeg xl": (b"\xff\x0a" + bytes(40), Reason.unsupported_format),
    "camera raw": (pictures.tiff(16, 16, bytes(256), {50706: 1}), Reason.unsupported_format),
    "tiff of 64-bit floats": (pictures.tiff(16, 16, bytes(2048), {258: 64, 339: 3}), Reason.unsupported_format),
    "tiff of 16-bit YCbCr": (
        pictures.tiff(8, 8, bytes(384), {258: (16,) * 3, 262: 6, 277: 3}),
        Reason.unsupported_format,
    ),
    "video": (b"\0\0\0\x18ftypisom" + bytes(40), Reason.not_an_image),
    "sound": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), Reason.not_an_image),
    "archive": (b"PK\x03\x04" + bytes(40), Reason.not_an_image),
    "noise": (random.Random(0).randbytes(400), Reason.not_an_image),
    "zeros": (bytes(400), Reason.not_an_image),
    "nothing": (b"", Reason.empty),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_image_or_an_unread_kind_is_told_apart(name: str) -> None:
    data, expected = FOREIGN[name]
    assert reason(data) == expected


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_in_half_is_truncated(name: str) -> None:
    data = SAMPLES[name]
    assert reason(data[: len(data) // 2]) == Reason.truncated


@pytest.mark.parametrize("name", ["JPEG", "JPEG progressive", "PNG", "GIF", "WEBP", "AVIF"])
def test_no_beginning_of_a_file_passes_for_the_whole(name: str) -> None:
    data = SAMPLES[name]
    whole = prepared(data)
    for end in range(16, len(data), max(1, len(data) // 60)):
        outcome = prepare_image(data[:end], DEFAULT)
        if isinstance(outcome, Rejection):
            assert outcome.reason == Reason.truncated
        else:
            assert outcome.rgb == whole.rgb  # only what follows the pixels is missing


def corrupted(data: bytes, at: int, *values: int) -> bytes:
    changed = bytearray(data)
    changed[at : at + len(values)] = bytes(values)
    return bytes(changed)


def test_contradictory_files_are_corrupt() -> None:
    png, jpeg = SAMPLES["PNG"], SAMPLES["JPEG"]
    assert reason(corrupted(png, 29, 1, 2, 3, 4)) == Reason.corrupt  # the header's checksum
    assert reason(corrupted(png, png.index(b"IDAT") + 6, 255, 255, 255)) == Reason.corrupt  # compressed pixels
    assert reason(corrupted(jpeg, jpeg.index(b"\xff\xdb") + 4, 0x7F)) == Reason.corrupt  # a quantisation table
    assert reason(pictures.tiff(16, 16, bytes(256), {259: 5})) == Reason.corrupt  # LZW that is none
    tiff = pictures.tiff(16, 16, bytes(256), {258: 8, 259: 1})
    twice = tiff.replace(struct.pack("<HH", 259, 4), struct.pack("<HH", 258, 4))
    assert reason(twice) == Reason.corrupt


def test_declared_sizes_are_refused_before_any_pixel_is_allocated() -> None:
    for data in (
        pictures.png_bomb(),
        pictures.gif_bomb(),
        pictures.webp_bomb(),
        pictures.jpeg_declaring(60_000, 60_000),
        pictures.jpeg2000_declaring(60_000, 60_000),
        pictures.tiff(60_000, 60_000, bytes(256), {}),
        pictures.bmp(60_000, 60_000, 0, bytes(256)),
        b"P6 60000 60000 255\n",
    ):
        assert len(data) < 2_000
        assert reason(data) == Reason.too_many_pixels


def test_the_bound_on_source_pixels_is_exact() -> None:
    assert prepared(SAMPLES["PNG"], max_source_pixels=48 * 32)
    for name in ("PNG", "GIF", "WEBP", "JPEG", "TIFF", "AVIF", "JPEG2000 file", "BMP", "PPM"):
        assert reason(SAMPLES[name], max_source_pixels=48 * 32 - 1) == Reason.too_many_pixels


def test_files_made_of_too_many_parts_are_refused_unread() -> None:
    png = SAMPLES["PNG"]
    assert reason(png[:33] + pictures.png_chunk(b"aaAa") * 400_001 + png[33:]) == Reason.too_complex
    assert reason(SAMPLES["GIF"][:-1] + b"!\xfe" + b"\1a" * 400_001 + b"\0;") == Reason.too_complex
    assert reason(pictures.jpeg_with_scans(101)) == Reason.too_complex
    assert prepared(pictures.jpeg_with_scans(100))
    assert reason(pictures.jpeg_declaring(9_000, 9_000, scans=38)) == Reason.too_complex
    assert reason(pictures.tiff(16, 16, bytes(256), {273: (8,) * 400_001})) == Reason.too_complex
    pages = b"".join(struct.pack("<HI", 0, 14 + 6 * page) for page in range(400_001))
    assert reason(b"II*\0\x08\0\0\0" + pages) == Reason.too_complex


def test_progressive_jpeg_is_charged_for_its_coefficients() -> None:
    data = {progressive: encoded(picture().convert("CMYK"), "JPEG", progressive=progressive) for progressive in (0, 1)}
    assert prepared(data[0], max_source_pixels=48 * 32)
    assert reason(data[1], max_source_pixels=48 * 32) == Reason.too_many_pixels


def test_jpeg2000_shrunk_while_decoding_costs_less() -> None:
    data = encoded(smooth("RGB", 800, 600), "JPEG2000")
    assert reason(data, max_source_pixels=800 * 600) == Reason.too_many_pixels
    assert prepared(data, max_source_pixels=800 * 600, max_pixels=4_096)


def test_structures_that_cost_more_memory_than_pixels_are_refused() -> None:
    tile = {322: 60_000, 323: 60_000, 324: 8, 325: 256}
    assert reason(pictures.tiff(16, 16, bytes(256), tile)) == Reason.too_many_pixels
    small_blocks = encoded(picture(200, 200), "JPEG2000", codeblock_size=(4, 4), no_jp2=True)
    assert prepared(small_blocks)
    small_blocks = corrupted(small_blocks, 8, *struct.pack(">II", 6000, 6000))
    small_blocks = corrupted(small_blocks, 24, *struct.pack(">II", 6000, 6000))
    assert reason(small_blocks) == Reason.too_many_pixels
    assert reason(corrupted(SAMPLES["JPEG2000 codestream"], 24, 0, 0, 0, 1, 0, 0, 0, 1), max_source_pixels=4096) == (
        Reason.too_many_pixels
    )


def test_decoders_written_in_python_get_small_images_only() -> None:
    assert set(prepared(pictures.bmp(16, 8, 1, bytes([16, 50, 0, 0]) * 8 + b"\0\1")).rgb) == {50, 205}
    assert reason(pictures.bmp(2000, 2000, 1, b"\0\1")) == Reason.too_complex
    assert reason(b"P3 2000 2000 255\n") == Reason.too_complex


def test_limits_of_the_settings() -> None:
    data = encoded(picture(200, 20), "PNG")
    assert reason(data, min_side=21) == Reason.too_small
    assert prepared(data, min_side=20)
    assert reason(data, max_aspect=9.9) == Reason.too_elongated
    assert prepared(data, max_aspect=10)
    assert reason(data, max_bytes=len(data) - 1) == Reason.too_many_bytes
    assert prepared(data, max_bytes=len(data))
    assert reason(encoded(picture(2, 1), "GIF")) == Reason.too_small


def test_running_out_of_memory_has_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", raising(MemoryError))
    assert reason(SAMPLES["PNG"]) == Reason.out_of_memory


def test_unforeseen_errors_become_rows_and_interrupts_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", raising(RecursionError))
    assert reason(SAMPLES["PNG"]) == Reason.corrupt
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "crop", raising(ZeroDivisionError), raising=False)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: None)
    outcome = prepare_image(SAMPLES["PNG"], ImageSettings(max_pixels=100))
    assert outcome == Rejection(Reason.corrupt, "ZeroDivisionError: a line?and another")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare_image(SAMPLES["PNG"], DEFAULT)


def raising(error: type[BaseException]) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error("a line\x07and\n another")

    return fail


# ---- anything at all ------------------------------------------------------------------------------------------------


def check_outcome(data: bytes) -> None:
    outcome = prepare_image(data, DEFAULT)
    if isinstance(outcome, PreparedImage):
        assert len(outcome.rgb) == outcome.width * outcome.height * 3
        assert min(outcome.width, outcome.height, outcome.source_width, outcome.source_height, outcome.frames) >= 1
        assert outcome.width * outcome.height <= DEFAULT.max_pixels
    else:
        assert isinstance(outcome, Rejection)
        assert outcome.reason in Reason
        assert 0 < len(outcome.detail) <= 200
        assert outcome.detail.isprintable()


MAGICS = sorted({data[:16] for data in SAMPLES.values()})


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300) | st.builds(bytes.__add__, st.sampled_from(MAGICS), st.binary(max_size=300)))
def test_arbitrary_bytes_always_have_an_outcome(data: bytes) -> None:
    check_outcome(data)


@settings(max_examples=800, deadline=None)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=6),
    cut=st.floats(0.2, 1) | st.just(1.0),
)
def test_damaged_files_always_have_an_outcome(name: str, edits: list[tuple[float, bytes]], cut: float) -> None:
    data = bytearray(SAMPLES[name])
    for place, replacement in edits:
        at = int(place**2 * len(data))  # headers more often than pixels
        data[at : at + len(replacement)] = replacement
    check_outcome(bytes(data[: int(cut * len(data))]))


def test_threads_give_the_same_results_as_one_after_the_other() -> None:
    files = [*SAMPLES.values(), *(pictures.oriented(n, "JPEG") for n in range(1, 9)), pictures.png_bomb(), pictures.SVG]
    files.append(encoded(smooth("CMYK", 900, 700), "TIFF", icc_profile=CMYK_PROFILE))
    alone = [prepare_image(data, DEFAULT) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda data: prepare_image(data, DEFAULT), files * 8)) == alone * 8


def test_pillows_guards_stay_as_they_are() -> None:
    assert Image.MAX_IMAGE_PIXELS == 89_478_485
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


PEAK = """
import io, resource, sys, zlib
sys.path[:0] = {path!r}
from factory.images.prepare import prepare_image
from factory.recipe import ImageSettings
from PIL import Image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = open({file!r}, "rb").read()
print(prepare_image(data, ImageSettings()).width, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a Linux process, in KiB")
@pytest.mark.parametrize(("kind", "megabytes"), [("png", 500), ("jpeg", 120), ("jpeg progressive", 650)])
def test_memory_stays_bounded_at_the_largest_source(kind: str, megabytes: int, tmp_path: Any) -> None:
    side = 9_459  # the largest square that max_source_pixels allows
    file = tmp_path / "large"
    if kind == "png":
        compressor = zlib.compressobj(1)
        pixels = b"".join(compressor.compress(bytes(1 + 4 * side)) for _ in range(side)) + compressor.flush()
        head = pictures.png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
        end = pictures.png_chunk(b"IDAT", pixels) + pictures.png_chunk(b"IEND")
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + head + end)
    else:
        Image.new("RGB", (side, side), RED).save(file, "JPEG", progressive="progressive" in kind, subsampling=0)
    script = PEAK.format(path=sys.path, file=str(file))
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    width, peak = map(int, output.split())
    assert width == 1001
    assert peak < megabytes
