"""The gate before publishing: licences, personal data and unsafe content, secrets. Everything wrong is listed at once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from exports.licences import licence_problem
from exports.local_release import CARD, LocalRelease
from exports.publish_plan import listed
from exports.redact import secrets_in
from exports.release import ReleaseError
from exports.release_row import texts_of_fields

if TYPE_CHECKING:
    import pyarrow as pa

    from filters import Filter

UNKNOWN = {"", "unknown", "none", "null"}
LICENCE_FIELDS = ("license", "licence", "source_license", "image_license")
WATCHED = {"pii": 0.5, "nsfw": 0.5}  # filters that are limits by themselves: their score means 'none of it', 1 is clean
PERSONAL = "pii"  # the filter that also judges texts beside the captions: the source's own, its fields, prompts
TEXTS = ("caption", "original", "source_fields", "text")
CAPTION_TEXTS = ("text", "rewritten", "prompt")
TURN_TEXTS = ("question", "answer")
BATCH = 512
IDS_SHOWN = 5
SMALL = 10_000_000


def check_gate(release: LocalRelease) -> None:
    """Raises ReleaseError with a list of everything that must not be published."""
    found = problems(release)
    if found:
        raise ReleaseError(f"{release.folder} must not be published:\n" + listed(found))


def problems(release: LocalRelease) -> list[str]:
    """What stops a release from being published, one line each; [] where nothing does.

    Read from the manifest: `license` (of the captions), `image_license` (of all images; where it is set, rows need none),
    `limits` (filter -> least score that a published caption may have). Filters named in WATCHED have a limit without
    being named. A score that is null (the filter could not judge) passes. Where the release has scores of `pii`, that
    filter judges every text here, also those that are no captions: the source's own, its fields, prompts.
    """
    limits = {**WATCHED, **_limits(release.manifest)}
    return [*_licence(release), *_secrets(release), *_rows(release, limits)]


def _limits(manifest: Mapping[str, Any]) -> dict[str, float]:
    stated = manifest.get("limits") or {}
    return {str(name): float(least) for name, least in stated.items()}


def _licence(release: LocalRelease) -> list[str]:
    found = []
    if _is_unknown(release.manifest.get("license")):
        found.append("the licence of the captions is unknown; set release.license in the recipe")
    elif problem := licence_problem(str(release.manifest["license"])):
        found.append(f"the licence of the captions: {problem}; set release.license in the recipe, or --license")
    metadata = _card_metadata(release)
    if metadata is None:
        found.append(f"{CARD} has no metadata that can be read")
    elif _is_unknown(metadata.get("license")):
        found.append(f"{CARD} names no licence; set release.license in the recipe")
    return found


def _card_metadata(release: LocalRelease) -> dict[str, Any] | None:
    import yaml

    try:
        text = (release.folder / CARD).read_text(encoding="utf-8")
        start, head, _ = text.split("---\n", 2)
        metadata = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return metadata if isinstance(metadata, dict) and not start else None


def _is_unknown(licence: Any) -> bool:
    return not isinstance(licence, str) or licence.strip().lower() in UNKNOWN


def _secrets(release: LocalRelease) -> list[str]:
    found = []
    for file in release.files:
        if not file.is_data and file.size <= SMALL:
            text = release.local(file).read_text(encoding="utf-8", errors="replace")
            if secrets_in(text):
                found.append(f"{file.path} holds an access token; revoke it, and take it out of the recipe")
    return found


def _rows(release: LocalRelease, limits: Mapping[str, float]) -> list[str]:
    need_licence = _is_unknown(release.manifest.get("image_license"))
    judge = _text_judge(release.manifest, limits)
    images = 0
    unlicensed = _Found()
    below: dict[str, _Found] = defaultdict(_Found)
    personal = _Found()
    columns: set[str] = set()
    for file in release.files:
        if not file.is_data:
            continue
        has_image = "image" in _columns(release, file.path)
        for batch in _batches(release, file.path, limits):
            ids = batch["id"].to_pylist() if "id" in batch.schema.names else [file.path] * batch.num_rows
            if need_licence and has_image:
                images += batch.num_rows
                unlicensed.add(ids, [place for place, known in enumerate(_licensed(batch)) if not known])
            told: set[int] = set()
            for filter_name, places in _below(batch, limits, release.manifest, has_image):
                below[filter_name].add(ids, places)
                told |= set(places) if filter_name == PERSONAL else set()
            if judge is not None:
                found = _personal(batch, judge, limits[PERSONAL])
                personal.add(ids, sorted(found.keys() - told))
                columns |= {name for place, names in found.items() if place not in told for name in names}
    found_lines = []
    if unlicensed:
        found_lines.append(
            f"{len(unlicensed):,} of {images:,} rows have no licence field ({unlicensed}); carry it from the source "
            "(source.fields: [license]), or set release.image_license where one licence covers all images "
            "(factory export RUN --image-license ID)"
        )
    for name, rows in sorted(below.items()):
        found_lines.append(
            f"{len(rows):,} rows have a caption whose {name} score is below {limits[name]:g} ({rows}); "
            f"raise select.require.{name}, or remove these images"
        )
    if personal:
        found_lines.append(
            f"{len(personal):,} rows have personal data in {', '.join(sorted(columns))} ({personal}); mask it with "
            "release.rewrite: [pii], or do not carry it from the source"
        )
    return found_lines


class _Found:
    """Ids of rows; a row that several configs repeat counts once."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._shown: list[str] = []

    def add(self, ids: list[str], places: list[int]) -> None:
        for place in places:
            if ids[place] not in self._ids:
                self._ids.add(ids[place])
                self._shown += [str(ids[place])] if len(self._shown) < IDS_SHOWN else []

    def __len__(self) -> int:
        return len(self._ids)

    def __str__(self) -> str:
        shown = ", ".join(self._shown)
        return f"{shown}, ..." if len(self) > len(self._shown) else shown


