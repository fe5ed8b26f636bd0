"""How often a run reads each image of its source: texts of a folder, three filters that look at pixels, a release.

Counted by Python's audit hook: every opening of a file of the folder, in this process, in which a run of this size does
everything. Keys of `--json`: `reads_per_image`, and `reads` in all.

    python -m bench.reads --json
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.answer import print_answer


def count_reads(images: int) -> int:
    """The times that files of the source were opened."""
    from factory.demo.source_row import source_rows
    from factory.pipeline import run_recipe
    from factory.recipe import Recipe, recipe_yaml

    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for row in source_rows(3, images):
            (photos / f"{row.key}.png").write_bytes(row.image)
            (photos / f"{row.key}.txt").write_text(f"a picture of {row.key}")
        recipe = Recipe.model_validate(
            {
                "name": "reads",
                "source": {"kind": "folder", "path": str(photos)},
                "original": True,
                "filters": ["blank_image", "image_hash", "duplicate_image"],
                "release": {"to": str(Path(folder) / "release"), "license": "cc0-1.0"},
            }
        )
        reads = 0
        watching = True

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal reads
            if watching and event == "open" and isinstance(arguments[0], (str, os.PathLike)):
                name = os.fspath(arguments[0])
                if isinstance(name, str) and name.startswith(str(photos)) and name.endswith(".png"):
                    reads += 1

        sys.addaudithook(hook)
        run_recipe(recipe, recipe_yaml(recipe), str(Path(folder) / "run"), quiet=True)
        watching = False
        return reads


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=30, help="images of the source (default 30)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    reads = count_reads(options.images)
    found = {"images": options.images, "reads": reads, "reads_per_image": round(reads / options.images, 2)}
    print_answer(found, options.json)


if __name__ == "__main__":
    main()
