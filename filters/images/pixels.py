"""Images as the filters see them: the decoder of the whole project, with the reasons that the filters' evidence has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from filters.contract.filter import FilterError

if TYPE_CHECKING:
    from PIL import Image

    from filters.images.decoding.decoder import Decoded, ForeignImage

REASONS: Final = {
    "empty": "the file has no bytes",
    "unknown_format": "no image of a format that is read: JPEG, PNG, WebP, GIF, AVIF, BMP, TIFF, JPEG 2000, PPM, and HEIC with "
    "the extra of that name",
    "too_many_pixels": "decoding would take too much memory",
    "too_complex": "decoding would take too much time",
    "truncated": "the file ends too early",
    "corrupt": "the file contradicts its own format",
}
"""Why an image has no pixels. The values are stored as evidence, so they never change."""

_REASON_OF: Final = {
    "not_an_image": "unknown_format",
    "unsupported_format": "unknown_format",
    "out_of_memory": "too_many_pixels",
}
"""Problems of the decoder that are told apart nowhere in the filters."""


class UnreadableImage(Exception):
    """An image without pixels; `reason` is a key of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def open_image(data: bytes) -> ForeignImage:
    """The image with its header read, in `size` and `format`, and nothing decoded. Raises UnreadableImage."""
    try:
        from filters.images.decoding.decoder import ForeignImage
        from filters.images.decoding.problems import UndecodableImage
    except ImportError as error:
        raise FilterError("Filters of images need Pillow: `pip install pillow`.") from error
    try:
        return ForeignImage(data)
    except UndecodableImage as undecodable:
        raise UnreadableImage(_reason(undecodable.problem.value)) from undecodable


def decode(data: bytes, side: int | None = None) -> Image.Image:
    """The first frame that is not blank as 8-bit sRGB, upright; what is transparent comes on white, or on what shows it better.
    Raises UnreadableImage.

    With `side`, a JPEG may come smaller, but each side with at least that many pixels (or its own): most of the time of
    decoding is saved.
    """
    return decoded(open_image(data), side).image


def decoded(image: ForeignImage, side: int | None = None) -> Decoded:
    """What `decode` gives, of an image that `open_image` gave, with notes on what is wrong with the file beside its pixels."""
    from filters.images.decoding.problems import UndecodableImage

    try:
        return image.decode(least=side)
    except UndecodableImage as undecodable:
        raise UnreadableImage(_reason(undecodable.problem.value)) from undecodable


def _reason(problem: str) -> str:
    return _REASON_OF.get(problem, problem)
