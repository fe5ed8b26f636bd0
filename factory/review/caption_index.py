"""All captions of a run as one narrow frame in memory, for pages, filters and orders; texts stay in the Parquet parts.

About 40 bytes a caption and 4 for each score. A part is looked at once; a run that is being written shows its new parts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from factory.review.source_fields import SourceFields
from factory.runs.by_people import last_decisions
from factory.runs.resolving import STATUS_RANK
from factory.runs.run import RECIPE, SELECTION, Run
from factory.runs.tables import CAPTION_KEY, EDIT_CANDIDATES
from factory.runs.with_score import with_score
from factory.work.work import Work, reopen

LOOK_AGAIN_S: Final = 2.0
"""How old the list of parts may be."""
TEXT_ROWS: Final = 65_536
"""Rows whose texts are in memory together while words are searched."""
KEPT_SEARCHES: Final = 8
KEPT_ORDERS: Final = 2
"""Of which each takes 4 bytes a caption."""

STATUS: Final = pl.Enum(list(map(str, STATUS_RANK)))
_IDENTITY: Final = ["shard", *CAPTION_KEY, "fingerprint"]
_SEED: Final = 1931


def key_hash(key: str) -> int:
    """The number by which the index knows an image; two keys of a run may share one, so a key is compared where it is read."""
    return int(pl.Series([key]).hash(_SEED)[0])


def identities(names: list[str]) -> pl.Expr:
    """The number by which the index knows a caption, from the columns that name it."""
    return pl.sum_horizontal(pl.col(name).hash(_SEED + place) * (2 * place + 1) for place, name in enumerate(names))


@dataclass(frozen=True)
class Wanted:
    """What a gallery shows. Scores in [0, 1], from `low` to below `high`, as the bars of a report count them: 1 itself is in the last
    one, and where both ends are the same it is that score. `order` is a score's name, worst first, or its name with '-', best first.
    """

    view: str = ""
    state: str = ""  # kept | dropped | ok | truncated | failed | edited | accepted | rejected
    reason: str = ""
    words: str = ""
    score: str = ""
    low: float | None = None
    high: float | None = None
    order: str = ""
    field: str = ""  # of the source, which holds `value`
    value: str = ""


@dataclass
class _Part:
    sign: tuple[str, ...]
    rows: pl.DataFrame


@dataclass
class CaptionIndex:
    """The index of a run. Safe to use from several threads."""

    run: Run
    work: Work = field(init=False)
    _parts: dict[str, _Part] = field(default_factory=dict)
    _rows: pl.DataFrame | None = None
    _sign: tuple[Any, ...] = ()
    _looked: float = 0.0
    _recipe: bytes = b""
    _searches: dict[tuple[Any, ...], pl.DataFrame] = field(default_factory=dict)
    _orders: dict[tuple[Any, ...], pl.Series] = field(default_factory=dict)
    _asking: threading.Lock = field(default_factory=threading.Lock)  # one at a time: each takes memory for all captions
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._fields = SourceFields(self.run, _SEED)
        self._recipe = self.run.storage.read(RECIPE)
        self.work = reopen(self.run)

    @property
    def filters(self) -> list[str]:
        """Names of the scores."""
        return [scorer.name for scorer in self.work.scorers]

    @property
    def fields(self) -> list[str]:
        """Names of what the source says of its images."""
        return self._fields.names(self.work)

    def rows(self) -> pl.DataFrame:
        """One row per caption: part and row (where it is), image (hash of its key), identity (hash of all
        that names it), view, candidate, status, reason, kept
        (null: not decided), decision (of a person), words, and a column per score, each by the filter's name after `score_`.
        """
        with self._lock:
            if self._rows is None or time.monotonic() - self._looked > LOOK_AGAIN_S:
                self._look()
                self._looked = time.monotonic()
            assert self._rows is not None
            return self._rows

    def look_again(self) -> None:
        """Have the next reader see what was written just now."""
        with self._lock:
            self._looked = 0.0

    def part_names(self) -> list[str]:
        """The names that the column `part` counts."""
        return list(self._parts)

    # --- asking -------------------------------------------------------------------------------------------------------

    def find(self, wanted: Wanted) -> pl.DataFrame:
        """The rows that are wanted, in the order that is wanted."""
        rows = self.rows()
        conditions = self._conditions(wanted)
        found = rows.filter(conditions) if conditions else rows
        if wanted.words:
            found = found.join(self._with_words(wanted.words), on=["part", "row"], how="semi", maintain_order="left")
        name = wanted.order.removeprefix("-")
        if name in self.filters:
            column = pl.col(f"score_{name}").fill_nan(None)
            best_first = wanted.order.startswith("-")
            places = found.select(column.arg_sort(descending=best_first, nulls_last=True)).to_series()
            return found[places]
        return found

    def page(self, wanted: Wanted, start: int, count: int) -> tuple[pl.DataFrame, int]:
        """`count` of the wanted rows from number `start`, and how many there are in all."""
        name = wanted.order.removeprefix("-")
        if wanted.words or name not in self.filters:
            with self._asking:
                found = self.find(wanted)
                return found.slice(start, count), found.height
        with self._asking:
            rows = self.rows()
            places = self._ordered(wanted, rows)
            return rows[places.slice(start, count)], places.len()

    def _ordered(self, wanted: Wanted, rows: pl.DataFrame) -> pl.Series:
        """Places of the wanted rows in the order of a score; the last ones are kept, for whoever turns pages."""
        key = (wanted, self._sign)
        if key in self._orders:
            return self._orders[key]
        conditions = self._conditions(wanted)
        column = pl.col(f"score_{wanted.order.removeprefix('-')}").fill_nan(None)
        places = rows.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("place"), column.alias("by"))
        if conditions:
            places = places.filter(rows.select(pl.all_horizontal(conditions).fill_null(False)).to_series())
        best_first = wanted.order.startswith("-")
        ordered = places.sort("by", descending=best_first, nulls_last=True, maintain_order=True)["place"]
        while len(self._orders) >= KEPT_ORDERS:
            self._orders.pop(next(iter(self._orders)))
        self._orders[key] = ordered
        return ordered

    def of_image(self, key: str) -> pl.DataFrame:
        """The rows of an image, and perhaps of another with the same hash."""
        return self.rows().filter(pl.col("image") == key_hash(key)).sort("view", "candidate")

    def _conditions(self, wanted: Wanted) -> list[pl.Expr]:
        conditions: list[pl.Expr] = []
        if wanted.view:
            conditions.append(pl.col("view").cast(pl.String) == wanted.view)
        if wanted.state in ("kept", "dropped"):
            conditions.append(pl.col("kept") if wanted.state == "kept" else ~pl.col("kept"))
        elif wanted.state in ("accepted", "rejected"):
            conditions.append(pl.col("decision") == wanted.state)
        elif wanted.state == "edited":
            conditions.append(pl.col("candidate") >= EDIT_CANDIDATES)
        elif wanted.state in STATUS_RANK:
            conditions.append(pl.col("status") == wanted.state)
        if wanted.reason:
            conditions.append(pl.col("reason").cast(pl.String) == wanted.reason)
        if wanted.value and wanted.field in self.fields:
            conditions.append(
                pl.col("image").is_in(self._fields.holding(self.work, wanted.field, wanted.value).implode())
            )
        if wanted.score in self.filters:
            column = pl.col(f"score_{wanted.score}")
            if wanted.low is not None:
                conditions.append(column >= wanted.low)
            if wanted.high is not None:
                holds_end = wanted.high >= 1 or wanted.high == wanted.low
                conditions.append(column <= wanted.high if holds_end else column < wanted.high)
        return conditions

    def _with_words(self, words: str) -> pl.DataFrame:
        """(part, row) of the captions that hold these words, or whose image's key does, upper and lower case alike."""
        key = (words.lower(), self._sign)
        if key not in self._searches:
            pieces = [self._searched(number, name, words.lower()) for number, name in enumerate(self._parts)]
            while len(self._searches) >= KEPT_SEARCHES:
                self._searches.pop(next(iter(self._searches)))
            schema = {"part": pl.UInt16, "row": pl.UInt32}
            self._searches[key] = pl.concat([pl.DataFrame(schema=schema), *pieces])
        return self._searches[key]

    def _searched(self, number: int, name: str, words: str) -> pl.DataFrame:
        texts = self.run.storage.scan([f"captions/{name}.parquet"]).select("text", "image_key").with_row_index("row")
        holds = [pl.col(name).str.to_lowercase().str.contains(words, literal=True) for name in ("text", "image_key")]
        found = texts.filter(pl.any_horizontal(holds)).select(
            pl.lit(number, pl.UInt16).alias("part"), pl.col("row").cast(pl.UInt32)
        )
        return found.collect(engine="streaming")

    # --- looking ------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        recipe = self.run.storage.read(RECIPE)
        names = self.run.parts("captions")
        decided = self.run.storage.names("decisions", ".parquet")
        sizes = tuple(self.run.storage.fs.size(self.run.storage.full(f"decisions/{name}")) for name in decided)
        scored = tuple(tuple(self.run.storage.names(f"scores/{name}", ".parquet")) for name in self.filters)
        sign = (recipe, tuple(names), scored, self._selection_sign(), tuple(decided), sizes)
        if sign == self._sign:
            return
        if recipe != self._recipe:
            self._recipe, self.work = recipe, reopen(self.run)
        else:
            self.work = self.work.settled()
        self._parts = {name: self._part(name) for name in names}
        self._rows = self._joined()
        self._sign = sign

    def _selection_sign(self) -> tuple[Any, ...]:
        if not self.run.storage.exists(SELECTION):
            return ()
        info = self.run.storage.fs.info(self.run.storage.full(SELECTION))
        return (info.get("size"), str(info.get("mtime") or info.get("LastModified") or info.get("etag") or ""))

    def _part(self, name: str) -> _Part:
        files = [f"scores/{one.name}/{name}.{one.fingerprint}.parquet" for one in self.work.scorers]
        there = tuple(file for file in files if self.run.storage.exists(file))
        sign = (*there, *self.work.caption_fingerprints)
        before = self._parts.get(name)
        if before is not None and before.sign == sign:
            return before
        names = ["shard", *CAPTION_KEY, "fingerprint", "status", "reason", "created_ms"]
        columns = [
            pl.col("image_key").hash(_SEED).alias("image"),
            identities(_IDENTITY).alias("identity"),
            identities(_IDENTITY[:-1]).alias("key"),
            pl.col("view").cast(pl.Categorical),
            "candidate",
            pl.col("fingerprint").is_in(self.work.caption_fingerprints).alias("counts"),
            pl.col("status").cast(STATUS, strict=False),
            pl.when(pl.col("reason").is_not_null())
            .then(pl.concat_str(pl.lit("failed:"), "reason"))
            .cast(pl.Categorical)
            .alias("reason"),
            "created_ms",
        ]
        scan = self.run.storage.scan([f"captions/{name}.parquet"])
        rows = scan.select(names).select(columns).with_row_index("row").collect(engine="streaming")
        rows = rows.with_columns(pl.col("row").cast(pl.UInt32))
        for scorer, file in zip(self.work.scorers, files, strict=True):
            rows = rows.with_columns(self._scores(name, scorer.name, scorer.fingerprint, file in there, rows.height))
        rows = rows.filter("counts").drop("counts")
        return _Part(sign, rows)

    def _scores(self, part: str, name: str, fingerprint: str, is_there: bool, height: int) -> pl.Series:
        column = f"score_{name}"
        if not is_there:
            return (
                pl.Series(column, [None], pl.Float32).extend_constant(None, height - 1)
                if height
                else pl.Series(column, [], pl.Float32)
            )
        file = self.run.storage.scan([f"scores/{name}/{part}.{fingerprint}.parquet"])
        scores = file.select(pl.col("score").cast(pl.Float32).alias(column)).collect()
        if scores.height == height:  # a score part has the rows of its caption part, in its order
            return scores[column]
        keys = self.run.storage.scan([f"captions/{part}.parquet"]).select(*CAPTION_KEY, "fingerprint").collect()
        return with_score(self.run, keys, part, name, fingerprint, column)[column].cast(pl.Float32)

    def _joined(self) -> pl.DataFrame:
        pieces = [
            part.rows.select(pl.lit(number, pl.UInt16).alias("part"), pl.all())
            for number, part in enumerate(self._parts.values())
        ]
        if not pieces:
            return self._nothing()
        rows = pl.concat(pieces)
        keys = rows["key"].sort()
        if (keys == keys.shift(1)).any():  # a task that ran again wrote its rows twice
            rank = pl.col("status").to_physical().fill_null(9)
            ordered = rows.select("part", "row", "key", "created_ms", rank.alias("rank")).sort("rank", "created_ms")
            first = ordered.unique("key", keep="first", maintain_order=True).select("part", "row")
            rows = rows.join(first, on=["part", "row"], how="semi", maintain_order="left")
        rows = rows.drop("key", "created_ms")
        rows = self._with_selection(rows)
        return self._with_decisions(rows)

    def _with_selection(self, rows: pl.DataFrame) -> pl.DataFrame:
        if not self.run.storage.exists(SELECTION):
            return rows.with_columns(kept=pl.lit(None, pl.Boolean))
        scan = self.run.storage.scan([SELECTION])
        decided = scan.select(
            identities(_IDENTITY).alias("identity"), "kept", pl.col("reason").cast(pl.Categorical).alias("why")
        ).collect(engine="streaming")
        if rows.is_empty() or decided.is_empty():
            return rows.with_columns(kept=pl.lit(None, pl.Boolean))
        # A join of two frames of this size takes several times their memory: each identity is looked up in the sorted ones.
        order = decided["identity"].arg_sort()
        known = decided["identity"].gather(order)
        at = known.search_sorted(rows["identity"]).clip(upper_bound=known.len() - 1)
        is_there = known.gather(at) == rows["identity"]
        place = order.gather(at).set(~is_there, None)
        rows = rows.with_columns(decided["kept"].gather(place).alias("kept"), decided["why"].gather(place).alias("why"))
        return rows.with_columns(reason=pl.coalesce("why", "reason")).drop("why")

    def _with_decisions(self, rows: pl.DataFrame) -> pl.DataFrame:
        said = last_decisions(self.run)
        decided = said.select(identities(_IDENTITY).alias("identity"), "decision")
        return rows.join(decided, on="identity", how="left", maintain_order="left")

    def _nothing(self) -> pl.DataFrame:
        schema: dict[str, Any] = {"part": pl.UInt16, "row": pl.UInt32, "image": pl.UInt64, "identity": pl.UInt64}
        schema |= {"view": pl.Categorical, "candidate": pl.Int16, "status": STATUS, "reason": pl.Categorical}
        schema |= {f"score_{name}": pl.Float32 for name in self.filters}
        return pl.DataFrame(schema=schema | {"kept": pl.Boolean, "decision": pl.String})


def counted(rows: pl.DataFrame, column: str) -> Mapping[str, int]:
    """value -> rows, most first; nulls left out."""
    counts = rows[column].drop_nulls().value_counts(sort=True)
    return {str(value): int(number) for value, number in counts.iter_rows()}
