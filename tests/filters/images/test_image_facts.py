import imagehash
import polars as pl
from PIL import Image

from factory.demo.source_row import source_row
from filters import BlankImage, ImageAspect, ImageHash, ImageIntegrity, ImageSize
from filters.contract.filter import Filter
from filters.images import image_facts
from filters.images.pixels import decode
from tests.pictures import encoded, picture, png_bomb


def scored(caption_filter: Filter, *images: bytes | None) -> pl.DataFrame:
    return caption_filter.score(pl.DataFrame({"image": images}, schema={"image": pl.Binary}))


def animation() -> bytes:
    return encoded(picture(), "GIF", save_all=True, append_images=[Image.new("RGB", (48, 32), "red")])


def test_integrity_tells_whole_images_from_others_with_the_reason() -> None:
    whole = encoded(picture(400, 300), "JPEG", quality=95)

    scores = scored(ImageIntegrity(), whole, whole[:-900], b"a dog", b"", png_bomb(), animation(), None)

    assert scores["score"].to_list() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None]
    assert scores["reason"].to_list() == [
        None, "truncated", "unknown_format", "empty", "too_many_pixels", "animated", None,
    ]  # fmt: skip


def test_an_animation_may_be_allowed_if_its_first_frame_is_whole() -> None:
    assert scored(ImageIntegrity(allow_animated=True), animation(), animation()[:100])["score"].to_list() == [1.0, 0.0]


def test_size_is_the_share_of_the_limit_that_is_reached() -> None:
    images = [encoded(picture(*size), "PNG") for size in ((640, 200), (640, 100), (2000, 2000))]

    assert scored(ImageSize(), *images)["score"].to_list() == [1.0, 0.5, 1.0]
    assert scored(ImageSize(), *images)["min_side"].to_list() == [200, 100, 2000]
    assert scored(ImageSize(max_megapixels=1), *images)["score"].to_list() == [1.0, 0.5, 0.25]
    assert scored(ImageSize(min_side=1, min_megapixels=0.256), *images)["score"].to_list() == [0.5, 0.25, 1.0]


def test_aspect_counts_the_same_for_high_and_wide() -> None:
    images = [encoded(picture(*size), "PNG") for size in ((300, 100), (600, 100), (100, 600), (1, 1))]

    scores = scored(ImageAspect(), *images)

    assert scores["score"].to_list() == [1.0, 0.5, 0.5, 1.0]
    assert scores["aspect"].to_list() == [3.0, 6.0, 6.0, 1.0]


def test_size_and_aspect_have_no_score_without_a_header_but_a_reason() -> None:
    for caption_filter in (ImageSize(), ImageAspect(), BlankImage(), ImageHash()):
        scores = scored(caption_filter, b"a dog", None)
        assert scores["score"].to_list() == [None, None]
        assert scores["reason"].to_list() == ["unknown_format", None]


def test_blank_images_score_low_and_pictures_high() -> None:
    grey, speck = Image.new("RGB", (400, 300), "grey"), Image.new("RGB", (400, 300), "white")
    speck.paste((200, 200, 200), (10, 10, 40, 13))
    noisy = Image.effect_noise((400, 300), 12).convert("RGB")

    scores = scored(BlankImage(), *(encoded(image, "JPEG") for image in (grey, speck, noisy, picture(400, 300))))[
        "score"
    ].to_list()

    assert scores[0] == 0.0
    assert 0 < scores[1] < 0.5
    assert scores[2] < 0.7
    assert scores[3] == 1.0
    assert all(scored(BlankImage(), source_row(0, index).image)["score"].item() == 1.0 for index in range(20))


def test_two_colours_of_one_brightness_are_not_blank() -> None:
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    image.paste((0, 130, 0), (0, 0, 32, 64))

    assert scored(BlankImage(), encoded(image, "PNG"))["score"].item() == 1.0


def test_the_hash_is_that_of_imagehash() -> None:
    for index in range(40):
        data = source_row(3, index).image
        found = scored(ImageHash(), data)["phash"].item()

        assert f"{found:016x}" == str(imagehash.phash(decode(data)))


def test_the_hash_of_a_large_jpeg_is_nearly_that_of_imagehash() -> None:
    """It is decoded smaller than it is."""
    bits = []
    for index in range(10):
        data = encoded(decode(source_row(4, index).image).resize((1500, 1100)), "JPEG", quality=90)
        found = scored(ImageHash(), data)["phash"].item()

        bits.append((found ^ int(str(imagehash.phash(decode(data))), 16)).bit_count())
    assert sum(bits) <= 20
    assert max(bits) <= 4


def test_the_hash_survives_scaling_and_recoding() -> None:
    for index in range(20):
        image = decode(source_row(5, index).image)
        hashes = [
            scored(ImageHash(), data)["phash"].item()
            for data in (
                encoded(image, "PNG"),
                encoded(image, "JPEG", quality=60),
                encoded(image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC), "WEBP"),
            )
        ]
        assert max((hashes[0] ^ other).bit_count() for other in hashes) <= 8


def test_a_flat_image_has_no_hash() -> None:
    scores = scored(ImageHash(), encoded(Image.new("RGB", (400, 300), "grey"), "JPEG"))

    assert scores.row(0) == (None, None, "flat")


def test_an_image_is_decoded_once_for_all_filters_and_rows(monkeypatch) -> None:
    looks: list[object] = []
    decoded = image_facts.decoded
    monkeypatch.setattr(image_facts, "decoded", lambda image, side: (looks.append(image), decoded(image, side))[1])
    data = encoded(picture(123, 77), "PNG", compress_level=1)

    for caption_filter in (ImageIntegrity(), ImageSize(), BlankImage(), ImageHash()):
        scored(caption_filter, data, data, data)

    assert len(looks) == 1
