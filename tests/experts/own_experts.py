"""Experts of these tests: what they do depends on the image, and each look is noted in a file."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from factory.experts import Expert, Finding, expert

FINDS, RAISES, LIES, HANGS, CRASHES, NOTHING = 20, 21, 22, 23, 24, 25
"""Widths of pictures."""


class Widths(Expert):
    """Says how wide an image is, and misbehaves at some widths."""

    name: ClassVar[str] = "widths"
    version: ClassVar[int] = 1

    notes: str = ""
    unit: str = "pixels"

    def look(self, image: Any) -> Any:
        print("what an expert prints is no answer")
        if self.notes:
            with Path(self.notes).open("a") as file:
                file.write(f"{image.width}\n")
        if image.width == RAISES:
            raise KeyError("no such width")
        if image.width == LIES:
            return [Finding("wide", confidence=7)]
        if image.width == HANGS:
            time.sleep(3600)
        if image.width == CRASHES:
            os.kill(os.getpid(), signal.SIGSEGV)
        return (
            None if image.width == NOTHING else [Finding(f"{image.width} {self.unit}", 0.5, (0, 0, image.width / 2, 5))]
        )


class Broken(Expert):
    """Cannot be loaded."""

    name: ClassVar[str] = "broken"
    version: ClassVar[int] = 1

    def load(self) -> None:
        raise OSError("its model is gone")

    def look(self, image: Any) -> None:
        return None


@expert(version=3)
def heights(image: Any, unit: str = "pixels") -> str:
    "How high an image is."
    return f"{image.height} {unit}"


def not_one(image: Any) -> str:
    return "no expert"


def picture(width: int, height: int = 40) -> bytes:
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "green").save(file, "PNG")
    return file.getvalue()
