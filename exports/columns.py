"""The columns of every config of a release: the only place that names them.

| config | rows | folder |
| --- | --- | --- |
| default | one per image, with everything that is known of it | data/ |
| sft | one per question and answer: images, prompt, completion, as TRL takes them | sft/ |
| preference | one per image with a caption that a filter turned down beside its own: images, prompt, chosen, rejected, as TRL takes them | preference/ |
| text | one per image: its caption on one line, without the image | text/ |
| rejected | one per caption of the images that are not in the release, without the image | rejected/ |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from exports.features import Features, Image, List, Value

if TYPE_CHECKING:
    import polars as pl

CAPTION_FIELDS: Final = (
    "view", "candidate", "rung", "cut_from", "text", "rewritten", "status", "kept", "reason", "finish_reason", "mean_logprob", "min_logprob", "output_tokens",
    "prompt_id", "prompt", "seed", "model", "model_revision", "lora", "template_sha256", "engine", "fingerprint",
)  # fmt: skip
"""What a release says of every caption, beside its scores."""
FOLDERS: Final = {"default": "data", "sft": "sft", "preference": "preference", "text": "text", "rejected": "rejected"}
DICTIONARY: Final = frozenset(
    {
        "view", "source", "license", "drop_reason", "run_id", "recipe_id", "status", "reason", "finish_reason", "prompt_id", "prompt",
        "model", "model_revision", "lora", "template_sha256", "engine", "fingerprint", "question", "role",
    }
)  # fmt: skip
"""Columns of few different values, at whatever depth."""


def features(config: str, filters: Iterable[str]) -> Features:
    """The columns of a config as `datasets` describes them. Scores are float64 in [0, 1], higher is better."""
    text, number = Value("string"), Value("float64")
    columns: dict[str, Any]
    scores = {f"score_{name}": number for name in filters}
    message = List({"role": text, "content": text})
    if config == "sft":
        return Features({"images": List(Image()), "prompt": message, "completion": message})
    if config == "preference":
        return Features(
            {"id": text, "images": List(Image()), "prompt": message, "chosen": message, "rejected": message}
        )
    if config == "text":
        return Features({"id": text, "text": text, "words": Value("int32"), "view": text})
    if config == "rejected":
        columns = {"id": text, "view": text, "candidate": Value("int16"), "text": text, "status": text, "reason": text}
        return Features({**columns, **scores, "run_id": text, "recipe_id": text})
    kinds: dict[str, Any] = dict.fromkeys(("candidate", "rung", "cut_from"), Value("int16"))
    kinds |= {"kept": Value("bool"), "output_tokens": Value("int32")}
    kinds |= {"mean_logprob": number, "min_logprob": number, "seed": Value("int64")}
    captions = {name: kinds.get(name, text) for name in CAPTION_FIELDS} | scores
    columns = {
        "id": text,
        "image": Image(),
        "caption": text,
        "view": text,  # of `caption`
        "original": text,
        "source": text,
        "source_fields": text,  # JSON
        "license": text,  # of the image
        "sha256": text,  # of the image's bytes, hex
        "bytes": Value("int64"),
        "width": Value("int32"),  # pixels as stored
        "height": Value("int32"),
        "keep": Value("bool"),
        "drop_reason": text,  # null where kept
        **scores,  # of `caption`
        "turns": List({"question": text, "answer": text, "view": text}),
        "captions": List(captions),
        "run_id": text,
        "recipe_id": text,
    }
    return Features(columns)


def rest_schema(filters: Iterable[str]) -> pl.Schema:
    """The default config's columns as a Polars schema for `RowBatch.rest`: `file_name` instead of `image`, no ids."""
    import polars as pl

    kinds: dict[str, Any] = dict.fromkeys(("candidate", "rung", "cut_from"), pl.Int16)
    kinds |= {"kept": pl.Boolean, "output_tokens": pl.Int32, "seed": pl.Int64}
    scores = [f"score_{name}" for name in filters]
    kinds |= dict.fromkeys(["mean_logprob", "min_logprob", *scores], pl.Float64)
    captions = pl.Struct({name: kinds.get(name, pl.String) for name in (*CAPTION_FIELDS, *scores)})
    texts: dict[str, Any] = dict.fromkeys(
        ("id", "file_name", "caption", "view", "original", "source", "source_fields", "license", "sha256"), pl.String
    )
    return pl.Schema(
        {
            **texts,
            "bytes": pl.Int64,
            "width": pl.Int32,
            "height": pl.Int32,
            "keep": pl.Boolean,
            "drop_reason": pl.String,
            **dict.fromkeys(scores, pl.Float64),
            "turns": pl.List(pl.Struct(dict.fromkeys(("question", "answer", "view"), pl.String))),
            "captions": pl.List(captions),
        }
    )
