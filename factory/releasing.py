"""From a selection to the rows of a release: the source is read again, and every image meets its captions by key."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from typing import Any

import polars as pl
import yaml

from exports.release import CAPTION_FIELDS, ReleaseInfo, ReleaseResult, ReleaseRow, build_release
from factory.fingerprint import fingerprint
from factory.plan import Plan
from factory.run import SELECTION
from factory.sources.source import SourceRow
from factory.tables import CAPTION_KEY

SELECTED = "selected.parquet"
EXTENSIONS = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}


def release(plan: Plan, counts: dict[str, Any], recipe_text: str) -> tuple[ReleaseResult, dict[str, int]]:
    """Build the release of a run's selection. Returns it, and how many kept images were left out, by reason.

    Raises:
        exports.release.ReleaseError: nothing was kept, or the version exists with another content.
    """
    settings = plan.recipe.release
    assert settings is not None
    wanted = _write_selected(plan)
    inputs = fingerprint("release", [_file_hash(plan), settings.license, settings.shard_mb])
    info = ReleaseInfo(
        name=plan.recipe.name,
        license=settings.license,
        filters={scorer.name: _summary(scorer.filter) for scorer in plan.scorers},
        inputs=inputs,
        provenance={
            "views": [_view_line(plan, place) for place in range(len(plan.views))],
            "counts": counts,
            "recipe": recipe_text,
        },
    )
    left_out: dict[str, int] = {}
    rows = _release_rows(plan, wanted, left_out)
    result = build_release(rows, settings.to, settings.version, info, settings.shard_mb * 1_000_000)
    plan.run.storage.remove(SELECTED)
    return result, left_out


def _release_rows(plan: Plan, wanted: int, left_out: dict[str, int]) -> Iterator[ReleaseRow]:
    """The images with a kept caption, in the order of the source. Counts into `left_out` those that are gone or changed."""
    met: set[str] = set()
    limit = max(ready.view.image.max_bytes for ready in plan.views)
    for work in plan.shards:
        here = plan.run.storage.scan([SELECTED]).filter(pl.col("shard") == work.shard.name).collect()
        if not here.height:
            continue
        groups = {key: group for (key,), group in here.group_by("image_key", maintain_order=True)}
        for row in plan.source.read(work.shard, limit):
            captions = groups.pop(row.key, None)
            if captions is not None and row.key not in met:
                met.add(row.key)
                problem = _problem(row, captions)
                if problem:
                    left_out[problem] = left_out.get(problem, 0) + 1
                else:
                    yield _release_row(plan, row, captions)
            if not groups:
                break
    if wanted > len(met):
        left_out["image_gone"] = left_out.get("image_gone", 0) + wanted - len(met)


def _write_selected(plan: Plan) -> int:
    """Join selection, captions and scores of the images with a kept caption into one table ordered by shard.

    Returns the number of images in it.
    """
    decided = plan.run.storage.scan([SELECTION])
    keep = decided.group_by("image_key").agg(pl.col("kept").any()).filter("kept").select("image_key")
    decided = decided.join(keep, on="image_key", how="semi").filter(
        ~pl.col("reason").eq_missing(pl.lit("duplicate_key"))
    )
    captions = plan.run.captions(plan.caption_prints).drop("reason")
    rows = decided.join(captions, on=["shard", *CAPTION_KEY, "fingerprint"], how="inner")
    for scorer in plan.scorers:
        keys = ["image_key", "view", "candidate", "caption_fingerprint"]
        scores = plan.run.scores(scorer.name, scorer.fingerprint).select(
            *keys, pl.col("score").alias(f"score_{scorer.name}")
        )
        rows = rows.join(
            scores.unique(keys, keep="any"), left_on=[*CAPTION_KEY, "fingerprint"], right_on=keys, how="left"
        )
    places = {ready.name: place for place, ready in enumerate(plan.views)}
    order = pl.col("view").replace_strict(places, return_dtype=pl.Int32)
    frame = rows.sort("shard", "image_key", order, "candidate").collect(engine="streaming")
    plan.run.storage.write_parquet(SELECTED, frame)
    return frame["image_key"].n_unique()


def _file_hash(plan: Plan) -> str:
    digest = hashlib.sha256()
    with plan.run.storage.open(SELECTED) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _problem(row: SourceRow, captions: pl.DataFrame) -> str | None:
    if row.data is None:
        return "image_gone"
    if hashlib.sha256(row.data).hexdigest() != captions["image_sha256"][0]:
        return "image_changed"
    return None


def _release_row(plan: Plan, row: SourceRow, captions: pl.DataFrame) -> ReleaseRow:
    records = captions.to_dicts()
    chosen = next(record for record in records if record["kept"])
    names = [scorer.name for scorer in plan.scorers]
    fields = [*CAPTION_FIELDS, *(f"score_{name}" for name in names)]
    assert row.data is not None
    return ReleaseRow(
        id=row.key,
        image=row.data,
        file_name=_file_name(row.key, chosen["source_format"]),
        caption=chosen["text"],
        view=chosen["view"],
        original=row.text,
        sha256=chosen["image_sha256"],
        width=chosen["source_width"],
        height=chosen["source_height"],
        scores={name: chosen[f"score_{name}"] for name in names},
        captions=[{name: record[name] for name in fields} for record in records],
    )


def _file_name(key: str, source_format: str) -> str:
    name = posixpath.basename(key) or "image"
    extension = EXTENSIONS.get(source_format, source_format.lower())
    return name if posixpath.splitext(name)[1] else f"{name}.{extension}"


def _summary(scorer: Any) -> str:
    return (type(scorer).__doc__ or "").strip().splitlines()[0]


def _view_line(plan: Plan, place: int) -> tuple[str, ...]:
    ready = plan.views[place]
    prompts = "; ".join(f"{prompt.text} (x{prompt.weight:g})" for prompt in ready.view.prompts)
    sampling = yaml.safe_dump(ready.view.sampling.model_dump(mode="json"), default_flow_style=True).strip()
    model = ready.view.model + (f" + {ready.view.lora}" if ready.view.lora else "")
    return ready.name, model, ready.model.revision, prompts, sampling
