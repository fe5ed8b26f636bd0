"""What changed between two versions of a release: rows, captions, images, scores, reasons.

Only narrow columns are read (on the Hub too: no image is fetched). Rows meet by id through hashed partitions on disk, so memory
is that of one partition, whatever the size of the releases and the order of their rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from exports.address import is_hub, parse_address
from exports.consume import DEFAULT_FOLDER
from exports.foreign_text import one_line
from exports.hub import MAIN, HubRepository
from exports.local_release import find_release, read_manifest
from exports.manifest import MANIFEST
from exports.patience import Patience
from exports.release import ReleaseError
from exports.verify import commit_of

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa

PARTITION_ROWS = 2_000_000  # about 150 MB while two partitions are joined
BATCH_ROWS = 32_768
BINS = 1_000  # scores are in [0, 1]: quantiles are right to 0.001
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SCORE = "score_"
KINDS = ("added", "removed", "recaptioned", "image_changed", "rescored", "unchanged")
EXAMPLE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Scores:
    """The distribution of one score over the rows of a version."""

    rows: int  # with a score
    null: int
    mean: float | None
    quantiles: dict[str, float]  # '0.05' -> value, to 0.001


@dataclass(frozen=True, slots=True)
class Change:
    """One row that changed; None where a version does not have it."""

    id: str
    before: str | None  # caption
    after: str | None


@dataclass(frozen=True)
class Diff:
    """Two versions compared. A row can be recaptioned and have another image at once."""

    before: str  # the release's name, version, and commit
    after: str
    rows_before: int
    rows_after: int
    rows: dict[str, int]  # of KINDS
    scores: dict[str, tuple[Scores | None, Scores | None]]  # column -> before, after; None where a version has it not
    dropped: dict[str, tuple[int, int]]  # reason -> captions dropped before, after, as the manifests say
    columns_added: list[str] = field(default_factory=list)
    columns_removed: list[str] = field(default_factory=list)
    examples: dict[str, list[Change]] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """As JSON data."""
        pair = ("before", "after")
        data = asdict(self)
        data["scores"] = {name: dict(zip(pair, values, strict=True)) for name, values in data["scores"].items()}
        data["dropped"] = {name: dict(zip(pair, values, strict=True)) for name, values in self.dropped.items()}
        return data

    def lines(self) -> list[str]:
        """For a terminal."""
        found = [
            f"before   {self.before} ({self.rows_before:,} rows)",
            f"after    {self.after} ({self.rows_after:,} rows)",
        ]
        found += [f"         {count:>12,} {kind.replace('_', ' ')}" for kind, count in self.rows.items()]
        for name, columns in (("columns +", self.columns_added), ("columns -", self.columns_removed)):
            found += [f"{name} {', '.join(_shown(column) for column in columns)}"] if columns else []
        if self.scores:
            found.append(f"scores   {'':<28}{'mean':>7}{'5 %':>7}{'median':>8}{'95 %':>7}{'null':>9}")
        for name, pair in self.scores.items():
            for label, scores in zip(("before", "after"), pair, strict=True):
                if scores is not None:
                    found.append(f"         {_shown(name)[6:26]:<21}{label:<7}{_score_cells(scores)}")
        if self.dropped:
            found.append("dropped  captions, by reason, before and after")
        found += [f"         {was:>12,} {now:>12,} {_shown(reason)}" for reason, (was, now) in self.dropped.items()]
        for kind, changes in self.examples.items():
            found.append(f"{kind.replace('_', ' ')}, for example")
            for change in changes:
                found.append(f"  {_shown(change.id)}")
                if change.before == change.after:
                    found.append(f"      {_shown(change.before)}")
                    continue
                found += [f"    - {_shown(change.before)}"] if change.before is not None else []
                found += [f"    + {_shown(change.after)}"] if change.after is not None else []
        return found


def diff(before: str | Path, after: str | Path, *, examples: int = 3, endpoint: str | None = None) -> Diff:
    """Compare two versions of a release.

    Args:
        before, after: a release's directory, one of versions (the newest), or hub:org/name@v1.2.0 (a branch, tag or commit).
        examples: how many rows to show of each kind of change; those with the smallest ids.
        endpoint: another Hub than HF_ENDPOINT.

    Raises:
        ReleaseError: no such release, it cannot be read, or it has no ids or captions.
    """
    was, now = _open(before, endpoint), _open(after, endpoint)
    partitions = 1 + max(was.rows, now.rows) // PARTITION_ROWS
    with tempfile.TemporaryDirectory(prefix="release-diff-") as folder:
        left = _spill(was, Path(folder) / "before", partitions)
        right = _spill(now, Path(folder) / "after", partitions)
        counts = dict.fromkeys(KINDS, 0)
        shown: dict[str, list[str]] = {kind: [] for kind in KINDS[:-1]}
        for number in range(partitions):
            for kind, ids in _compare(left.partition(number), right.partition(number)).items():
                counts[kind] += len(ids)
                if kind in shown and examples:
                    shown[kind] = sorted([*shown[kind], *ids.sort().head(examples)])[:examples]
    captions = [_captions_of(side, {id for ids in shown.values() for id in ids}) for side in (was, now)]
    columns = set(left.columns), set(right.columns)
    return Diff(
        before=was.title,
        after=now.title,
        rows_before=left.rows,
        rows_after=right.rows,
        rows=counts,
        scores={
            name: (left.scores_of(name), right.scores_of(name)) for name in sorted(left.histograms | right.histograms)
        },
        dropped=_dropped(was.manifest, now.manifest),
        columns_added=sorted(columns[1] - columns[0]),
        columns_removed=sorted(columns[0] - columns[1]),
        examples={
            kind: [Change(id, captions[0].get(id), captions[1].get(id)) for id in ids]
            for kind, ids in shown.items()
            if ids
        },
    )


# --- the two sides -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    """A release whose data files can be opened, on this disk or on the Hub."""

    title: str
    manifest: dict[str, Any]
    paths: list[str]  # of the data files, below the release
    folder: Path | None = None
    hub: HubRepository | None = None
    commit: str = ""

    @property
    def rows(self) -> int:
        """As the manifest says; decides the number of partitions only."""
        return sum(int(file.get("rows") or 0) for file in self.manifest["files"] if file["path"] in self.paths)

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """A data file, for reading at any place."""
        if self.folder is not None:
            with (self.folder / path).open("rb") as file:
                yield file
            return
        assert self.hub is not None
        with self.hub.open(path, self.commit) as file:
            yield file


def _open(target: str | Path, endpoint: str | None) -> _Side:
    if not is_hub(str(target)):
        release = find_release(target)
        title = f"{release.manifest.get('name', release.folder.name)} {release.version}"
        return _side(title, release.manifest, str(target), folder=release.folder)
    address = parse_address(str(target))
    hub = HubRepository(address.repo, endpoint)
    commit = commit_of(hub, address.revision or MAIN, Patience())
    if MANIFEST not in Patience().call(lambda: hub.tree(commit)):
        raise ReleaseError(f"{address} has no {MANIFEST}, so it is no release")
    manifest, _ = read_manifest(Patience().call(lambda: hub.read(MANIFEST, commit)), f"{MANIFEST} of {address}")
    return _side(f"{address} (commit {commit[:12]})", manifest, str(address), hub=hub, commit=commit)


def _side(title: str, manifest: dict[str, Any], target: str, **where: Any) -> _Side:
    start = f"{DEFAULT_FOLDER['default']}/"
    paths = [file["path"] for file in manifest["files"] if file["path"].startswith(start)]
    paths = sorted(path for path in paths if path.endswith(".parquet"))
    if not paths:
        raise ReleaseError(f"{target} has no data files in {start}")
    return _Side(title, manifest, paths, **where)


@dataclass
class _Spilled:
    """The narrow columns of a side, in partitions by id; its scores as histograms."""

    folder: Path
    columns: list[str] = field(default_factory=list)
    rows: int = 0
    pieces: int = 0
    histograms: dict[str, Any] = field(default_factory=dict)  # column -> rows by score in steps of 1 / BINS
    sums: dict[str, float] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)

    def partition(self, number: int) -> pl.DataFrame:
        """id, caption, image and scores as hashes."""
        import polars as pl

        empty = pl.DataFrame(schema=dict.fromkeys(("caption", "image", "scores"), pl.UInt64))
        empty.insert_column(0, pl.Series("id", [], dtype=pl.String))
        pieces = sorted(self.folder.glob(f"{number:05d}-*.arrow"))
        return pl.concat([empty, *(pl.read_ipc(piece) for piece in pieces)])

    def scores_of(self, column: str) -> Scores | None:
        """The distribution of a score; None where this side has it not."""
        import numpy as np

        if column not in self.histograms:
            return None
        counts: np.ndarray[Any, Any] = self.histograms[column]
        rows = int(counts.sum())
        if not rows:
            return Scores(0, self.nulls[column], None, {})
        places = np.searchsorted(counts.cumsum(), [max(1, share * rows) for share in QUANTILES])
        values = [float(place) / BINS for place in places]
        mean = round(self.sums[column] / rows, 6)
        return Scores(rows, self.nulls[column], mean, dict(zip(map(str, QUANTILES), values, strict=True)))


def _spill(side: _Side, folder: Path, partitions: int) -> _Spilled:
    """Read the narrow columns once; write (id, hashes) by partition of the id."""
    import polars as pl

    folder.mkdir()
    spilled = _Spilled(folder)
    pending: list[pl.DataFrame] = []

    def flush() -> None:
        if not pending:
            return
        for (number,), rows in pl.concat(pending).group_by(pl.col("id").hash() % partitions):
            rows.write_ipc(folder / f"{number:05d}-{spilled.pieces:06d}.arrow", compression="lz4")
        spilled.pieces += 1
        pending.clear()

    for frame in _narrow(side, spilled):
        pending.append(frame)
        if sum(len(one) for one in pending) >= PARTITION_ROWS:
            flush()
    flush()
    return spilled


def _narrow(side: _Side, spilled: _Spilled) -> Iterator[pl.DataFrame]:
    import polars as pl
    import pyarrow.parquet as pq

    for path in side.paths:
        with side.open(path) as file, pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            for name in ("id", "caption"):
                if name not in names:
                    raise ReleaseError(f"{side.title}: {path} has no column {name}")
            spilled.columns += [name for name in names if name not in spilled.columns]
            scores = [name for name in names if name.startswith(SCORE)]
            columns = ["id", "caption", *(["sha256"] if "sha256" in names else []), *scores]
            for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
                _count_scores(spilled, batch, scores)
                spilled.rows += batch.num_rows
                frame: pl.DataFrame = pl.from_arrow(batch)  # type: ignore[assignment]
                image = pl.col("sha256").hash() if "sha256" in names else pl.lit(0, dtype=pl.UInt64)
                values = pl.struct(scores).hash() if scores else pl.lit(0, dtype=pl.UInt64)
                yield frame.select(
                    pl.col("id").cast(pl.String),
                    caption=pl.col("caption").cast(pl.String).fill_null("").hash(),
                    image=image,
                    scores=values,
                )


def _count_scores(spilled: _Spilled, batch: pa.RecordBatch, scores: list[str]) -> None:
    import numpy as np

    for name in scores:
        values = batch[name].drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
        finite = values[np.isfinite(values)]
        counts = np.bincount(np.clip(np.rint(finite * BINS).astype(np.int64), 0, BINS), minlength=BINS + 1)
        spilled.histograms[name] = spilled.histograms.get(name, 0) + counts
        spilled.sums[name] = spilled.sums.get(name, 0.0) + float(finite.sum())
        spilled.nulls[name] = spilled.nulls.get(name, 0) + batch.num_rows - len(finite)


# --- what changed ------------------------------------------------------------------------------------------------------


def _compare(before: pl.DataFrame, after: pl.DataFrame) -> dict[str, pl.Series]:
    """Ids of one partition by kind of change. A second row with the same id counts as itself, not as a pair."""
    import polars as pl

    both = before.with_columns(n=pl.int_range(pl.len()).over("id")).join(
        after.with_columns(n=pl.int_range(pl.len()).over("id")),
        on=["id", "n"],
        how="full",
        suffix="_after",
    )
    here, there = pl.col("id").is_not_null(), pl.col("id_after").is_not_null()
    caption = here & there & (pl.col("caption") != pl.col("caption_after"))
    image = here & there & (pl.col("image") != pl.col("image_after"))
    same = here & there & ~caption & ~image
    rescored = same & (pl.col("scores") != pl.col("scores_after"))
    conditions = (there & ~here, here & ~there, caption, image, rescored, same & ~rescored)
    either = pl.coalesce("id", "id_after").alias("id")
    return {
        kind: both.filter(condition).select(either)["id"] for kind, condition in zip(KINDS, conditions, strict=True)
    }


def _captions_of(side: _Side, ids: set[str]) -> dict[str, str]:
    """The captions of a few rows, cut short."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: dict[str, str] = {}
    wanted = pa.array(sorted(ids), pa.string())
    for path in side.paths:
        if len(found) == len(ids):
            break
        with side.open(path) as file, pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS, columns=["id", "caption"]):
                rows = batch.filter(pc.is_in(batch["id"].cast(pa.string()), wanted))
                for row in rows.to_pylist():
                    found.setdefault(row["id"], (row["caption"] or "")[:EXAMPLE_CHARACTERS])
    return found


def _dropped(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[int, int]]:
    was, now = (_reasons(manifest) for manifest in (before, after))
    return {reason: (was.get(reason, 0), now.get(reason, 0)) for reason in sorted(was.keys() | now.keys())}


def _reasons(manifest: dict[str, Any]) -> dict[str, int]:
    counts = manifest.get("counts") or {}
    dropped = counts.get("dropped") if isinstance(counts, dict) else None
    return dropped if isinstance(dropped, dict) else {}


def _score_cells(scores: Scores) -> str:
    if scores.mean is None:
        return f"{'-':>7}{'-':>7}{'-':>8}{'-':>7}{scores.null:>9,}"
    low, middle, high = (scores.quantiles[str(share)] for share in (0.05, 0.5, 0.95))
    return f"{scores.mean:>7.3f}{low:>7.3f}{middle:>8.3f}{high:>7.3f}{scores.null:>9,}"


def _shown(text: str | None) -> str:
    """One line, without what a terminal would obey."""
    return one_line(text or "")
