"""`factory filter`: a recipe made of a source and filters alone."""

from __future__ import annotations

import re
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Final

from factory.errors import RecipeError, SourceError
from factory.recipe import ORIGINAL_IMAGE, Recipe, parse_recipe
from factory.recipe.loading import blame_overrides
from factory.recipe.recipe import filter_use
from factory.recipe.yaml_text import RecipeText, read_yaml, set_value
from factory.sources.caption_files import JSON_SUFFIXES, SUFFIXES
from factory.sources.source import printable

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
    listed: list[Any] | None = None,
    plugins: Sequence[str | Path] = (),
    **columns: str | None,
) -> Recipe:
    """The recipe of `factory filter`: the texts of a source, filters and rules; no captioner.

    Args:
        source: a file, folder, glob or URL of captions or images, a dataset on disk, or a Hub id ('org/name@revision').
        name: of the run.
        filters: a YAML file with `filters`, and perhaps `select` and `release`; unset: DEFAULTS.
        overrides: `--set` texts.
        listed: filters as a recipe lists them, instead of a file; those of DEFAULTS have their rules.
        plugins: Python files with filters or sources of the user's own.
        columns: `text`, `image` and `id`: names of columns, as the source's kind takes them.

    Raises:
        RecipeError, SourceError: what is wrong and what to do.
    """
    text = read_yaml(filters) if filters else RecipeText("factory filter", {})
    if not isinstance(text.data, dict) or set(text.data) - {
        "filters",
        "select",
        "release",
        "seed",
        "plugins",
        "$schema",
    }:
        raise RecipeError(
            [f"{text.file}: a filters file has the keys filters, select, release, seed and plugins, as a recipe has"]
        )
    text.data.setdefault("filters", list(DEFAULTS) if listed is None else listed)
    text.data |= {"name": name, "original": True, "source": source_settings(source, **columns)}
    if plugins:
        text.data["plugins"] = [*text.data.get("plugins", ()), *map(str, plugins)]

    def made(sets: tuple[str, ...]) -> Recipe:
        changed = deepcopy(text)
        of_filters = [one for one in sets if re.match(r"filters\b", one)]
        for one in of_filters:
            set_value(changed, one)
        if not filters:
            changed.data["select"] = _default_rules(changed.data["filters"])
        for one in sets:
            if one not in of_filters:
                set_value(changed, one)
        return parse_recipe(changed)

    return blame_overrides(made, overrides, text.file)


def _default_rules(filters: Any) -> dict[str, Any]:
    """The `select` of DEFAULTS for those of them that are used."""
    listed = filters if isinstance(filters, list) else []
    names = [str(use.get("name")) for one in listed if isinstance(use := filter_use(one), dict)]
    require = {name: least for name in names if (least := DEFAULTS.get(name)) is not None}
    # A caption of two words has no language.
    return {"require": require, "keep_unscored": [name for name in require if name == "language"]}


def source_settings(
    source: str, text: str | None = None, image: str | None = None, id: str | None = None
) -> dict[str, Any]:
    """The `source` of a recipe for what a user named; its kind is told from what is there.

    Args:
        source: a file, folder, glob or URL of captions or images, a dataset on disk, or a Hub id ('org/name@revision').
        text, image: names of columns; unset: as the source's kind has it.
        id: the column of unique ids; unset: the first of ID_COLUMNS whose values are ids, each once, as far as is looked;
            other columns of ID_COLUMNS are carried. Empty: none.

    Raises:
        SourceError: nothing is there, or its kind cannot be told.
        RecipeError: the kind has no such columns.
    """
    kind, path = _kind(source, image)
    settings: dict[str, Any] = {"kind": kind, "path": path}
    if kind == "huggingface" and "@" in path:
        settings["path"], settings["revision"] = path.rsplit("@", 1)
    if text:
        settings["text"] = text
    if image:
        if kind in ("captions", "folder"):
            what = "files of captions have no images" if kind == "captions" else "the images of a folder are its files"
            raise RecipeError([f"--image: {what} ({source})"])
        settings["image"] = image
    if id:
        if kind == "folder":
            raise RecipeError(["--id: the images of a folder are known by their path"])
        settings["key"] = id
    elif id is None and kind in ("captions", "parquet"):
        key, carried = _id_columns(path)
        settings |= {"key": key} if key else {}
        settings |= {"fields": carried} if carried else {}
    return settings


ID_COLUMNS: Final = ("id", "uid", "uuid", "key", "image_id", "sample_id")
"""Names of columns that hold ids, best first, upper or lower case."""
_LOOK_AT_FILES: Final = 20
_LOOK_AT_ROWS: Final = 1_000
_LOOK_AT_NAMES: Final = 2_000
_TARS: Final = (".tar", ".tar.gz", ".tgz")
_NO_DATA: Final = re.compile(r"(readme|license|licence|notice|citation)\b.*|.*\.md|\..*", re.IGNORECASE)


