"""Decoded pixels of any mode to 8 bits within a pixel budget, in strips: a huge 16-bit image is never there twice."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
from PIL import Image, TiffImagePlugin

DRAFT_GAP = 1.5
_REDUCE_GAP = 2.0
"""How many times larger than wanted each side must stay after a fast, coarse step before the careful one: after the
decoder's own shrinking, and after block averages (Pillow calls this `reducing_gap` and advises 2). On 55 photographs
shrunk to 60,000 pixels, decoder gaps of 1, 1.5 and 2 gave at least 29, 36 and 36 dB against the careful way alone, at
4.9, 9.1 and 10.1 ms each; at a million pixels, a photograph of 12 megapixels takes four times as long with 2 as with
1.5."""

_STRIP_PIXELS = 1_000_000
_WITH_ALPHA = ("LA", "RGBA")
_EIGHT_BIT = ("L", "RGB", "CMYK", "LAB", *_WITH_ALPHA)


def fit(size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """The largest (width, height) of that aspect with at most `max_pixels` pixels; `size` itself where it has no more."""
    width, height = size
    if width * height <= max_pixels:
        return size
    # Each side is the largest integer not above side * sqrt(max_pixels / (width * height)).
    fitted_width = max(1, math.isqrt(max_pixels * width // height))
    fitted_height = max(1, math.isqrt(max_pixels * height // width))
    return min(fitted_width, max_pixels), min(fitted_height, max_pixels)


def shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """To `size` and to one of the modes L, LA, RGB, RGBA, CMYK or LAB, all of 8 bits per sample."""
    if (
        image.size == size
        and image.mode in _EIGHT_BIT
        and (image.mode in _WITH_ALPHA or not image.has_transparency_data)
    ):
        return image
    width, height = image.size
    factor = max(1, int(min(width / size[0], height / size[1]) / _REDUCE_GAP))
    rows = max(1, _STRIP_PIXELS // (width * factor)) * factor
    black_white = _black_and_white(image, rows)
    strips = (_strip(image, top, rows, factor, black_white) for top in range(0, height, rows))
    reduced = first = next(strips)
    if rows < height:
        reduced = Image.new(first.mode, (first.width, math.ceil(height / factor)))
        for number, strip in enumerate(chain([first], strips)):
            reduced.paste(strip, (0, number * rows // factor))
    if reduced.size == size:
        return reduced
    return reduced.resize(size, Image.Resampling.LANCZOS, box=(0, 0, width / factor, height / factor))


def _strip(image: Image.Image, top: int, rows: int, factor: int, black_white: tuple[float, float]) -> Image.Image:
    strip = _eight_bit(image.crop((0, top, image.width, min(top + rows, image.height))), black_white)
    return strip.reduce(factor) if factor > 1 else strip


def _black_and_white(image: Image.Image, rows: int) -> tuple[float, float]:
    """The values of `image` that become 0 and 255; of use for modes of more than 8 bits only."""
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        low, high = 0.0, float(2 ** min(16, tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]) - 1)
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        low, high = 0.0, 65535.0
    elif image.mode in ("I", "F"):
        low, high = math.inf, -math.inf
        for top in range(0, image.height, rows):
            values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
            values = values[np.isfinite(values)]
            if values.size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
        if image.mode == "F" and 0 <= low <= high <= 255:
            low, high = 0.0, 1.0 if high <= 1 else 255.0  # float images are usually saved with one of these two ranges
    else:
        return 0.0, 255.0
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero; Pillow inverts 8 bits only
        return high, low
    return low, high


_EIGHT_BIT_MODE = {"1": "L", "La": "LA", "RGBa": "RGBA", "PA": "RGBA", "P": "RGB", "RGBX": "RGB", "YCbCr": "RGB"}


def _eight_bit(strip: Image.Image, black_white: tuple[float, float]) -> Image.Image:
    transparency = strip.info.get("transparency")
    if strip.mode.startswith("I") or strip.mode == "F":
        values = np.asarray(strip)
        black, white = black_white
        scaled = (values.astype(np.float64) - black) / (white - black) * 255 if white != black else values * 0.0
        grey = Image.fromarray(np.clip(np.nan_to_num(scaled) + 0.5, 0, 255).astype(np.uint8))
        if isinstance(transparency, int):
            alpha = Image.fromarray(np.where(values == transparency, 0, 255).astype(np.uint8))
            return Image.merge("LA", (grey, alpha))
        return grey
    if strip.mode == "RGB" and isinstance(transparency, tuple) and max(transparency) > 255:
        # The transparent colour of a 16-bit PNG, of which Pillow keeps the upper bytes.
        strip.info["transparency"] = tuple(value >> 8 for value in transparency)
    if strip.mode not in ("LA", "RGBA", "CMYK", "LAB") and strip.has_transparency_data:
        return strip.convert("LA" if strip.mode in ("L", "La") else "RGBA")
    mode = _EIGHT_BIT_MODE.get(strip.mode, strip.mode)
    return strip if strip.mode == mode else strip.convert(mode)
