"""What an expert is: parameters in, one image in, what was found out."""

from __future__ import annotations

import hashlib
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from factory.errors import FactoryError
from factory.experts.foreign_words import foreign_words

if TYPE_CHECKING:
    from PIL import Image

MOST_FINDINGS: Final = 200
FINDING_CHARS: Final = 500


class ExpertError(FactoryError):
    """An expert cannot be found, loaded or used as asked. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an expert found.

    `confidence` in [0, 1], None where it has none. `box`: left, top, right, bottom in pixels of the image it was given, from the
    top left corner; None where it is about the whole image.
    """

    text: str
    confidence: float | None = None
    box: tuple[float, float, float, float] | None = None


Found = str | Finding | None | Iterable["str | Finding"]
"""What `look` may give: a text, a finding, several of them, or None where it found nothing."""


class Expert(BaseModel, ABC):
    """Looks at images; its fields are its parameters.

    A new one is a class in a file: the class variables below, its parameters as fields, and `look`. Its docstring is its page, the
    first line its summary. It runs in a process of its own, so it may crash or hang on an image without harm to the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    """Its kind, as recipes name it."""
    version: ClassVar[int]
    """Raised whenever it could find something else, so that images are looked at, and captions made, anew."""
    regardless_of: ClassVar[frozenset[str]] = frozenset({"kind", "timeout_s", "threads"})
    """Fields on which nothing depends that it finds."""

    kind: str = Field(
        description="What it is: rapidocr, detector, tagger; the name that a plugin gave it; or module:name of an installed package."
    )
    timeout_s: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="Longest time that one image may take, in seconds; its start is not counted.",
    )
    max_side: int = Field(
        default=1600, ge=16, le=16_384, description="Images are shrunk to this many pixels of the longer side."
    )
    max_chars: int = Field(
        default=1000, ge=1, le=20_000, description="Longest text that goes into a prompt; a longer one is cut."
    )
    threads: int = Field(default=1, ge=1, le=256, description="Threads of each of its processes.")

    @model_validator(mode="before")
    @classmethod
    def _of_this_kind(cls, value: Any) -> Any:
        """In Python the class says it."""
        return {"kind": cls.name, **value} if isinstance(value, dict) else value

    @abstractmethod
    def look(self, image: Image.Image) -> Found:
        """What is found in an upright 8-bit RGB image. Models are loaded once, in `load`. Raises whatever it likes."""

    def load(self) -> None:
        """Load what `look` needs, in its own process, before the first image. Raises ExpertError."""
        return

    def check(self) -> None:
        """Look for packages and files without loading them, before a run starts. Raises ExpertError where one is not there."""
        return

    def models(self) -> dict[str, str]:
        """The content of each model that it reads, by parameter: with the parameters, what its findings come from.

        Raises ExpertError where a file cannot be read.
        """
        return {}

    def words(self, findings: list[Finding]) -> str:
        """The findings, of which there is at least one, as they stand in a prompt."""
        return ", ".join(finding.text for finding in findings)

    @classmethod
    def summary(cls) -> str:
        """The first line of its docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    def content(self) -> dict[str, Any]:
        """What identifies its findings, as JSON data: kind, version, parameters, models and, of a user's own, its code.

        Raises ExpertError where a model's file cannot be read.
        """
        models = self.models()
        parameters = self.model_dump(mode="json", exclude={*self.regardless_of, *models})
        own = {} if is_shipped(type(self)) else {"code": code_of(type(self))}
        return {"name": self.name, "version": self.version, "parameters": parameters, "models": models, **own}


SomeFunction = TypeVar("SomeFunction", bound=Callable[..., Found])
OF_FUNCTION: Final = "__caption_factory_expert__"


