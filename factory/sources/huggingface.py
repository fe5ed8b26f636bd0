"""A Hugging Face dataset: a Hub id pinned to a commit, or a directory on disk. Image bytes are never re-encoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.errors import SourceError
from factory.recipe import HuggingFaceSource
from factory.sources.source import Shard, SourceRow, clean_text, content_key

if TYPE_CHECKING:
    import datasets

DISK_SHARD_ROWS = 512


class HuggingFaceImages:
    """The rows of a split. A saved dataset is cut into row ranges; a streamed one keeps its own shards."""

    def __init__(self, settings: HuggingFaceSource) -> None:
        self.settings = settings
        self.on_disk = Path(settings.path).is_dir()
        self.commit: str | None = None
        self._opened: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def shards(self) -> Iterator[Shard]:
        """Row ranges (saved on disk) or the dataset's own files (streamed)."""
        if not self.on_disk:
            self._pin()
        dataset = self._open()
        self._check_columns(dataset)
        if hasattr(dataset, "num_rows"):
            stat = str(dataset._fingerprint)
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
        """The rows of a shard."""
        dataset = self._open()
        if "start" in shard.spec:
            part = dataset.select(range(shard.spec["start"], shard.spec["stop"]))
        else:
            part = dataset.shard(num_shards=shard.spec["of"], index=shard.spec["number"])
        for place, record in enumerate(part):
            yield self._row(record, f"{shard.name}/{place}", max_bytes)

    def _row(self, record: dict[str, Any], place: str, max_bytes: int) -> SourceRow:
        text = clean_text(record.get(self.settings.text)) if self.settings.text else None
        image = record[self.settings.image] or {}
        data: bytes | None = image.get("bytes")
        problem, detail = None, ""
        fields = {name: record[name] for name in self.settings.fields}
        if data is None and image.get("path"):
            try:
                data = Path(image["path"]).read_bytes()
            except OSError as error:
                problem, detail = "unreadable", error.strerror or type(error).__name__
        elif data is None:
            problem, detail = "missing", "no image in this row"
        if data is not None and len(data) > max_bytes:
            problem, detail = "too_many_bytes", f"{len(data):,} bytes, limit {max_bytes:,}"
            data = None
        if self.settings.key:
            value = record.get(self.settings.key)
            if value is None:
                return SourceRow(
                    place, None, text, problem="missing", detail=f"column '{self.settings.key}' is null; it is the key"
                )
            return SourceRow(str(value), data, text, fields, problem=problem, detail=detail)
        return SourceRow(content_key(data) if data else place, data, text, fields, problem=problem, detail=detail)

    def _open(self) -> Any:
        if self._opened is None:
            self._opened = self._load()
        return self._opened

    def _load(self) -> Any:
        import datasets

        path = Path(self.settings.path)
        try:
            if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
                loaded: Any = datasets.load_from_disk(str(path))
                if isinstance(loaded, dict):
                    if self.settings.split not in loaded:
                        raise SourceError(f"{path}: no split '{self.settings.split}'; found: {', '.join(loaded)}")
                    loaded = loaded[self.settings.split]
            else:
                loaded = datasets.load_dataset(
                    self.settings.path,
                    name=self.settings.config,
                    split=self.settings.split,
                    revision=self.commit,
                    streaming=True,
                )
        except SourceError:
            raise
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.settings.path}: cannot be opened: {str(error).splitlines()[0]}") from None
        features = loaded.features or {}
        if isinstance(features.get(self.settings.image), datasets.Image):
            loaded = loaded.cast_column(self.settings.image, datasets.Image(decode=False))
        return loaded

    def _pin(self) -> None:
        """Resolve the revision to a commit. Offline, `load_dataset` would silently give whatever is in its cache."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        if "/" not in self.settings.path:
            raise SourceError(f"{self.settings.path}: no such directory, and not a Hub id (org/name)")
        try:
            self.commit = HfApi().dataset_info(self.settings.path, revision=self.settings.revision).sha
        except RevisionNotFoundError:
            raise SourceError(f"{self.settings.path}: no revision '{self.settings.revision}' on the Hub") from None
        except RepositoryNotFoundError:
            raise SourceError(
                f"{self.settings.path}: no such directory, and no such dataset on the Hub (or it needs HF_TOKEN)"
            ) from None
        except Exception as error:  # whatever the HTTP library of this huggingface_hub raises
            raise SourceError(
                f"{self.settings.path}: the Hub cannot be reached ({type(error).__name__}); try again later"
            ) from None

    def _check_columns(self, dataset: datasets.Dataset) -> None:
        names = list(dataset.features or [])
        wanted = [("image", self.settings.image), ("text", self.settings.text), ("key", self.settings.key)]
        for role, name in [*wanted, *(("fields", name) for name in self.settings.fields)]:
            if names and name and name not in names:
                raise SourceError(
                    f"{self.settings.path}: no column '{name}' (source.{role}); found: {', '.join(names)}"
                )
