"""Bytes of an image file -> pixels a model can look at, or the reason why there are none, by the settings of a view.

The decoding itself, which trusts no byte, is that of `filters.images.decoding`: filters see the pixels that captioners see.
"""

import io
from dataclasses import dataclass

from PIL import Image

from factory.images.reasons import Reason, UnusableImageError
from factory.recipe import ImageSettings
from filters.images.decoding.decoder import ForeignImage
from filters.images.decoding.problems import UndecodableImage

VERSION = 2
"""Part of the fingerprint of prepared images: raised with every change after which the same bytes give other pixels or
another reason."""


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image ready for a model.

    `rgb` holds `height * width * 3` bytes, row by row from the top left, uint8 sRGB. `source_format` is Pillow's name
    of the format (`JPEG`, `PNG`, ...). `source_width` and `source_height` are the pixels as stored in the file, before
    it is turned upright. `frames` counts animation frames or pages, at least 1; in `rgb` is the one with the number
    `frame`, from 0: the first that is not blank. `notes` are printable lines of at most 200 characters that say what is
    wrong with the file beside its pixels; often there are none.
    """

    rgb: bytes
    width: int
    height: int
    source_format: str
    source_width: int
    source_height: int
    frames: int
    frame: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """An image that cannot be used: the reason, and a printable detail of one line, at most 200 characters."""

    reason: Reason
    detail: str


def prepare_image(data: bytes, settings: ImageSettings) -> PreparedImage | Rejection:
    """Turn the bytes of an image file into upright 8-bit sRGB pixels, within the view's pixel budget.

    The result has at most `settings.max_pixels` pixels in the aspect of the source, each side rounded down but at least
    1; an image within the budget keeps its size. Embedded ICC profiles are applied, a broken one is ignored. What is
    transparent comes on `settings.background`. Unsigned 16-bit grey is scaled by its nominal range; signed, 32-bit and
    float grey, which have none, by their own.

    The bytes may be anything. Every failure is a `Rejection`; no exception leaves but those that end the process
    (`KeyboardInterrupt`, `SystemExit`). Safe to call from several threads at once.
    """
    try:
        return _prepare(data, settings)
    except UnusableImageError as unusable:
        return Rejection(unusable.reason, _line(unusable.detail))
    except UndecodableImage as undecodable:
        return Rejection(Reason(undecodable.problem.value), _line(undecodable.detail))
    except MemoryError:
        return Rejection(Reason.out_of_memory, f"a file of {len(data):,} bytes")
    except Exception as error:  # a bad row must not stop a run
        return Rejection(Reason.corrupt, _line(f"{type(error).__name__}: {error}"))


def thumbnail(prepared: PreparedImage, side: int = 320) -> bytes:
    """JPEG bytes of the image with at most `side` pixels (≥ 1) on its longer side; a smaller image keeps its size."""
    image = Image.frombytes("RGB", (prepared.width, prepared.height), prepared.rgb)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _line(text: str) -> str:
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= 200 else line[:197] + "..."


def _prepare(data: bytes, settings: ImageSettings) -> PreparedImage:
    if len(data) > settings.max_bytes:
        raise UnusableImageError(Reason.too_many_bytes, f"{len(data):,} bytes, at most {settings.max_bytes:,} allowed")
    image = ForeignImage(data, settings.max_source_pixels)
    _check_shape(image.size, settings)
    decoded = image.decode(fitted=settings.max_pixels, background=settings.background)
    rgb = decoded.image
    notes = tuple(_line(note) for note in decoded.notes)
    return PreparedImage(
        rgb.tobytes(), *rgb.size, image.format, *image.size, frames=image.frames, frame=decoded.frame, notes=notes
    )


def _check_shape(size: tuple[int, int], settings: ImageSettings) -> None:
    short, long = sorted(size)
    if short < settings.min_side:
        raise UnusableImageError(Reason.too_small, f"{size[0]}x{size[1]}, at least {settings.min_side} a side needed")
    if long > settings.max_aspect * short:
        detail = f"{size[0]}x{size[1]} is 1:{long / short:.1f}, at most 1:{settings.max_aspect:g} allowed"
        raise UnusableImageError(Reason.too_elongated, detail)
