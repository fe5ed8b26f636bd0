"""Bytes of an image file → pixels, or the reason why there are none. The one place of this package that decodes images.

The bytes may be anything. A size is checked before memory for its pixels exists, files that would keep a decoder busy for
minutes are refused, and no exception leaves but UnreadableImage. What is not promised: time, within those limits.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, Final

from filters.contract.filter import FilterError

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS: Final = 89_478_485
"""Pillow's own limit: a quarter of a gigabyte of RGB."""
_MAX_PIXELS_OF: Final = {"JPEG2000": 20_000_000}
"""A small file of that format can declare pieces that cost hundreds of bytes for each few pixels."""
_PYTHON_DECODERS: Final = {"bmp_rle", "ppm", "ppm_plain"}
_MAX_PYTHON_PIXELS: Final = 2_000_000
"""Pillow decodes these in Python, at some 2 million pixels a second."""
_MAX_SCANS: Final = 100
"""Of a JPEG. Encoders write at most about 20, and each costs a pass over all pixels."""
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG2000", "PPM")
_ANIMATED: Final = {"GIF", "PNG", "WEBP", "AVIF"}
"""Formats whose further frames are an animation; those of TIFF and MPO are pages, thumbnails and depth maps."""

REASONS: Final = {
    "empty": "the file has no bytes",
    "unknown_format": "no image of a format that is read: JPEG, PNG, WebP, GIF, AVIF, BMP, TIFF, JPEG 2000, PPM",
    "too_many_pixels": "decoding would take too much memory",
    "too_complex": "decoding would take too much time",
    "truncated": "the file ends too early",
    "corrupt": "the file contradicts its own format",
}
"""Why an image has no pixels. The values are stored as evidence, so they never change."""


class UnreadableImage(Exception):
    """An image without pixels; `reason` is a key of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def open_image(data: bytes) -> ImageFile:
    """The image with its header read, in `size` and `format`, and nothing decoded. Raises UnreadableImage."""
    if not data:
        raise UnreadableImage("empty")
    image_module = _pillow()
    _check_webp(data)
    try:
        image = image_module.open(io.BytesIO(data), formats=_FORMATS)
    except image_module.DecompressionBombError:
        raise UnreadableImage("too_many_pixels") from None
    except image_module.UnidentifiedImageError:
        raise UnreadableImage(_unidentified(data)) from None
    except MemoryError:
        raise UnreadableImage("too_many_pixels") from None
    except Exception as error:  # Pillow promises no list of exceptions
        raise UnreadableImage(_broken(error)) from error
    _check_cost(image, data)
    return image  # type: ignore[no-any-return]


def is_animated(image: ImageFile) -> bool:
    """Whether there are more frames than the first, in a format where that is an animation."""
    try:
        return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))
    except Exception:  # asking a GIF reads on in the file; whether it is broken shows when it is decoded
        return False


def decode(data: bytes, side: int | None = None) -> Image.Image:
    """The first frame as 8-bit RGB, upright and on white. Raises UnreadableImage.

    With `side`, a JPEG may come smaller, but each side with at least that many pixels (or its own): most of the time of
    decoding is saved.
    """
    return pixels_of(open_image(data), side)


def pixels_of(image: ImageFile, side: int | None = None) -> Image.Image:
    """What `decode` gives, of an image that `open_image` gave."""
    try:
        if side is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, (side, side))
        image.load()
        return _on_white(_upright(image))
    except MemoryError:
        raise UnreadableImage("too_many_pixels") from None
    except Exception as error:
        raise UnreadableImage(_broken(error)) from error


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise FilterError("Filters of images need Pillow: `pip install pillow`.") from error
    return Image


def _check_cost(image: ImageFile, data: bytes) -> None:
    width, height = image.size
    pixels = width * height
    if pixels > _MAX_PIXELS_OF.get(image.format or "", MAX_PIXELS):
        raise UnreadableImage("too_many_pixels")
    codec = image.tile[0][0] if image.tile else ""
    if codec in _PYTHON_DECODERS and pixels > _MAX_PYTHON_PIXELS:
        raise UnreadableImage("too_complex")
    if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _MAX_SCANS:
        raise UnreadableImage("too_complex")


def _check_webp(data: bytes) -> None:
    """Pillow allocates the pixels of a WebP file when it opens it."""
    if not (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        return
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise UnreadableImage("truncated")
    chunk, head = data[12:16], data[20:30].ljust(10, b"\0")
    width = height = 0
    if chunk == b"VP8X":
        width, height = int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    elif chunk == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", head[6:10]))
    if width * height > MAX_PIXELS:
        raise UnreadableImage("too_many_pixels")


def _unidentified(data: bytes) -> str:
    """A known beginning with a header that cannot be read is a broken image; anything else is none."""
    known = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "corrupt"
    if not data.startswith(known):
        return "unknown_format"
    return "truncated" if len(data) < 512 else "corrupt"


def _broken(error: Exception) -> str:
    said = str(error).lower()
    if (
        isinstance(error, EOFError)
        or "truncated" in said
        or "unexpected end" in said
        or "not enough image data" in said
    ):
        return "truncated"
    return "corrupt"


def _upright(image: ImageFile) -> Image.Image:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # broken camera data says nothing about the pixels
        return image


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image as ImageModule

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    elif image.mode in ("I", "F"):
        low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
        scale = 255.0 / (high - low) if high > low else 0.0
        image = image.convert("F").point(lambda value: value * scale - low * scale).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    white = ImageModule.new("RGB", clear.size, "white")
    white.paste(clear, mask=clear.getchannel("A"))
    return white
