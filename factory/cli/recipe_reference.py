"""Writes docs/recipe.md from the recipe's models: `python -m factory.cli.recipe_reference docs/recipe.md`."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import filters
from factory import recipe as models
from factory.experts.kinds import shipped_kinds
from factory.images.reasons import REASONS
from factory.rounds.training_settings import Lora, Training
from factory.runs.tables import Failure, Status

HEAD = """\
# Recipe reference

Made from the models in `factory/recipe.py` by `make docs`; do not edit. A recipe is one YAML file; unknown keys are
errors. `--set key.path=value` changes a value (`--set views.detailed.sampling.n=2`; list items by index or `name`).
Paths are relative to the directory you run in; every path may be any fsspec URL (`s3://`, `gs://`, `hf://`, ...).
"""

SECTIONS: tuple[tuple[str, str, Any], ...] = (
    ("Recipe", "", models.Recipe),
    ("Source: folder", "source", models.FolderSource),
    ("Source: parquet", "source", models.ParquetSource),
    ("Source: webdataset", "source", models.WebDatasetSource),
    ("Source: huggingface", "source", models.HuggingFaceSource),
    ("Source: demo", "source", models.DemoSource),
    *((f"Expert: {name}", "experts.<name>", kind) for name, kind in sorted(shipped_kinds().items())),
    ("View", "views[]", models.View),
    ("Served model", "views[].model", models.ServedModel),
    ("Price", "views[].model.price", models.Price),
    ("Prompt", "views[].prompts[]", models.Prompt),
    ("Sampling", "views[].sampling", models.Sampling),
    ("Image", "views[].image", models.ImageSettings),
    ("Repair", "repair", models.Repair),
    ("Rung", "repair.regenerate[]", models.Rung),
    ("Select", "select", models.Select),
    ("Keep top", "select.keep_top.<filter>", models.KeepTop),
    ("Release", "release", models.Release),
    ("Training", "factory train --recipe", Training),
    ("LoRA", "lora (of a training)", Lora),
)


def reference() -> str:
    """The page."""
    lines = [HEAD]
    for title, where, model in SECTIONS:
        lines += [f"## {title}", "", *([f"`{where}`", ""] if where else []), inspect.cleandoc(model.__doc__ or ""), ""]
        lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *_rows(model), ""]
    lines += [
        "## Filters",
        "",
        "`filters[]`: a name, or `name: {parameter: value}`. `factory filters NAME` shows the same page.",
        "",
    ]
    for name, cls in sorted(filters.registered().items()):
        lines += [f"### {name}", "", inspect.cleandoc(cls.__doc__ or ""), ""]
        if cls.model_fields:
            lines += ["| parameter | type | default | meaning |", "| --- | --- | --- | --- |", *_rows(cls), ""]
    lines += ["## How rows end", "", "Every source row is in exactly one state:", ""]
    lines += ["| state | meaning |", "| --- | --- |", *(f"| `{state}` | {_STATES[state]} |" for state in Status), ""]
    lines += ["Reasons of `failed`:", "", "| reason | meaning |", "| --- | --- |"]
    lines += [*(f"| `{reason}` | {_FAILURES[reason]} |" for reason in Failure), ""]
    lines += ["Reasons of `quarantined`:", "", "| reason | what it means and what to do |", "| --- | --- |"]
    lines += [f"| `{reason}` | {text} |" for reason, text in REASONS.items()]
    return "\n".join(lines) + "\n"


_STATES = {
    Status.ok: "a complete caption",
    Status.truncated: "cut at `max_tokens`; done, and kept only where `select.accept` names it",
    Status.failed: "no caption this time; the next run tries again",
    Status.quarantined: "the image cannot be used; tried again only when the view's `image` settings change",
}
_FAILURES = {
    Failure.empty: "the model answered with nothing but white space",
    Failure.only_reasoning: "the model thought and gave no answer; raise `max_tokens`, or set `chat_template: {enable_thinking: false}`",
    Failure.timeout: "one request took longer than the view's `timeout_s`",
    Failure.engine_died: "the engine died whenever it was given this image, at last with it alone",
    Failure.refused: "the engine refused the request, for example a prompt longer than `max_model_len`",
    Failure.no_context: "an expert that the prompt asks for failed on this image, and the view has `without: skip`",
    Failure.no_original: "the prompt asks for `{original}` and the image has no text; write `{original|words}` for a fallback",
    Failure.no_input: "a fusion has no caption for a place of its prompt, nor one of its `fallback`; made when there is one",
    Failure.source_unreadable: "the file could not be read this time",
}


def _rows(model: Any) -> list[str]:
    rows = []
    for name, info in model.model_fields.items():
        required = info.is_required()
        default = "required" if required else f"`{_plain(info.get_default(call_default_factory=True))}`"
        rows.append(
            f"| `{info.alias or name}` | {_type(info.annotation)} | {default} | {_cell(info.description or '')} |"
        )
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, models.Part):
        return "see below"
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value, default=str)


def _type(annotation: Any) -> str:
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    for old, new in (
        ("typing.", ""),
        ("factory.recipe.", ""),
        ("factory.rounds.training_settings.", ""),
        ("NoneType", "null"),
        ("None", "null"),
        (", ...]", "]"),
        ("tuple[", "list["),
    ):
        text = text.replace(old, new)
    if "FolderSource" in text:
        text = "one of the sources below"
    if "factory.experts" in text:
        text = "name: {kind: ...} of an expert below"
    return _cell(f"`{text}`" if text.isidentifier() else text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
