"""Draws docs/pictures/way.svg, the way of one image: `python docs/pictures/draw.py`."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

STEPS = (
    ("source", "folder, tars, Parquet, Hub"),
    ("prepare", "decode, check, shrink"),
    ("caption", "views × prompts × candidates"),
    ("score", "filters, judges"),
    ("select", "rules: kept or dropped"),
    ("release", "versioned dataset"),
)
BESIDE = {
    1: ("quarantine", "cannot be used: a reason"),
    2: ("failed", "tried again next time"),
    4: ("dropped", "the rule that said no"),
}
WIDTH, HEIGHT, GAP, TOP = 168, 62, 34, 40
INK, PAPER, LINE, MUTED = "#1f2933", "#ffffff", "#52606d", "#7b8794"


def picture() -> str:
    """The picture as SVG."""
    across = len(STEPS) * (WIDTH + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} 270" role="img" '
        'aria-label="The way of one image: source, prepare, caption, score, select, release; and back by training" '
        'font-family="system-ui, sans-serif">',
        f'<rect width="{across}" height="270" fill="{PAPER}"/>',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
        f'<path d="M0 0L10 5L0 10z" fill="{LINE}"/></marker></defs>',
    ]
    for place, (name, words) in enumerate(STEPS):
        x = GAP + place * (WIDTH + GAP)
        parts.append(_box(x, TOP, name, words, "#e3f2fd" if place in (0, 5) else "#f0f4f8"))
        if place:
            parts.append(_arrow(x - GAP + 2, TOP + HEIGHT / 2, x - 3, TOP + HEIGHT / 2))
        if place in BESIDE:
            parts.append(_arrow(x + WIDTH / 2, TOP + HEIGHT + 2, x + WIDTH / 2, TOP + HEIGHT + 29))
            parts.append(_box(x, TOP + HEIGHT + 32, *BESIDE[place], "#fff3e0"))
    right, left = across - GAP - WIDTH / 2, GAP + 2 * (WIDTH + GAP) + WIDTH / 4
    parts.append(
        f'<path d="M{right} {TOP + HEIGHT + 2}V238H{left}V{TOP + HEIGHT + 4}" fill="none" stroke="{LINE}" stroke-width="2" '
        'stroke-dasharray="6 4" marker-end="url(#tip)"/>'
    )
    parts.append(
        f'<text x="{(right + left) / 2}" y="256" fill="{MUTED}" font-size="14" text-anchor="middle">train: the next captioner</text>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _box(x: float, y: float, name: str, words: str, fill: str) -> str:
    middle = x + WIDTH / 2
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{fill}" stroke="{LINE}"/>'
        f'<text x="{middle}" y="{y + 26}" fill="{INK}" font-size="16" font-weight="600" text-anchor="middle">{escape(name)}</text>'
        f'<text x="{middle}" y="{y + 46}" fill="{MUTED}" font-size="11.5" text-anchor="middle">{escape(words)}</text>'
    )


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path d="M{x} {y}L{to_x} {to_y}" stroke="{LINE}" stroke-width="2" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    Path(__file__).with_name("way.svg").write_text(picture())
