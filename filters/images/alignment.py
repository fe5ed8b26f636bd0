"""How well each sentence of a caption fits its image, by a dual encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from filters.contract.filter import Filter
from filters.images.dual_encoder import Dtype, DualEncoder, Vectors, dual_encoder
from filters.models.text_pieces import pieces
from filters.models.transformers_checkpoint import Checkpoint
from filters.wording.noun_phrases import noun_phrases
from filters.wording.sentences import sentences

_CHARS_PER_TOKEN: Final = 8
"""No usual tokenizer makes tokens of English longer than that on average; it bounds what one caption can cost."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """One caption: the texts that are compared with its image, and the number of the sentence (or phrase) each is of."""

    texts: list[str]
    unit_of: list[int]
    overlong: float
    unjudged: bool


class Alignment(Filter):
    """How well each sentence of a caption fits its image, by CLIP, SigLIP or another dual encoder.

    **Finds** sentences about something else than the image. Each sentence is compared by itself, since such encoders read
    little more than a sentence, and a caption is as good as its worst one (`aggregate: min`) or as all together (`mean`).
    With `level: noun` each noun phrase is ("a small red circle"), which finds single wrong objects; in English, by rule.
    Nothing is cut silently: a sentence beyond the encoder's limit is split at clauses, then at words, and its pieces count as
    it; `overlong` is the share of such sentences, `pieces` the number of texts compared, `unjudged` says that a caption had
    more than `max_pieces`. `cosine_min` and `cosine_mean` are raw cosines, `worst` the text with the lowest.

    **Scores** of a model trained with a sigmoid (SigLIP): `sigmoid(scale * cosine + bias)` with the model's own scale and
    bias, a probability. Of others (CLIP): `(cosine - low) / (high - low)`, clipped to 0 and 1. Each is taken of the aggregated
    cosine. No score where text or image is null, the text has no word, or the image cannot be decoded (`reason` says why).
    Scores are rounded to four decimals. A caption of one image is one text forward a piece; the image's is shared.

    **Defaults.** The model is required: a directory or a Hub id at a pinned commit, weights as safetensors. `low` 0 and
    `high` 0.4 are CLIPScore's weight of 2.5 (arXiv 2104.08718): with CLIP ViT-B/32, DataComp keeps cosines from 0.28 on,
    a score of 0.7, and data-juicer's LLaVA recipe those from 0.203, 0.5. SigLIP's probabilities are low in absolute terms
    (0.1 can be a good caption): choose the threshold by quantile or labels. Computes in `dtype`, float32 by default, on
    `device`. The demo world's encoder has an AUROC of 0.937 for true against attribute-swapped sentences of unseen scenes, 0.517
    with the images shuffled (`bench/filters.py --only alignment`).

    **Example.** "A red circle is at the top. A dog sleeps." about a picture of a red circle has the score of its second
    sentence.
    """

    name: ClassVar[str] = "alignment"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("text", "image")
    holds_model: ClassVar[bool] = True
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "cosine_min": pl.Float64(),
        "cosine_mean": pl.Float64(),
        "worst": pl.String(),
        "pieces": pl.UInt32(),
        "overlong": pl.Float64(),
        "unjudged": pl.Boolean(),
        "reason": pl.String(),
    }

    model: str = Field(description="Directory of a transformers dual encoder saved as safetensors, or its Hub id.")
    revision: str | None = Field(None, description="Commit (40 hex digits) of a Hub id; required for one.")
    level: Literal["sentence", "noun"] = Field("sentence", description="What is compared by itself.")
    aggregate: Literal["min", "mean"] = Field("min", description="How the sentences' cosines make the caption's.")
    low: float = Field(0.0, ge=-1, le=1, description="Cosine of score 0; for models without a sigmoid.")
    high: float = Field(0.4, ge=-1, le=1, description="Cosine of score 1 (CLIPScore); for models without a sigmoid.")
    max_pieces: int = Field(256, ge=1, description="Most texts compared of one caption.")
    device: str = Field("auto", description='"auto" (a GPU where there is one), "cpu", "cuda", "cuda:1".')
    dtype: Dtype = Field("float32", description="What the model computes in; the shorter ones are for GPUs.")
    batch_size: int = Field(16, ge=1, description="Images encoded at once.")

    @model_validator(mode="after")
    def _low_below_high(self) -> Alignment:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        frame = self.inputs(captions)
        schema = {"score": pl.Float64(), **self.evidence}
        judged = frame.with_row_index("row").drop_nulls(["text", "image"])
        if judged.is_empty():
            return pl.DataFrame(schema=schema).clear(frame.height)
        encoder = dual_encoder(self._checkpoint(), self.device, self.dtype)
        parts = {text: self._parts(text, encoder) for text in judged["text"].unique(maintain_order=True)}
        wanted = list(dict.fromkeys(text for one in parts.values() for text in one.texts))
        vectors = dict(zip(wanted, encoder.texts(wanted), strict=True))
        seen, reasons = encoder.images(judged["image"].unique(maintain_order=True).to_list(), self.batch_size)
        rows: list[tuple[object, ...]] = [(None,) * len(schema)] * frame.height
        for row, text, image in judged.select("row", "text", "image").iter_rows():
            rows[row] = (
                (*(None,) * (len(schema) - 1), reasons[image])
                if image in reasons
                else self._judge(parts[text], vectors, seen[image], encoder)
            )
        return pl.DataFrame(rows, schema, orient="row")

    def models(self) -> dict[str, str]:
        return {"model": self._checkpoint().identity()}

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.name, self.model, self.revision)

    def _parts(self, text: str, encoder: DualEncoder) -> _Parts:
        most = self.max_pieces * encoder.limit * _CHARS_PER_TOKEN
        unjudged = len(text) > most
        found = [one.text for one in sentences(text[:most])]  # with their ends, which these encoders were trained on
        if self.level == "noun":
            found = list(dict.fromkeys(phrase for part in found for phrase in noun_phrases(part))) or found
        unjudged |= len(found) > self.max_pieces
        found = found[: self.max_pieces]
        texts: list[str] = []
        unit_of: list[int] = []
        overlong = 0
        for unit, tokens in enumerate(encoder.count_tokens(found)):
            split = [found[unit]]
            if tokens > encoder.limit:
                split = pieces(found[unit], encoder.limit, encoder.count_tokens)
                overlong += 1
            texts += split
            unit_of += [unit] * len(split)
        unjudged |= len(texts) > self.max_pieces
        return _Parts(texts[: self.max_pieces], unit_of[: self.max_pieces], overlong / max(1, len(found)), unjudged)

    def _judge(
        self, parts: _Parts, vectors: dict[str, Vectors], image: Vectors, encoder: DualEncoder
    ) -> tuple[object, ...]:
        if not parts.texts:
            return None, None, None, None, 0, 0.0, parts.unjudged, None
        cosines = [float(np.dot(vectors[text], image)) for text in parts.texts]
        lowest = min(cosines)
        mean = _mean_by(cosines, parts.unit_of)
        return (
            round(self._scored(lowest if self.aggregate == "min" else mean, encoder.sigmoid), 4),
            round(lowest, 4),
            round(mean, 4),
            parts.texts[cosines.index(lowest)],
            len(parts.texts),
            parts.overlong,
            parts.unjudged,
            None,
        )

    def _scored(self, cosine: float, sigmoid: tuple[float, float] | None) -> float:
        if sigmoid is not None:
            scale, bias = sigmoid
            return 1.0 / (1.0 + math.exp(-min(60.0, max(-60.0, scale * cosine + bias))))
        return min(1.0, max(0.0, (cosine - self.low) / (self.high - self.low)))


def _mean_by(values: Sequence[float], unit_of: Sequence[int]) -> float:
    """The mean over units of the mean of each unit's values."""
    units: dict[int, list[float]] = {}
    for value, unit in zip(values, unit_of, strict=True):
        units.setdefault(unit, []).append(value)
    return sum(sum(some) / len(some) for some in units.values()) / len(units)
