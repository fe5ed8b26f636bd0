"""The command that begins: init."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from factory.cli.app import JSON, command, say
from factory.errors import FactoryError


@command("init")
@click.argument("source", required=False)
@click.option(
    "--model",
    metavar="demo|small|large|MODEL",
    help="demo: ships with the factory, offline. small: SmolVLM, on a CPU. large: Qwen3-VL, on a GPU. Or any model.  [default: demo]",
)
@click.option("--out", type=click.Path(path_type=Path), help="The recipe's file.  [default: <name of the source>.yaml]")
@click.option("--text", metavar="COLUMN", help="Column or extension that holds the caption.")
@click.option("--image", metavar="COLUMN", help="Column that holds the image.")
@click.option("--id", "key", metavar="COLUMN", help="Column that holds a unique id.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@JSON
def init_command(
    source: str | None,
    model: str | None,
    out: Path | None,
    text: str | None,
    image: str | None,
    key: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a first recipe for what you have: it looks at SOURCE, and what it writes can be planned and run.

    SOURCE is a folder of images, WebDataset tars, Parquet, a file of captions, a dataset on disk or hub:org/name@revision; or
    demo, for drawn scenes. On a terminal it asks for what is not given.

    \b
    Example:
      factory init my/photos
      factory run photos.yaml
    """
    from factory.first_recipe import MODELS, first_recipe, look, recipe_name

    asks = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    if source is None:
        if not asks:
            raise click.UsageError("name what to caption: factory init FOLDER (or a tar, Parquet, captions; or demo)")
        source = str(
            click.prompt(
                "Images or captions (folder, tar, Parquet, captions file; demo for drawn scenes)", default="demo"
            )
        )
    found = look(source, text, image, key)
    if found.images and model is None and asks:
        for word, (name, what) in MODELS.items():
            say(f"  {word:<6} {name}: {what}")
        model = str(click.prompt("Model, one of these words or any other", default="demo"))
    name = recipe_name(source)
    file = out or Path(f"{name}.yaml")
    if file.exists() and not force:
        raise FactoryError(f"{file} is there already; give --out another file, or --force to replace it")
    recipe = first_recipe(found, name, model or "demo")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(recipe.replace(f"{name}.yaml", str(file)), encoding="utf-8")
    if as_json:
        say(
            json.dumps(
                {
                    "recipe": str(file),
                    "source": found.settings,
                    "rows": found.rows,
                    "images": found.images,
                    "texts": found.texts,
                }
            )
        )
        return
    say(f"found    {found.words()}")
    say(f"recipe   {file}")
    if found.images:
        chosen = MODELS.get(model or "demo", (model, "as you named it"))
        say(f"model    {chosen[0]}: {chosen[1]}")
    say(f"next     factory plan {file}; factory preview {file}; factory run {file}")
