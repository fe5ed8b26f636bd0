"""From a selection to the rows of a release: the source is read again, and every image meets its captions by key."""

from __future__ import annotations

import hashlib
import posixpath
from collections import Counter
from collections.abc import Iterator
from typing import Any

import polars as pl
import yaml

from exports.release import CAPTION_FIELDS, ReleaseInfo, ReleaseResult, ReleaseRow, build_release
from factory.fingerprint import fingerprint
from factory.plan import Plan
from factory.recipe import TEMPLATE_FIELD
from factory.run import SELECTION
from factory.sources.source import SourceRow
from factory.tables import CAPTION_KEY

SELECTED = "selected.parquet"
ASSEMBLED = "(template)"  # stands for the view of a caption that was put together from several
EXTENSIONS = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}


def release(plan: Plan, counts: dict[str, Any], recipe_text: str) -> tuple[ReleaseResult, dict[str, int]]:
    """Build the release of a run's selection. Returns it, and how many images are not as selected, by reason.

    Raises:
        exports.release.ReleaseError: nothing was kept, or the version exists with another content.
    """
    settings = plan.recipe.release
    assert settings is not None
    wanted = _write_selected(plan)
    inputs = fingerprint(
        "release",
        [
            _file_hash(plan),
            settings.license,
            settings.image_license,
            settings.limits,
            settings.shard_mb,
            settings.caption,
            settings.without,
        ],
    )
    info = ReleaseInfo(
        name=plan.recipe.name,
        license=settings.license,
        image_license=settings.image_license,
        limits=settings.limits,
        filters={scorer.name: _summary(scorer.filter) for scorer in plan.scorers},
        inputs=inputs,
        provenance={
            "views": [_view_line(plan, place) for place in range(len(plan.views))],
            "counts": counts,
            "recipe": recipe_text,
        },
    )
    rows = SelectedImages(plan)
    result = build_release(rows, settings.to, settings.version, info, settings.shard_mb * 1_000_000)
    if result.is_new and wanted > len(rows.met):
        rows.counts["image_gone"] += wanted - len(rows.met)
    plan.run.storage.remove(SELECTED)
    return result, dict(rows.counts)


class SelectedImages:
    """The images with a kept caption as release rows, in the order of the source; iterated once.

    `counts`: images that are gone, changed, or lack a text of the caption template. `met`: keys seen so far.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.counts: Counter[str] = Counter()
        self.met: set[str] = set()

    def __iter__(self) -> Iterator[ReleaseRow]:
        limit = max(ready.view.image.max_bytes for ready in self.plan.views)
        selected = self.plan.run.storage.scan([SELECTED])
        names = [work.shard.name for work in self.plan.shards]
        moved = _by_key(selected.filter(~pl.col("shard").is_in(names)))  # captioned when the source was cut otherwise
        for work in self.plan.shards:
            here = moved | _by_key(selected.filter(pl.col("shard") == work.shard.name))
            if not here:
                continue
            for row in self.plan.source.read(work.shard, limit):
                captions = here.get(row.key)
                if captions is not None and row.key not in self.met:
                    self.met.add(row.key)
                    yield from self._release(row, captions)

    def _release(self, row: SourceRow, captions: pl.DataFrame) -> Iterator[ReleaseRow]:
        if row.data is None:
            self.counts["image_gone"] += 1
            return
        if hashlib.sha256(row.data).hexdigest() != captions["image_sha256"][0]:
            self.counts["image_changed"] += 1
            return
        settings = self.plan.recipe.release
        assert settings is not None
        caption = None
        if settings.caption is not None:
            caption = assemble(settings.caption, row.text, captions)
            if caption is None:
                self.counts[f"no_text_{settings.without}"] += 1
                if settings.without == "leave_out":
                    return
        yield _release_row(self.plan, row, row.data, captions, caption)


def assemble(template: str, original: str | None, captions: pl.DataFrame) -> str | None:
    """The caption template filled with the original text and the kept caption of each view; None where one is missing.

    A template's `{name}` is replaced in one pass, so texts that hold braces stay as they are. Texts are untrusted: the
    trainer's image placeholder in them is written in capitals, as VILA does it, so that it is no placeholder.
    """
    kept = captions.filter("kept").unique("view", keep="first", maintain_order=True)
    texts: dict[str, str | None] = {"original": original, **dict(kept.select("view", "text").iter_rows())}
    if any(not texts.get(name) for name in TEMPLATE_FIELD.findall(template)):
        return None
    return TEMPLATE_FIELD.sub(lambda match: (texts[match.group(1)] or "").replace("<image>", "<IMAGE>"), template)


def _by_key(rows: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    return {str(key): group for (key,), group in rows.collect().group_by("image_key", maintain_order=True)}


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


def _release_row(plan: Plan, row: SourceRow, data: bytes, captions: pl.DataFrame, caption: str | None) -> ReleaseRow:
    records = captions.to_dicts()
    chosen = next(record for record in records if record["kept"])
    names = [scorer.name for scorer in plan.scorers]
    fields = [*CAPTION_FIELDS, *(f"score_{name}" for name in names)]
    return ReleaseRow(
        id=row.key,
        image=data,
        file_name=_file_name(row.key, chosen["source_format"]),
        caption=chosen["text"] if caption is None else caption,
        view=chosen["view"] if caption is None else ASSEMBLED,
        original=row.text,
        fields=row.fields,
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
