"""Images that do not decode, end too early, move, or are bombs."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.images.image_facts import header, look, of_each


class ImageIntegrity(Filter):
    """Whether an image is whole: it is decoded to the end.

    **Finds** files that are empty, no image, cut off, contradict their own format, would take too much memory (more than 89
    million pixels) or time to decode, and animations. `reason` says which: "empty", "unknown_format", "truncated", "corrupt",
    "too_many_pixels", "too_complex", "animated"; null for a whole image. `note` says what is wrong with a file beside its
    pixels, which are whole: a JPEG without its end mark, a PNG with a broken or huge text, a TIFF tag that comes twice.

    **Scores** 1 for a whole image, else 0. A row without an image has no score.

    **Defaults.** An animation scores 0, since a caption of it can speak of frames that nobody sees later; with
    `allow_animated` it is judged by its first frame that is not blank. The pixel limit is Pillow's own for decompression bombs.

    **Example.** A JPEG whose second half was lost in a download scores 0, "truncated".
    """

    name: ClassVar[str] = "image_integrity"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("image",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"reason": pl.String(), "note": pl.String()}

    allow_animated: bool = Field(False, description="Whether an animation counts as whole if its first frame is.")

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        images = self.inputs(captions)["image"]
        rows = [(None, None, None) if answer is None else answer for answer in of_each(images, self._judge)]
        return pl.DataFrame(rows, {"score": pl.Float64, "reason": pl.String, "note": pl.String}, orient="row")

    def _judge(self, data: bytes) -> tuple[float, str | None, str | None]:
        seen = look(data)
        reason = seen.reason
        if reason is None and not self.allow_animated and header(data).animated:
            reason = "animated"
        return float(reason is None), reason, seen.note
