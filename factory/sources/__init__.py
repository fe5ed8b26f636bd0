"""Where images come from. One file per kind; each lists shards lazily and reads a shard as a stream of rows.

A kind is a model in `factory/recipe/source.py` (what a user may set) and a file here with the name of the kind, which has a
`SOURCE`: a class that is made of the settings and a scratch directory and is an `ImageSource`. Nothing else knows the kinds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exports.storage import Storage
    from factory.recipe import Recipe
    from factory.sources.source import ImageSource


def open_source(recipe: Recipe, scratch: Storage) -> ImageSource:
    """The source of a recipe. `scratch` is a directory (of the run, or temporary) where listings may be kept.

    Raises:
        SourceError: it does not exist, cannot be read, or has not the columns the recipe names.
    """
    reader = import_module(f"factory.sources.{recipe.source.kind}")
    source: ImageSource = reader.SOURCE(recipe.source, scratch)
    return source
