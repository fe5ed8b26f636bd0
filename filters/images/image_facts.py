"""What the image filters need to know of an image, found out once: a frame's images are decoded once for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from filters.images.pixels import UnreadableImage, decoded, open_image
from filters.images.remembered import Remembered

Found = TypeVar("Found")

_REMEMBERED: Final = 65_536
"""Images whose facts are kept in a process: some 30 MB, and more than the rows of a batch."""
_SIDE: Final = 128
"""Pixels a side that suffice for everything measured here."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of an image tells. `reason`: why it cannot be used, a key of `filters.images.pixels.REASONS`, else null.
    `width` and `height`: pixels as stored, null where the header could not be read."""

    reason: str | None
    width: int | None
    height: int | None
    animated: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What the pixels tell; all but `reason` is null where the image cannot be decoded.

    `note`: what is wrong with the file beside its pixels, in words, null where nothing is;
    `deviation`: of the colour channel that varies most, the standard deviation of its values from 0 to 255, on a 64x64
    thumbnail; `entropy`: of its grey values, in bits from 0 to 8; `phash`: the 64-bit perceptual hash.
    """

    reason: str | None
    note: str | None
    deviation: float | None
    entropy: float | None
    phash: int | None


def header(data: bytes) -> Header:
    """The header of an image file. Never raises for what the bytes are."""
    return _headers.get(data)


def look(data: bytes) -> Look:
    """The pixels of an image file, decoded once however often it is asked for. Never raises for what the bytes are."""
    return _looks.get(data)


def of_each(images: pl.Series, find: Callable[[bytes], Found]) -> list[Found | None]:
    """What `find` says of each image, asked once for equal bytes; null for null."""
    known: dict[bytes, Found] = {}
    found: list[Found | None] = []
    for data in images:
        if data is None:
            found.append(None)
            continue
        if data not in known:
            known[data] = find(data)
        found.append(known[data])
    return found


def perceptual_hash(grey: npt.NDArray[np.floating[Any]]) -> int:
    """The 64-bit perceptual hash of a grey image of 32x32 pixels, as the package imagehash computes it (`phash`): which of
    the 8x8 lowest frequencies of its cosine transform are above their median; the highest bit is the first of them.
    """
    low = (_cosines() @ grey @ _cosines().T)[:8, :8]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


@cache
def _cosines() -> npt.NDArray[np.float64]:
    """The DCT-II of 32 values as a matrix, not normalised, as scipy's."""
    steps = np.arange(32)
    return 2.0 * np.cos(np.pi * np.outer(steps, 2 * steps + 1) / 64)


def _read_header(data: bytes) -> Header:
    try:
        image = open_image(data)
    except UnreadableImage as unreadable:
        return Header(unreadable.reason, None, None, False)
    return Header(None, *image.size, image.animated)


def _look(data: bytes) -> Look:
    from PIL import Image

    try:
        found = decoded(open_image(data), _SIDE)
    except UnreadableImage as unreadable:
        return Look(unreadable.reason, None, None, None, None)
    rgb = found.image
    small = rgb.resize((64, 64), Image.Resampling.BOX)
    counts = np.asarray(small.convert("L").histogram(), dtype=np.float64) / 64**2
    counts = counts[counts > 0]
    grey = np.asarray(rgb.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    return Look(
        None,
        note="; ".join(found.notes) or None,
        deviation=float(np.asarray(small, dtype=np.float64).std(axis=(0, 1)).max()),
        entropy=float(abs((counts * np.log2(counts)).sum())),
        phash=perceptual_hash(grey),
    )


_headers = Remembered(_read_header, _REMEMBERED)
_looks = Remembered(_look, _REMEMBERED)
