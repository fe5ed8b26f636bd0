"""The dataset card of a release: README.md with the metadata the Hub reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exports.release import ReleaseInfo

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
    """The card's Markdown. Everything variable in it is escaped or fenced; captions do not appear in it."""
    import yaml

    known = info.license != "unknown"
    metadata = {
        "pretty_name": info.name,
        **({"license": info.license} if known else {}),
        "task_categories": ["image-to-text"],
        "tags": ["synthetic", "image-captions"],
        "size_categories": [next(name for limit, name in SIZES if manifest["rows"] < limit)],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    counts = manifest["counts"]
    lines = [
        "---",
        yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {info.name} {manifest['version']}",
        "",
        f"{manifest['rows']:,} rows with captions ({manifest['caption_words']:,} words in the chosen captions), "
        f"{'written by the models below' if info.provenance.get('views') else 'which the source had'}, scored and selected by "
        "rules. Image bytes are the originals.",
        "",
        "```python",
        "from datasets import load_dataset",
        f'dataset = load_dataset("PATH/{manifest["version"]}", split="train")',
        "```",
        "",
        "## Captions",
        "",
        *_table(("view", "model", "revision", "prompts", "sampling"), info.provenance.get("views", [])),
        "",
        "`caption` is the first kept caption in the order of these views; `captions` holds all of them with their lineage.",
        "",
        *_rewrites(counts),
        "## Selection",
        "",
        f"{counts.get('captions', 0):,} captions were made, {counts.get('kept', 0):,} kept.",
        "",
        *_table(
            ("dropped because", "captions"),
            [(reason, f"{number:,}") for reason, number in counts.get("dropped", {}).items()],
        ),
        "",
        "## Scores",
        "",
        "Between 0 and 1, higher is better; null where a filter could not judge.",
        "",
        *_table(("column", "what it measures"), [(f"score_{name}", line) for name, line in info.filters.items()]),
        "",
        "## Images",
        "",
        *_table(("state", "images"), [(state, f"{number:,}") for state, number in counts.get("images", {}).items()]),
        "",
        "## Licence",
        "",
        f"Captions: {info.license}. Images: {info.image_license or 'as their source says, in source_fields'}.",
        "",
        "## Known limits",
        "",
        "Captions are machine-written and can be wrong; the scores say how likely, not whether.",
        "",
        "## Recipe",
        "",
        *_fenced(info.provenance.get("recipe", ""), "yaml"),
        "",
    ]
    return "\n".join(lines)


def _rewrites(counts: dict[str, Any]) -> list[str]:
    if "rewritten" not in counts:
        return []
    return [
        f"{counts['rewritten']:,} kept captions were rewritten by rules; `captions.text` has what was there before.",
        "",
    ]


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
