"""rapidocr's engine, which reads the printed words of images: its models, and one line as it found it."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filters.contract.filter import FilterError

if TYPE_CHECKING:
    from PIL import Image

_INSTALL: Final = "Install it with `pip install caption-factory[ocr]`, or `pip install rapidocr onnxruntime`."
_MAX_ASPECT: Final = 4
_MODELS: Final = {"detection": "PP-OCRv6_det_small.onnx", "recognition": "PP-OCRv6_rec_small.onnx"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was read: its text, the engine's confidence in [0, 1], and the pixels it fills, from the top left corner:
    left, top, right, bottom.
    """

    text: str
    confidence: float
    box: tuple[float, float, float, float]


class OcrEngine:
    """A loaded engine. What it reads in an image depends on the image and the models alone."""

    def __init__(self, asked_by: str, detection: Path, recognition: Path, threads: int) -> None:
        """Raises FilterError, which begins with `asked_by`: a package is missing, or a model cannot be loaded."""
        self._engine = _engine(asked_by, str(detection), str(recognition), threads)

    def lines(self, image: Image.Image, min_confidence: float) -> list[Line]:
        """The lines of an RGB image from the top, those with at least this confidence. The engine promises no list of exceptions."""
        import numpy as np

        padded, left, top = _at_most_elongated(image)
        found = self._engine(np.asarray(padded)[:, :, ::-1], text_score=min_confidence)  # it takes BGR, as OpenCV
        if not found.txts:
            return []
        lines = []
        for text, score, corners in zip(found.txts, found.scores, found.boxes, strict=True):
            across, down = [float(x) - left for x, _ in corners], [float(y) - top for _, y in corners]
            lines.append(Line(str(text), float(score), (min(across), min(down), max(across), max(down))))
        return lines


def ocr_models(asked_by: str, detection: str | None, recognition: str | None) -> dict[str, Path]:
    """The files of the models by parameter, those of the package where none is given.

    Raises FilterError, which begins with `asked_by`: the package, or a file, is not there.
    """
    paths = {}
    for (name, bundled), given in zip(_MODELS.items(), (detection, recognition), strict=True):
        path = Path(given) if given else _bundled(asked_by, bundled)
        if not path.is_file():
            raise FilterError(
                f"{asked_by}.{name}: there is no file {str(path)!r}; give the path of an ONNX model."
                if given
                else f"{asked_by}: this version of rapidocr does not bring {path.name}; install rapidocr>=3.10, or "
                f"give {name}: the path of an ONNX model. Nothing is downloaded."
            )
        paths[name] = path
    return paths


def ocr_contents(asked_by: str, detection: str | None, recognition: str | None) -> dict[str, str]:
    """The sha256 of each model file by parameter. Raises FilterError as `ocr_models`."""
    return {name: _sha256(str(path)) for name, path in ocr_models(asked_by, detection, recognition).items()}


def _bundled(asked_by: str, file: str) -> Path:
    found = importlib.util.find_spec("rapidocr")
    if found is None or found.origin is None:
        raise FilterError(f"{asked_by} needs the packages rapidocr and onnxruntime. {_INSTALL}")
    return Path(found.origin).parent / "models" / file


def _at_most_elongated(image: Image.Image) -> tuple[Image.Image, int, int]:
    """With a white margin where it is longer than _MAX_ASPECT, and how wide that is at the left and above: the engine enlarges
    the shorter side to 736 pixels, which would make a thin strip tens of thousands of pixels long.
    """
    from PIL import Image as images

    least = -(-max(image.size) // _MAX_ASPECT)
    if min(image.size) >= least:
        return image, 0, 0
    padded = images.new("RGB", (max(image.width, least), max(image.height, least)), "white")
    left, top = (padded.width - image.width) // 2, (padded.height - image.height) // 2
    padded.paste(image, (left, top))
    return padded, left, top


@lru_cache(maxsize=2)
def _engine(asked_by: str, detection: str, recognition: str, threads: int) -> Any:
    try:
        import onnxruntime
        from rapidocr import RapidOCR
    except ImportError as error:
        raise FilterError(f"{asked_by} needs the packages rapidocr and onnxruntime ({error}). {_INSTALL}") from error
    try:
        for path in (detection, recognition):
            onnxruntime.InferenceSession(
                path, providers=["CPUExecutionProvider"]
            )  # rapidocr would load them at the first image
        return RapidOCR(
            params={
                "Global.use_cls": False,  # whether a line is upside down
                "Global.log_level": "critical",
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                # With paths, rapidocr looks nowhere else and downloads nothing.
                "Det.model_path": detection,
                "Rec.model_path": recognition,
            }
        )
    except Exception as error:  # onnxruntime's errors share no class
        raise FilterError(f"{asked_by}: {detection!r} and {recognition!r} cannot be loaded: {error}") from error


@lru_cache(maxsize=8)
def _sha256(path: str) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
