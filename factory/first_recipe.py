"""`factory init`: a first recipe for what a user has, made by looking at it."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import yaml

from exports.storage import Storage
from factory.errors import SourceError
from factory.filtering import DEFAULTS, source_settings
from factory.recipe import as_recipe
from factory.runs.run import Run

MODELS: Final = {
    "demo": (
        "demo:small",
        "ships with the factory, works offline; knows drawn scenes alone, so it shows how everything works",
    ),
    "small": ("HuggingFaceTB/SmolVLM-256M-Instruct", "photographs, on a CPU; 0.5 GB, downloaded once"),
    "large": ("Qwen/Qwen3-VL-8B-Instruct", "photographs, on a GPU with 24 GB or more"),
}
"""Word -> the model, and what it is for."""
LOOK_AT: Final = 32
"""Rows that are looked at."""
PROMPT: Final = "Describe the image in detail. Say only what can be seen."


@dataclass(frozen=True)
class Found:
    """What a source is, by its first rows: of `rows` looked at, `images` have an image and `texts` a caption."""

    settings: dict[str, Any]
    rows: int
    images: int
    texts: int

    def words(self) -> str:
        """In a sentence."""
        seen = f"of the first {self.rows:,} rows {self.images:,} have an image and {self.texts:,} a caption"
        return f"{self.settings['kind']}: {seen}"


def look(source: str, text: str | None = None, image: str | None = None, id: str | None = None) -> Found:
    """What lies at a path, URL or Hub id; `demo` is the demo world.

    Args:
        source: a folder, tar, Parquet file, file of captions, dataset on disk, hub:org/name@revision, or demo.
        text, image, id: columns, where their names are not the usual ones.

    Raises:
        SourceError: nothing is there, or none of its first rows has an image or a caption.
    """
    if source == "demo":
        return Found({"kind": "demo", "scenes": 64}, 64, 64, 38)
    settings = source_settings(source, text, image, id)
    if not text and settings["kind"] != "captions":
        settings.pop("text", None)  # the usual names are looked for
    rows = _first_rows(settings)
    found = Found(
        settings, len(rows), sum(row.data is not None for row in rows), sum(row.text is not None for row in rows)
    )
    if not found.images and not found.texts:
        detail = next((row.detail or row.problem for row in rows if row.detail or row.problem), "")
        raise SourceError(
            f"{source}: read as {settings['kind']}, none of its first {len(rows):,} rows has an image or a caption"
            + (f" ({detail})" if detail else "")
            + "; name the columns with --image and --text"
        )
    return found


def _first_rows(settings: dict[str, Any]) -> list[Any]:
    from factory.sources import open_source

    recipe = (
        as_recipe({"name": "look", "source": settings, "views": [_view("demo:small")]})
        if (settings["kind"] != "captions")
        else as_recipe({"name": "look", "source": settings, "original": True})
    )
    with tempfile.TemporaryDirectory(prefix="caption-factory-") as scratch:
        opened = open_source(recipe, Storage(scratch))
        return list(islice((row for shard in opened.shards() for row in opened.read(shard, 10**8)), LOOK_AT))


def _view(model: str) -> dict[str, Any]:
    return {
        "name": "detailed",
        "model": model,
        "prompts": [PROMPT],
        "sampling": {"temperature": 0.2, "max_tokens": 128},
    }


def first_recipe(found: Found, name: str, model: str = "demo") -> str:
    """A recipe's YAML for what was found, with words on what to change; it has been planned.

    Args:
        found: of `look`.
        name: of the run.
        model: a word of MODELS, or any model that `model:` of a recipe takes.

    Raises:
        RecipeError, SourceError: what keeps it from running.
    """
    from factory.work.plan import make_plan

    text = _captioning(found, name, MODELS.get(model, (model, ""))[0]) if found.images else _filtering(found, name)
    content = yaml.safe_load(text)
    for view in content.get("views", ()):
        view["model"] = MODELS["demo"][0]  # a real one may be out of reach from here
    with tempfile.TemporaryDirectory(prefix="caption-factory-") as scratch:
        make_plan(as_recipe(content), Run(Storage(scratch)), limit=1)
    return text


def recipe_name(source: str) -> str:
    """A run's name for a source: the last part of its path without its ending."""
    last = re.split(r"[\\/]", source.removeprefix("hub:").partition("@")[0].rstrip("/"))[-1]
    last = re.sub(r"[*?{}\[\]]+", "", last.partition(".")[0] or last)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-_")[:100] or "captions"


def _head(found: Found, file: str, what: str) -> str:
    return (
        f"# {what}\n# Looked at: {found.words()}.\n#\n"
        f"#   factory plan {file}        what it would do; starts nothing\n"
        f"#   factory preview {file}     16 images through everything, as an HTML page\n"
        f"#   factory run {file}         and again: only what is missing is made\n"
        "#\n# All keys: docs/recipe.md. All filters: factory filters.\n\n"
    )


def _captioning(found: Found, name: str, model: str) -> str:
    others = "".join(f"    #   {one:<36} {what}\n" for one, what in MODELS.values() if one != model)
    texts = (
        "original: true                # the source's own captions are scored and selected, too\n\n"
        if found.texts and found.settings.get("text")
        else ""
    )
    return (
        _head(found, f"{name}.yaml", "Caption images, score the captions, keep the good ones, release them.")
        + f"name: {name}\nseed: 17\n\n{_block('source', found.settings)}\n{texts}"
        + f"views:\n  - name: detailed\n    # Other models:\n{others}    model: {_plain(model)}\n"
        + f"    prompts:\n      - {_plain(PROMPT)}\n    sampling: {{temperature: 0.2, top_p: 0.9, max_tokens: 128}}\n\n"
        + "filters: [length, repetition, truncation, prompt_leak, refusal]\n\n"
        + "select:\n  require: {length: 1.0, repetition: 0.01, prompt_leak: 0.5, refusal: 0.5}\n  dedup: [exact]\n\n"
        + f"release:\n  to: datasets/{name}\n  license: unknown            # of the captions; say what your images allow\n"
    )


def _filtering(found: Found, name: str) -> str:
    require = {filter: least for filter, least in DEFAULTS.items() if least is not None}
    rules = ", ".join(f"{filter}: {least}" for filter, least in require.items())
    return (
        _head(found, f"{name}.yaml", "Score captions that others made and keep the good ones. No captioner is needed.")
        + f"name: {name}\nseed: 17\n\n{_block('source', found.settings)}\noriginal: true\n\n"
        + f"filters: [{', '.join(DEFAULTS)}]\n\n"
        + f"select:\n  require: {{{rules}}}\n  keep_unscored: [language]     # a caption of two words has no language\n\n"
        + f"release:\n  to: datasets/{name}\n  license: unknown\n"
    )


def _block(key: str, settings: dict[str, Any]) -> str:
    return str(yaml.safe_dump({key: settings}, sort_keys=False, allow_unicode=True))


def _plain(value: str) -> str:
    return str(yaml.safe_dump(value, allow_unicode=True, width=1000)).removesuffix("\n").removesuffix("...").rstrip()