def _columns(release: LocalRelease, path: str) -> list[str]:
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(release.folder / path).names)
    except (OSError, ValueError) as error:
        raise _unreadable(release, path, error) from None


def _unreadable(release: LocalRelease, path: str, error: Exception) -> ReleaseError:
    return ReleaseError(f"{release.folder / path} cannot be read as Parquet ({error}); build the release again")


def _batches(release: LocalRelease, path: str, limits: Mapping[str, float]) -> Iterator[pa.RecordBatch]:
    """The narrow columns of a shard, a few hundred rows at a time."""
    import pyarrow.parquet as pq

    wanted = {"id", *TEXTS, *LICENCE_FIELDS, *(f"score_{name}" for name in limits)}
    try:
        with pq.ParquetFile(release.folder / path) as file:
            leaves = [file.schema.column(place).path for place in range(len(file.schema))]
            nested = {f"captions.list.element.{name}" for name in (*CAPTION_TEXTS, *(f"score_{one}" for one in limits))}
            nested |= {f"turns.list.element.{name}" for name in TURN_TEXTS}
            yield from file.iter_batches(BATCH, columns=[leaf for leaf in leaves if leaf in wanted or leaf in nested])
    except (OSError, ValueError) as error:
        raise _unreadable(release, path, error) from None


# --- texts -------------------------------------------------------------------------------------------------------------


def _text_judge(manifest: Mapping[str, Any], limits: Mapping[str, float]) -> Filter | None:
    """The filter for personal data as the release used it; None where it used none, or allows everything."""
    from filters import FilterError, build

    schemas = (manifest.get("schemas") or {"default": manifest.get("schema") or {}}).values()
    used = PERSONAL in (manifest.get("limits") or {}) or any(f"score_{PERSONAL}" in schema for schema in schemas)
    if not used or limits[PERSONAL] <= 0:
        return None
    facts = (manifest.get("filters") or {}).get(PERSONAL) or {}
    try:
        return build(PERSONAL, facts.get("parameters") or {})
    except FilterError:  # parameters of another version of it
        return build(PERSONAL, {})


