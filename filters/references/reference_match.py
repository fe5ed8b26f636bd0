"""How well references of people bear a caption out."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import ClassVar

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter, FilterError
from filters.images.object_labels import KEY, file_stamp, read_table, sha256
from filters.models.transformers_checkpoint import Checkpoint
from filters.models.word_vectors import word_vectors
from filters.references.caption_match import matcher
from filters.references.object_match import ByVectors, Similarity
from filters.wording.object_words import vocabulary


class ReferenceMatch(Filter):
    """How well the captions that people wrote for the same image bear a caption out.

    **Finds** what references contradict, and captions that miss what people agree on: objects, counts, colours and other
    attributes, verbs. By rules for English; a `similarity` model knows more words for a thing.

    **Scores** a mean of three (weights in `filters.references.caption_match`): `mean`, how well what it says is borne out; `least`,
    its least object; `agreed`, of what references name, weighed by how many do, what it names. An object that no reference
    mentions is not wrong by itself: it counts 0.3, listed in `unmentioned`; what references deny (another number, another
    colour, a woman where all name a man) counts 0, listed in `contradicted`. No score, and a `reason`, where the text is null or
    says nothing that could be compared, or the image has no references.

    **Defaults.** References come from the file `references`, or from a column of that name beside the captions. No threshold:
    calibrate, or keep the best share. Three references and more are worth much more than one.

    **Example.** Against "A dog runs on grass." and "A brown dog is running.", "A dog runs." scores higher than "A cat runs.".
    """

    name: ClassVar[str] = "reference_match"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("image_key", "references")
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "mean": pl.Float64(),
        "least": pl.Float64(),
        "agreed": pl.Float64(),
        "unmentioned": pl.List(pl.String()),
        "contradicted": pl.List(pl.String()),
        "reason": pl.String(),
    }

    references: str | None = Field(
        None,
        description="Parquet, CSV or JSONL file with `image_key` and `references`, the captions that people wrote: a list, a "
        "JSON list as text, or one caption a row.",
    )
    column: str = Field("references", description="Column of that file.")
    synonyms: str | None = Field(
        None,
        description="File of synonyms: JSON {name: [words]}, or a line of words a name; null for MSCOCO's 80 classes.",
    )
    similarity: str | None = Field(
        None, description="Model that compares names: a fastText .bin, or a directory or Hub id of a text encoder."
    )
    revision: str | None = Field(None, description="Commit (40 hex digits) of a Hub id; required for one.")

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        frame = self.inputs(captions)
        schema = {"score": pl.Float64(), **self.evidence}
        given = _references(self.references, self.column, file_stamp(self.references, _FILE)) if self.references else {}
        known = vocabulary(self.synonyms)
        measure = _similarity(self.similarity, self.revision) if self.similarity is not None else None
        match = matcher(known, measure)
        rows: list[tuple[object, ...]] = []
        for text, key, beside in frame.select("text", "image_key", "references").iter_rows():
            about = given.get(str(key), ()) if self.references else tuple(one for one in beside or () if one)
            if text is None or not about:
                rows.append((*(None,) * 6, None if text is None else "no references of this image"))
                continue
            found = match(text, about)
            reason = "nothing to compare" if found.score is None else None
            parts = (None if one is None else round(one, 4) for one in (found.mean, found.least, found.agreed))
            rows.append((found.score, *parts, list(found.unmentioned), list(found.contradicted), reason))
        return pl.DataFrame(rows, schema=schema, orient="row") if rows else pl.DataFrame(schema=schema)

    def models(self) -> dict[str, str]:
        if self.references is None:
            raise FilterError(
                "reference_match.references: name the file with the references: Parquet, CSV or JSONL with `image_key` and "
                f"`{self.column}`."
            )
        found = {"references": sha256(self.references, _FILE)}
        if self.synonyms is not None:
            found["synonyms"] = sha256(self.synonyms, "reference_match.synonyms")
        if self.similarity is not None:
            is_file = self.similarity.endswith(".bin")
            found["similarity"] = (
                sha256(self.similarity, _SIMILARITY)
                if is_file
                else Checkpoint(_SIMILARITY, self.similarity, self.revision).identity()
            )
        return found


_FILE = "reference_match.references"
_SIMILARITY = "reference_match.similarity"


@lru_cache(maxsize=2)
def _similarity(model: str, revision: str | None) -> Similarity:
    return ByVectors(word_vectors(model, revision, _SIMILARITY))


@lru_cache(maxsize=2)
def _references(path: str, column: str, stamp: tuple[int, int]) -> dict[str, tuple[str, ...]]:
    """The captions in a file by image key; rows of one key are put together. Raises FilterError."""
    table = read_table(path, _FILE)
    for needed in (KEY, column):
        if needed not in table.columns:
            raise FilterError(f"{_FILE}: {path!r} has no column {needed!r}; found: {', '.join(table.columns)}.")
    found: dict[str, list[str]] = {}
    for place, (key, value) in enumerate(table.select(KEY, column).iter_rows()):
        if key is None:
            raise FilterError(f"{_FILE}: {path!r}: row {place + 1} has no {KEY}.")
        try:
            found.setdefault(str(key), []).extend(_captions(value))
        except ValueError:
            raise FilterError(
                f"{_FILE}: {path!r}: row {place + 1}, {column!r}: give a caption or a list of captions."
            ) from None
    return {key: tuple(texts) for key, texts in found.items()}


def _captions(value: object) -> list[str]:
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith("[") else [value]
    if value is None:
        return []
    if not isinstance(value, list) or not all(one is None or isinstance(one, str) for one in value):
        raise ValueError
    return [one for one in value if one and one.strip()]
