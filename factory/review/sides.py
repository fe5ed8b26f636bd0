"""What can be compared: a caption for each image, of a run, one of its views or judges, a round of a loop, a release, or a file."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import polars as pl

from exports.local_release import find_release
from exports.manifest import MANIFEST
from exports.release import ReleaseError
from exports.storage import Storage
from factory.comparison.verdicts import ROUND
from factory.errors import RunError
from factory.images.prepare import Rejection, prepare_image, thumbnail
from factory.models.round_model import LEDGER
from factory.recipe import ORIGINAL_IMAGE, CaptionsSource, did_you_mean
from factory.review.picture_shelf import MAX_PIXELS, SIDES, PictureShelf
from factory.rounds.ledger import Ledger
from factory.rounds.loop_file import MAIN
from factory.runs.run import RECIPE_LOCK, SELECTION, Run
from factory.runs.tables import CAPTION_KEY, CAPTIONS
from factory.sources import open_source
from factory.sources.pictures import AT_ONCE, Pictures
from factory.sources.source import ListedShard
from factory.work.work import Work, reopen

KEYS: Final = ("image_key", "id", "key")
TEXTS: Final = ("caption", "text")
BEST: Final = "best:"
"""RUN#best:FILTER: of each image the caption that this filter, or judge, scores highest."""
_ITS_OWN: Final = ("image_key", "shard", "text")


