"""The OCR expert as the demo captioner can use it: words in lower case and called a sign, as in the web texts it was taught with."""

from __future__ import annotations

from typing import ClassVar

from factory.experts import Finding
from factory.experts.rapidocr import RapidOcr


class DemoWords(RapidOcr):
    """The printed words of a demo scene."""

    name: ClassVar[str] = "demo_words"

    def words(self, findings: list[Finding]) -> str:
        return f"{' '.join(finding.text for finding in findings).lower()} sign"
