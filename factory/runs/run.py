"""A run directory: lock, append a part, read a table, what is done.

Everything a run knows is in append-only Parquet parts that appear by rename, so a process may be killed at any moment.
Part names are unique; a score part is named after the caption part it scores, which makes "what is not scored yet" a
comparison of names.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exports.storage import Storage
from factory.errors import RunError
from factory.runs import tables

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

LOCK = "run.lock"
LOCK_STALE_S = 300.0
RECIPE = "recipe.yaml"
RECIPE_LOCK = "recipe.lock.json"
SELECTION = "selection.parquet"
CALIBRATIONS = "calibrations"
REPORT = "report.html"
METRICS = "metrics.json"
COMPACT_BYTES = 64_000_000

# The better state of two rows with the same key; a later success replaces a failure.
STATUS_RANK = {"ok": 0, "truncated": 1, "failed": 2}


@dataclass(frozen=True)
class Run:
    """The tables of one execution of a recipe. Holds only the directory, so it travels to workers."""

    storage: Storage

    @property
    def url(self) -> str:
        """Where it is."""
        return self.storage.url

    # --- writing ---

    def append(self, table: str, frame: pl.DataFrame, part: str | None = None) -> str:
        """Add rows to a table as one new part. Returns the part's name; an empty frame writes nothing."""
        part = part or new_part_name()
        if frame.height:
            self.storage.write_parquet(f"{table}/{part}.parquet", frame)
        return part

    def write_json(self, name: str, content: Any) -> None:
        """Write a small JSON file, whole or not at all."""
        self.storage.write(name, (json.dumps(content, indent=2, sort_keys=True, default=str) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """Read a small JSON file; None where it does not exist. Raises RunError when it is damaged."""
        try:
            return json.loads(self.storage.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunError(f"{self.storage.full(name)} is damaged ({error}); use another --out or --fresh") from None

    # --- reading ---

    def parts(self, table: str) -> list[str]:
        """Names of a table's parts, oldest first, without '.parquet'."""
        return [name.removesuffix(".parquet") for name in self.storage.names(table, ".parquet")]

    def scan(self, table: str, schema: pl.Schema) -> pl.LazyFrame:
        """All rows of a table; an empty frame of `schema` where there are none. Columns that older rows lack are null."""
        paths = [f"{table}/{part}.parquet" for part in self.parts(table)]
        if not paths:
            return schema.to_frame().lazy()
        return tables.completed(self.storage.scan(paths), schema)

    def captions(self, fingerprints: list[str]) -> pl.LazyFrame:
        """The rows made by these fingerprints, one per (shard, image key, view, candidate): the best, then the oldest.

        The same key in two shards is two rows here; `selection` keeps the first and counts the other.
        """
        import polars as pl

        rank = pl.col("status").replace_strict(STATUS_RANK, default=9, return_dtype=pl.Int8)
        rows = self.scan("captions", tables.CAPTIONS).filter(pl.col("fingerprint").is_in(fingerprints))
        return one_per_key(rows, ["shard", *tables.CAPTION_KEY], [rank, pl.col("created_ms")])

    def quarantine(self, fingerprints: list[str]) -> pl.LazyFrame:
        """The images refused under these fingerprints, one row per (shard, image key, reason)."""
        import polars as pl

        rows = self.scan("quarantine", tables.QUARANTINE).filter(pl.col("fingerprint").is_in(fingerprints))
        return one_per_key(rows, ["shard", "image_key", "reason"], [pl.col("created_ms")])

    def shards(self) -> pl.DataFrame:
        """What is known of shards that were read to their end, one row per shard, the newest."""
        rows = self.scan("shards", tables.SHARDS).sort("created_ms", descending=True)
        return rows.unique("shard", keep="first", maintain_order=True).collect()

    def originals(self, fingerprint: str) -> pl.DataFrame:
        """What is known of shards whose own texts were read under this fingerprint, one row per shard, the newest."""
        import polars as pl

        rows = self.scan("originals", tables.ORIGINALS).filter(pl.col("fingerprint") == fingerprint)
        return rows.sort("created_ms", descending=True).unique("shard", keep="first", maintain_order=True).collect()

    # --- compaction ---

    def compact(self, filters: list[str]) -> int:
        """Merge small caption parts, and their score parts alike, into larger ones. Returns parts removed.

        A crash in between leaves rows twice, which reading resolves by key. Merged scores appear before merged
        captions, and old captions go before old scores, so a caption part is never without scores that it had.
        """
        import polars as pl

        removed = 0
        for group in self._small_groups():
            merged = new_part_name()
            for name in filters:
                for fp in self._score_prints(name, group):
                    parts = [f"scores/{name}/{part}.{fp}.parquet" for part in group]
                    self.storage.write_parquet(f"scores/{name}/{merged}.{fp}.parquet", _read_whole(self.storage, parts))
            for judge in self.storage.directories("answers"):
                files = self._answer_files(judge)
                answers = [self._read_answers(judge, files[part]) for part in group if part in files]
                if answers:
                    self.storage.write_parquet(f"answers/{judge}/{merged}.made.parquet", pl.concat(answers))
            parts = [f"captions/{part}.parquet" for part in group]
            self.storage.write_parquet(f"captions/{merged}.parquet", _read_whole(self.storage, parts))
            for path in parts:
                self.storage.remove(path)
            for table in ("scores", "answers"):
                for name in self.storage.directories(table):
                    for part in self.storage.names(f"{table}/{name}"):
                        if part.split(".")[0] in group:
                            self.storage.remove(f"{table}/{name}/{part}")
            removed += len(group)
        return removed

    def _small_groups(self) -> Iterator[list[str]]:
        group: list[str] = []
        size = 0
        for part in self.parts("captions"):
            part_bytes = self.storage.fs.size(self.storage.full(f"captions/{part}.parquet"))
            if part_bytes > COMPACT_BYTES // 2:
                continue
            group.append(part)
            size += part_bytes
            if size > COMPACT_BYTES or len(group) == 4096:
                yield group
                group, size = [], 0
        if len(group) > 16:
            yield group

    def _score_prints(self, name: str, group: list[str]) -> list[str]:
        """Filter fingerprints under which every part of the group has scores."""
        prints: dict[str, set[str]] = {}
        for file in self.storage.names(f"scores/{name}", ".parquet"):
            part, fp = file.removesuffix(".parquet").rsplit(".", 1)
            prints.setdefault(fp, set()).add(part)
        return [fp for fp, parts in prints.items() if parts.issuperset(group)]

    # --- answers ---

    def answers(self, judge: str, part: str) -> pl.DataFrame:
        """The rows of tables.ANSWERS of a judge about the captions of a part, one per image, question and control."""
        files = self._answer_files(judge).get(part)
        return self._read_answers(judge, files) if files else tables.ANSWERS.to_frame()

    def answered_parts(self, *judges: str, columns: list[str]) -> Iterator[tuple[pl.DataFrame, ...]]:
        """Of each caption part about which all of these judges were asked, the answers of each, as `answers` gives them:
        their keys, problems, and these columns.
        """
        files = [self._answer_files(judge) for judge in judges]
        for part in sorted(set(files[0]).intersection(*files[1:])):
            yield tuple(
                self._read_answers(judge, found[part], columns) for judge, found in zip(judges, files, strict=True)
            )

    def _answer_files(self, judge: str) -> dict[str, list[str]]:
        """The files of a judge's answers by caption part."""
        files: dict[str, list[str]] = {}
        for name in self.storage.names(f"answers/{judge}", ".parquet"):
            files.setdefault(name.split(".")[0], []).append(name)
        return files

    def _read_answers(self, judge: str, files: list[str], columns: list[str] | None = None) -> pl.DataFrame:
        import polars as pl

        schema = tables.ANSWERS
        if columns is not None:
            wanted = [*tables.ANSWER_KEY, "problem", "created_ms", *columns]
            schema = pl.Schema({name: kind for name, kind in schema.items() if name in wanted})
        # One by one: a file may be older than a column.
        scans = [self.storage.scan([f"answers/{judge}/{name}"]) for name in files]
        each = (one.match_to_schema(schema, missing_columns="insert", extra_columns="ignore") for one in scans)
        rows = pl.concat(each)
        # Of a question that was asked again the answer counts, not the problem it had before.
        return (
            rows.collect()
            .sort("problem", "created_ms", nulls_last=False)
            .unique(tables.ANSWER_KEY, keep="first", maintain_order=True)
        )

    # --- scores ---

    def unscored(self, name: str, fp: str) -> list[str]:
        """Caption parts that have no scores of this filter fingerprint yet."""
        return sorted(set(self.parts("captions")) - set(self.scored(name, fp)))

    def scored(self, name: str, fp: str) -> list[str]:
        """Caption parts that have scores of this filter fingerprint."""
        suffix = f".{fp}.parquet"
        return [file.removesuffix(suffix) for file in self.storage.names(f"scores/{name}", suffix)]

    def scores(self, name: str, fp: str) -> pl.LazyFrame:
        """The scores of a filter fingerprint with their evidence, one row per scored caption."""
        paths = [f"scores/{name}/{part}.{fp}.parquet" for part in self.scored(name, fp)]
        if not paths:
            return tables.SCORE.to_frame().lazy()
        return one_per_key(self.storage.scan(paths), list(tables.SCORE_KEYS), [])


def one_per_key(rows: pl.LazyFrame, keys: list[str], best: list[pl.Expr]) -> pl.LazyFrame:
    """Of rows with the same keys the one that comes first by `best`; any of them where `best` is empty.

    Rows come twice only where a crash made a task run again, so mostly there is nothing to do: finding out costs 8 bytes
    a row, and the frame stays a scan that streams.
    """
    import numpy as np
    import polars as pl

    combined = pl.sum_horizontal(pl.col(key).hash(seed) * (2 * seed + 1) for seed, key in enumerate(keys))
    hashes = rows.select(combined.alias("_hash")).collect(engine="streaming")["_hash"].to_numpy(writable=True)
    hashes.sort()
    repeated = pl.Series("_hash", np.unique(hashes[1:][hashes[1:] == hashes[:-1]]), dtype=pl.UInt64)
    if not len(repeated):
        return rows
    marked = rows.with_columns(combined.is_in(repeated.implode()).alias("_repeated"))
    again = marked.filter("_repeated")
    if best:
        again = again.sort(best)
    again = again.unique(keys, keep="first", maintain_order=True)
    return pl.concat([marked.filter(~pl.col("_repeated")), again]).drop("_repeated")


def _read_whole(storage: Storage, paths: list[str]) -> pl.DataFrame:
    """Parts put together; what older ones lack is null."""
    import polars as pl

    return pl.concat([storage.scan([path]) for path in paths], how="diagonal_relaxed").collect()


def new_part_name() -> str:
    """A unique part name; names sort by time of writing."""
    return f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"


# --- what is done ----------------------------------------------------------------------------------------------------


class DoneSet:
    """A set of (image key, view, fingerprint) as sorted 128-bit hashes: 16 bytes an entry, shared between processes.

    Two independent 64-bit hashes make a false hit (an image skipped that was never captioned) about 1e-20 likely for a
    billion images. Polars' hash is stable within one version, and the set is rebuilt at every start.
    """

    def __init__(self, high: np.ndarray, low: np.ndarray) -> None:
        self.high = high
        self.low = low

    @classmethod
    def of(cls, frames: Iterator[pl.DataFrame]) -> DoneSet:
        """From frames with image_key, view and fingerprint."""
        import numpy as np

        pieces = [hash_rows(frame) for frame in frames if frame.height]
        if not pieces:
            empty = np.zeros(0, dtype=np.uint64)
            return cls(empty, empty)
        high = np.concatenate([piece[0] for piece in pieces])
        low = np.concatenate([piece[1] for piece in pieces])
        order = np.lexsort((low, high))
        return cls(high[order], low[order])

    def __len__(self) -> int:
        return len(self.high)

    def contains(self, frame: pl.DataFrame) -> np.ndarray:
        """A boolean per row of a frame with image_key, view and fingerprint."""
        import numpy as np

        high, low = hash_rows(frame)
        found = np.zeros(len(high), dtype=bool)
        if not len(self.high):
            return found
        place = np.searchsorted(self.high, high)
        while True:
            inside = place < len(self.high)
            same = inside & (self.high[np.minimum(place, len(self.high) - 1)] == high)
            found |= same & (self.low[np.minimum(place, len(self.high) - 1)] == low)
            open_rows = same & ~found
            if not open_rows.any():
                return found
            place = np.where(open_rows, place + 1, len(self.high))


def hash_rows(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Two 64-bit hashes of (image_key, view, fingerprint)."""
    import polars as pl

    joined = frame.select(pl.concat_str(["image_key", "view", "fingerprint"], separator="\x1f"))["image_key"]
    return joined.hash(seed=17).to_numpy(), joined.hash(seed=4242).to_numpy()


# --- opening ---------------------------------------------------------------------------------------------------------


def find_run(url: str) -> Run:
    """An existing run directory; raises RunError where there is none."""
    run = Run(Storage(url))
    if not run.storage.exists(RECIPE_LOCK):
        raise RunError(f"{url}: no run here (no {RECIPE_LOCK}); give the directory that `factory run` wrote")
    return run


class RunLock:
    """One writer per run directory.

    On a local disk it is an flock, which the system drops when the process dies in whatever way. Elsewhere it is an
    object with a heartbeat, taken over when it has been silent for LOCK_STALE_S.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.token = uuid.uuid4().hex
        self._file: Any = None
        self._stop: Any = None

    def __enter__(self) -> RunLock:
        if self.run.storage.is_local:
            self._take_local()
        else:
            self._take_remote()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            return
        self._stop.set()
        self.run.storage.remove(LOCK)

    def _take_local(self) -> None:
        import fcntl
        import os

        try:
            self.run.storage.make()
            self._file = open(self.run.storage.full(LOCK), "a+")  # noqa: SIM115 - held for as long as the lock
        except OSError as error:
            raise RunError(f"{self.run.url}: cannot be written: {error.strerror}; choose another --out") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            raise RunError(
                f"{self.run.url}: another run is writing here ({self._file.read().strip() or 'unknown process'}); "
                "wait for it, stop it, or choose another --out"
            ) from None
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"process {os.getpid()} on {os.uname().nodename}")
        self._file.flush()

    def _take_remote(self) -> None:
        import threading

        holder = self.run.read_json(LOCK)
        if holder and time.time() - holder["beat"] < LOCK_STALE_S:
            raise RunError(
                f"{self.run.url}: another run is writing here ({holder['host']}); wait for it, or up to "
                f"{LOCK_STALE_S / 60:.0f} minutes if it was killed, or choose another --out"
            )
        self._stop = threading.Event()
        self._beat()
        if (self.run.read_json(LOCK) or {}).get("token") != self.token:
            raise RunError(f"{self.run.url}: another run started here in the same moment; choose another --out")
        threading.Thread(target=self._beat_until_stopped, daemon=True).start()

    def _beat_until_stopped(self) -> None:
        while not self._stop.wait(LOCK_STALE_S / 10):
            self._beat()

    def _beat(self) -> None:
        import os

        host = f"process {os.getpid()} on {os.uname().nodename}"
        self.run.storage.make()
        self.run.write_json(LOCK, {"token": self.token, "beat": time.time(), "host": host})


def is_locked(run: Run) -> bool:
    """Whether a run is being written now."""
    if not run.storage.is_local:
        holder = run.read_json(LOCK)
        return bool(holder) and time.time() - holder["beat"] < LOCK_STALE_S
    import fcntl

    try:
        with open(run.storage.full(LOCK)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