@dataclass(frozen=True)
class Side:
    """One of the two: `name` as answers call it, and a caption for each image (image_key, shard, text, and what else is known of
    it, as text: `view`, `format`, or a file's other columns). `home`: where answers about it can be kept.
    """

    name: str
    texts: pl.DataFrame
    work: Work | None = None
    images: tuple[Path, ...] = ()  # Parquet files with `id` and `image`, of a release
    home: Run | None = None
    columns: tuple[str, ...] = ()  # of `images`, more that can be read

    @property
    def known(self) -> list[str]:
        """What the texts and the source can be parted by."""
        own = [name for name in self.texts.columns if name not in _ITS_OWN]
        return [*own, *self.columns, *(self.work.recipe.source.fields if self._has_fields else ())]  # type: ignore[union-attr]

    @property
    def _has_fields(self) -> bool:
        return self.work is not None and bool(getattr(self.work.recipe.source, "fields", ()))

    def picture(self, shelf: PictureShelf | None, shard: str, key: str, size: str) -> bytes | None:
        """A JPEG of an image; None where this side has none."""
        if shelf is not None:
            return shelf.picture(shard, key, size)
        if not self.images:
            return None
        found = (
            pl.scan_parquet(list(self.images), glob=False).filter(pl.col("id") == key).select("image").head(1).collect()
        )
        data = _bytes(found.item()) if found.height else None
        if not data:
            return None
        prepared = prepare_image(data, ORIGINAL_IMAGE.model_copy(update={"max_pixels": MAX_PIXELS}))
        return None if isinstance(prepared, Rejection) else thumbnail(prepared, SIDES[size])

    @property
    def has_pictures(self) -> bool:
        """Whether its images can be had."""
        return bool(self.images) or (self.work is not None and not isinstance(self.work.recipe.source, CaptionsSource))

    def beside(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The rows (`row`, `image_key`) with the images' original bytes, a few at a time; null where one is gone."""
        if self.work is not None:
            yield from self._pictures.beside(
                rows.join(self.texts.select("image_key", "shard"), on="image_key", how="left")
            )
            return
        scan = pl.scan_parquet(list(self.images), glob=False)
        for some in rows.iter_slices(AT_ONCE):
            cells = scan.filter(pl.col("id").is_in(some["image_key"].implode())).select("id", "image").collect()
            found = pl.DataFrame(
                [(key, _bytes(cell)) for key, cell in cells.iter_rows()],
                schema={"image_key": pl.String, "image": pl.Binary},
                orient="row",
            )
            yield some.join(found.unique("image_key"), on="image_key", how="left")

    def fields(self, keys: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        """image_key and these of `known`, as text, of the images in `keys`."""
        own = [name for name in names if name in self.texts.columns]
        more = [name for name in names if name not in self.texts.columns]
        rows = keys.select("image_key").join(self.texts.select("image_key", "shard", *own), on="image_key", how="left")
        if more and self.work is not None:
            found = self._pictures.fields(rows, more)
        elif more:
            scan = pl.scan_parquet(list(self.images), glob=False).filter(
                pl.col("id").is_in(rows["image_key"].implode())
            )
            found = scan.select(
                pl.col("id").alias("image_key"), *(pl.col(name).cast(pl.String) for name in more)
            ).collect()
        else:
            return rows.drop("shard")
        return rows.drop("shard").join(found.unique("image_key", keep="first"), on="image_key", how="left")

    @cached_property
    def _pictures(self) -> Pictures:
        assert self.work is not None
        source = open_source(self.work.recipe, Storage(self._scratch.name))
        return Pictures(source, tuple(ListedShard(shard, shard.rows, None, True) for shard in source.shards()))

    @cached_property
    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Where the source keeps its listing, as long as this side lives."""
        return tempfile.TemporaryDirectory(prefix="caption-factory-compare-")


def side_of(target: str) -> Side:
    """What a user named.

    A run (its kept captions, one per image: of the first view that has one), one of its views (RUN#VIEW), what a judge prefers
    (RUN#best:FILTER: the caption of each image that it scores highest, kept or not), a round of a loop (LOOP#N: what its model says of
    the held-out images), a release's directory (its column caption), or a Parquet, CSV or JSON Lines file (image_key or id; caption or
    text).

    Raises RunError where it is none of these.
    """
    url, _, part = target.partition("#")
    storage = Storage(url)
    if storage.exists(RECIPE_LOCK):
        return _of_run(target, Run(storage), part)
    if (Path(url) / LEDGER).exists():
        return _of_round(target, Path(url), part)
    if (Path(url).is_dir() and (Path(url) / MANIFEST).exists()) or _has_versions(url):
        return _of_release(target, url)
    kind = posixpath.splitext(url)[1].lower()
    readers: dict[str, Any] = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}
    if kind not in readers or not Storage(posixpath.dirname(url) or ".").exists(posixpath.basename(url)):
        raise RunError(f"{target}: no run, loop, release, or file of captions ({', '.join(readers)}) is there")
    with Storage(posixpath.dirname(url) or ".").open(posixpath.basename(url)) as file:
        rows: pl.DataFrame = readers[kind](file)
    key = next((name for name in KEYS if name in rows.columns), None)
    text = next((name for name in TEXTS if name in rows.columns), None)
    if key is None or text is None:
        raise RunError(
            f"{target}: needs a column {' or '.join(KEYS)}, and {' or '.join(TEXTS)}; it has {', '.join(rows.columns)}"
        )
    others = [name for name in rows.columns if name not in (key, text, *_ITS_OWN) and _is_plain(rows.schema[name])]
    texts = rows.select(
        pl.col(key).cast(pl.String).alias("image_key"),
        pl.lit("").alias("shard"),
        pl.col(text).cast(pl.String).alias("text"),
        *(pl.col(name).cast(pl.String) for name in others),
    )
    return Side(target, _one_each(texts))


def _has_versions(url: str) -> bool:
    try:
        find_release(url)
    except (ReleaseError, OSError):
        return False
    return True


def _of_release(target: str, url: str) -> Side:
    release = find_release(url)
    files = tuple(sorted((release.folder / "data").glob("train-*.parquet")))
    scan = pl.scan_parquet(list(files), glob=False)
    rows = scan.select(pl.col("id").alias("image_key"), pl.lit("").alias("shard"), pl.col("caption").alias("text"))
    schema = scan.collect_schema()
    columns = tuple(
        name for name, kind in schema.items() if name not in ("id", "caption", "original") and _is_plain(kind)
    )
    return Side(target, _one_each(rows.collect()), None, files, columns=columns)


def _of_round(target: str, folder: Path, number: str) -> Side:
    entries = {str(entry["round"]): entry for entry in Ledger(folder).entries()}
    if number not in entries:
        raise RunError(f"{target}: say which round, as {folder}#N; the ledger has {', '.join(entries) or 'none'}")
    arm = entries[number]["arms"].get(MAIN)
    if arm is None:
        raise RunError(f"{target}: round {number} was refused before it had a model")
    if "held_out" not in arm:
        raise RunError(
            f"{target}: this ledger is of an older version and does not say where the round's captions are; name the run, in "
            f"{folder / f'round-{number}' / MAIN}"
        )
    run = Run(Storage(str(folder / arm["held_out"])))
    side = _of_run(target, run, "")
    return replace(side, name=ROUND.format(number), home=Run(Storage(str(folder))))


def _of_run(target: str, run: Run, part: str) -> Side:
    work = reopen(run)
    if not run.storage.exists(SELECTION):
        raise RunError(f"{target}: nothing is selected yet; finish the run")
    on = ["shard", *CAPTION_KEY, "fingerprint"]
    texts = run.scan("captions", CAPTIONS).select(*on, "text", "source_format").drop_nulls("text")
    decided = run.storage.scan([SELECTION])
    if part.startswith(BEST):
        rows = _best(target, work, decided, texts, part.removeprefix(BEST))
    else:
        if part and part not in work.view_names:
            raise RunError(
                f"{target}: the run has the views {', '.join(work.view_names)}{did_you_mean(part, work.view_names)}"
            )
        kept = decided.filter("kept")
        kept = kept.filter(pl.col("view") == part) if part else kept
        rows = kept.select(on).join(texts, on=on, how="inner").collect(engine="streaming")
        order = {name: place for place, name in enumerate(work.view_names)}
        place = pl.col("view").replace_strict(order, default=len(order), return_dtype=pl.Int32)
        rows = rows.sort("image_key", place, "candidate")
    rows = rows.select("image_key", "shard", "text", "view", pl.col("source_format").alias("format"))
    return Side(target, _one_each(rows), work, home=run)


def _best(target: str, work: Work, decided: pl.LazyFrame, texts: pl.LazyFrame, name: str) -> pl.DataFrame:
    """The captions, best first by a filter."""
    scorer = next((one for one in work.scorers if one.name == name), None)
    if scorer is None:
        names = [one.name for one in work.scorers]
        raise RunError(f"{target}: the run has no scores of '{name}'{did_you_mean(name, names, every=True)}")
    on = [*CAPTION_KEY, "fingerprint"]
    scores = work.run.scores(name, scorer.fingerprint).select(
        *CAPTION_KEY, pl.col("caption_fingerprint").alias("fingerprint"), "score"
    )
    rows = decided.select("shard", *on).join(texts, on=["shard", *on], how="inner")
    scored = rows.join(scores.unique(on, keep="any"), on=on, how="inner").filter(pl.col("score").is_not_nan())
    return scored.collect().sort("score", "image_key", "view", "candidate", descending=[True, False, False, False])


def _one_each(rows: pl.DataFrame) -> pl.DataFrame:
    rows = rows.drop_nulls(["image_key", "text"]).filter(pl.col("text") != "")
    return rows.unique("image_key", keep="first", maintain_order=True)


def _is_plain(kind: pl.DataType) -> bool:
    return kind.is_integer() or kind in (pl.String, pl.Boolean, pl.Date, pl.Categorical) or isinstance(kind, pl.Enum)


def _bytes(cell: Any) -> bytes | None:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return data or None
