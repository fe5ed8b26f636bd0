"""Files whose pixels are whole are read, whatever is wrong beside them; files whose pixels are not, are not."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from factory.images.prepare import PreparedImage, Rejection, prepare_image
from factory.images.reasons import Reason
from factory.recipe import ImageSettings
from filters import ImageIntegrity
from tests import pictures
from tests.filters.images.test_image_facts import scored
from tests.pictures import encoded, picture

CASES = Path(__file__).parent / "cases"
SETTINGS = ImageSettings()


def prepared(data: bytes) -> PreparedImage:
    outcome = prepare_image(data, SETTINGS)
    assert isinstance(outcome, PreparedImage), outcome
    return outcome


def reason(data: bytes) -> Reason:
    outcome = prepare_image(data, SETTINGS)
    assert isinstance(outcome, Rejection), outcome
    return outcome.reason


def photo(width: int = 203, height: int = 157) -> Image.Image:
    """Something with detail down to its last row, as a camera gives."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    bands = [127 + 120 * np.sin(x * a + y * b + x * y / 900) for a, b in ((0.1, 0.5), (0.7, 0.2), (0.3, 0.9))]
    return Image.fromarray(np.dstack(bands).astype(np.uint8))


@pytest.mark.parametrize("name", ["png_bigtext.png", "no_eoi.jpg"])
def test_pixels_that_are_whole_are_used_with_a_note(name: str) -> None:
    data = (CASES / name).read_bytes()

    assert prepared(data).notes
    row = scored(ImageIntegrity(), data)
    assert row["score"].item() == 1.0
    assert row["note"].item()


def test_a_whole_file_has_no_notes() -> None:
    assert all(prepared(data).notes == () for data in pictures.samples().values())


# ---- PNG ------------------------------------------------------------------------------------------------------------


def with_chunk(chunk: bytes, data: bytes | None = None, behind: bool = False) -> bytes:
    png = data or encoded(picture(), "PNG")
    at = len(png) - 12 if behind else 33
    return png[:at] + chunk + png[at:]


def badly_summed(kind: bytes, body: bytes) -> bytes:
    return pictures.png_chunk(kind, body)[:-4] + b"\1\2\3\4"


LARGE = zlib.compress(bytes(5_000_000))
EXTRAS = {
    "large zTXt": pictures.png_chunk(b"zTXt", b"a\0\0" + LARGE),
    "large iTXt": pictures.png_chunk(b"iTXt", b"a\0\1\0\0\0" + LARGE),
    "large profile": pictures.png_chunk(b"iCCP", b"a\0\0" + LARGE),
    "many texts": pictures.png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000))) * 80,
    "bad sum tEXt": badly_summed(b"tEXt", b"Comment\0made by hand"),
    "bad sum zTXt": badly_summed(b"zTXt", b"a\0\0" + zlib.compress(b"text")),
    "bad sum iTXt": badly_summed(b"iTXt", b"a\0\0\0\0\0text"),
    "bad sum time": badly_summed(b"tIME", bytes(7)),
    "bad sum profile": badly_summed(b"iCCP", b"a\0\0" + zlib.compress(b"profile")),
    "bad sum unknown": badly_summed(b"abCd", b"what"),
    "short pHYs": pictures.png_chunk(b"pHYs", b"\1"),
    "unknown compression": pictures.png_chunk(b"zTXt", b"a\0\7text"),
}


@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("name", EXTRAS)
def test_a_png_survives_its_texts(name: str, behind: bool) -> None:
    assert prepared(with_chunk(EXTRAS[name], behind=behind)).rgb == picture().tobytes()


def test_what_a_broken_text_stands_beside_is_still_heeded() -> None:
    turned = with_chunk(EXTRAS["bad sum tEXt"], pictures.oriented(6, "PNG"))
    assert prepared(turned).rgb == prepared(pictures.oriented(6, "PNG")).rgb
    profile = pictures.png_icc_chunk(pictures.icc_profile(b"RGB ", (60, -40, 30)))
    green = with_chunk(profile)
    assert prepared(with_chunk(EXTRAS["large zTXt"], green)).rgb == prepared(green).rgb != picture().tobytes()
    clear = encoded(Image.new("P", (16, 16)), "PNG", transparency=0)
    assert prepared(with_chunk(EXTRAS["bad sum tEXt"], clear)).rgb == prepared(clear).rgb


@pytest.mark.parametrize("kind", [b"PLTE", b"IHDR", b"tRNS"])
def test_a_bad_sum_of_what_makes_the_pixels_is_corrupt(kind: bytes) -> None:
    data = encoded(picture().quantize(16), "PNG", transparency=0)
    at = data.index(kind)
    end = at + 4 + int.from_bytes(data[at - 4 : at])
    assert reason(data[:end] + b"\1\2\3\4" + data[end + 4 :]) == Reason.corrupt


