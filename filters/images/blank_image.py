"""Images of one colour, or nearly so: placeholders, failed renderings, black frames."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.images.image_facts import look, of_each


class BlankImage(Filter):
    """Whether there is anything to see in an image.

    **Finds** images of one colour or nearly so. `deviation` is the standard deviation of the colour channel that varies most
    (values from 0 to 255), `entropy` that of the grey values in bits, from 0 to 8; both on a thumbnail of 64 x 64 pixels, so
    that noise of single pixels does not count.

    **Scores** `deviation / min_deviation`, at most 1. No score where there is no image or it cannot be decoded; `reason` then
    says why.

    **Defaults.** 6: of 73 photos the flattest (a night shot) has 7.3, the median 64; of 300 demo scenes, small shapes on a light
    ground, the flattest has 9.

    **Example.** A grey image scores 0, a white one with a pale mark in a corner about 0.2.
    """

    name: ClassVar[str] = "blank_image"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("image",)
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "deviation": pl.Float64(),
        "entropy": pl.Float64(),
        "reason": pl.String(),
    }

    min_deviation: float = Field(6.0, gt=0, le=127.5, description="Deviation from which on the score is 1 (measured).")

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        images = self.inputs(captions)["image"]
        rows = [(None,) * 4 if answer is None else answer for answer in of_each(images, self._judge)]
        return pl.DataFrame(rows, {"score": pl.Float64, **self.evidence}, orient="row")

    def _judge(self, data: bytes) -> tuple[float | None, float | None, float | None, str | None]:
        seen = look(data)
        if seen.deviation is None:
            return None, None, None, seen.reason
        return min(1.0, seen.deviation / self.min_deviation), seen.deviation, seen.entropy, None
