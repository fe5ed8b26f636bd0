"""The gate before publishing: licences, personal data and unsafe content, secrets. Everything wrong is listed at once."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from exports.local_release import CARD, LocalRelease
from exports.publish_plan import listed
from exports.redact import secrets_in
from exports.release import ReleaseError

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = {"", "unknown", "none", "null"}
LICENCE_FIELDS = ("license", "licence", "source_license", "image_license")
WATCHED = {"pii": 0.5, "nsfw": 0.5}  # filters that are limits by themselves: their score means 'none of it', 1 is clean
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
    being named. A score that is null (the filter could not judge) passes.
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
    rows = 0
    unlicensed: list[str] = []
    counts: Counter[str] = Counter()
    over: dict[str, list[str]] = defaultdict(list)
    for file in release.files:
        if not file.is_data:
            continue
        for batch in _batches(release, file.path, limits):
            rows += batch.num_rows
            ids = batch["id"].to_pylist() if "id" in batch.schema.names else [file.path] * batch.num_rows
            if need_licence and "image" in _columns(release, file.path):
                unlicensed += [name for name, known in zip(ids, _licensed(batch), strict=True) if not known]
            for filter_name, places in _below(batch, limits):
                counts[filter_name] += len(places)
                over[filter_name] += [ids[place] for place in places[: IDS_SHOWN - len(over[filter_name])]]
    found = []
    if unlicensed:
        found.append(
            f"{len(unlicensed):,} of {rows:,} rows have no licence field ({_some(unlicensed)}); carry it from the source "
            "(source.fields: [license]), or set release.image_license where one licence covers all images"
        )
    for name, number in sorted(counts.items()):
        found.append(
            f"{number:,} rows have a caption whose {name} score is below {limits[name]:g} ({_some(over[name], number)}); "
            f"raise select.require.{name}, or remove these images"
        )
    return found


def _some(ids: list[str], number: int | None = None) -> str:
    shown = ", ".join(ids[:IDS_SHOWN])
    return f"{shown}, ..." if (number or len(ids)) > IDS_SHOWN else shown


def _columns(release: LocalRelease, path: str) -> list[str]:
    import pyarrow.parquet as pq

    return list(pq.read_schema(release.folder / path).names)


def _batches(release: LocalRelease, path: str, limits: Mapping[str, float]) -> Iterator[pa.RecordBatch]:
    """The narrow columns of a shard, a few hundred rows at a time."""
    import pyarrow.parquet as pq

    wanted = {"id", "source_fields", *LICENCE_FIELDS, *(f"score_{name}" for name in limits)}
    try:
        with pq.ParquetFile(release.folder / path) as file:
            names = [name for name in file.schema_arrow.names if name in wanted]
            leaves = [file.schema.column(place).path for place in range(len(file.schema))]
            nested = {f"captions.list.element.score_{name}" for name in limits}
            yield from file.iter_batches(BATCH, columns=[*names, *(leaf for leaf in leaves if leaf in nested)])
    except (OSError, ValueError) as error:
        raise ReleaseError(
            f"{release.folder / path} cannot be read as Parquet ({error}); build the release again"
        ) from None


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


def _below(batch: pa.RecordBatch, limits: Mapping[str, float]) -> Iterator[tuple[str, list[int]]]:
    """The rows with a caption below a limit: the chosen one or any other, for all captions are published."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, least in limits.items():
        places: set[int] = set()
        column = f"score_{name}"
        if column in batch.schema.names:
            places |= set(pc.indices_nonzero(pc.fill_null(pc.less(batch[column], least), False)).to_pylist())
        captions = batch["captions"] if "captions" in batch.schema.names else None
        if captions is not None and column in [field.name for field in captions.type.value_type]:
            parents = pc.list_parent_indices(captions)
            low = pc.fill_null(pc.less(pc.struct_field(pc.list_flatten(captions), column), pa.scalar(least)), False)
            places |= set(pc.filter(parents, low).to_pylist())
        if places:
            yield name, sorted(places)