def test_a_broken_text_does_not_hide_that_pixels_are_missing() -> None:
    whole = with_chunk(EXTRAS["large zTXt"], encoded(photo(), "PNG"))
    assert reason(whole[: len(whole) // 2]) == Reason.truncated


# ---- JPEG -----------------------------------------------------------------------------------------------------------

JPEGS = {
    f"{kind} {quality} {subsampling}": encoded(image, "JPEG", quality=quality, subsampling=subsampling, **options)
    for quality, subsampling in ((75, 2), (95, 0))
    for kind, image, options in (
        ("plain", photo(), {}),
        ("optimized", photo(), {"optimize": True}),
        ("progressive", photo(), {"progressive": True}),
        ("restarting", photo(), {"restart_marker_blocks": 5}),
        ("restarting by rows", photo(), {"restart_marker_rows": 1}),
        ("flat", Image.new("RGB", (200, 160), "white"), {"restart_marker_rows": 1}),
        ("grey", photo().convert("L"), {}),
        ("CMYK", photo().convert("CMYK"), {}),
    )
}


@pytest.mark.parametrize("name", JPEGS)
def test_only_the_end_mark_of_a_jpeg_may_be_missing(name: str) -> None:
    data = JPEGS[name]
    whole = prepared(data)

    for missing in (1, 2):
        assert prepared(data[:-missing]).rgb == whole.rgb
    assert prepared(data[:-2] + bytes(100)).rgb == whole.rgb  # the place of something else
    ends = [*range(len(data) - 40, len(data) - 2), *range(len(data) // 2, len(data), len(data) // 20)]
    for end in ends:
        for fill in (b"", bytes(100), bytes(len(data))):
            outcome = prepare_image(data[:end] + fill, SETTINGS)
            if isinstance(outcome, Rejection):
                assert outcome.reason == Reason.truncated
            else:
                assert outcome.rgb == whole.rgb


def test_a_progressive_jpeg_without_its_last_scans_is_truncated() -> None:
    data = JPEGS["progressive 75 2"]
    scans = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    assert all(reason(data[:at]) == Reason.truncated for at in scans)


def test_a_jpeg_without_whole_restart_intervals_is_truncated() -> None:
    data = JPEGS["restarting by rows 75 2"]
    marks = [at for at in range(len(data) - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
    assert len(marks) > 5
    for at in marks:
        assert reason(data[:at]) == Reason.truncated
        assert reason(data[: at + 2]) == Reason.truncated


# ---- TIFF and others ------------------------------------------------------------------------------------------------


def tiff_with_twice(tag: int, *, other_value: bool) -> bytes:
    """A TIFF in which the next tag behind `tag` is overwritten by `tag` again."""
    data = pictures.tiff(48, 32, picture().convert("L").tobytes(), {tag: 1, tag + 1: 2 if other_value else 1})
    return data.replace(struct.pack("<HH", tag + 1, 4), struct.pack("<HH", tag, 4))


@pytest.mark.parametrize("tag", [271, 282, 305, 315, 33432, 65000])
def test_a_repeated_tag_that_makes_no_pixels_is_a_note(tag: int) -> None:
    image = prepared(tiff_with_twice(tag, other_value=True))
    assert image.rgb == picture().convert("L").convert("RGB").tobytes()
    assert str(tag) in image.notes[0]


@pytest.mark.parametrize("tag", [256, 258, 262, 277])
def test_two_values_of_a_tag_that_makes_the_pixels_are_corrupt(tag: int) -> None:
    assert reason(tiff_with_twice(tag, other_value=True)) == Reason.corrupt


def test_bigtiff_is_read_or_called_unsupported_but_never_truncated() -> None:
    assert prepared(encoded(picture(), "TIFF", big_tiff=True)).rgb == picture().tobytes()
    big_endian = b"MM\0+\0\x08\0\0" + struct.pack(">QQ", 16, 0) + bytes(200)
    for data in (big_endian, b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 0) + bytes(200), big_endian[:20]):
        outcome = prepare_image(data, SETTINGS)
        assert isinstance(outcome, Rejection)
        assert outcome.reason == Reason.unsupported_format
        assert "BigTIFF" in outcome.detail


def named(data: bytes) -> tuple[Reason, str]:
    outcome = prepare_image(data, SETTINGS)
    assert isinstance(outcome, Rejection), outcome
    return outcome.reason, outcome.detail


def test_tga_cursor_and_icon_are_told_apart() -> None:
    icon = encoded(picture(32, 32), "ICO")
    assert named(icon) == (Reason.unsupported_format, "Windows icon")
    assert named(icon[:2] + b"\2" + icon[3:]) == (Reason.unsupported_format, "Windows cursor")
    for image in (picture(), picture().convert("L"), picture().quantize(8), picture().convert("RGBA")):
        for compression in (None, "tga_rle"):
            data = encoded(image, "TGA", compression=compression)
            assert named(data) == (Reason.unsupported_format, "TGA")
            assert named(data[:-26]) == (Reason.unsupported_format, "TGA")  # as written before version 2