def expert(*, version: int) -> Callable[[SomeFunction], SomeFunction]:
    """A decorator that makes an expert of a function: its first parameter is the image, the others are the expert's parameters,
    each with an annotation and a default.

    >>> @expert(version=1)
    ... def size(image, unit: str = "pixels"):
    ...     "How large it is."
    ...     return f"{image.width} x {image.height} {unit}"
    """

    def mark(function: SomeFunction) -> SomeFunction:
        setattr(function, OF_FUNCTION, _of_function(function, version))
        return function

    return mark


def _of_function(function: Callable[..., Found], version: int) -> type[Expert]:
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    fields: dict[str, Any] = {}
    for one in parameters:
        if one.default is one.empty or one.annotation is one.empty:
            raise TypeError(f"{function.__name__}: the parameter {one.name} needs an annotation and a default")
        fields[one.name] = (one.annotation, one.default)

    def look(self: Expert, image: Image.Image) -> Found:
        return function(image, **{name: getattr(self, name) for name in fields})

    made = create_model(
        function.__name__, __base__=Expert, __module__=function.__module__, __doc__=function.__doc__, **fields
    )
    made.name, made.version = function.__name__, version
    made.look = look  # type: ignore[method-assign]
    made.__abstractmethods__ = frozenset()
    return made


def as_kind(value: Any) -> type[Expert] | None:
    """The expert that a class, or a function marked by `expert`, is; None for anything else."""
    made = getattr(value, OF_FUNCTION, value)
    is_whole = isinstance(made, type) and issubclass(made, Expert) and not inspect.isabstract(made)
    return made if is_whole else None


def check_kind(kind: type[Expert]) -> None:
    """Raises ExpertError where a class lacks what every expert has."""
    unset = [name for name in ("name", "version") if not isinstance(getattr(kind, name, None), (str, int))]
    if unset:
        raise ExpertError(f"the expert {kind.__name__} leaves its class variables {', '.join(unset)} unset")


def is_shipped(kind: type[Expert]) -> bool:
    """Whether it is one of this package, whose `version` says when it changes."""
    return kind.__module__.startswith("factory.experts.")


def code_of(kind: type[Expert]) -> str:
    """The sha256 of the file that a user's expert is written in: what it imports is not in it."""
    module = inspect.getmodule(kind)
    file = getattr(module, "__file__", None)
    return _sha256(file, Path(file).stat().st_mtime_ns) if file else kind.__qualname__


@lru_cache(maxsize=32)
def _sha256(file: str, changed_ns: int) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def findings_of(found: Found, width: int, height: int) -> list[Finding]:
    """What `look` gave as findings: at most MOST_FINDINGS of at most FINDING_CHARS printable characters; those without a word are
    left out. Boxes are shares of the image's width and height, in [0, 1].

    Raises:
        TypeError, ValueError: it gave something else, a confidence outside [0, 1], or a box that is none.
    """
    if found is None:
        return []
    listed = [found] if isinstance(found, (str, Finding)) else found
    if isinstance(listed, (bytes, Mapping)) or not isinstance(listed, Iterable):
        raise TypeError(f"it gave a {type(found).__name__} instead of a text, findings, or None")
    kept: list[Finding] = []
    for one in listed:
        if len(kept) == MOST_FINDINGS:
            break
        finding = Finding(one) if isinstance(one, str) else one
        if not isinstance(finding, Finding) or not isinstance(finding.text, str):
            raise TypeError(f"it gave a {type(one).__name__} among its findings instead of a text or a Finding")
        text = foreign_words(finding.text, FINDING_CHARS)
        if text:
            kept.append(Finding(text, _confidence(finding.confidence), _shares(finding.box, width, height)))
    return kept


def _confidence(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError(f"a confidence of {number:g}; it must be between 0 and 1")
    return round(number, 4)


def _shares(box: Any, width: int, height: int) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    numbers = [float(value) for value in box]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        raise ValueError(f"the box {numbers}; it must be left, top, right, bottom in pixels")
    sizes = (width, height, width, height)
    left, top, right, bottom = (
        round(min(1.0, max(0.0, value / size)), 4) for value, size in zip(numbers, sizes, strict=True)
    )
    return left, top, right, bottom
