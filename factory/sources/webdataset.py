"""WebDataset tars, read as a stream. Members that share a name up to the first dot of the base name are one sample.

Member names are untrusted: nothing is ever extracted to disk, links and devices are not followed, and names only become
keys. The image key is `<tar>/<member name>`, or a field of the sample's JSON.
"""

from __future__ import annotations

import json
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from factory.errors import SourceError
from factory.recipe import WebDatasetSource
from factory.sources.files import find_files, relative_names, stat_of
from factory.sources.source import Shard, SourceRow, clean_text

MAX_SIDE_BYTES = 10_000_000


@dataclass
class _Sample:
    name: str
    members: dict[str, bytes | None] = field(default_factory=dict)  # extension -> content, None: too large
    sizes: dict[str, int] = field(default_factory=dict)


class WebDatasetImages:
    """The samples of tar files; each tar is a shard."""

    def __init__(self, settings: WebDatasetSource) -> None:
        self.settings = settings
        self.extensions = [name.strip().lower() for name in settings.image.split(";") if name.strip()]

    def shards(self) -> Iterator[Shard]:
        """One shard per tar. How many samples it holds is known once it has been read."""
        urls = find_files(self.settings.path, (".tar", ".tar.gz", ".tgz"))
        for name, url in zip(relative_names(urls), urls, strict=True):
            yield Shard(name, None, stat_of(url), {"url": url})

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The samples of a tar, in its order. A damaged tar ends with one row that says so."""
        import fsspec

        stem = shard.name.removesuffix(".gz").removesuffix(".tgz").removesuffix(".tar")
        try:
            with fsspec.open(shard.spec["url"], "rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
                for sample in self._samples(tar, max_bytes):
                    yield self._row(sample, stem, max_bytes)
        except FileNotFoundError:
            raise SourceError(
                f"{shard.spec['url']}: the source disappeared while it was read; bring it back and run again: what is done is kept"
            ) from None
        except (tarfile.TarError, EOFError, OSError) as error:
            detail = f"the rest of {shard.name} cannot be read: {type(error).__name__}: {error}"
            yield SourceRow(f"{stem}/(rest of the tar)", None, problem="unreadable", detail=detail[:200])

    def _samples(self, tar: tarfile.TarFile, max_bytes: int) -> Iterator[_Sample]:
        sample: _Sample | None = None
        for member in tar:
            if not member.isfile():
                continue
            directory, base = posixpath.split(member.name)
            stem, _, extension = base.partition(".")
            name = posixpath.join(directory, stem)
            if sample is None or sample.name != name:
                if sample is not None:
                    yield sample
                sample = _Sample(name)
            extension = extension.lower()
            limit = max_bytes if extension in self.extensions else MAX_SIDE_BYTES
            sample.sizes[extension] = member.size
            handle = tar.extractfile(member) if member.size <= limit else None
            sample.members[extension] = handle.read() if handle else None
        if sample is not None:
            yield sample

    def _row(self, sample: _Sample, stem: str, max_bytes: int) -> SourceRow:
        record = self._json(sample)
        fields = {name: record.get(name) for name in self.settings.fields}
        key = f"{stem}/{sample.name}".encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")
        if self.settings.key:
            value = record.get(self.settings.key.removeprefix("json."))
            if value is None:
                return SourceRow(
                    key, None, problem="missing", detail=f"the sample has no {self.settings.key} to be its key"
                )
            key = str(value)
        text = self._text(sample, record)
        extension = next((name for name in self.extensions if name in sample.members), None)
        if extension is None:
            found = ", ".join(sorted(sample.members)) or "nothing"
            return SourceRow(
                key, None, text, problem="missing", detail=f"no image in this sample (found: {found})"[:200]
            )
        data = sample.members[extension]
        if data is None:
            detail = f"{sample.sizes[extension]:,} bytes, limit {max_bytes:,}"
            return SourceRow(key, None, text, fields, problem="too_many_bytes", detail=detail)
        return SourceRow(key, data, text, fields)

    def _text(self, sample: _Sample, fields: dict[str, Any]) -> str | None:
        if not self.settings.text:
            return None
        if self.settings.text.startswith("json."):
            return clean_text(fields.get(self.settings.text.removeprefix("json.")))
        return clean_text(sample.members.get(self.settings.text.lower()))

    def _json(self, sample: _Sample) -> dict[str, Any]:
        try:
            content = json.loads(sample.members.get("json") or b"{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}
