"""Text that a caption claims to read in the image, looked for by an OCR engine."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.images.ocr_engine import OcrEngine, ocr_contents, ocr_models
from filters.images.pixels import UnreadableImage, decode
from filters.images.remembered import Remembered
from filters.wording.claimed_text import claimed_texts, similarity

_REMEMBERED: Final = 4096


class OcrConsistency(Filter):
    """Whether the text that a caption says it reads is really in the image.

    **Finds** invented and misread lettering. Claimed is what stands in double quotes, and what follows "reads", "says",
    "labeled", "the words" and the like: in quotes of any kind, in capitals, or up to the end of the phrase ("a sign that says
    stop"); also capitals before "sign", "logo" and the like ("a STOP sign"). `claimed` lists it, `found` the lines that the OCR
    engine read, `similarity` for each claim that of the most similar stretch of what was read: 1 less the edit distance by the
    longer length, of letters and digits alone, in lower case. `missing` are the claims below `min_similarity`.

    **Scores** the lowest similarity. No score where the caption claims no text (most captions), where text or image is null,
    or where the image cannot be decoded or the engine fails on it (`reason` then says why; "ocr_failed" for the last).

    **Defaults.** Reads with rapidocr's PP-OCRv6 models, which lie in its package: nothing is downloaded; other ONNX models by
    `detection` and `recognition`. They read Latin and Chinese script. A line counts from a confidence of 0.5 on (the engine's
    own default). `min_similarity` 0.75 forgives one letter in four, as OCR of small letters needs; it changes the evidence, not
    the score. A core reads about three images of 640 x 480 pixels a second, and only images whose caption claims text are read.

    **Example.** 'The word "exit" is printed at the top.' scores 1 for an image that shows EXIT, 0 for one that shows OPEN.
    """

    name: ClassVar[str] = "ocr_consistency"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("text", "image")
    holds_model: ClassVar[bool] = True
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "claimed": pl.List(pl.String()),
        "similarity": pl.List(pl.Float64()),
        "missing": pl.List(pl.String()),
        "found": pl.List(pl.String()),
        "reason": pl.String(),
    }

    min_similarity: float = Field(0.75, ge=0, le=1, description="Similarity below which a claimed text is missing.")
    min_confidence: float = Field(0.5, ge=0, le=1, description="Confidence from which on a line that was read counts.")
    max_side: int = Field(1600, ge=64, description="Images are shrunk to this many pixels of the longer side.")
    detection: str | None = Field(None, description="Path of an ONNX model that finds lines; null for rapidocr's own.")
    recognition: str | None = Field(
        None, description="Path of an ONNX model that reads lines; null for rapidocr's own."
    )
    threads: int = Field(1, ge=1, description="Threads of the engine.")

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        frame = self.inputs(captions)
        schema = {"score": pl.Float64(), **self.evidence}
        claims = {text: claimed_texts(text) for text in frame["text"].drop_nulls().unique(maintain_order=True)}
        read: dict[bytes, list[str] | str] = {}
        rows: list[tuple[object, ...]] = []
        for text, image in frame.select("text", "image").iter_rows():
            claimed = claims.get(text) if image is not None else None
            if not claimed:
                rows.append((None, claimed, None, None, None, None))
                continue
            if image not in read:
                read[image] = self._read(image)
            found = read[image]
            if isinstance(found, str):
                rows.append((None, claimed, None, None, None, found))
                continue
            likeness = [round(similarity(claim, found), 4) for claim in claimed]
            missing = [claim for claim, like in zip(claimed, likeness, strict=True) if like < self.min_similarity]
            rows.append((min(likeness), claimed, likeness, missing, found, None))
        return pl.DataFrame(rows, schema, orient="row")

    def models(self) -> dict[str, str]:
        return ocr_contents(self.name, self.detection, self.recognition)

    def _read(self, data: bytes) -> list[str] | str:
        """The lines that were read, from the top; or the reason why the image cannot be decoded."""
        paths = ocr_models(self.name, self.detection, self.recognition)
        settings = str(paths["detection"]), str(paths["recognition"]), self.threads, self.min_confidence, self.max_side
        return _reader(*settings).get(data)


@lru_cache(maxsize=4)
def _reader(
    detection: str, recognition: str, threads: int, min_confidence: float, max_side: int
) -> Remembered[list[str] | str]:
    """Reads the lines of images, each image once."""
    engine = OcrEngine(OcrConsistency.name, Path(detection), Path(recognition), threads)

    def read(data: bytes) -> list[str] | str:
        try:
            image = decode(data, max_side)
        except UnreadableImage as unreadable:
            return unreadable.reason
        image.thumbnail((max_side, max_side))
        try:
            return [line.text for line in engine.lines(image, min_confidence)]
        except Exception:  # the engine promises no list of exceptions, and one odd image must not stop a run
            return "ocr_failed"

    return Remembered(read, _REMEMBERED)