def _kind(source: str, image: str | None) -> tuple[str, str]:
    """The kind of a source, and its path without the mark of the Hub."""
    if source.startswith("hub:"):
        return "huggingface", source.removeprefix("hub:")
    from factory.sources.files import answers, expand_braces, file_system, first_line

    if not source.strip():
        raise SourceError("no source named: give a file, a folder, a URL or hub:org/name@revision")
    first = expand_braces(source)[0]
    fs, root = file_system(first)
    answers(fs, root, source)
    try:
        is_folder, is_there = fs.isdir(root), fs.exists(root)
    except (OSError, ValueError) as error:
        raise SourceError(f"{printable(source)}: cannot be looked at: {first_line(error)}") from None
    if is_folder:
        return _of_folder(first, fs, root, image), source
    if first.lower().endswith(_TARS):
        return "webdataset", source
    if any(sign in source for sign in "*?[{") or is_there:
        return _of_files(source, image), source
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", source) and not source.lower().endswith(_CAPTIONS):
        return "huggingface", source
    raise SourceError(
        f"{printable(source)}: no such file, folder or URL; a dataset of the Hub is written hub:org/name@revision"
    )


_CAPTIONS: Final = (*SUFFIXES, *JSON_SUFFIXES)


def _of_folder(source: str, fs: Any, root: str, image: str | None) -> str:
    """The kind of a folder, by the names of its first files."""
    from exports.storage import Storage

    if any(fs.exists(f"{root}/{name}") for name in ("dataset_info.json", "state.json", "dataset_dict.json")):
        return "huggingface"
    listed = (name for name, _ in Storage(source).walk())
    names = [PurePosixPath(name).name.lower() for name in islice(listed, _LOOK_AT_NAMES)]
    data = [name for name in names if not _NO_DATA.fullmatch(name)]
    if any(name.endswith(_TARS) for name in data):
        return "webdataset"
    if any(name.endswith(".parquet") for name in data):
        return _of_files(source, image)
    only_captions = all(name.endswith(_CAPTIONS) and not name.startswith("metadata.") for name in data)
    return "captions" if data and only_captions else "folder"


def _of_files(source: str, image: str | None) -> str:
    """parquet where the first Parquet file that can be read has a column of images, else captions."""
    from factory.sources.files import find_files
    from factory.sources.image_cells import no_image_type
    from factory.sources.parquet import DamagedFile, open_parquet

    problem = ""
    urls = find_files(source, (".parquet", *_CAPTIONS))
    if all(url.lower().endswith(_TARS) for url in urls):
        return "webdataset"
    for url in urls:
        if not url.lower().endswith(_CAPTIONS):
            raise SourceError(
                f"{printable(url)}: neither captions ({', '.join(_CAPTIONS)}) nor tars; images are given as their folder"
            )
        if not url.lower().endswith(".parquet"):
            return "captions"
        try:
            with open_parquet(url) as file:
                schema = file.schema_arrow
                has_images = "image" in schema.names and no_image_type(schema.field("image").type) is None
                has_images = has_images and not _are_addresses(file)
        except (DamagedFile, OSError) as error:  # it costs its own rows, if another can be read
            problem = problem or (str(error) if isinstance(error, DamagedFile) else f"{printable(url)}: {error}")
            continue
        if image:
            return "parquet"
        return "parquet" if has_images else "captions"
    raise SourceError(problem)


def _are_addresses(file: Any) -> bool:
    """Whether the first cells of the column `image` are addresses of the web, of which nobody here has the images."""
    from factory.sources.image_cells import is_address

    batch = next(file.iter_batches(8, columns=["image"]), None)
    cells = [] if batch is None else [cell for cell in batch.column("image").to_pylist() if cell is not None]
    return bool(cells) and all(map(is_address, cells))


def _id_columns(path: str) -> tuple[str | None, list[str]]:
    """(the column of unique ids, other columns of ids) of files with columns, by the first rows of the first files.

    A column that one of these files lacks is none.
    """
    from factory.sources.captions import caption_files
    from factory.sources.source import key_text

    readable = [found for url in caption_files(path)[:_LOOK_AT_FILES] if (found := _ids_of(url)) is not None]
    names = [name for name in readable[0] if all(name in found for found in readable)] if readable else []
    values = {name: [value for found in readable for value in found[name]] for name in names}
    ids = {name: [key_text(value) for value in listed] for name, listed in values.items()}
    unique = [name for name, keys in ids.items() if keys and None not in keys and len(set(keys)) == len(keys)]
    key = min(unique, key=lambda name: ID_COLUMNS.index(name.lower()), default=None)
    return key, sorted(name for name in values if name != key)


def _ids_of(url: str) -> dict[str, list[Any]] | None:
    """The first values of each column of ids of a file; None where the file cannot be read."""
    from factory.sources.caption_files import TEXT, WrongFile, is_kind, records
    from factory.sources.parquet import DamagedFile, open_parquet

    try:
        if url.lower().endswith(".parquet"):
            with open_parquet(url) as file:
                names = [name for name in file.schema_arrow.names if name.lower() in ID_COLUMNS]
                batch = next(file.iter_batches(_LOOK_AT_ROWS, columns=names), None) if names else None
                return {name: batch.column(name).to_pylist() for name in names} if batch is not None else {}
        if is_kind(url, TEXT):
            return {}
        rows = [row for row in islice(records(url), _LOOK_AT_ROWS) if isinstance(row, dict)]
    except (DamagedFile, WrongFile, OSError, EOFError, zlib.error):  # named when the file is read for good
        return None
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name.lower() in ID_COLUMNS]
    return {name: [row.get(name) for row in rows] for name in names}


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
