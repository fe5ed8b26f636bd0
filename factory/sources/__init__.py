"""Where images come from. One file per kind; each lists shards lazily and reads a shard as a stream of rows.

A kind is a model in `factory/recipe/source.py` (what a user may set) and a file here with the name of the kind, which has a
`SOURCE`: a class that is made of the settings and a scratch directory and is an `ImageSource`. Nothing else knows the kinds. Those
of plugins (docs/plugins.md) have both in one class.
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
    from factory.plugins import BUILT_IN_KINDS, source_kinds

    kind = recipe.source.kind
    if kind not in BUILT_IN_KINDS:
        from factory.sources.plugin_source import PluginSource

        return PluginSource(source_kinds()[kind], recipe.source, scratch)
    source: ImageSource = import_module(f"factory.sources.{kind}").SOURCE(recipe.source, scratch)
    return source
