"""Damaged files of a run are set aside, never deleted, so that the run makes again what they held."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from exports.storage import Storage
from factory.runs import tables
from factory.runs.damaged import DAMAGED, PARTS_BY_NAME, damaged_files
from factory.runs.run import Run

_REMADE: Final = {
    "captions": "their captions are made again",
    "quarantine": "their images are looked at again",
    "shards": "their shards are read again, and what is done in them is kept",
    "originals": "their texts are read again",
    "gallery": "their pictures are missing from the report",
    "scores": "their captions are scored again",
    "answers": "their questions are asked again where a score needs them",
    "experts": "their images are looked at again where a caption of theirs is to be made",
    "selection": "decided again",
    "retries": "what --retry asked for is forgotten; ask for it again",
}


def set_damaged_aside(run: Run, whole: bool = False) -> list[str]:
    """Move damaged files to DAMAGED, so that the run makes again what they held. Returns their paths below the run.

    Scores and answers about captions that are set aside go with them. For the one writer of the run.
    """
    damaged = damaged_files(run.storage, whole)
    if not damaged:
        return []
    with_them = [
        path
        for part in (path for path in damaged if path.startswith("captions/"))
        for path in _about(run.storage, part.removeprefix("captions/").removesuffix(".parquet"))
    ]
    kept = f"{DAMAGED}/{time.strftime('%Y%m%dT%H%M%S')}"
    for path in sorted({*damaged, *with_them}):
        run.storage.child(f"{kept}/{path}".rpartition("/")[0]).make()
        run.storage.move(path, f"{kept}/{path}")
    if any(path.startswith(("captions/", "quarantine/")) for path in damaged):
        _read_again_what_is_short(run)
    return damaged


def damage_lines(damaged: list[str]) -> list[str]:
    """What was set aside, for a terminal: a line a table."""
    by_table: dict[str, list[str]] = {}
    for path in damaged:
        by_table.setdefault(path.split("/")[0].partition(".")[0], []).append(path)
    return [
        f"{len(paths):,} damaged file{'s' if len(paths) > 1 else ''} of {table} set aside in {DAMAGED}/"
        f" ({', '.join(paths[:2])}{', ...' if len(paths) > 2 else ''}); {_REMADE.get(table, 'made again')}"
        for table, paths in by_table.items()
    ]


def _about(storage: Storage, part: str) -> Iterator[str]:
    """The files of scores and answers about a caption part."""
    for table in PARTS_BY_NAME:
        for name in storage.directories(table):
            for file in storage.names(f"{table}/{name}", ".parquet"):
                if file.split(".")[0] == part:
                    yield f"{table}/{name}/{file}"


def _read_again_what_is_short(run: Run) -> None:
    """Forget that a shard's own texts were read where captions or refusals of it are no longer there."""
    import polars as pl

    done = run.scan("originals", tables.ORIGINALS).collect()
    if not done.height:
        return
    keys = ["shard", "fingerprint"]
    captions = run.scan("captions", tables.CAPTIONS).group_by(keys).agg(pl.col("image_key").n_unique().alias("texts"))
    refused = run.scan("quarantine", tables.QUARANTINE).group_by("shard").agg(pl.len().alias("without"))
    counted = done.join(captions.collect(), on=keys, how="left").join(refused.collect(), on="shard", how="left")
    texts, without = pl.col("texts").fill_null(0), pl.col("without").fill_null(0)
    is_whole = (texts >= pl.col("rows") - pl.col("refused")) & (without >= pl.col("refused"))
    whole = counted.filter(is_whole).select(tables.ORIGINALS.names())
    if whole.height < done.height:
        before = run.parts("originals")
        run.append("originals", whole)
        for part in before:
            run.storage.remove(f"originals/{part}.parquet")
