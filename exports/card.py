"""The dataset card of a release: README.md with the metadata the Hub reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exports.release_info import ReleaseInfo

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
    (10**15, "n>1B"),
)  # the Hub's size_categories


def write_card(info: ReleaseInfo, manifest: dict[str, Any]) -> str:
    """The card's Markdown. Everything variable in it is escaped or fenced; captions do not appear in it.

    Args:
        info: what the release says about itself; of `provenance`: `views`, `counts`, `rules` (filter table), `recipe`,
            `assembly` (lines), `source` (text), `source_datasets` (Hub ids), all optional.
        manifest: everything but the card's own entry.
    """
    import yaml

    counts = manifest["counts"]
    repository = info.repository or "ORG/NAME"
    version = manifest["version"]
    made = info.provenance.get("views")
    lines = [
        "---",
        yaml.safe_dump(_metadata(info, manifest), sort_keys=False, allow_unicode=True, width=1000).strip(),
        "---",
        "",
        f"# {_cell(info.name)} {version}",
        "",
        "## Dataset description",
        "",
        f"{manifest['rows']:,} rows with captions ({manifest['caption_words']:,} words in the chosen captions), "
        f"{'written by the models below' if made else 'which the source had'}, scored and selected by rules. Image bytes are the "
        "originals.",
        "",
        "### How to load this version",
        "",
        "A tag never moves, so this is the same data in every year:",
        "",
        "```python",
        "from datasets import load_dataset",
        f'dataset = load_dataset("{repository}", revision="v{version}", split="train")  # or the directory of this release',
        "```",
        "",
        "A revision that is not in the cache is replaced by another one when the Hub is unreachable; "
        f'`exports.open_release("hub:{repository}@v{version}")` never does that.',
        "",
        "### Version and changelog",
        "",
        *_changelog(manifest.get("changelog", [])),
        "",
        "### Licence",
        "",
        f"Captions: {_cell(info.license)}. Images: {_cell(info.image_license or 'as `license` and `source_fields` of each row say')}. "
        "Captions are also under the terms of the models below.",
        "",
        *_languages(info),
        "## Uses",
        "",
        "### Direct use",
        "",
        "Training and evaluation of models that describe images.",
        "",
        "### Out-of-scope use",
        "",
        "Facts about the persons, places or brands shown: nobody checked the captions one by one.",
        "",
        "## Dataset structure",
        "",
        *_table(("config", "rows", "words", "what it is"), _configs(manifest)),
        "",
        "`captions` holds all captions of an image with their lineage: model, revision, prompt, seed, engine and scores. "
        "`turns` is the caption as questions and answers. What a trainer would take for an image or the end of a turn has a space "
        "after its first sign in `caption` and `turns` (`< image>`), not in `captions`.",
        "",
        "## Dataset creation",
        "",
        "### Source data",
        "",
        f"{_cell(info.provenance.get('source', 'Images and texts as `source` and `source_fields` of each row say'))}. Nothing was "
        "changed in the images, and what could not be read was left out:",
        "",
        *_table(("state", "images"), [(state, f"{number:,}") for state, number in counts.get("images", {}).items()]),
        "",
        "### How the captions were made",
        "",
        *_table(("view", "model", "revision", "prompts", "sampling"), info.provenance.get("views", [])),
        "",
        *(info.provenance.get("assembly") or ["`caption` is the first kept caption in the order of these views."]),
        "",
        *_rewrites(counts),
        "### Selection",
        "",
        f"{counts.get('captions', 0):,} captions were made, {counts.get('kept', 0):,} kept.{_thresholds(info)}",
        "",
        *_table(("rule", "captions in", "dropped", "captions out", "share of all"), rule_table(counts)),
        "",
        *_shares(counts),
        "",
        *_reviewed(counts),
        *_left_out(counts),
        "### Scores",
        "",
        "Between 0 and 1, higher is better; null where a filter could not judge. They are float64, so a threshold means the same "
        "in every reader.",
        "",
        *_table(("column", "what it measures"), [(f"score_{name}", line) for name, line in info.filters.items()]),
        "",
        "### Personal and sensitive information",
        "",
        _sensitive(info),
        "",
        "## Bias, risks and limitations",
        "",
        "Images are unchanged, with whatever bias their source has; captions add that of the models that wrote them.",
        "",
        "### Known failures",
        "",
        "Captions can be wrong; the scores say how likely, not whether. Text in images may be read out wrongly, counts above five "
        "are often wrong, and filters miss what their judges miss.",
        "",
        "## Checksums",
        "",
        "`manifest.json` names every file with its SHA-256; `factory verify` compares them.",
        "",
        "## Recipe",
        "",
        f"`factory run hub:{repository}@v{version}` runs it again.",
        "",
        *_fenced(info.provenance.get("recipe", ""), "yaml"),
        "",
        "## Citation",
        "",
        f"Name {'this repository' if info.repository is None else f'`{repository}`'} and the version, {version}.",
        "",
        "## Contact",
        "",
        "The discussions of this repository.",
        "",
    ]
    return "\n".join(lines)


def _languages(info: ReleaseInfo) -> list[str]:
    return ["### Language", "", f"Captions: {', '.join(map(_cell, info.languages))}.", ""] if info.languages else []


def _thresholds(info: ReleaseInfo) -> str:
    """The least scores of kept captions, as the rules say."""
    least = info.provenance.get("thresholds") or {}
    said = ", ".join(f"`score_{name}` {_cell(value)}" for name, value in least.items())
    return f" Kept captions have at least {said}." if said else ""


def _sensitive(info: ReleaseInfo) -> str:
    """What was done about personal data and unsafe images, by the filters that are there and the limits of publishing."""
    looked = [name for name in ("pii", "nsfw", "toxicity") if name in info.filters]
    if not looked:
        return "Neither images nor captions were searched for personal data or unsafe content."
    found = _names(looked)
    limits = "; ".join(f"{name} at least {least:g}" for name, least in sorted(info.limits.items()))
    beside = (
        " `pii` also read `original`, `source_fields` and prompts when this was published." if "pii" in looked else ""
    )
    unread = [name for name in looked if name == "toxicity"]
    beside += " `original` and `source_fields` were not judged by toxicity." if unread else ""
    return f"Searched for by filters: {found}. Filters miss some.{beside}" + (
        f" Limits of publishing: {limits}." if limits else ""
    )


def _metadata(info: ReleaseInfo, manifest: dict[str, Any]) -> dict[str, Any]:
    from exports.columns import FOLDERS, features

    known = info.license != "unknown"
    configs = [name for name in FOLDERS if name in manifest["configs"]]
    synthetic = bool(info.provenance.get("views"))
    return {
        "pretty_name": info.name,
        **({"license": info.license} if known else {}),
        **({"language": list(info.languages)} if info.languages else {}),
        "annotations_creators": ["machine-generated" if synthetic else "found"],
        "language_creators": ["machine-generated" if synthetic else "found"],
        **({"source_datasets": info.provenance["source_datasets"]} if info.provenance.get("source_datasets") else {}),
        "task_categories": ["image-to-text", "image-text-to-text"],
        "tags": [*(["synthetic"] if synthetic else []), "image-captions", "caption-factory"],
        "size_categories": [next(name for limit, name in SIZES if manifest["rows"] < limit)],
        "configs": [
            {
                "config_name": name,
                **({"default": True} if name == "default" else {}),
                "data_files": [{"split": "train", "path": f"{FOLDERS[name]}/train-*.parquet"}],
            }
            for name in configs
        ],
        "dataset_info": [
            {"config_name": name, "features": features(name, info.filters).card_list()} for name in configs
        ],
    }


ABOUT = {
    "default": "one row per image with everything that is known of it",
    "sft": "images, prompt and completion for fine-tuning; one row per question and answer",
    "preference": "images, prompt, chosen and rejected answer for preference training (DPO)",
    "text": "captions alone, one a line",
    "rejected": "captions of the images that are not in the release, with reasons and scores",
}


def _configs(manifest: dict[str, Any]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, config in manifest["configs"].items():
        counts = config["splits"]["train"]
        found.append((name, f"{counts['rows']:,}", f"{counts['words']:,}" if counts["words"] else "", ABOUT[name]))
    return found


def _changelog(entries: list[dict[str, Any]]) -> list[str]:
    lines = []
    for place, entry in enumerate(entries):
        if place == len(entries) - 1 and not entry["removed"] and not entry["recaptioned"]:
            lines.append(f"- {entry['version']}: first version, {entry['added']:,} images")
        else:
            lines.append(
                f"- {entry['version']}: {entry['added']:,} images added, {entry['removed']:,} removed, "
                f"{entry['recaptioned']:,} with another caption"
            )
    return lines


def rule_table(counts: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every rule that dropped captions, in the order in which they are applied: captions in, dropped, out, share of all.

    `counts["dropped"]` names the reasons; `counts["rules"]` their order, reasons that it does not name come last.
    """
    dropped: dict[str, int] = counts.get("dropped", {})
    order = {name: place for place, name in enumerate(counts.get("rules", []))}
    left = total = counts.get("captions", 0)
    rows: list[tuple[str, ...]] = []
    for reason in sorted(dropped, key=lambda one: (order.get(one, order.get(one.split(":")[0], len(order))), one)):
        before, left = left, left - dropped[reason]
        rows.append(
            (reason, f"{before:,}", f"{dropped[reason]:,}", f"{left:,}", f"{dropped[reason] / max(1, total):.1%}")
        )
    return rows


