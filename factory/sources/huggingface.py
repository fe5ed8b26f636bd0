"""A Hugging Face dataset: a Hub id pinned to a commit, or a directory on disk. Image bytes are never re-encoded."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from factory.errors import SourceError
from factory.recipe import HuggingFaceSource
from factory.sources.caption_text import text_column, texts_of
from factory.sources.files import first_line, in_time
from factory.sources.image_cells import CAPTIONS_ALONE, no_id_type, no_image_type, read_cell
from factory.sources.inside import Root
from factory.sources.source import DETAIL, Shard, SourceRow, content_key, key_text, no_key

if TYPE_CHECKING:
    from exports.storage import Storage

DISK_SHARD_ROWS = 512
HUB_SECONDS: Final = 15.0
"""How long the Hub may take to say which commit a revision is."""
HUB_ID: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class HuggingFaceImages:
    """The rows of a split. A saved dataset is cut into row ranges; a streamed one keeps its own shards."""

    def __init__(self, settings: HuggingFaceSource, scratch: Storage | None = None) -> None:
        self.settings = settings
        self.on_disk = "\0" not in settings.path and Path(settings.path).is_dir()
        self.commit: str | None = None
        self._opened: Any = None
        self._text: str | None = None
        self._stat = ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def shards(self) -> Iterator[Shard]:
        """Row ranges (saved on disk) or the dataset's own files (streamed)."""
        if not self.on_disk:
            self._pin()
        dataset = self._open()
        if hasattr(dataset, "num_rows"):
            stat = self._stat
            if not dataset.num_rows:
                raise SourceError(f"{self.settings.path}: split '{self.settings.split}' has no rows")
            for start in range(0, dataset.num_rows, DISK_SHARD_ROWS):
                stop = min(start + DISK_SHARD_ROWS, dataset.num_rows)
                yield Shard(f"rows-{start:09d}", stop - start, stat, {"start": start, "stop": stop})
        else:
            stat = self.commit or ""
            for number in range(dataset.num_shards):
                yield Shard(f"shard-{number:06d}", None, stat, {"number": number, "of": dataset.num_shards})

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The rows of a shard. Where it is damaged, its last row says so."""
        dataset = self._open()
        root = Root(self._root())
        place = 0
        try:
            if "start" in shard.spec:
                part = dataset.select(range(shard.spec["start"], shard.spec["stop"]))
            else:
                part = dataset.shard(num_shards=shard.spec["of"], index=shard.spec["number"])
            for record in part:
                yield self._row(record, f"{shard.name}/{place}", root, max_bytes)
                place += 1
        except Exception as error:  # `datasets` reads many formats, each with exceptions of its own
            if self.on_disk and not Path(self.settings.path).is_dir():
                raise SourceError(
                    f"{self.settings.path}: the source disappeared while it was read; bring it back and run again: what is "
                    "done is kept"
                ) from None
            detail = f"the rest of {shard.name} cannot be read: {first_line(error)}"[:DETAIL]
            if shard.rows is None:
                yield SourceRow(f"{shard.name}/(the rest)", None, problem="unreadable", detail=detail)
                return
            for number in range(place, shard.rows):
                yield SourceRow(f"{shard.name}/{number}", None, problem="unreadable", detail=detail)

    def _row(self, record: dict[str, Any], place: str, root: Root, max_bytes: int) -> SourceRow:
        text, *more = texts_of(record.get(self._text)) or (None,) if self._text else (None,)
        cell = read_cell(record.get(self.settings.image), root, max_bytes)
        fields = {name: record.get(name) for name in self.settings.fields}
        key = content_key(cell.data) if cell.data else place
        if self.settings.key:
            given = record.get(self.settings.key)
            known = key_text(given)
            if known is None:
                return SourceRow(place, None, text, problem="no_key", detail=no_key(self.settings.key, given))
            key = known
        return SourceRow(key, cell.data, text, fields, cell.problem, cell.detail, tuple(one for one in more if one))

    def _root(self) -> str:
        if self.settings.root:
            return self.settings.root
        return self.settings.path if self.on_disk else f"hf://datasets/{self.settings.path}@{self.commit}"

    def _open(self) -> Any:
        if self._opened is None:
            loaded = self._load()
            self._stat = str(getattr(loaded, "_fingerprint", ""))  # of all its columns, whichever are read
            self._opened = self._prepare(loaded)
        return self._opened

    def _load(self) -> Any:
        import datasets

        path = Path(self.settings.path)
        try:
            if self.on_disk and any((path / name).exists() for name in ("dataset_info.json", "dataset_dict.json")):
                loaded: Any = datasets.load_from_disk(str(path))
                if isinstance(loaded, dict):
                    if self.settings.split not in loaded:
                        raise SourceError(f"{path}: no split '{self.settings.split}'; found: {', '.join(loaded)}")
                    loaded = loaded[self.settings.split]
                return loaded
            return datasets.load_dataset(
                self.settings.path,
                name=self.settings.config,
                split=self.settings.split,
                revision=self.commit,
                streaming=True,
            )
        except SourceError:
            raise
        except Exception as error:  # `datasets` reads many formats, each with exceptions of its own
            raise SourceError(f"{self.settings.path}: cannot be opened: {first_line(error)}") from None

    def _prepare(self, loaded: Any) -> Any:
        """The dataset with the columns that are asked for alone, its images as bytes. Raises SourceError for a missing column."""
        try:
            names = list(loaded.features or next(iter(loaded), {}))
        except Exception as error:  # as above
            raise SourceError(f"{self.settings.path}: cannot be read: {first_line(error)}") from None
        self._check_columns(names, loaded.features)
        self._text = text_column(names, self.settings.text)
        if not loaded.features:
            return loaded
        columns = (self.settings.image, self._text, self.settings.key, *self.settings.fields)
        loaded = loaded.select_columns(list(dict.fromkeys(name for name in columns if name)))
        for name, feature in dict(loaded.features).items():
            if (undecoded := _undecoded(feature)) != feature:
                loaded = loaded.cast_column(name, undecoded)
        return loaded

    def _pin(self) -> None:
        """Resolve the revision to a commit. Offline, `load_dataset` would silently give whatever is in its cache."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

        path = self.settings.path
        if not HUB_ID.fullmatch(path):
            raise SourceError(f"{path!r}: no such directory, and not a Hub id (org/name)")
        if Path(path.split("/")[0]).is_dir():
            raise SourceError(
                f"{path}: no such directory, though {path.split('/')[0]}/ is there; for a dataset of the Hub of this name "
                "start the command elsewhere"
            )
        unreached = f"{path}: no such directory, and the Hub cannot be reached"
        try:
            self.commit = in_time(
                lambda: HfApi().dataset_info(path, revision=self.settings.revision, timeout=HUB_SECONDS).sha,
                f"{unreached} within {HUB_SECONDS:.0f} s; try again later",
                HUB_SECONDS,
            )
        except SourceError:
            raise
        except RevisionNotFoundError:
            raise SourceError(f"{path}: no revision '{self.settings.revision}' on the Hub") from None
        except (RepositoryNotFoundError, HFValidationError):
            raise SourceError(
                f"{path}: no such directory, and no such dataset on the Hub (or it needs HF_TOKEN)"
            ) from None
        except Exception as error:  # whatever the HTTP library of this huggingface_hub raises
            raise SourceError(f"{unreached} ({type(error).__name__}); try again later") from None

    def _check_columns(self, names: list[str], features: Any) -> None:
        path = self.settings.path
        wanted = [("image", self.settings.image), ("text", self.settings.text), ("key", self.settings.key)]
        for role, name in [*wanted, *(("fields", name) for name in self.settings.fields)]:
            if names and name and name not in names:
                raise SourceError(f"{path}: no column '{name}' (source.{role}); found: {', '.join(names)}")
        if not features:
            return
        types = features.arrow_schema
        if words := no_image_type(types.field(self.settings.image).type):
            raise SourceError(
                f"{path}: column '{self.settings.image}' (source.image) holds {words}, no images; {CAPTIONS_ALONE}"
            )
        if self.settings.key and (words := no_id_type(types.field(self.settings.key).type)):
            raise SourceError(f"{path}: column '{self.settings.key}' (source.key) holds {words}")


def _undecoded(feature: Any) -> Any:
    """The feature with images, sounds and videos left as bytes and path: decoding one opens whatever file its path names."""
    import datasets

    if isinstance(feature, (datasets.List, datasets.LargeList)):
        return dataclasses.replace(feature, feature=_undecoded(feature.feature))
    if isinstance(feature, dict):
        return {name: _undecoded(inner) for name, inner in feature.items()}
    if isinstance(feature, list):
        return [_undecoded(inner) for inner in feature]
    if getattr(feature, "decode", False) is True:
        return dataclasses.replace(feature, decode=False)
    return feature


SOURCE = HuggingFaceImages
