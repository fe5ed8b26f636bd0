"""From a selection to the rows of a release: the source is read again, and every image meets its captions by key."""

from __future__ import annotations

import hashlib
import posixpath
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml

from exports.placeholder import neutral
from exports.release import CAPTION_FIELDS, ReleaseError, ReleaseInfo, ReleaseResult, RowBatch, build_release
from exports.release_row import BATCH_BYTES, BATCH_ROWS, licence_of, source_fields
from factory.recipe import ORIGINAL, ORIGINAL_IMAGE, CaptionsSource, HuggingFaceSource, Recipe, Select
from factory.releasing.assembly import Assembled, Assembly, split_cuts
from factory.releasing.left_out import written_counts
from factory.releasing.machine_paths import last_part, public_recipe
from factory.releasing.published_text import PublishedText, filter_facts
from factory.releasing.selected import Piece, Selected
from factory.runs.tables import Unfused
from factory.sources.pictures import Pictures
from factory.sources.source import SourceRow
from factory.work.fingerprint import fingerprint, source_identity
from factory.work.work import Work
from filters import Language

LAYOUT: Final = 2
"""Raised whenever the same selection becomes another release."""
EXTENSIONS: Final = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}


def release(
    work: Work, pictures: Pictures, counts: dict[str, Any], recipe_text: str
) -> tuple[ReleaseResult, dict[str, int]]:
    """Build the release of a run's selection. Returns it, and how many images are not as selected, by reason.

    Memory does not grow with the run but for 8 to 20 bytes an image.

    Raises:
        exports.release.ReleaseError: nothing was kept, the version exists with another content, or an image lacks a text
            and the recipe calls that an error.
    """
    settings = work.recipe.release
    assert settings is not None
    storage = work.run.storage
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=storage.full() if storage.is_local else None) as scratch:
        selected = Selected(work, pictures, Path(scratch))
        rows = SelectedImages(work, pictures, selected)
        content = settings.model_dump(mode="json", exclude={"to", "version"})
        beside = {"rules": _rule_order(work.recipe.select), "release": rows.counts}
        info = ReleaseInfo(
            name=work.recipe.name,
            license=settings.license,
            image_license=settings.image_license,
            limits=settings.limits,
            repository=settings.repository,
            languages=settings.languages or _languages_kept(work),
            filters={scorer.name: _summary(scorer.filter) for scorer in work.scorers},
            inputs=fingerprint("release", [LAYOUT, selected.digest.hexdigest(), content]),
            filter_facts=filter_facts(work.scorers),
            configs=settings.configs,
            run_id=f"{work.recipe.name}-{run_fingerprint(work)}",
            recipe_id=recipe_fingerprint(work),
            limit=work.limit,
            provenance={
                "views": [_view_line(work, place) for place in range(len(work.views))],
                "counts": counts | beside | _rewritten_counts(selected),
                "thresholds": {name: str(least) for name, least in work.recipe.select.require.items()},
                "recipe": public_recipe(recipe_text),
                "assembly": _assembly_lines(work),
                "source": _source_line(work),
                "source_datasets": _source_datasets(work),
            },
        )
        shard_bytes = settings.shard_mb * 1_000_000
        result = build_release(
            rows, settings.to, settings.version, info, shard_bytes, ids=selected.ids, rejected=selected.rejected
        )
        if result.is_new:
            selected.left_out.write(work.run)
    return result, dict(rows.counts) if result.is_new else written_counts(work.run)


def _languages_kept(work: Work) -> tuple[str, ...]:
    """Languages that the selection keeps, where it looks: those that a filter of `select.require` expects."""
    judges = [scorer.filter for scorer in work.scorers if scorer.name in work.recipe.select.require]
    return tuple(dict.fromkeys(code for judge in judges if isinstance(judge, Language) for code in judge.expected))


def recipe_fingerprint(work: Work) -> str:
    """Identifies the recipe of a release: all of it but where it goes, its version, and how much of the source there is."""
    recipe = work.recipe.model_dump(
        mode="json", exclude={"source": True, "plugins": True, "release": {"to", "version"}}
    )
    return fingerprint("recipe", [recipe, source_identity(_public_source(work.recipe))])


