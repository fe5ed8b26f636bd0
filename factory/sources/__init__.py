"""Where images come from. One file per kind; each lists shards lazily and reads a shard as a stream of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.recipe import CaptionsSource, DemoSource, FolderSource, HuggingFaceSource, ParquetSource, WebDatasetSource

if TYPE_CHECKING:
    from exports.storage import Storage
    from factory.recipe import Recipe
    from factory.sources.source import ImageSource


def open_source(recipe: Recipe, scratch: Storage) -> ImageSource:
    """The source of a recipe. `scratch` is a directory (of the run, or temporary) where listings may be kept.

    Raises:
        SourceError: it does not exist, cannot be read, or has not the columns the recipe names.
    """
    settings = recipe.source
    if isinstance(settings, DemoSource):
        from factory.sources.demo import DemoImages

        return DemoImages(settings)
    if isinstance(settings, FolderSource):
        from factory.sources.folder import FolderImages

        return FolderImages(settings, scratch)
    if isinstance(settings, ParquetSource):
        from factory.sources.parquet import ParquetImages

        return ParquetImages(settings)
    if isinstance(settings, WebDatasetSource):
        from factory.sources.webdataset import WebDatasetImages

        return WebDatasetImages(settings)
    if isinstance(settings, CaptionsSource):
        from factory.sources.captions import CaptionTexts

        return CaptionTexts(settings)
    assert isinstance(settings, HuggingFaceSource)
    from factory.sources.huggingface import HuggingFaceImages

    return HuggingFaceImages(settings)
