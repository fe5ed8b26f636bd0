"""WebDataset tars, read as a stream. Members that share a name up to the first dot of the base name are one sample.

Member names are untrusted: nothing is ever extracted to disk, links and devices are not followed, and names only become
keys. The image key is `<tar>/<member name>`, or a field of the sample's JSON. A second member of one name in a sample
begins another sample of that name, whose key came before, so neither is lost unseen.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from factory.errors import SourceError
from factory.recipe import WebDatasetSource
from factory.sources.caption_text import TEXT_COLUMNS, decode_text, parse_json, text_column, texts_of
from factory.sources.files import find_files, first_line, open_file, relative_names, stat_of
from factory.sources.parquet import gone
from factory.sources.source import DETAIL, Shard, SourceRow, key_text, no_key, printable
from factory.sources.tar_members import Member, TarDamage, members

if TYPE_CHECKING:
    from exports.storage import Storage

MAX_SIDE_BYTES = 10_000_000
MAX_MEMBERS: Final = 10_000
"""Members of one sample; more of them begin another."""
TEXT_EXTENSIONS: Final = ("txt", *(name for name in TEXT_COLUMNS if name != "txt"))


@dataclass
class _Sample:
    name: str
    members: dict[str, bytes | None] = field(default_factory=dict)  # extension -> content, None: not read
    problems: dict[str, tuple[str, str]] = field(default_factory=dict)  # extension -> problem and detail

    def found(self) -> str:
        return ", ".join(sorted(map(printable, self.members))) or "nothing"


class WebDatasetImages:
    """The samples of tar files; each tar is a shard."""

    def __init__(self, settings: WebDatasetSource, scratch: Storage | None = None) -> None:
        self.settings = settings
        self.extensions = [name.strip().lower() for name in settings.image.split(";") if name.strip()]
        text = (settings.text or "").removeprefix("json.").lower()
        self.read_at_all = {*self.extensions, "json", *((text,) if text else TEXT_EXTENSIONS)}

    def shards(self) -> Iterator[Shard]:
        """One shard per tar. How many samples it holds is known once it has been read."""
        urls = find_files(self.settings.path, (".tar", ".tar.gz", ".tgz"))
        for name, url in zip(relative_names(urls), urls, strict=True):
            yield Shard(name, None, stat_of(url), {"url": url})

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The samples of a tar, in its order. A tar that is not whole ends with one row that says so."""
        stem = shard.name.removesuffix(".gz").removesuffix(".tgz").removesuffix(".tar")
        try:
            with open_file(shard.spec["url"]) as file:
                for sample in self._samples(file, max_bytes):
                    yield self._row(sample, stem)
        except FileNotFoundError:
            raise SourceError(gone(shard.spec["url"])) from None
        except (TarDamage, OSError) as error:
            words = str(error) if isinstance(error, TarDamage) else first_line(error)
            detail = f"the rest of {shard.name} cannot be read: {words}"
            yield SourceRow(f"{stem}/(rest of the tar)", None, problem="unreadable", detail=detail[:DETAIL])

    def _samples(self, file: Any, max_bytes: int) -> Iterator[_Sample]:
        """The samples that are whole. One within whose data the archive ends belongs to the rest."""
        sample: _Sample | None = None
        found = members(file)
        while True:
            try:
                member = next(found)
            except StopIteration:
                break
            except TarDamage:  # between two members: what came before is whole
                if sample is not None:
                    yield sample
                raise
            directory, base = posixpath.split(member.name)
            stem, _, extension = base.partition(".")
            name, extension = posixpath.join(directory, stem), extension.lower()
            again = sample is not None and (extension in sample.members or len(sample.members) >= MAX_MEMBERS)
            if sample is None or sample.name != name or again:
                if sample is not None:
                    yield sample
                sample = _Sample(name)
            self._add(sample, member, extension, max_bytes)
        if sample is not None:
            yield sample

    def _add(self, sample: _Sample, member: Member, extension: str, max_bytes: int) -> None:
        limit = max_bytes if extension in self.extensions else MAX_SIDE_BYTES
        sample.members[extension] = None
        if member.odd:
            sample.problems[extension] = "missing", f"{printable(posixpath.basename(member.name))} is {member.odd}"
        elif member.size > limit:
            sample.problems[extension] = "too_many_bytes", f"{member.size:,} bytes, limit {limit:,}"
        elif extension in self.read_at_all:
            sample.members[extension] = member.read()

    def _row(self, sample: _Sample, stem: str) -> SourceRow:
        record, trouble = self._json(sample)
        fields = {name: record.get(name) for name in self.settings.fields}
        key = f"{stem}/{printable(sample.name)}"
        text, *more = self._texts(sample, record) or (None,)
        if self.settings.key:
            value = record.get(self.settings.key.removeprefix("json."))
            known = key_text(value)
            if known is None:
                detail = trouble or no_key(self.settings.key, value)
                return SourceRow(key, None, text, problem="no_key", detail=detail[:DETAIL])
            key = known
        further = tuple(one for one in more if one)
        extension = next((name for name in self.extensions if name in sample.members), None)
        if extension is None:
            detail = f"no image in this sample (found: {sample.found()})"
            return SourceRow(key, None, text, fields, "missing", detail[:DETAIL], further)
        data = sample.members[extension]
        if data is None:
            problem, detail = sample.problems[extension]
            return SourceRow(key, None, text, fields, problem, detail[:DETAIL], further)
        without = "" if text else self._no_text(sample, record, trouble)
        return SourceRow(key, data, text, fields, None, without[:DETAIL], further)

    def _texts(self, sample: _Sample, record: dict[str, Any]) -> tuple[str, ...]:
        """The captions of a sample: a member with the extension, or a field of its JSON."""
        wanted = self.settings.text
        if wanted and wanted.startswith("json."):
            return texts_of(record.get(wanted.removeprefix("json.")))
        for extension in (wanted.lower(),) if wanted else TEXT_EXTENSIONS:
            if extension in sample.members and extension != "json" and (data := sample.members[extension]) is not None:
                return texts_of(decode_text(data))
        column = text_column(record, wanted)
        return texts_of(record[column]) if column else ()

    def _no_text(self, sample: _Sample, record: dict[str, Any], trouble: str) -> str:
        wanted = self.settings.text
        for extension, (_, detail) in sample.problems.items():
            if extension in self.read_at_all:
                return f"no text: .{extension}: {detail}"
        fields = f"; fields of its JSON: {', '.join(map(printable, record))}" if record else trouble and f"; {trouble}"
        return f"no text{f' {wanted!r}' if wanted else ''} in this sample (found: {sample.found()}{fields})"

    def _json(self, sample: _Sample) -> tuple[dict[str, Any], str]:
        """The sample's JSON object, and what is wrong where it is none."""
        data = sample.members.get("json")
        if data is None:
            return {}, ""
        try:
            content = parse_json(data)
        except ValueError as error:
            return {}, f"its .json is {error}"
        if isinstance(content, dict):
            return content, ""
        return {}, f"its .json holds a {type(content).__name__} instead of an object"


SOURCE = WebDatasetImages
