"""A sample as one HTML file with its pictures, to be labelled without the app, on any machine.

Captions, keys and names are untrusted: the template escapes them, and a policy in the page lets nothing load or run but its own style
and script, each named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

import polars as pl

from factory.review.caption_index import CaptionIndex
from factory.review.picture_shelf import PictureShelf

if TYPE_CHECKING:
    from markupsafe import Markup


def sheet(index: CaptionIndex, rows: pl.DataFrame, unit: str) -> bytes:
    """The page, UTF-8. `rows`: what `sampling.items` drew; `unit`: what is labelled, caption or sentence."""
    import jinja2

    shelf = PictureShelf(index.work.recipe)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("factory.review"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"csp_hash": _csp_hash, "number": lambda value: f"{value:,}"}
    shelf.want(rows.select("shard", "image_key").iter_rows())
    try:  # a shard is read once; what is kept meanwhile is bounded, and read again where it was too much
        items = [(row, _picture(shelf, row["shard"], row["image_key"])) for row in rows.iter_rows(named=True)]
    finally:
        shelf.close()
    named = rows.select("image_key", "view", "candidate", "start").rows()
    page = environment.get_template("sheet.html.jinja").render(
        items=items,
        has_pictures=shelf.has_pictures,
        unit=unit,
        title=index.work.recipe.name,
        sheet=hashlib.sha256(repr(named).encode("utf-8", "surrogatepass")).hexdigest()[:16],
        style=_own("review.css"),
        script=_own("sheet.js"),
    )
    return page.encode("utf-8", errors="replace")


def _picture(shelf: PictureShelf, shard: str, key: str) -> str:
    data = shelf.picture(shard, key, "medium") if shelf.has_pictures else None
    return base64.b64encode(data or b"").decode("ascii")


def _own(name: str) -> Markup:
    """A file of this room, which goes onto the page as it is."""
    from markupsafe import Markup

    return Markup(resources.files("factory.review").joinpath("static", name).read_text())


def _csp_hash(content: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii") + "'"
