"""The perceptual hash of each image, to find near-duplicates by."""

from __future__ import annotations

from typing import ClassVar, Final

import polars as pl

from filters.contract.filter import Filter
from filters.images.image_facts import look, of_each

FLAT: Final = 2.0
"""Deviation (see `blank_image`) below which an image has no structure of which a hash would tell anything but noise."""


class ImageHash(Filter):
    """The perceptual hash of an image, which stays nearly the same when the image is scaled, recoded or lightly retouched.

    **Finds** no faults: `phash` is the hash, 64 bits by the signs of the lowest frequencies (the pHash of the package
    imagehash). Two images whose hashes differ in at most 4 bits are nearly always the same picture, in 5 to 10 they may be.

    **Scores** 1 where there is a hash. No score where there is no image, where it cannot be decoded, or where it is nearly of
    one colour, so that its hash would be noise; `reason` then says why ("flat" for the last).

    **Defaults.** None.

    **Example.** 73 photos and their copies of half the size, recoded at quality 60, differ in 0.4 bits on average, all but one
    in at most 4.
    """

    name: ClassVar[str] = "image_hash"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("image",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"phash": pl.UInt64(), "reason": pl.String()}

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        images = self.inputs(captions)["image"]
        rows = [(None,) * 3 if answer is None else answer for answer in of_each(images, _judge)]
        return pl.DataFrame(rows, {"score": pl.Float64, **self.evidence}, orient="row")


def _judge(data: bytes) -> tuple[float | None, int | None, str | None]:
    seen = look(data)
    if seen.phash is None or seen.deviation is None:
        return None, None, seen.reason
    return (None, None, "flat") if seen.deviation < FLAT else (1.0, seen.phash, None)
