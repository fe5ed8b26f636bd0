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
from factory.runs.damaged import check_files
from factory.runs.resolving import one_per_key, status_rank

if TYPE_CHECKING:
    import polars as pl

LOCK = "run.lock"
RECIPE = "recipe.yaml"
RECIPE_LOCK = "recipe.lock.json"
SELECTION = "selection.parquet"
CALIBRATIONS = "calibrations"
LEFT_OUT_ROWS = "left_out.parquet"
REPORT = "report.html"
METRICS = "metrics.json"
PROGRESS = "progress.json"
"""What a running run does now; it is there only while one runs."""
COMPACT_BYTES = 64_000_000
FRESH_PARTS = 512
"""Parts of one batch that are merged while a run captions, so that the number of files does not grow with that of the batches."""
FRESH_BYTES = 1_000_000


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

    def caption_part(self, part: str) -> pl.LazyFrame:
        """The rows of one part of captions."""
        return tables.completed(self.storage.scan([f"captions/{part}.parquet"]), tables.CAPTIONS)

    def captions(self, fingerprints: list[str]) -> pl.LazyFrame:
        """The rows made by these fingerprints, one per (shard, image key, view, candidate): the best, then the oldest.

        The same key in two shards is two rows here; `selection` keeps the first and counts the other.
        """
        import polars as pl

        rows = self.scan("captions", tables.CAPTIONS).filter(pl.col("fingerprint").is_in(fingerprints))
        return one_per_key(rows, ["shard", *tables.CAPTION_KEY], [status_rank(), pl.col("created_ms")])

    def quarantine(self, fingerprints: list[str]) -> pl.LazyFrame:
        """The images refused under these fingerprints, one row per (shard, image key, reason)."""
        import polars as pl

        rows = self.scan("quarantine", tables.QUARANTINE).filter(pl.col("fingerprint").is_in(fingerprints))
        return one_per_key(rows, ["shard", "image_key", "reason"], [pl.col("created_ms")])

    def shards(self) -> pl.DataFrame:
        """What is known of the shards that were read, one row per shard: the newest reading."""
        import polars as pl

        paths = [f"shards/{part}.parquet" for part in self.parts("shards")]
        if not paths:
            return tables.SHARDS.to_frame()
        rows = self.storage.scan(paths).match_to_schema(tables.SHARDS, missing_columns="insert", extra_columns="ignore")
        newest = pl.col("created_ms").rank("ordinal", descending=True).over("shard") == 1
        return rows.collect().filter(newest)

    def originals(self, fingerprint: str) -> pl.DataFrame:
        """What is known of shards whose own texts were read under this fingerprint, one row per shard, the newest."""
        import polars as pl

        rows = self.scan("originals", tables.ORIGINALS).filter(pl.col("fingerprint") == fingerprint)
        return rows.sort("created_ms", descending=True).unique("shard", keep="first", maintain_order=True).collect()

    def experts(self, name: str, fingerprint: str) -> pl.LazyFrame:
        """What an expert found under this fingerprint, one row per image (its bytes): one that did not fail, then the newest."""
        import polars as pl

        rows = self.scan(f"experts/{name}", tables.EXPERTS).filter(pl.col("fingerprint") == fingerprint)
        best = [pl.col("state") == tables.ExpertState.failed, -pl.col("created_ms")]
        return one_per_key(rows, ["image_sha256"], best)

    # --- compaction ---

    def compact(self, filters: list[str]) -> int:
        """Merge small caption parts, and their score parts alike, into larger ones. Returns parts removed.

        A crash in between leaves rows twice, which reading resolves by key. Merged scores appear before merged
        captions, and old captions go before old scores, so a caption part is never without scores that it had.
        """
        removed = 0
        for group in self._small_groups():
            self._merge(group, filters)
            removed += len(group)
        return removed

    def compact_fresh(self) -> int:
        """Merge the small parts that captioning left, FRESH_PARTS at a time, as `compact` does; those with scores stay as they are.

        Returns parts removed.
        """
        scored = {
            file.split(".")[0]
            for name in self.storage.directories("scores")
            for file in self.storage.names(f"scores/{name}")
        }
        removed = 0
        for group in _whole_groups([part for part in self._fresh("captions") if part not in scored]):
            self._merge(group, [])
            removed += len(group)
        experts = [f"experts/{name}" for name in self.storage.directories("experts")]
        return removed + sum(self._merge_fresh(table) for table in ("shards", *experts))

    def _merge_fresh(self, table: str) -> int:
        """Merge small parts of a table that nothing refers to by part. Returns parts removed."""
        removed = 0
        for group in _whole_groups(self._fresh(table)):
            paths = [f"{table}/{part}.parquet" for part in group]
            self.append(table, _read_whole(self.storage, paths))
            for path in paths:
                self.storage.remove(path)
            removed += len(group)
        return removed

    def _fresh(self, table: str) -> list[str]:
        sizes = self.storage.sizes(table, ".parquet")
        return [name.removesuffix(".parquet") for name, size in sizes.items() if size < FRESH_BYTES]

    def _merge(self, group: list[str], filters: list[str]) -> None:
        import polars as pl

        merged = new_part_name()
        for name in filters:
            for fp in self._score_fingerprints(name, group):
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
        gone = set(group)
        for table in ("scores", "answers"):
            for name in self.storage.directories(table):
                for part in self.storage.names(f"{table}/{name}"):
                    if part.split(".")[0] in gone:
                        self.storage.remove(f"{table}/{name}/{part}")

    def _small_groups(self) -> Iterator[list[str]]:
        group: list[str] = []
        size = 0
        for name, part_bytes in self.storage.sizes("captions", ".parquet").items():
            part = name.removesuffix(".parquet")
            if part_bytes > COMPACT_BYTES // 2:
                continue
            group.append(part)
            size += part_bytes
            if size > COMPACT_BYTES or len(group) == 4096:
                yield group
                group, size = [], 0
        if len(group) > 16:
            yield group

    def _score_fingerprints(self, name: str, group: list[str]) -> list[str]:
        """Filter fingerprints under which every part of the group has scores."""
        fingerprints: dict[str, set[str]] = {}
        for file in self.storage.names(f"scores/{name}", ".parquet"):
            part, fp = file.removesuffix(".parquet").rsplit(".", 1)
            fingerprints.setdefault(fp, set()).add(part)
        return [fp for fp, parts in fingerprints.items() if parts.issuperset(group)]

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


def _whole_groups(parts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(parts) - FRESH_PARTS + 1, FRESH_PARTS):
        yield parts[start : start + FRESH_PARTS]


def _read_whole(storage: Storage, paths: list[str]) -> pl.DataFrame:
    """Parts put together; what older ones lack is null."""
    import polars as pl

    return pl.concat([storage.scan([path]) for path in paths], how="diagonal_relaxed").collect()


def new_part_name() -> str:
    """A unique part name; names sort by time of writing."""
    return f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"


def find_run(url: str) -> Run:
    """An existing run directory; raises RunError where there is none, or a file of it is damaged."""
    run = Run(Storage(url))
    if not run.storage.exists(RECIPE_LOCK):
        raise RunError(f"{url}: no run here (no {RECIPE_LOCK}); give the directory that `factory run` wrote")
    check_files(run.storage)
    return run
