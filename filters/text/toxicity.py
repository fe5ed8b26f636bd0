"""Captions that a text classifier calls toxic."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter, FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HARMLESS: Final = frozenset(
    [
        "label_0",
        "non-toxic",
        "non_toxic",
        "nontoxic",
        "not_toxic",
        "not-toxic",
        "neutral",
        "normal",
        "safe",
        "clean",
        "ok",
        "none",
        "nothate",
        "not_hate",
        "not-hate",
        "non-hate",
        "no_hate",
        "non-offensive",
        "not_offensive",
        "not-offensive",
        "acceptable",
    ]
)
_CHARS_PER_TOKEN: Final = 8
"""No usual tokenizer makes tokens of English longer than that on average; it bounds what one caption can cost."""


class Toxicity(Filter):
    """How toxic a classifier finds a caption.

    **Finds** what the model given was trained to find: insults, threats, hate, obscenity.

    **Scores** `1 - p`, where p is the largest probability of a toxic label (named in `label`) in any part of the caption: text
    beyond the model's limit is judged in parts, up to `max_tokens`; `unjudged` says that more was left. Probabilities are by sigmoid where the
    model says that its labels are independent (`problem_type`), else by softmax. Empty text scores 1, null text has no score.
    Scores are rounded to four decimals.

    **Defaults.** The model is required: a directory or Hub id of any `transformers` text classifier saved as safetensors, such
    as detoxify's `unitary/toxic-bert`. Toxic are all labels but those that say harmless ("neutral", "non-toxic",
    "LABEL_0", ...), unless `labels` names them. Detoxify's documentation takes 0.5 for toxic, a score below 0.5 here; 0.13 % of
    PixelProse's captions were found toxic. A model of BERT's size judges 50 to 200 captions a second on a processor.

    **Example.** With detoxify, "a stupid ugly man" scores about 0.02.
    """

    name: ClassVar[str] = "toxicity"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    holds_model: ClassVar[bool] = True
    evidence: ClassVar[dict[str, pl.DataType]] = {"label": pl.String(), "unjudged": pl.Boolean()}

    model: str = Field(description="Directory or Hub id of a transformers text classifier (safetensors).")
    labels: tuple[str, ...] | None = Field(None, description="Its toxic labels; null for all that do not say harmless.")
    max_tokens: int = Field(
        4096, ge=16, description="Most tokens judged of one caption, in parts of the model's limit."
    )
    device: str = Field("cpu", description='Where the model runs: "cpu", "cuda", "cuda:1".')
    batch_size: int = Field(
        1,
        ge=1,
        description="Parts judged at once. Above 1 is faster on a GPU; a last digit may then depend on the batch.",
    )

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        texts = self.inputs(captions)["text"]
        schema = {"score": pl.Float64, "label": pl.String, "unjudged": pl.Boolean}
        if texts.null_count() == texts.len():
            return pl.DataFrame([(None, None, None)] * texts.len(), schema, orient="row")
        classifier = _classifier(self.model, self.device)
        toxic = self._toxic(classifier.labels)
        rows: list[tuple[float | None, str | None, bool | None]] = []
        limit = self.max_tokens * _CHARS_PER_TOKEN
        given = [text for text in texts if text is not None]
        found = classifier.probabilities([text[:limit] for text in given], self.max_tokens, self.batch_size)
        for text in texts:
            if text is None:
                rows.append((None, None, None))
                continue
            probabilities, cut = next(found)
            label = max(toxic, key=lambda name: probabilities[name])
            rows.append((round(1.0 - probabilities[label], 4), label, cut or len(text) > limit))
        return pl.DataFrame(rows, schema, orient="row")

    def models(self) -> dict[str, str]:
        folder = Path(self.model)
        if not folder.is_dir():
            return {"model": self.model}
        digest = hashlib.sha256()
        for file in sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.json")):
            digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        return {"model": digest.hexdigest()}

    def _toxic(self, labels: Sequence[str]) -> list[str]:
        wanted = (
            [label for label in labels if label.lower() not in _HARMLESS] if self.labels is None else [*self.labels]
        )
        unknown = [label for label in wanted if label not in labels]
        if unknown or not wanted:
            raise FilterError(
                f"toxicity.labels: name the toxic ones of {', '.join(map(repr, labels))}"
                + (f"; {', '.join(map(repr, unknown))} is none of them." if unknown else ".")
            )
        return wanted


class _Classifier:
    def __init__(self, tokenizer: Any, model: Any, device: str) -> None:
        self._tokenizer, self._model, self._device = tokenizer, model.eval().to(device), device
        config = model.config
        self.labels = [config.id2label[number] for number in range(config.num_labels)]
        self._independent = config.problem_type == "multi_label_classification"
        # Some tokenizers have no limit of their own, and RoBERTa's first position is its third.
        positions = getattr(config, "max_position_embeddings", 512) - (2 if "roberta" in config.model_type else 0)
        self._limit = max(8, min(tokenizer.model_max_length, positions))

    def probabilities(
        self, texts: Sequence[str], max_tokens: int, batch_size: int
    ) -> Iterator[tuple[dict[str, float], bool]]:
        """For each text the largest probability of each label in any of its parts, and whether some of it was not judged."""
        most = -(-max_tokens // self._limit)
        parts = [self._parts(text) for text in texts]
        judged = iter(self._judge([part for of_one in parts for part in of_one[:most]], batch_size))
        for of_one in parts:
            rows = [next(judged) for _ in of_one[:most]]
            yield {name: max(row[at] for row in rows) for at, name in enumerate(self.labels)}, len(of_one) > most

    def _parts(self, text: str) -> list[list[int]]:
        found = self._tokenizer(text, truncation=True, max_length=self._limit, return_overflowing_tokens=True)[
            "input_ids"
        ]
        return list(found)

    def _judge(self, parts: list[list[int]], batch_size: int) -> list[list[float]]:
        import torch

        order = sorted(range(len(parts)), key=lambda at: len(parts[at]))
        judged: list[list[float]] = [[]] * len(parts)
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            batch = self._tokenizer.pad({"input_ids": [parts[at] for at in places]}, return_tensors="pt")
            with torch.inference_mode():
                logits = self._model(**batch.to(self._device)).logits.float()
            rows = logits.sigmoid() if self._independent else logits.softmax(-1)
            for at, row in zip(places, rows.tolist(), strict=True):
                judged[at] = row
        return judged


@lru_cache(maxsize=2)
def _classifier(model: str, device: str) -> _Classifier:
    try:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as error:
        raise FilterError(
            "toxicity needs torch and transformers: `pip install caption-factory[cpu]` or [gpu]."
        ) from error
    try:
        # Weights in pickles can run code; safetensors cannot.
        loaded = AutoModelForSequenceClassification.from_pretrained(model, use_safetensors=True)
        return _Classifier(AutoTokenizer.from_pretrained(model), loaded, device)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise FilterError(f"toxicity: {model!r} cannot be loaded as a text classifier: {error}") from error