def run_fingerprint(work: Work) -> str:
    """Identifies what a run did to an image: captions, scores, rules. More images of the same source do not change it."""
    scorers = [f"{scorer.name}:{scorer.alone}" for scorer in work.scorers]
    rules = work.recipe.select.model_dump(mode="json")
    return fingerprint(
        "run",
        [source_identity(_public_source(work.recipe)), work.caption_fingerprints, scorers, rules, work.recipe.seed],
    )


def _public_source(recipe: Recipe) -> Recipe:
    """The recipe as its release names the source, so that the published one is the same recipe."""
    path = getattr(recipe.source, "path", None)
    if not path:
        return recipe
    return recipe.model_copy(update={"source": recipe.source.model_copy(update={"path": last_part(path)})})


class SelectedImages:
    """The images to release as batches, in the order of the source; iterated once.

    `counts`: images that are gone, changed, or lack a text that the assembly rule asks for; complete after the last row.
    """

    def __init__(self, work: Work, pictures: Pictures, selected: Selected) -> None:
        settings = work.recipe.release
        assert settings is not None
        self.work = work
        self.pictures = pictures
        self.selected = selected
        self.left_out = selected.left_out
        self.counts = self.left_out.counts
        self.without = settings.without
        rule = settings.rule
        cuts = None
        if rule is not None and rule.rule == "split":
            keys = (key for piece in selected.ids() for key in piece)
            cuts = split_cuts(rule.shares, work.recipe.seed, keys)
        self.assembly = Assembly(work.recipe, cuts)

    def __iter__(self) -> Iterator[RowBatch]:
        for piece in self.selected.pieces():
            images = _PieceImages(piece, self.selected.published)
            met: set[int] = set()
            for row, group, where in self.selected.published.rows(self._rows(piece, images)):
                met.add(group)
                self._add(images, row, group, where)
                if images.is_full:
                    yield images.batch()
            if images.groups:
                yield images.batch()
            for group, (key, shard) in enumerate(zip(images.groups_by_key, images.shards, strict=True)):
                if group not in met:
                    self.left_out.add(key, shard, "image_gone")

    def _rows(self, piece: Piece, images: _PieceImages) -> Iterator[tuple[SourceRow, int, str]]:
        """The rows of the source that are to be released, each once."""
        limit = max(image.max_bytes for image in [ready.view.image for ready in self.work.views] or [ORIGINAL_IMAGE])
        kind = self.work.recipe.source.kind
        met: set[int] = set()
        for listed in piece.shards:
            if not images.in_shard(listed.shard.name):
                continue
            for row in self.pictures.source.read(listed.shard, limit):
                group = images.find(row.key, listed.shard.name)
                if group is not None and group not in met:
                    met.add(group)
                    yield row, group, f"{kind}:{last_part(listed.shard.name)}"

    def _add(self, images: _PieceImages, row: SourceRow, group: int, where: str) -> None:
        if row.data is None and not isinstance(self.work.recipe.source, CaptionsSource):
            self.left_out.add(row.key, images.shards[group], "image_gone")
            return
        if row.data is not None and hashlib.sha256(row.data).hexdigest() != images.sha256[group]:
            self.left_out.add(row.key, images.shards[group], "image_changed")
            return
        if images.withholds_original(group):
            row = replace(row, text=None)
        kept = images.kept(group)
        if not kept:
            images.add(row, group, where, None)
            return
        assembled = self.assembly.assemble(row.key, row.text, kept)
        if assembled is None:
            if self.without == "error":
                raise ReleaseError(
                    f"image {row.key} lacks a text that release.caption asks for (it has {', '.join(kept)}); "
                    "set release.without to chosen or leave_out"
                )
            self.left_out.add(row.key, images.shards[group], f"no_text_{self.without}")
            if self.without == "leave_out":
                return
            assembled = self.assembly.chosen(row.key, kept)
        images.add(row, group, where, assembled)


