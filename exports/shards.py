"""Rows in any order become shards sorted by id, in the memory of about two shards whatever the size of the release.

New images fill one new shard after the other. Those that the parent version has are gathered by their shard; a shard that
is complete is written, and where too many are open at once, the largest go to disk until they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exports.columns import FOLDERS, features
from exports.membership import NEW, Membership
from exports.pairs import rejected_text
from exports.placeholder import neutral
from exports.release_row import RowBatch
from exports.shard_file import ROW_OVERHEAD, WrittenFile, group_bounds, write_shard_file
from exports.storage import Storage

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

IMAGES: Final = ("default", "sft", "preference")
"""Configs with an image column."""
REJECTED_ROWS: Final = 500_000
"""Rows of a file of rejected captions."""
PAIRED: Final = "rejected answer"
"""Column of a batch on its way into `preference`."""


@dataclass(frozen=True)
class Constants:
    """What all rows of a release share."""

    filters: tuple[str, ...]
    configs: tuple[str, ...]
    run_id: str | None
    recipe_id: str | None
    image_license: str | None  # of images whose source names none


@dataclass
class ConfigCounts:
    """Rows of a config, words (split at white space) of its captions, and images in it."""

    rows: int = 0
    words: int = 0
    images: int = 0
    image_bytes: int = 0

    def add(self, other: ConfigCounts) -> None:
        """Add what another file of the config has."""
        self.rows += other.rows
        self.words += other.words
        self.images += other.images
        self.image_bytes += other.image_bytes


@dataclass
class _Open:
    """A shard that waits for more rows; `on_disk` are pieces that went to disk."""

    batches: list[RowBatch] = field(default_factory=list)
    size: int = 0
    rows: int = 0
    on_disk: list[Path] = field(default_factory=list)

    def add(self, batch: RowBatch, size: int) -> None:
        self.batches.append(batch)
        self.size += size
        self.rows += len(batch.images)


class Shards:
    """Gathers rows into shards and writes them in the wanted configs. Use it as a context, then read `files` and `counts`."""

    def __init__(
        self,
        building: Storage,
        scratch: Path,
        constants: Constants,
        membership: Membership,
        expected: dict[int, int],
        shard_bytes: int,
        group_bytes: int,
    ) -> None:
        self.building = building
        self.scratch = scratch
        self.constants = constants
        self.membership = membership
        self.shard_bytes = shard_bytes
        self.group_bytes = group_bytes
        self.memory_bytes = max(shard_bytes, 4 * group_bytes)  # of shards that are open beside the one that fills
        self._files: list[tuple[str, Future[WrittenFile]]] = []
        self.counts = {config: ConfigCounts() for config in constants.configs}
        self.schemas = {
            config: features(config, constants.filters).arrow_schema
            for config in FOLDERS
            if config in constants.configs
        }
        self._expected = expected
        self._known: dict[int, _Open] = {}
        self._new = _Open()
        self._number = membership.next_shard
        self._memory = {config: _ImageMemory() for config in IMAGES}
        self._pool = ThreadPoolExecutor(1)  # writes
        self._beside = ThreadPoolExecutor(1)  # writes the images again, for sft and preference
        self._settling = ThreadPoolExecutor(2)  # hash, and wait for the disk
        self._writing: Future[None] | None = None

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._beside.shutdown()
        self._settling.shutdown()

    @property
    def files(self) -> list[tuple[str, WrittenFile]]:
        """(config, file) of what was written, which is on the disk then."""
        return [(config, file.result()) for config, file in self._files]

    @property
    def next_shard(self) -> int:
        """The number of the first shard that a later version may add."""
        return self._number

    def add(self, batch: RowBatch) -> None:
        """Add rows. Raises what the writing of an earlier shard raised."""
        import numpy as np

        self.membership.count(batch.rest["id"], batch.rest["caption"])
        places = self.membership.places(batch.rest["id"])
        for number in np.unique(places).tolist():
            part = batch if len(batch.images) == int((places == number).sum()) else _rows(batch, places == number)
            if number == NEW:
                self._add_new(part)
            else:
                self._add_known(number, part)

    def finish(self) -> None:
        """Write what is open still."""
        for number in sorted(self._known):
            self._write(number, self._known.pop(number))
        if self._new.rows:
            self._close_new()
        self._wait()

    def add_rejected(self, frames: Iterable[pl.DataFrame]) -> None:
        """Write the captions of images that are not in the release; columns as in `exports/columns.py`."""
        import polars as pl

        waiting: list[pl.DataFrame] = []
        number = 0
        for frame in frames:
            waiting.append(frame)
            if sum(map(len, waiting)) >= REJECTED_ROWS:
                self._write_rejected(number, pl.concat(waiting))
                waiting, number = [], number + 1
        if sum(map(len, waiting)):
            self._write_rejected(number, pl.concat(waiting))

    # --- gathering ---

    def _add_new(self, batch: RowBatch) -> None:
        start = 0
        for place, size in enumerate(_weights(batch)):
            self._new.size += size
            if self._new.size >= self.shard_bytes:
                self._new.add(_slice(batch, start, place + 1), 0)
                self._close_new()
                start = place + 1
        if start < len(batch.images):
            self._new.add(_slice(batch, start, len(batch.images)), 0)

    def _close_new(self) -> None:
        self._write(self._number, self._new)
        self._number += 1
        self._new = _Open()

    def _add_known(self, number: int, batch: RowBatch) -> None:
        shard = self._known.setdefault(number, _Open())
        shard.add(batch, sum(_weights(batch)))
        if shard.rows == self._expected.get(number):
            self._write(number, self._known.pop(number))
        while sum(one.size for one in self._known.values()) > self.memory_bytes:
            largest = max(self._known, key=lambda one: self._known[one].size)
            self._put_on_disk(largest, self._known[largest])

    def _put_on_disk(self, number: int, shard: _Open) -> None:
        import pyarrow as pa

        path = self.scratch / f"{number:05d}-{len(shard.on_disk)}.arrow"
        rest = _joined(shard.batches).rest
        images = pa.array([image for batch in shard.batches for image in batch.images], pa.large_binary())
        table = rest.to_arrow().append_column("image", images)
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        shard.on_disk.append(path)
        shard.batches, shard.size = [], 0

    # --- writing ---

    def _write(self, number: int, shard: _Open) -> None:
        """Write a shard in the background; one at a time, so that at most two are in memory."""
        self._wait()
        self._writing = self._pool.submit(self._write_now, number, shard)

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write_now(self, number: int, shard: _Open) -> None:
        batch = _joined([*map(_from_disk, shard.on_disk), *shard.batches])
        shard.batches = []
        order = batch.rest["id"].arg_sort()
        batch.rest = batch.rest[order]
        batch.images = [batch.images[place] for place in order.to_list()]
        bounds = group_bounds(batch.sizes, self.group_bytes)
        # A list of its own: writing the default config lets go of its images one row group after the other.
        pictures = RowBatch(list(batch.images), batch.rest)
        beside = self._beside.submit(self._write_beside, number, pictures, bounds)
        for config in ("text", "default"):
            self._write_config(config, number, batch, bounds)
        beside.result()
        for path in shard.on_disk:
            path.unlink()

    def _write_beside(self, number: int, batch: RowBatch, bounds: list[tuple[int, int]]) -> None:
        for config in ("sft", "preference"):
            self._write_config(config, number, batch, bounds)

    def _write_config(self, config: str, number: int, batch: RowBatch, bounds: list[tuple[int, int]]) -> None:
        if config not in self.schemas:
            return
        tables = {"default": self._default, "sft": self._sft, "preference": self._preference, "text": self._text}[
            config
        ]
        path = f"{FOLDERS[config]}/train-{number:05d}.parquet"
        if config != "default":
            batch = _kept(batch, has_image=config in IMAGES)
            if config == "preference":
                batch = _pairs(batch)
            sizes = batch.sizes
            if config == "sft":  # an image for each of its turns
                sizes = [size * turns for size, turns in zip(sizes, batch.rest["turns"].list.len(), strict=True)]
            bounds = group_bounds(sizes, self.group_bytes)
            if not batch.images:
                return
        written = write_shard_file(
            self.building,
            path,
            tables(batch, bounds),
            self.schemas[config],
            has_images=config in IMAGES,
            pool=self._settling,
        )
        self._files.append((config, written))

    def _default(self, batch: RowBatch, bounds: list[tuple[int, int]]) -> Iterator[pa.Table]:
        import polars as pl

        shared = self.constants
        batch.rest = batch.rest.with_columns(
            pl.col("license").fill_null(pl.lit(shared.image_license, pl.String)),
            pl.lit(shared.run_id, pl.String).alias("run_id"),
            pl.lit(shared.recipe_id, pl.String).alias("recipe_id"),
        )
        for start, stop in bounds:
            rows = batch.rest[start:stop]
            images = batch.images[start:stop]
            self.counts["default"].add(_counted(rows["caption"], images))
            table = _with_column(
                rows, self.schemas["default"], "image", self._memory["default"].array(images, rows["file_name"])
            )
            del images
            batch.images[start:stop] = [None] * (stop - start)
            yield table

    def _sft(self, batch: RowBatch, bounds: list[tuple[int, int]]) -> Iterator[pa.Table]:
        import pyarrow as pa

        schema = self.schemas["sft"]
        for start, stop in bounds:
            rows = batch.rest[start:stop]
            talks = rows["turns"].to_list()
            times = [len(talk) for talk in talks]
            pictures = [
                image for image, count in zip(batch.images[start:stop], times, strict=True) for _ in range(count)
            ]
            names = [name for name, count in zip(rows["file_name"], times, strict=True) for _ in range(count)]
            prompts = [_prompt(talk[: place + 1]) for talk in talks for place in range(len(talk))]
            answers = [[{"role": "assistant", "content": turn["answer"]}] for talk in talks for turn in talk]
            self.counts["sft"].add(_counted_texts([one[0]["content"] for one in answers], pictures))
            one_each = pa.array(range(len(pictures) + 1), pa.int32())
            listed = pa.ListArray.from_arrays(one_each, self._memory["sft"].array(pictures, names))
            columns = [
                listed,
                pa.array(prompts, schema.field("prompt").type),
                pa.array(answers, schema.field("completion").type),
            ]
            yield pa.Table.from_arrays(columns, schema=schema)

    def _preference(self, batch: RowBatch, bounds: list[tuple[int, int]]) -> Iterator[pa.Table]:
        import pyarrow as pa

        schema = self.schemas["preference"]
        for start, stop in bounds:
            rows, images = batch.rest[start:stop], batch.images[start:stop]
            asked = [[{"role": "user", "content": turns[0]["question"]}] for turns in rows["turns"].to_list()]
            chosen, rejected = (
                [[{"role": "assistant", "content": answer}] for answer in rows[name].to_list()]
                for name in ("caption", PAIRED)
            )
            self.counts["preference"].add(_counted(rows["caption"], images))
            one_each = pa.array(range(len(images) + 1), pa.int32())
            listed = pa.ListArray.from_arrays(one_each, self._memory["preference"].array(images, rows["file_name"]))
            texts = zip(("prompt", "chosen", "rejected"), (asked, chosen, rejected), strict=True)
            columns = [pa.array(values, schema.field(name).type) for name, values in texts]
            yield pa.Table.from_arrays([pa.array(rows["id"].to_list(), pa.string()), listed, *columns], schema=schema)

    def _text(self, batch: RowBatch, bounds: list[tuple[int, int]]) -> Iterator[pa.Table]:
        import polars as pl

        words = batch.rest["caption"].str.replace_all(r"\s+", " ").str.strip_chars()
        counts = words.str.split(" ").list.len().cast(pl.Int32)
        frame = batch.rest.select("id", text=words, words=counts, view="view")
        self.counts["text"].add(ConfigCounts(rows=frame.height, words=int(counts.sum())))
        yield _cast(frame, self.schemas["text"])

    def _write_rejected(self, number: int, rows: pl.DataFrame) -> None:
        import polars as pl

        schema = self.schemas["rejected"]
        missing = [pl.lit(None, pl.String).alias(name) for name in schema.names if name not in rows.columns]
        rows = rows.with_columns(missing).with_columns(
            pl.lit(self.constants.run_id, pl.String).alias("run_id"),
            pl.lit(self.constants.recipe_id, pl.String).alias("recipe_id"),
        )
        path = f"{FOLDERS['rejected']}/train-{number:05d}.parquet"
        tables = iter([_cast(rows, schema)])
        written = write_shard_file(self.building, path, tables, schema, has_images=False, pool=self._settling)
        self._files.append(("rejected", written))
        self.counts["rejected"].rows += rows.height


# --- batches -------------------------------------------------------------------------------------------------------------


def _weights(batch: RowBatch) -> list[int]:
    return [size + ROW_OVERHEAD for size in batch.sizes]


def _rows(batch: RowBatch, mask: Any) -> RowBatch:
    import polars as pl

    return RowBatch(
        [image for image, wanted in zip(batch.images, mask.tolist(), strict=True) if wanted],
        batch.rest.filter(pl.Series(mask)),
    )


def _slice(batch: RowBatch, start: int, stop: int) -> RowBatch:
    if start == 0 and stop == len(batch.images):
        return batch
    return RowBatch(batch.images[start:stop], batch.rest[start:stop])


def _joined(batches: list[RowBatch]) -> RowBatch:
    import polars as pl

    if len(batches) == 1:
        return batches[0]
    images = [image for batch in batches for image in batch.images]
    return RowBatch(images, pl.concat([batch.rest for batch in batches]))


def _kept(batch: RowBatch, has_image: bool) -> RowBatch:
    """The rows with a released caption; of these, where asked, the ones with an image."""
    wanted = batch.rest["keep"] & batch.rest["bytes"].is_not_null() if has_image else batch.rest["keep"]
    return batch if wanted.all() else _rows(batch, wanted.to_numpy())


def _pairs(batch: RowBatch) -> RowBatch:
    """The rows that have a rejected answer beside the released one, which stands in the column PAIRED."""
    import polars as pl

    rejected = [_rejected(*row) for row in batch.rest.select("view", "caption", "captions").iter_rows()]
    pairs = RowBatch(batch.images, batch.rest.with_columns(pl.Series(PAIRED, rejected, pl.String)))
    return _rows(pairs, pairs.rest[PAIRED].is_not_null().to_numpy())


def _rejected(view: str, caption: str, captions: list[dict[str, Any]] | None) -> str | None:
    own = (one for one in captions or () if one["view"] == view and one["kept"])
    chosen = next((one for one in own if neutral(one["rewritten"] or one["text"] or "") == caption), None)
    rejected = rejected_text(captions or (), chosen, caption) if chosen else None
    return None if rejected is None else neutral(rejected)


def _from_disk(path: Path) -> RowBatch:
    import polars as pl
    import pyarrow as pa

    table = pa.ipc.open_file(path).read_all()
    rest = pl.DataFrame(table.drop_columns(["image"]))
    return RowBatch(table["image"].to_pylist(), rest)


class _ImageMemory:
    """Memory for the images of a row group that serves the next one again: fresh memory costs more than the copy."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def array(self, images: list[bytes | None], names: Iterable[str | None]) -> pa.Array:
        """The images as structs of `bytes` and `path`, good until the next call."""
        import numpy as np
        import pyarrow as pa

        ends = np.cumsum([0, *(len(image or b"") for image in images)])
        if ends[-1] > 2**31 - 1:
            raise ValueError("the images of one row group are more than 2 GB together; take a smaller group")
        if ends[-1] > len(self._memory):
            self._memory = bytearray(int(ends[-1] * 1.25))
        view = memoryview(self._memory)
        for image, start, end in zip(images, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            if image:
                view[start:end] = image
        absent = pa.array([image is None for image in images], pa.bool_())
        offsets = pa.py_buffer(ends.astype(np.int32))
        data = pa.Array.from_buffers(pa.binary(), len(images), [None, offsets, pa.py_buffer(self._memory)])
        paths = pa.array(list(names), pa.string())
        return pa.StructArray.from_arrays([data, paths], names=["bytes", "path"], mask=absent)


# --- tables --------------------------------------------------------------------------------------------------------------


def _with_column(rows: pl.DataFrame, schema: pa.Schema, name: str, column: pa.Array) -> pa.Table:
    import pyarrow as pa

    rest = _cast(rows, schema.remove(schema.get_field_index(name)))
    columns = [column if field.name == name else rest[field.name] for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(rows: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    import polars as pl

    return rows.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def _prompt(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """The conversation up to the last question."""
    messages = []
    for turn in turns:
        messages += [{"role": "user", "content": turn["question"]}, {"role": "assistant", "content": turn["answer"]}]
    return messages[:-1]


def _counted(texts: pl.Series, images: list[bytes | None]) -> ConfigCounts:
    words = texts.str.count_matches(r"\S+").sum()
    sizes = [len(image) for image in images if image is not None]
    return ConfigCounts(len(texts), int(words or 0), len(sizes), sum(sizes))


def _counted_texts(texts: list[str], images: list[bytes | None]) -> ConfigCounts:
    sizes = [len(image) for image in images if image is not None]
    return ConfigCounts(len(texts), sum(len(text.split()) for text in texts), len(sizes), sum(sizes))
