"""Which frame is used of several, and what shines through a transparent image."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image, ImageDraw

from factory.errors import RecipeError
from factory.images.prepare import PreparedImage, prepare_image
from factory.recipe import ImageSettings, View
from factory.work.fingerprint import image_fingerprint
from filters import BlankImage
from filters.images.pixels import decode
from tests import pictures
from tests.filters.images.test_image_facts import scored
from tests.pictures import encoded, picture

WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)


def prepared(data: bytes, **settings: Any) -> PreparedImage:
    outcome = prepare_image(data, ImageSettings(**settings))
    assert isinstance(outcome, PreparedImage), outcome
    return outcome


def corner(data: bytes, **settings: Any) -> tuple[int, ...]:
    return tuple(prepared(data, **settings).rgb[:3])


# ---- frames ---------------------------------------------------------------------------------------------------------


def animation(format_: str, *frames: Image.Image) -> bytes:
    options = {"lossless": True} if format_ == "WEBP" else {}
    return encoded(frames[0], format_, save_all=True, append_images=list(frames[1:]), **options)


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
@pytest.mark.parametrize("blanks", [("black",), ("white", "black", "grey")])
def test_the_first_frame_that_is_not_blank_is_used(format_: str, blanks: tuple[str, ...]) -> None:
    frames = [*(Image.new("RGB", (48, 32), colour) for colour in blanks), picture(), Image.new("RGB", (48, 32), "red")]
    image = prepared(animation(format_, *frames))

    assert (image.frame, image.frames) == (len(blanks), len(frames))
    assert image.notes
    assert prepared(animation(format_, picture(), *frames)).frame == 0
    found = Image.frombytes("RGB", (48, 32), image.rgb)
    for (x, y), colour in pictures.CORNERS.items():
        pixel = found.getpixel((int(x * 48), int(y * 32)))
        assert all(abs(one - other) < 40 for one, other in zip(pixel, colour, strict=True))
    assert scored(BlankImage(), animation(format_, *frames))["score"].item() > 0.5


def test_of_blank_frames_alone_the_first_is_used() -> None:
    image = prepared(animation("GIF", *(Image.new("RGB", (48, 32), colour) for colour in ("black", "white"))))
    assert (image.frame, set(image.rgb)) == (0, {0})


def test_a_broken_later_frame_does_not_lose_the_image() -> None:
    data = animation("GIF", Image.new("RGB", (48, 32), "black"), picture())
    image = prepared(data[:-60])
    assert image.frame == 0
    assert "broken" in image.notes[-1]


def test_a_page_of_another_size_is_not_taken_for_a_frame() -> None:
    image = prepared(animation("TIFF", Image.new("RGB", (48, 32), "white"), picture(24, 16)))
    assert (image.frame, image.width) == (0, 48)


def test_the_search_for_a_frame_is_bounded() -> None:
    frames = [Image.new("RGB", (16, 16), (0, 0, shade)) for shade in range(250) if shade % 2] * 2
    assert prepared(animation("GIF", *frames, picture(16, 16))).frame == 0


# ---- background -----------------------------------------------------------------------------------------------------


def writing(*colours: tuple[int, int, int], size: tuple[int, int] = (200, 80), width: int = 3) -> Image.Image:
    image = Image.new("RGBA", size, (255, 255, 255, 0))
    draw = ImageDraw.Draw(image)
    for number in range(8):
        left = size[0] * (number + 1) // 10
        colour = (*colours[number % len(colours)], 255)
        draw.line((left, size[1] // 5, left + size[0] // 20, size[1] * 4 // 5), fill=colour, width=width)
    return image


@pytest.mark.parametrize(
    ("image", "background"),
    [
        (writing(WHITE), BLACK),
        (writing((250, 250, 240)), BLACK),
        (writing(WHITE, WHITE, WHITE, (220, 40, 30)), BLACK),
        (writing(BLACK), WHITE),
        (writing((40, 60, 200)), WHITE),
        (writing(WHITE, BLACK), GREY),
        (writing(WHITE, size=(3000, 1200), width=4), BLACK),
        (Image.new("RGBA", (32, 32), (0, 0, 0, 0)), WHITE),
        (Image.new("RGBA", (32, 32), (255, 255, 255, 0)), WHITE),
    ],
)
@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_auto_chooses_the_background_on_which_the_image_is_seen(
    image: Image.Image, background: tuple[int, int, int], format_: str
) -> None:
    data = encoded(image, format_, **({"lossless": True} if format_ == "WEBP" else {}))
    assert corner(data) == background
    assert decode(data).getpixel((0, 0)) == background


def test_white_writing_is_no_blank_image() -> None:
    assert scored(BlankImage(), encoded(writing(WHITE), "PNG"))["score"].item() > 0.5


def test_an_ordinary_image_with_clear_corners_stays_on_white() -> None:
    for page in (picture(200, 100), Image.new("RGB", (200, 100), "white")):
        image = page.convert("RGBA")
        ImageDraw.Draw(image).line((20, 50, 180, 50), fill=(0, 0, 0, 255), width=9)
        image.paste((0, 0, 0, 0), (0, 0, 6, 6))
        assert corner(encoded(image, "PNG")) == WHITE


@pytest.mark.parametrize(
    ("background", "colour"), [("white", WHITE), ("black", BLACK), ("grey", GREY), ("#0A141e", (10, 20, 30))]
)
def test_a_named_background_is_used_whatever_the_image(background: str, colour: tuple[int, int, int]) -> None:
    for image in (writing(WHITE), writing(BLACK)):
        assert corner(encoded(image, "PNG"), background=background) == colour


@pytest.mark.parametrize("background", ["red-ish", "", "#12345", "#ggg000", "AUTO!", "x" * 900])
def test_an_unknown_background_is_refused_with_what_there_is(background: str) -> None:
    with pytest.raises(RecipeError, match="auto, white, black, grey"):
        ImageSettings(background=background)


def test_the_background_is_part_of_the_image_fingerprint() -> None:
    def fingerprint(background: str) -> str:
        view = {"name": "self", "model": "m", "prompts": [{"text": "A?"}], "image": {"background": background}}
        return image_fingerprint(View.model_validate(view))

    assert len({fingerprint(name) for name in ("auto", "white", "black", "#000001")}) == 4
    assert fingerprint("#ABCDEF") == fingerprint("#abcdef")