def _shares(counts: dict[str, Any]) -> list[str]:
    dropped: dict[str, int] = counts.get("dropped", {})
    lost = sum(dropped.values())
    if not lost:
        return []
    most = sorted(dropped.items(), key=lambda one: (-one[1], one[0]))
    shares = "; ".join(f"{_cell(reason)} {number / lost:.1%}" for reason, number in most)
    return [f"Of the {lost:,} dropped captions: {shares}."]


def _reviewed(counts: dict[str, Any]) -> list[str]:
    found = counts.get("reviewed")
    if not found:
        return []
    return [
        f"People looked at captions one by one: {found['accepted']:,} kept ones were accepted by a person, {found['edited']:,} of them "
        f"edited (their `model` is `person`), and {found['rejected']:,} were rejected.",
        "",
    ]


def _left_out(counts: dict[str, Any]) -> list[str]:
    found = counts.get("release", {})
    if not found:
        return []
    return [*_table(("images", "number"), [(name, f"{number:,}") for name, number in sorted(found.items())]), ""]


def _rewrites(counts: dict[str, Any]) -> list[str]:
    lines = []
    if "rewritten" in counts:
        masked = counts.get("masked")
        before = "what was there before, with personal data masked" if masked else "what was there before"
        lines.append(
            f"{counts['rewritten']:,} kept captions were rewritten by rules; `captions.text` has {before}, "
            "`captions.rewritten` the new text. Scores are of the new text"
            + (
                f", but {_names(counts['scored_before'])}, which judged the one before."
                if counts.get("scored_before")
                else "."
            )
        )
        if masked:
            lines.append(
                "Personal data was masked ([email], [phone], ...) in captions, prompts, `original` and `source_fields`. `id` and "
                "`source` are as the source has them."
            )
    if counts.get("withheld"):
        lines.append(
            f"The text of {counts['withheld']:,} dropped captions is withheld (null), because a score of it is below a limit of "
            "publishing; their scores and reasons are there."
        )
    return [*lines, ""] if lines else []


def _names(filters: Iterable[str]) -> str:
    return ", ".join(f"`score_{name}`" for name in filters)


def _table(header: tuple[str, ...], rows: list[Any]) -> list[str]:
    if not rows:
        return ["None."]
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return lines + [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]


def _cell(value: Any) -> str:
    text = " ".join(str(value).split())
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return text


def _fenced(text: str, language: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"{fence}{language}", text.rstrip(), fence]
