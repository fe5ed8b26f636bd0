"""Images much longer than wide: banners, strips, rules."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.images.image_facts import header, of_each


class ImageAspect(Filter):
    """Whether an image is of a usual shape.

    **Finds** banners and strips. `aspect` is the longer side divided by the shorter one, at least 1; only the header is
    read.

    **Scores** 1 up to `max_aspect`, above it `max_aspect / aspect`. No score where there is no image or its header cannot be
    read; `reason` then says why.

    **Defaults.** 3, as DataComp's basic filter (`apply_filter.py`). CC12M takes 2.5, CC3M 2.

    **Example.** An image of 1200 x 200 pixels, 6 to 1, scores 0.5.
    """

    name: ClassVar[str] = "image_aspect"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("image",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"aspect": pl.Float64(), "reason": pl.String()}

    max_aspect: float = Field(3.0, ge=1, description="Most times that the longer side may have of the shorter one.")

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        images = self.inputs(captions)["image"]
        rows = [(None,) * 3 if answer is None else answer for answer in of_each(images, self._judge)]
        return pl.DataFrame(rows, {"score": pl.Float64, **self.evidence}, orient="row")

    def _judge(self, data: bytes) -> tuple[float | None, float | None, str | None]:
        found = header(data)
        if found.width is None or found.height is None:
            return None, None, found.reason
        aspect = max(found.width, found.height) / max(1, min(found.width, found.height))
        return min(1.0, self.max_aspect / aspect), aspect, None
