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
from factory.fingerprint import ORIGINAL_IMAGE, fingerprint
from factory.plan import Plan
from factory.recipe import TEMPLATE_FIELD, CaptionsSource
from factory.run import SELECTION
from factory.sources.source import SourceRow
from factory.tables import CAPTION_KEY, Status

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
    wanted, changed = _write_selected(plan)
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
            "counts": counts | ({"rewritten": changed} if settings.rewrite else {}),
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
        images = [ready.view.image for ready in self.plan.views] or [ORIGINAL_IMAGE]
        limit = max(image.max_bytes for image in images)
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
        if row.data is None and not isinstance(self.plan.recipe.source, CaptionsSource):
            self.counts["image_gone"] += 1
            return
        if row.data is not None and hashlib.sha256(row.data).hexdigest() != captions["image_sha256"][0]:
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
    said = kept.select("view", pl.coalesce("rewritten", "text"))
    texts: dict[str, str | None] = {"original": original, **dict(said.iter_rows())}
    if any(not texts.get(name) for name in TEMPLATE_FIELD.findall(template)):
        return None
    return TEMPLATE_FIELD.sub(lambda match: (texts[match.group(1)] or "").replace("<image>", "<IMAGE>"), template)


def _by_key(rows: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    return {str(key): group for (key,), group in rows.collect().group_by("image_key", maintain_order=True)}


def _write_selected(plan: Plan) -> tuple[int, int]:
    """Join selection, captions and scores of the images with a kept caption into one table ordered by shard.

    Returns the number of images in it, and how many kept captions were rewritten.
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
        rows = rows.join(scores, left_on=[*CAPTION_KEY, "fingerprint"], right_on=keys, how="left")
    places = {name: place for place, name in enumerate(plan.view_names)}
    order = pl.col("view").replace_strict(places, return_dtype=pl.Int32)
    frame = rows.sort("shard", "image_key", order, "candidate").collect(engine="streaming")
    assert plan.recipe.release is not None
    frame = frame.with_columns(rewritten(frame, plan.recipe.release.rewrite))
    plan.run.storage.write_parquet(SELECTED, frame)
    changed = frame.filter("kept", pl.col("rewritten").is_not_null()).height
    return frame["image_key"].n_unique(), changed


def rewritten(captions: pl.DataFrame, names: tuple[str, ...]) -> pl.Series:
    """The captions after these rewrites, one after the other; null where none of them changed anything.

    `cut_sentence` is for captions of state `truncated`.
    """
    from filters.rewrites import cut_refusal, mask_pii, strip_opener, trim_cut_sentence

    functions = {"refusal": cut_refusal, "opener": strip_opener, "cut_sentence": trim_cut_sentence, "pii": mask_pii}
    frame = captions.select("text", "status", new=pl.lit(None, pl.String))
    for name in names:
        now = frame.select(pl.coalesce("new", "text").alias("now"))["now"]
        changed = functions[name](now).alias("changed")
        applies = pl.col("status") == Status.truncated if name == "cut_sentence" else pl.lit(True)
        frame = frame.with_columns(changed).with_columns(
            new=pl.when(applies & pl.col("changed").is_not_null()).then("changed").otherwise("new")
        )
    return frame["new"].alias("rewritten")


def _file_hash(plan: Plan) -> str:
    digest = hashlib.sha256()
    with plan.run.storage.open(SELECTED) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _release_row(
    plan: Plan, row: SourceRow, data: bytes | None, captions: pl.DataFrame, caption: str | None
) -> ReleaseRow:
    records = captions.to_dicts()
    chosen = next(record for record in records if record["kept"])
    names = [scorer.name for scorer in plan.scorers]
    fields = [*CAPTION_FIELDS, *(f"score_{name}" for name in names)]
    return ReleaseRow(
        id=row.key,
        image=data,
        file_name=_file_name(row.key, chosen["source_format"]) if data is not None else None,
        caption=chosen["rewritten"] or chosen["text"] if caption is None else caption,
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