def _personal(batch: pa.RecordBatch, judge: Filter, least: float) -> dict[int, set[str]]:
    """Row -> the columns in which the filter finds personal data, among all that hold texts."""
    import polars as pl

    texts = [(place, name, text) for name in batch.schema.names for place, text in _texts(batch, name)]
    frame = pl.DataFrame(texts, schema={"place": pl.Int64, "name": pl.String, "text": pl.String}, orient="row")
    unique = frame.select("text").unique(maintain_order=True)
    low = unique.hstack(judge.score(unique).select("score")).filter(pl.col("score") < least)
    found: dict[int, set[str]] = defaultdict(set)
    for place, name in frame.join(low, on="text", how="semi").select("place", "name").iter_rows():
        found[place].add(name)
    return dict(found)


def _texts(batch: pa.RecordBatch, name: str) -> Iterator[tuple[int, str]]:
    if name not in (*TEXTS, "captions", "turns"):
        return
    for place, value in enumerate(batch[name].to_pylist()):
        if name == "source_fields":
            found = texts_of_fields(value)
        elif name in ("captions", "turns"):
            inner = CAPTION_TEXTS if name == "captions" else TURN_TEXTS
            found = [one[part] for one in value or () for part in inner if one.get(part)]
        else:
            found = [value] if isinstance(value, str) else []
        yield from ((place, text) for text in found)


# --- licences ----------------------------------------------------------------------------------------------------------


def _licensed(batch: pa.RecordBatch) -> list[bool]:
    known = [False] * batch.num_rows
    for name in LICENCE_FIELDS:
        if name in batch.schema.names:
            known = [old or not _is_unknown(one) for old, one in zip(known, batch[name].to_pylist(), strict=True)]
    if "source_fields" in batch.schema.names:
        fields = batch["source_fields"].to_pylist()
        known = [old or _has_licence(one) for old, one in zip(known, fields, strict=True)]
    return known


def _has_licence(fields: str | None) -> bool:
    try:
        content = json.loads(fields or "{}")
    except ValueError:
        return False
    return isinstance(content, dict) and any(
        name.lower() in LICENCE_FIELDS and not _is_unknown(value) for name, value in content.items()
    )


# --- scores ------------------------------------------------------------------------------------------------------------


def _below(
    batch: pa.RecordBatch, limits: Mapping[str, float], manifest: Mapping[str, Any], has_image: bool
) -> Iterator[tuple[str, list[int]]]:
    """The rows that publish what is below a limit: a caption, the chosen one or any other, or the image itself.

    A row, or an entry of `captions`, whose text is withheld publishes its score and no text.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    names = batch.schema.names
    for name, least in limits.items():
        places: set[int] = set()
        column = f"score_{name}"
        reads = _reads(name, manifest)
        shows_image = has_image and "image" in reads
        if column in names:
            low = pc.fill_null(pc.less(batch[column], least), False)
            texts = [one for one in ("caption", "text") if one in names]
            if not shows_image and texts:
                low = pc.and_(low, pc.is_valid(batch[texts[0]]))
            places |= set(pc.indices_nonzero(low).to_pylist()) if shows_image or "text" in reads else set()
        captions = batch["captions"] if "captions" in names else None
        if captions is not None and column in [field.name for field in captions.type.value_type]:
            parents = pc.list_parent_indices(captions)
            flat = pc.list_flatten(captions)
            low = pc.fill_null(pc.less(pc.struct_field(flat, column), pa.scalar(least)), False)
            if not shows_image:
                inner = [field.name for field in captions.type.value_type]
                shown = [pc.is_valid(pc.struct_field(flat, one)) for one in ("text", "rewritten") if one in inner]
                for one in shown[1:]:
                    shown[0] = pc.or_(shown[0], one)
                low = pc.and_(low, shown[0]) if shown else low
            places |= set(pc.filter(parents, low).to_pylist()) if shows_image or "text" in reads else set()
        if places:
            yield name, sorted(places)


def _reads(name: str, manifest: Mapping[str, Any]) -> list[str]:
    """What a filter judges: `text`, `image`; both where nobody says."""
    facts = (manifest.get("filters") or {}).get(name) or {}
    known = {"pii": ["text"], "nsfw": ["image"]}
    return list(facts.get("reads") or known.get(name) or ["text", "image"])
