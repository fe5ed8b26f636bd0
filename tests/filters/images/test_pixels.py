import io
import resource

import pytest
from PIL import Image

from filters.images.pixels import REASONS, UnreadableImage, decode, open_image
from tests.pictures import (
    CORNERS,
    bmp,
    encoded,
    gif_bomb,
    jpeg2000_declaring,
    jpeg_declaring,
    oriented,
    picture,
    png,
    png_bomb,
    samples,
    tiff,
    webp_bomb,
)


def reason_of(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(data)
    assert caught.value.reason in REASONS
    return caught.value.reason


@pytest.mark.parametrize("name", samples())
def test_every_format_gives_upright_rgb(name: str) -> None:
    image = decode(samples()[name])

    assert (image.mode, image.size) == ("RGB", (48, 32))
    for (x, y), colour in CORNERS.items():
        found = image.getpixel((int(x * 48), int(y * 32)))
        assert all(abs(one - other) < 40 for one, other in zip(found, colour, strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_camera_orientation_is_undone(orientation: int) -> None:
    image = decode(oriented(orientation, "JPEG"))

    assert image.size == (48, 32)
    assert image.getpixel((36, 8))[1] > 130  # the green corner is at the top right


def test_what_shines_through_is_white() -> None:
    assert decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG")).getpixel((1, 1)) == (255, 255, 255)


def test_16_bit_grey_keeps_its_shades() -> None:
    grey = png(2, 1, 16, 0, [b"\x40\x00\xc0\x00"])

    assert [decode(grey).getpixel((x, 0))[0] for x in (0, 1)] == [64, 191]  # 0xC000 / 0xFFFF * 255


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"a dog on a beach", "unknown_format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unknown_format"),
        (b"\xff\xd8\xff", "truncated"),
        (encoded(picture(), "JPEG")[:400], "truncated"),
        (encoded(picture(400, 300), "JPEG", quality=95)[:-700], "truncated"),
        (encoded(picture(), "PNG")[:60], "truncated"),
        (encoded(picture(), "WEBP")[:60], "truncated"),
        (png_bomb(), "too_many_pixels"),
        (webp_bomb(), "too_many_pixels"),
        (gif_bomb(), "too_many_pixels"),
        (jpeg_declaring(60_000, 60_000), "too_many_pixels"),
        (jpeg_declaring(200, 200, scans=500), "too_complex"),
        (png_bomb(10_000, 10_000), "too_many_pixels"),  # below the size at which Pillow itself refuses
        (jpeg2000_declaring(30_000, 30_000), "too_many_pixels"),
        (jpeg2000_declaring(6_000, 6_000), "too_many_pixels"),
        (bmp(3000, 3000, 1, b"\0\1"), "too_complex"),
        (tiff(60_000, 60_000, b"\0" * 16, {}), "too_many_pixels"),
    ],
)
def test_what_cannot_be_decoded_has_a_reason(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


def test_a_bomb_takes_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for bomb in (png_bomb(), webp_bomb(), gif_bomb(), jpeg_declaring(60_000, 60_000), tiff(60_000, 60_000, b"\0", {})):
        reason_of(bomb)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_a_jpeg_comes_smaller_where_that_is_enough() -> None:
    large = encoded(picture(1600, 1200), "JPEG")

    assert decode(large, side=128).size == (200, 150)
    assert decode(large).size == (1600, 1200)


def test_an_animation_is_one_and_a_page_is_not() -> None:
    def frames(format_: str) -> bytes:
        buffer = io.BytesIO()
        picture().save(buffer, format_, save_all=True, append_images=[Image.new("RGB", (48, 32), "red")])
        return buffer.getvalue()

    animated = [open_image(frames(name)).animated for name in ("GIF", "PNG", "WEBP", "TIFF")]
    assert animated == [True, True, True, False]
    assert not open_image(encoded(picture(), "GIF")).animated
