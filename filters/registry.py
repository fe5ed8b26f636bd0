"""Finding filters by name: the ones of this package, and those that other packages register."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from filters.asking.caption_likelihood import CaptionLikelihood
from filters.asking.claims import Claims
from filters.asking.visual_pmi import VisualPmi
from filters.asking.vlm_judge import VlmJudge
from filters.asking.vqa_faithfulness import VqaFaithfulness
from filters.contract.filter import Filter, FilterError
from filters.images.alignment import Alignment
from filters.images.blank_image import BlankImage
from filters.images.duplicate_image import DuplicateImage
from filters.images.image_aspect import ImageAspect
from filters.images.image_hash import ImageHash
from filters.images.image_integrity import ImageIntegrity
from filters.images.image_size import ImageSize
from filters.images.nsfw import Nsfw
from filters.images.object_grounding import ObjectGrounding
from filters.images.ocr_consistency import OcrConsistency
from filters.images.watermark import Watermark
from filters.references.added_facts import AddedFacts
from filters.references.reference_match import ReferenceMatch
from filters.sets.consistency import Consistency
from filters.sets.exact_duplicates import ExactDuplicates
from filters.sets.language_drift import LanguageDrift
from filters.sets.length_cliff import LengthCliff
from filters.sets.near_duplicates import NearDuplicates
from filters.sets.opener_share import OpenerShare
from filters.sets.repeated_caption import RepeatedCaption
from filters.sets.shifted_rows import ShiftedRows
from filters.text.artifacts import Artifacts
from filters.text.boilerplate import Boilerplate
from filters.text.hedging import Hedging
from filters.text.language import Language
from filters.text.length import Length
from filters.text.opener import Opener
from filters.text.pii import Pii
from filters.text.prompt_leak import PromptLeak
from filters.text.quality import Quality
from filters.text.refusal import Refusal
from filters.text.repetition import Repetition
from filters.text.shape import Shape
from filters.text.token_confidence import TokenConfidence
from filters.text.toxicity import Toxicity
from filters.text.truncation import Truncation

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

GROUP: Final = "caption_factory.filters"
"""The entry point group. An entry point's name is the filter's name, its value `package.module:Class`."""

BUILT_IN: Final[dict[str, type[Filter]]] = {
    kind.name: kind
    for kind in (
        Length,
        Repetition,
        Truncation,
        PromptLeak,
        Refusal,
        TokenConfidence,
        Shape,
        Language,
        Boilerplate,
        Artifacts,
        Opener,
        Hedging,
        Pii,
        Toxicity,
        Quality,
        ExactDuplicates,
        NearDuplicates,
        RepeatedCaption,
        ShiftedRows,
        OpenerShare,
        LanguageDrift,
        LengthCliff,
        DuplicateImage,
        ImageIntegrity,
        ImageSize,
        ImageAspect,
        BlankImage,
        ImageHash,
        Nsfw,
        Watermark,
        Alignment,
        OcrConsistency,
        VqaFaithfulness,
        Claims,
        CaptionLikelihood,
        VisualPmi,
        VlmJudge,
        Consistency,
        ObjectGrounding,
        ReferenceMatch,
        AddedFacts,
    )
}


_REGISTERED: dict[str, type[Filter]] = {}


def register(kind: type[Filter]) -> None:
    """Make a filter known by its name in this process, without a package.

    Raises FilterError where it is no whole filter, or another one has its name. The same class may come again.
    """
    what = f"The filter {getattr(kind, '__name__', kind)!r}"
    _check(what, kind)
    known = BUILT_IN.get(kind.name) or _REGISTERED.get(kind.name)
    if known is not None and known is not kind:
        raise FilterError(f"{what} calls itself {kind.name!r}, as another filter does; it must have a name of its own.")
    _REGISTERED[kind.name] = kind


def unregister(name: str) -> None:
    """Forget a filter that `register` made known, so that another may have its name."""
    _REGISTERED.pop(name, None)


def registered() -> dict[str, type[Filter]]:
    """Every filter by name, the built-in ones first.

    Raises FilterError, naming the plugin and its package, where one cannot be loaded or is no filter.
    """
    return BUILT_IN | _REGISTERED | {name: _load(point) for name, point in _plugins().items()}


def build(name: str, params: Mapping[str, Any]) -> Filter:
    """The filter `name` with these parameters; loads no plugin but the one asked for.

    Raises FilterError for an unknown name or parameter (with the nearest one), or a value out of range.
    """
    kind = BUILT_IN.get(name) or _REGISTERED.get(name)
    if kind is None:
        plugins = _plugins()
        if name not in plugins:
            raise FilterError(_unknown(f"There is no filter {name!r}", name, [*BUILT_IN, *_REGISTERED, *plugins]))
        kind = _load(plugins[name])
    if not isinstance(params, Mapping):
        raise FilterError(f"{name}: parameters come as a mapping of names to values, not as {params!r}.")
    try:
        return kind.model_validate(dict(params))
    except ValidationError as error:
        raise FilterError("\n".join(_wrong(kind, detail) for detail in error.errors())) from None


def _plugins() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name in BUILT_IN:
            raise FilterError(f"{_plugin(point)} takes the name of a built-in filter; it must have a name of its own.")
        if point.name in _REGISTERED:
            raise FilterError(f"{_plugin(point)} has the name of a filter from a file; leave out one of them.")
        if point.name in found and found[point.name].value != point.value:
            raise FilterError(
                f"{_plugin(point)} and {_plugin(found[point.name])} have one name; uninstall one of them."
            )
        found[point.name] = point
    return found


def _load(point: EntryPoint) -> type[Filter]:
    try:
        kind = point.load()
    except Exception as error:
        raise FilterError(
            f"{_plugin(point)} cannot be loaded: {type(error).__name__}: {error}. Update or uninstall its package."
        ) from error
    kind = _check(_plugin(point), kind)
    if kind.name != point.name:
        raise FilterError(f"{_plugin(point)} calls itself {kind.name!r}; both names must be the same.")
    return kind


def _check(what: str, kind: Any) -> type[Filter]:
    if not (isinstance(kind, type) and issubclass(kind, Filter)):
        raise FilterError(f"{what} is {kind!r}, which is no subclass of filters.Filter.")
    unset = [field for field in ("name", "version", "needs") if not hasattr(kind, field)]
    if unset:
        raise FilterError(f"{what} leaves its class variables {', '.join(unset)} unset.")
    return kind


def _plugin(point: EntryPoint) -> str:
    package = f" of the package {point.dist.name}" if point.dist else ""
    return f"The filter plugin {point.name!r} ({point.value}){package}"


def _unknown(problem: str, name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"{problem}.{guess} There are: {', '.join(known) or 'none'}."


def _wrong(kind: type[Filter], detail: "ErrorDetails") -> str:
    parameter = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return _unknown(f"{kind.name} has no parameter {parameter!r}", parameter, list(kind.model_fields))
    where = f"{kind.name}.{parameter}" if parameter else kind.name
    if detail["type"] == "missing":
        return f"{where} is required: {kind.model_fields[parameter].description}"
    return f"{where}: {detail['msg']} (given: {detail['input']!r})."
