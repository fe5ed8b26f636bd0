"""`factory filter`: a recipe made of a source and filters alone."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from factory.errors import RecipeError, SourceError
from factory.recipe import ORIGINAL_IMAGE, Recipe, parse_recipe
from factory.recipe.yaml_text import RecipeText, read_yaml, set_value
from factory.sources.caption_files import SUFFIXES

DEFAULTS: Final[dict[str, float | None]] = {
    "length": 1.0,
    "shape": 1.0,
    "language": 0.5,
    "repetition": 0.5,
    "refusal": 0.5,
    "boilerplate": 0.5,
    "prompt_leak": 0.5,
    "artifacts": 0.5,
    "pii": 0.5,
    "opener": None,
    "hedging": None,
}
"""The text filters used where none are named, with the least score to keep a caption; null: scored only."""


def filter_recipe(
    source: str,
    name: str,
    filters: str | None = None,
    overrides: tuple[str, ...] = (),
    **columns: str | None,
) -> Recipe:
    """The recipe of `factory filter`: the texts of a source, filters and rules; no captioner.

    Args:
        source: a file, folder, glob or URL of captions or images, a dataset on disk, or a Hub id ('org/name@revision').
        name: of the run.
        filters: a YAML file with `filters`, and perhaps `select` and `release`; unset: DEFAULTS.
        overrides: `--set` texts.
        columns: `text`, `image` and `id`: names of columns, as the source's kind takes them.

    Raises:
        RecipeError, SourceError: what is wrong and what to do.
    """
    text = read_yaml(filters) if filters else RecipeText("factory filter", {})
    if not isinstance(text.data, dict) or set(text.data) - {"filters", "select", "release", "seed", "$schema"}:
        raise RecipeError(
            [f"{text.file}: a filters file has the keys filters, select, release and seed, as a recipe has"]
        )
    text.data.setdefault("filters", list(DEFAULTS))
    text.data |= {"name": name, "original": True, "source": source_settings(source, **columns)}
    chosen = [override for override in overrides if re.match(r"filters\b", override)]
    for override in chosen:
        set_value(text, override)
    if not filters:
        text.data["select"] = _default_rules(text.data["filters"])
    for override in overrides:
        if override not in chosen:
            set_value(text, override)
    return parse_recipe(text)


def _default_rules(filters: Any) -> dict[str, Any]:
    """The `select` of DEFAULTS for those of them that are used."""
    listed = filters if isinstance(filters, list) else []
    names = [
        one if isinstance(one, str) else next(iter(one))
        for one in listed
        if isinstance(one, str) or (one and isinstance(one, dict))
    ]
    require = {name: least for name in names if (least := DEFAULTS.get(name)) is not None}
    # A caption of two words has no language.
    return {"require": require, "keep_unscored": [name for name in require if name == "language"]}


def source_settings(
    source: str, text: str | None = None, image: str | None = None, id: str | None = None
) -> dict[str, Any]:
    """The `source` of a recipe for what a user named; its kind is told from what is there.

    Raises:
        SourceError: nothing is there, or its kind cannot be told.
    """
    kind, path = _kind(source, image)
    settings: dict[str, Any] = {"kind": kind, "path": path}
    if kind == "huggingface" and "@" in path:
        settings["path"], settings["revision"] = path.rsplit("@", 1)
    if text:
        settings["text"] = text
    elif kind in ("huggingface", "parquet"):
        settings["text"] = "caption"
    elif kind == "webdataset":
        settings["text"] = "txt"
    if image:
        settings["image"] = image
    if id:
        if kind == "folder":
            raise RecipeError(["--id: the images of a folder are known by their path"])
        settings["key"] = id
    return settings


def _kind(source: str, image: str | None) -> tuple[str, str]:
    if source.startswith("hub:"):
        return "huggingface", source.removeprefix("hub:")
    if re.search(r"\.tar(\.\w+)?$", source) or ".tar" in PurePosixPath(source).name:
        return "webdataset", source
    from fsspec.core import url_to_fs

    from factory.sources.files import expand_braces, find_files

    fs, root = url_to_fs(expand_braces(source)[0])
    if any(sign in source for sign in "*?[") or fs.isfile(root):
        return _of_files(source, image), source
    if not fs.isdir(root):
        if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", source):
            return "huggingface", source
        raise SourceError(
            f"{source}: no such file, folder or URL; a dataset of the Hub is written hub:org/name@revision"
        )
    if any(fs.exists(f"{root}/{name}") for name in ("dataset_info.json", "state.json", "dataset_dict.json")):
        return "huggingface", source
    if fs.glob(f"{root}/*.tar"):
        return "webdataset", source
    try:
        find_files(source, (".parquet",))
    except SourceError:
        return ("captions" if _only_captions(fs, root) else "folder"), source
    return _of_files(source, image), source


def _only_captions(fs: Any, root: str) -> bool:
    """Whether all files directly in a folder are files of captions; one .txt a file belongs to an image beside it."""
    names = [entry["name"] for entry in fs.ls(root, detail=True) if entry["type"] == "file"]
    return (
        bool(names)
        and all(name.endswith(tuple(one for one in SUFFIXES if one not in (".txt", ".txt.gz"))) for name in names)
        and not any(PurePosixPath(name).name.startswith("metadata.") for name in names)
    )


def _of_files(source: str, image: str | None) -> str:
    """parquet where the first Parquet file that can be read has an image column, else captions."""
    import pyarrow.parquet as pq
    from fsspec.core import url_to_fs

    from factory.sources.files import find_files

    problem = ""
    for url in find_files(source, (".parquet", *SUFFIXES)):
        if not url.endswith(".parquet"):
            return "captions"
        fs, name = url_to_fs(url)
        try:
            names = pq.ParquetFile(name, filesystem=fs).schema_arrow.names
        except (OSError, ValueError) as error:  # it costs its own rows, if another can be read
            problem = problem or f"{url}: not a Parquet file ({str(error).splitlines()[0]})"
            continue
        return "parquet" if (image or "image") in names else "captions"
    raise SourceError(problem)


def run_name(out: str) -> str:
    """A run's name from where it lies."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", out.rstrip("/").rsplit("/", 1)[-1]).strip("-._")
    return name[:100] or "filtered"


def texts_of(source: str, text: str | None) -> Iterator[str]:
    """The texts of a source of captions or images, streamed; rows without one are left out.

    Raises:
        SourceError: nothing is there, or the column is missing.
    """
    from exports.storage import Storage
    from factory.sources import open_source

    recipe = parse_recipe(
        RecipeText("--good/--bad", {"name": "texts", "original": True, "source": source_settings(source, text)})
    )
    with tempfile.TemporaryDirectory(prefix="caption-factory-") as scratch:
        opened = open_source(recipe, Storage(scratch))
        for shard in opened.shards():
            for row in opened.read(shard, ORIGINAL_IMAGE.max_bytes):
                if row.text:
                    yield row.text