class _PieceImages:
    """The images of a piece by key, and the batch that fills."""

    def __init__(self, piece: Piece, published: PublishedText) -> None:
        self.published = published
        scores = published.score_columns
        captions = piece.captions.filter("released")
        self.captions = captions.with_row_index("row")
        self.scores = scores
        fields = pl.struct([*CAPTION_FIELDS, *scores])
        first = ("image_sha256", "source_format", "source_width", "source_height", "shard", "moved", "reason")
        self.table = self.captions.group_by("image_key", maintain_order=True).agg(
            *(pl.col(name).first() for name in first), pl.col("row").first(), pl.len().alias("rows"), captions=fields
        )
        self.groups_by_key = {key: number for number, key in enumerate(self.table["image_key"])}
        self.sha256: list[str | None] = self.table["image_sha256"].to_list()
        self.shards: list[str] = self.table["shard"].to_list()
        self.moved: list[bool] = self.table["moved"].to_list()
        self.names = set(self.shards)
        self.has_moved = any(self.moved)
        self._starts: list[int] = self.table["row"].to_list()
        self._lengths: list[int] = self.table["rows"].to_list()
        self._views: list[str] = captions["view"].to_list()
        self._withheld: list[bool] = captions["withheld"].to_list()
        self._kept: list[bool] = captions["kept"].to_list()
        self._texts: list[str | None] = captions.select(pl.coalesce("rewritten", "text"))["rewritten"].to_list()
        self._empty()

    def in_shard(self, name: str) -> bool:
        """Whether images of this shard are to be released."""
        return self.has_moved or name in self.names

    def find(self, key: str, shard: str) -> int | None:
        """The number of an image that was captioned in this shard, or in one that is no more."""
        group = self.groups_by_key.get(key)
        return group if group is not None and (self.moved[group] or self.shards[group] == shard) else None

    def kept(self, group: int) -> dict[str, str]:
        """view -> its first kept caption."""
        found: dict[str, str] = {}
        for row in self._rows(group):
            if self._kept[row]:
                found.setdefault(self._views[row], self._texts[row] or "")
        return found

    def withholds_original(self, group: int) -> bool:
        """Whether the source's own text was a caption that must not be published."""
        return any(self._withheld[row] and self._views[row] == ORIGINAL for row in self._rows(group))

    def add(self, row: SourceRow, group: int, where: str, assembled: Assembled | None) -> None:
        """Add an image to the batch; without anything assembled it is a dropped one."""
        self.images.append(row.data)
        self.size += len(row.data or b"")
        self.groups.append(group)
        self._chosen.append(self._chosen_row(group, assembled.view if assembled else None))
        turns = assembled.turns if assembled else ()
        beside = {
            "caption": assembled.caption if assembled else None,
            "view": assembled.view if assembled else None,
            "original": row.text,
            "source": where,
            "source_fields": source_fields(row.fields),
            "license": licence_of(row.fields),
            "bytes": None if row.data is None else len(row.data),
            "keep": assembled is not None,
            "turns": [{"question": turn.question, "answer": turn.answer, "view": turn.view} for turn in turns],
        }
        for name, value in beside.items():
            self._beside.setdefault(name, []).append(value)

    @property
    def is_full(self) -> bool:
        """Whether the batch is to be taken away."""
        return self.size >= BATCH_BYTES or len(self.images) >= BATCH_ROWS

    def batch(self) -> RowBatch:
        """The batch, which is empty then."""
        from exports.columns import rest_schema

        schema = rest_schema([name.removeprefix("score_") for name in self.scores])
        table = self.table[self.groups]
        chosen = self.captions[self._chosen].select(self.scores)
        beside = pl.DataFrame([pl.Series(name, values, schema[name]) for name, values in self._beside.items()])
        chosen = self._scores_of_the_released(chosen, beside["caption"])
        names = zip(table["image_key"], table["source_format"], self.images, strict=True)
        files = [None if data is None else _file_name(key, kind) for key, kind, data in names]
        keep = beside["keep"]
        rest = table.select(
            "captions",
            id="image_key",
            sha256="image_sha256",
            width="source_width",
            height="source_height",
            drop_reason=pl.when(~keep).then("reason"),
        ).hstack([*chosen.get_columns(), *beside.get_columns(), pl.Series("file_name", files, pl.String)])
        batch = RowBatch(self.images, rest.select(schema.names()).cast(schema))
        self._empty()
        return batch

    def _scores_of_the_released(self, scores: pl.DataFrame, captions: pl.Series) -> pl.DataFrame:
        """The scores of the released captions: those of the chosen candidate only where it is what is released."""
        texts = (self._texts[row] or "" for row in self._chosen)
        pairs = enumerate(zip(captions, texts, strict=True))
        others = [place for place, (caption, text) in pairs if caption is not None and caption != neutral(text)]
        if not others:
            return scores
        anew = self.published.scores_of(captions[others])
        places = pl.Series("_row", others, pl.UInt32)
        return (
            scores.with_row_index("_row").update(anew.with_columns(places), on="_row", include_nulls=True).drop("_row")
        )

    def _empty(self) -> None:
        self.images: list[bytes | None] = []
        self.groups: list[int] = []
        self.size = 0
        self._chosen: list[int] = []
        self._beside: dict[str, list[Any]] = {}

    def _rows(self, group: int) -> range:
        return range(self._starts[group], self._starts[group] + self._lengths[group])

    def _chosen_row(self, group: int, view: str | None) -> int:
        """The caption whose scores are those of the image: of the released view, else the first kept one."""
        rows = self._rows(group)
        kept = [row for row in rows if self._kept[row]]
        return next((row for row in kept if self._views[row] == view), kept[0] if kept else rows[0])


