"""Images with too few pixels, or too many."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.images.image_facts import header, of_each


class ImageSize(Filter):
    """Whether an image has enough pixels to be worth a caption.

    **Finds** images whose shorter side, or number of pixels, is outside the limits. `min_side` is the shorter side in pixels,
    `megapixels` the number of pixels in millions; only the header is read.

    **Scores** 1 within the limits. Below, the share of the limit that is reached (of both, the smaller); above
    `max_megapixels`, the limit divided by what there is. No score where there is no image or its header cannot be read;
    `reason` then says why.

    **Defaults.** 200 pixels for the shorter side, as DataComp's basic filter (`apply_filter.py`); no limit on the number of
    pixels.

    **Example.** An image of 640 x 100 pixels scores 0.5.
    """

    name: ClassVar[str] = "image_size"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("image",)
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "min_side": pl.Int64(),
        "megapixels": pl.Float64(),
        "reason": pl.String(),
    }

    min_side: int = Field(200, ge=1, description="Fewest pixels of the shorter side (DataComp's basic filter: 200).")
    min_megapixels: float = Field(0.0, ge=0, description="Fewest pixels, in millions.")
    max_megapixels: float | None = Field(None, gt=0, description="Most pixels, in millions; null for no limit.")

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        images = self.inputs(captions)["image"]
        rows = [(None,) * 4 if answer is None else answer for answer in of_each(images, self._judge)]
        return pl.DataFrame(rows, {"score": pl.Float64, **self.evidence}, orient="row")

    def _judge(self, data: bytes) -> tuple[float | None, int | None, float | None, str | None]:
        found = header(data)
        if found.width is None or found.height is None:
            return None, None, None, found.reason
        shorter, megapixels = min(found.width, found.height), found.width * found.height / 1e6
        reached = [shorter / self.min_side]
        if self.min_megapixels:
            reached.append(megapixels / self.min_megapixels)
        if self.max_megapixels is not None:
            reached.append(self.max_megapixels / megapixels)
        return min(1.0, *reached), shorter, megapixels, None
