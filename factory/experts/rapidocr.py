"""`kind: rapidocr`: the printed words of an image."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from factory.errors import missing_extra
from factory.experts.contract import Expert, ExpertError, Finding
from filters.contract.filter import FilterError

if TYPE_CHECKING:
    from PIL import Image

    from filters.images.ocr_engine import OcrEngine


class RapidOcr(Expert):
    """The printed words of an image, line by line from the top, read by rapidocr's PP-OCRv6 models (extra `ocr`).

    The models lie in the package, nothing is downloaded; they read Latin and Chinese script. A core reads about three images of
    640 x 480 pixels a second. In prompts the lines stand in double quotes.
    """

    name: ClassVar[str] = "rapidocr"
    version: ClassVar[int] = 1

    min_confidence: float = Field(default=0.6, ge=0, le=1, description="Confidence from which on a line counts.")
    min_letters: int = Field(
        default=2,
        ge=1,
        description="Letters and digits from which on a line counts: a drawn star is read as '★', a cross as 'x'.",
    )
    detection: str | None = Field(
        default=None, description="Path of an ONNX model that finds lines; unset: rapidocr's own."
    )
    recognition: str | None = Field(
        default=None, description="Path of an ONNX model that reads lines; unset: rapidocr's own."
    )

    def check(self) -> None:
        """Raises ExpertError: a package or a model is not there."""
        for module in ("rapidocr", "onnxruntime"):
            if importlib.util.find_spec(module) is None:
                raise ExpertError(f"the kind rapidocr: {missing_extra(module)}")
        self.models()

    def models(self) -> dict[str, str]:
        """The sha256 of both models. Raises ExpertError where one is not there."""
        from filters.images.ocr_engine import ocr_contents

        try:
            return ocr_contents("rapidocr", self.detection, self.recognition)
        except FilterError as error:
            raise ExpertError(str(error)) from None

    def load(self) -> None:
        """Raises ExpertError: a model cannot be loaded."""
        try:
            _ = self._engine
        except FilterError as error:
            raise ExpertError(str(error)) from None

    @cached_property
    def _engine(self) -> OcrEngine:
        from filters.images.ocr_engine import OcrEngine, ocr_models

        paths = ocr_models("rapidocr", self.detection, self.recognition)
        return OcrEngine("rapidocr", paths["detection"], paths["recognition"], self.threads)

    def look(self, image: Image.Image) -> list[Finding]:
        """A finding a line."""
        lines = self._engine.lines(image, self.min_confidence)
        words = [line for line in lines if sum(map(str.isalnum, line.text)) >= self.min_letters]
        return [Finding(line.text, line.confidence, line.box) for line in words]

    def words(self, findings: list[Finding]) -> str:
        """The lines in double quotes."""
        return ", ".join(f'"{finding.text.replace(chr(34), chr(39))}"' for finding in findings)


EXPERT = RapidOcr