def _file_name(key: str, source_format: str | None) -> str:
    name = posixpath.basename(key) or "image"
    kind = source_format or "jpg"
    extension = EXTENSIONS.get(kind, kind.lower())
    return name if posixpath.splitext(name)[1] else f"{name}.{extension}"


# --- for the card --------------------------------------------------------------------------------------------------------


def _rewritten_counts(selected: Selected) -> dict[str, Any]:
    published = selected.published
    found: dict[str, Any] = {"withheld": selected.withheld} if selected.withheld else {}
    if published.rewrites:
        found |= {"rewritten": selected.rewritten, "scored_before": published.unjudged, "masked": published.masks}
    return found


def _summary(scorer: Any) -> str:
    return (type(scorer).__doc__ or "").strip().splitlines()[0]


def _rule_order(select: Select) -> list[str]:
    """The reasons of drops in the order in which the rules are applied."""
    by_score = [reason for name in select.require for reason in (f"unscored:{name}", f"require:{name}")]
    top = [reason for name in select.keep_top for reason in (f"unscored:{name}", f"keep_top:{name}")]
    reasons = [
        "duplicate_key",
        "failed",
        *(f"fusion:{one}" for one in Unfused),
        "truncated",
        *(f"reviewed:{what}" for what in ("rejected", "other_accepted", "not_accepted")),
        *by_score,
        *top,
        f"best_of:{select.best_of}",
        "dedup:exact",
        "budget",
    ]
    return list(dict.fromkeys(reasons))


def _view_line(work: Work, place: int) -> tuple[str, ...]:
    ready = work.views[place]
    prompts = "; ".join(f"{prompt.text} (x{prompt.weight:g})" for prompt in ready.view.prompts)
    sampling = yaml.safe_dump(ready.view.sampling.model_dump(mode="json"), default_flow_style=True).strip()
    model = last_part(ready.view.model_name) + (f" + {last_part(ready.view.lora)}" if ready.view.lora else "")
    return ready.name, model, ready.model.revision, prompts, sampling


def _source_line(work: Work) -> str:
    source = work.recipe.source
    return f"Read from a source of kind {source.kind}" + (f", {found[0]}" if (found := _source_datasets(work)) else "")


def _source_datasets(work: Work) -> list[str]:
    """The Hub id of the source, where it is one."""
    source = work.recipe.source
    on_hub = isinstance(source, HuggingFaceSource) and source.revision and re.fullmatch(r"[\w.-]+/[\w.-]+", source.path)
    return [source.path] if on_hub and isinstance(source, HuggingFaceSource) else []


def _assembly_lines(work: Work) -> list[str]:
    settings = work.recipe.release
    assert settings is not None
    rule = settings.rule
    if rule is None:
        return []
    views = ", ".join(f"{view} ({share:.0%})" for view, share in rule.shares.items()) or ", ".join(rule.named())
    said = {
        "original": "`caption` is the source's own text.",
        "replace": f"`caption` is the caption of the view {views}.",
        "concatenate": f"`caption` is put together from {views} by a template (see the recipe).",
        "random": f"`caption` is of a view that each image drew: {views}.",
        "split": f"The images are split between the views, each has the caption of one: {views}.",
        "turns": f"`turns` asks one question for each of {views}; `caption` is the first answer.",
    }
    fallback = {"chosen": "have their first kept caption", "leave_out": "are left out", "error": "stop the build"}
    return [
        f"{said[rule.rule]} Images that lack a text it asks for {fallback[settings.without]}; they are counted below."
    ]
