"""The card of a mixture: what it is made of, in exact shares."""

from __future__ import annotations

from typing import Any

from exports.formats.parquet_config import CARD


def mixture_card(manifest: dict[str, Any]) -> str:
    """README.md of a mixture, from its manifest without the card's own entry. No document appears in it."""
    asked = manifest["asked"]
    counted = f"of the tokenizer {_cell(asked['tokenizer'])}" if asked["tokenizer"] else "words between white space"
    lines = [
        CARD.format(name="default").rstrip(),
        "",
        f"# {_cell(manifest['name'])}",
        "",
        f"A mixture of {len(manifest['parts'])} corpora: {manifest['rows']:,} rows, {manifest['tokens']:,} tokens. Tokens are {counted}; an "
        f"image counts {asked['image_tokens']}, and the question before a caption counts too. Words leave questions out.",
        "",
    ]
    if manifest["ended"]:
        lines += [f"It ends where the part {_cell(manifest['ended'])} had no more to give.", ""]
    header = (
        "part",
        "kind",
        "share asked",
        "share got",
        "tokens",
        "words",
        "rows",
        "images",
        "read",
        "left out",
        "cut",
    )
    lines += [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for name, part in manifest["parts"].items():
        left = ", ".join(f"{count:,} {reason}" for reason, count in part["left_out"].items()) or "none"
        cells = (
            name,
            part["kind"],
            f"{part['asked']:.4%}",
            f"{part['got']:.4%}",
            f"{part['tokens']:,}",
            f"{part['words']:,}",
            f"{part['rows']:,}",
            f"{part['images']:,}",
            f"{part['epochs']}x",
            left,
            f"{part['cut']:,}",
        )
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    lines += ["", "Left out and cut are counted over all that was read, repeats too.", "", "## Inputs", ""]
    for name, inputs in manifest["inputs"].items():
        for one in inputs:
            what = one.get("release") or one.get("file") or ""
            lines.append(f"- {_cell(name)}: {_cell(what)}, SHA-256 `{one.get('manifest_sha256') or one.get('sha256')}`")
    lines += [
        "",
        "## Columns",
        "",
        "`images` (a list), one of `messages` (captions), `texts` (interleaved documents; null stands for the next image) and `text`; "
        "`kind`, `part`, `tokens`. Images, texts of documents and plain text are untouched.",
        "",
    ]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = " ".join(str(value).split())
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return text
