"""A list of addresses of images: a table or file with a column of URLs, and perhaps captions. A dead link is a row with a reason."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from factory.errors import SourceError
from factory.recipe import UrlsSource
from factory.sources.caption_files import JSON_SUFFIXES, SUFFIXES, TEXT, Bad, Record, WrongFile, is_kind, records
from factory.sources.caption_text import text_column, texts_of
from factory.sources.files import find_files, first_line, relative_names, stat_of
from factory.sources.inside import Unusable
from factory.sources.parquet import DamagedFile, gone, open_parquet
from factory.sources.source import DETAIL, Shard, SourceRow, key_text, no_key

if TYPE_CHECKING:
    from exports.storage import Storage
    from factory.sources.fetching import Fetcher

URL_COLUMNS: Final = ("url", "image_url", "URL", "image", "link")
THREADS: Final = 16


class UrlImages:
    """The rows of lists of addresses; each file is a shard. The key of a row is its id, or its address."""

    def __init__(self, settings: UrlsSource, scratch: Storage | None = None) -> None:
        self.settings = settings

    def shards(self) -> Iterator[Shard]:
        """One shard a file. Raises SourceError where there is none, or its first record has no column of addresses."""
        urls = find_files(self.settings.path, (*SUFFIXES, *JSON_SUFFIXES))
        for name, url in zip(relative_names(urls), urls, strict=True):
            yield Shard(name, None, stat_of(url), {"url": url})

    def read(self, shard: Shard, max_bytes: int) -> Iterator[SourceRow]:
        """The rows of a list, in its order, each fetched; several at once, of a host no more than its rate."""
        from factory.sources.fetching import Fetcher

        settings = self.settings
        fetcher = Fetcher(settings.timeout_s, settings.retries, settings.per_host_per_s, settings.allow_loopback)
        listed = self._records(shard)
        with ThreadPoolExecutor(THREADS) as pool:
            place = 0
            while batch := list(islice(listed, THREADS * 4)):
                numbered = enumerate(batch, place)
                yield from pool.map(lambda item: self._row(item[1], shard, item[0], fetcher, max_bytes), numbered)
                place += len(batch)

    def _records(self, shard: Shard) -> Iterator[Record]:
        url = shard.spec["url"]
        try:
            if not is_kind(url, (".parquet",)):
                yield from records(url)
                return
            with open_parquet(url) as file:
                for batch in file.iter_batches(1_024):
                    yield from batch.to_pylist()
        except FileNotFoundError:
            raise SourceError(gone(url)) from None
        except WrongFile as error:
            raise SourceError(f"{url}: {error}") from None
        except (DamagedFile, OSError, EOFError, zlib.error) as error:
            yield Bad("(the rest)", f"the rest of {shard.name} cannot be read: {first_line(error)}")

    def _row(self, record: Record, shard: Shard, place: int, fetcher: Fetcher, max_bytes: int) -> SourceRow:
        at = f"{shard.name}/{place}"
        if isinstance(record, Bad):
            problem = "unreadable" if record.where == "(the rest)" else "unreadable_row"
            return SourceRow(at, None, problem=problem, detail=f"{record.where}: {record.why}"[:DETAIL])
        lines = is_kind(shard.spec["url"], TEXT)
        column = "text" if lines else self.settings.url or next((one for one in URL_COLUMNS if one in record), None)
        if column is None or column not in record:
            wanted = f"no column '{column}'" if column else f"none of the columns {', '.join(URL_COLUMNS)}"
            raise SourceError(f"{shard.spec['url']}: {wanted} (source.url); found: {', '.join(map(str, record))}")
        words = None if lines else text_column([one for one in record if one != column], self.settings.text)
        text, *more = texts_of(record.get(words)) or (None,) if words else (None,)
        fields: dict[str, Any] = {name: record.get(name) for name in self.settings.fields}
        address = record[column]
        given = record.get(self.settings.key) if self.settings.key else address
        key = key_text(given)
        if key is None:
            return SourceRow(at, None, text, fields, "no_key", no_key(self.settings.key or column, given))
        try:
            if not isinstance(address, str):
                raise Unusable("missing", f"no address of the web: {address!r}")
            data = fetcher.get(address.strip(), max_bytes)
        except Unusable as unusable:
            return SourceRow(key, None, text, fields, unusable.problem, unusable.detail)
        return SourceRow(key, data, text, fields, None, "", tuple(one for one in more if one))


SOURCE = UrlImages
