"""Whether the things that a caption names are in its image, by an open-vocabulary detector or by given labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, Literal, cast

import polars as pl
from pydantic import Field, model_validator

from filters.contract.filter import Filter
from filters.contract.sentence_columns import SENTENCES
from filters.images.dual_encoder import Dtype
from filters.images.object_detector import ObjectDetector, object_detector, opened
from filters.images.object_labels import Labels, labels, sha256
from filters.images.pixels import UnreadableImage
from filters.models.transformers_checkpoint import Checkpoint
from filters.wording.object_words import STUFF, NamedObject, Vocabulary, objects_of, vocabulary
from filters.wording.sentences import judged, sentences

_MAX_SENTENCES: Final = 500
_MAX_OBJECTS: Final = 200
"""Of a caption: what bounds the cost of one. More than any real caption has."""


class _ByInput:
    """A class variable with one value where the filter asks a model (and for the class), another where it reads labels."""

    def __init__(self, model: object, labels: object) -> None:
        self._model, self._labels = model, labels

    def __get__(self, filter_: ObjectGrounding | None, kind: type[ObjectGrounding]) -> object:
        return self._model if filter_ is None or filter_.labels is None else self._labels


class ObjectGrounding(Filter):
    """Whether the things that a caption names are in its image, by an open-vocabulary detector or by given labels.

    **Finds** invented objects. The objects are the heads of noun phrases, by rule and in English ("a wooden dining table": the
    table); what a sentence denies or compares with is none. With `model` a detector is asked for each: OWL-ViT, OWLv2 or
    Grounding DINO; stuff (sky, grass, water, walls, rooms, places) is not judged, since detectors that draw boxes around things
    are blind to it, nor are attributes, counts and relations. With `labels`, a file of the objects in each image, each object
    of a known kind is looked up under one name with its synonyms, as CHAIR does (arXiv 1809.02156): the kinds of `synonyms`,
    and the labels themselves; other nouns are not judged, unless `complete`. `objects` lists what was judged: `name`,
    `canonical` (its kind, where known), `score`, and `found`; `missing` the names that were not found.

    **Scores** of an object: with a detector the probability of the likeliest box, with labels 1 or 0. A sentence is as good as
    its least supported object (in `sentences`), a caption as its worst sentence (`aggregate: min`) or as all together
    (`mean`). No score where text or image is null, the image cannot be decoded or has no labels, or no object is
    named that can be judged; `reason` says why ("no_object", "no_labels", or why the image has no pixels). At most 200
    objects in the first 500 sentences of a caption are judged. Scores are rounded to four decimals.

    **Defaults.** One of `model` and `labels` is required. `found` begins at `min_score`; unset, at the default of the model's
    own processor (OWL 0.1, Grounding DINO 0.25); it changes the evidence, not the score. Detectors' probabilities are low
    and differ from one to the next: choose the threshold by labels or quantile. A detector looks at the image once for each
    caption. Tried with random weights only: the plumbing is tested, how well real checkpoints judge is not. `synonyms` unset:
    the 80 classes of MSCOCO with a list of words of our own. Labels are held in memory. How well nouns are found is in
    `docs/faithfulness.md`.

    **Example.** With labels ["dog", "frisbee"]: "A puppy jumps. A man watches." scores 0 (a man is missing), its first sentence 1.
    """

    name: ClassVar[str] = "object_grounding"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = cast(Any, _ByInput(("text", "image"), ("text", "image_key")))
    holds_model: ClassVar[bool] = cast(Any, _ByInput(True, False))
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "sentences": SENTENCES,
        "objects": pl.List(
            pl.Struct({"name": pl.String(), "canonical": pl.String(), "score": pl.Float64(), "found": pl.Boolean()})
        ),
        "missing": pl.List(pl.String()),
        "reason": pl.String(),
    }

    model: str | None = Field(
        None,
        description="Directory of a transformers detector (OWLv2, Grounding DINO) saved as safetensors, or its Hub id.",
    )
    revision: str | None = Field(None, description="Commit (40 hex digits) of a Hub id; required for one.")
    labels: str | None = Field(
        None, description="Parquet, CSV or JSONL file of the objects in each image, by `image_key`; instead of a model."
    )
    column: str = Field(
        "objects", description="Column of `labels`: a list of names, a JSON list, or names with , ; or | between them."
    )
    synonyms: str | None = Field(
        None,
        description="File of synonyms: JSON {name: [words]}, or a line of words a name; null for MSCOCO's 80 classes.",
    )
    complete: bool = Field(
        False, description="With labels: whether they name all there is, so that every noun is judged."
    )
    aggregate: Literal["min", "mean"] = Field("min", description="How the sentences' scores make the caption's.")
    min_score: float | None = Field(None, ge=0, le=1, description="Score from which on an object counts as found.")
    prompt: str | None = Field(
        None,
        description='How a detector is asked; {} is the name. Null: "a photo of a {}" for OWL, "{}" for Grounding DINO.',
    )
    device: str = Field("auto", description='"auto" (a GPU where there is one), "cpu", "cuda", "cuda:1".')
    dtype: Dtype = Field("float32", description="What the model computes in; the shorter ones are for GPUs.")

    @model_validator(mode="after")
    def _one_source(self) -> ObjectGrounding:
        if (self.model is None) == (self.labels is None):
            raise ValueError("give one of model (a detector) and labels (a file)")
        if self.prompt is not None and (self.prompt.count("{}") != 1 or self.prompt.count("{") != 1):
            raise ValueError("prompt must hold {} once, for the name, and no other braces")
        return self

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        frame = self.inputs(captions)
        known = vocabulary(self.synonyms)
        if self.labels is not None:
            given = labels(self.labels, self.column, f"{self.name}.labels")
            rows = self._by_labels(frame, known.also(given.names), given)
        else:
            rows = self._by_detector(frame, known)
        return pl.DataFrame(rows, {"score": pl.Float64(), **self.evidence}, orient="row")

    def models(self) -> dict[str, str]:
        files = {
            name: path for name, path in (("labels", self.labels), ("synonyms", self.synonyms)) if path is not None
        }
        found = {name: sha256(path, f"{self.name}.{name}") for name, path in files.items()}
        return found if self.model is None else {"model": self._checkpoint().identity(), **found}

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.name, self.model or "", self.revision)

    def _by_labels(self, frame: pl.DataFrame, known: Vocabulary, given: Labels) -> list[tuple[object, ...]]:
        least = 0.5 if self.min_score is None else self.min_score
        rows: list[tuple[object, ...]] = []
        for text, key in frame.select("text", "image_key").iter_rows():
            there = None if key is None else given.by_key.get(key)
            if text is None or there is None:
                rows.append((*(None,) * 4, "no_labels" if text is not None and key is not None else None))
                continue
            kinds = {known.canonical(name) for name in there}
            named = _named(text, known, lambda one: self.complete or one.canonical is not None)
            support = {one.name: float(one.canonical in kinds) for some in named for one in some}
            rows.append(self._judge(text, named, support, least))
        return rows

    def _by_detector(self, frame: pl.DataFrame, known: Vocabulary) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = [(None,) * 5] * frame.height
        judged_ = frame.with_row_index("row").drop_nulls(["text", "image"])
        if judged_.is_empty():
            return rows
        detector = object_detector(self._checkpoint(), self.device, self.dtype)
        least = detector.least if self.min_score is None else self.min_score
        seen: dict[tuple[str, bytes], tuple[object, ...]] = {}
        for row, text, image in judged_.select("row", "text", "image").iter_rows():
            if (text, image) not in seen:
                seen[text, image] = self._look(text, image, known, detector, least)
            rows[row] = seen[text, image]
        return rows

    def _look(
        self, text: str, image: bytes, known: Vocabulary, detector: ObjectDetector, least: float
    ) -> tuple[object, ...]:
        named = _named(text, known, lambda one: one.head not in STUFF)
        try:
            pixels = opened(image)
        except UnreadableImage as unreadable:
            return (*(None,) * 4, unreadable.reason)
        names = list(dict.fromkeys(one.name for some in named for one in some))
        support = dict(zip(names, detector.scores(pixels, names, self.prompt), strict=True)) if names else {}
        return self._judge(text, named, support, least)

    def _judge(
        self, text: str, named: list[list[NamedObject]], support: dict[str, float], least: float
    ) -> tuple[object, ...]:
        support = {name: round(score, 4) for name, score in support.items()}
        lowest = [min((support[one.name] for one in some), default=None) for some in named]
        parts = judged(sentences(text)[: len(lowest)], lowest)
        each = {one.name: one for some in named for one in some}
        objects = [
            {"name": name, "canonical": one.canonical, "score": support[name], "found": support[name] >= least}
            for name, one in each.items()
        ]
        missing = [name for name in each if support[name] < least]
        scores = [score for score in lowest if score is not None]
        if not scores:
            return None, parts, objects, missing, "no_object"
        score = min(scores) if self.aggregate == "min" else round(sum(scores) / len(scores), 4)
        return score, parts, objects, missing, None


def _named(text: str, known: Vocabulary, judges: Callable[[NamedObject], bool]) -> list[list[NamedObject]]:
    """The objects of each sentence that can be judged."""
    found: list[list[NamedObject]] = []
    left = _MAX_OBJECTS
    for one in sentences(text)[:_MAX_SENTENCES]:
        objects = [named for named in objects_of(one.text, known) if judges(named)][:left] if left else []
        left -= len(objects)
        found.append(objects)
    return found
