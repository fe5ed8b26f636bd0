"""Small inputs of kinds that people have, each with what is right."""

from pathlib import Path
from typing import Any

import pytest

from factory.errors import FactoryError
from factory.filtering import filter_recipe
from factory.outcome import Outcome
from factory.pipeline import run_recipe
from factory.recipe import recipe_yaml
from factory.sources.source import SourceRow
from tests.sources.rows import rows_of

CASES = Path(__file__).parent / "cases"


def rows_by_key(tmp_path: Path, kind: str, path: Path, **settings: Any) -> dict[str, SourceRow]:
    rows = rows_of({"kind": kind, "path": str(path), **settings}, tmp_path, 10_000_000)
    assert len({row.key for row in rows}) == len(rows)
    return {row.key: row for row in rows}


def filtered(tmp_path: Path, path: Path, **columns: str) -> Outcome:
    """What `factory filter` makes of captions."""
    recipe = filter_recipe(str(path), "cases", **columns)
    return run_recipe(recipe, recipe_yaml(recipe), str(tmp_path / "run"), quiet=True)


def test_a_name_in_metadata_may_begin_with_a_dot(tmp_path: Path) -> None:
    rows = rows_by_key(tmp_path, "folder", CASES / "metadata_names")
    assert rows["1.jpg"].text == "A red bus waits here."
    assert rows["1.jpg"].data
    # Names that are not there are rows with a reason, and the images that nobody names are rows without a text.
    assert {key for key, row in rows.items() if row.data is None} == {"3.JPG", "meta4/2.jpg"}
    assert {key for key, row in rows.items() if row.text is None} == {"3.jpg", "2.jpg"}


def test_side_cars_of_every_spelling_and_encoding_are_read(tmp_path: Path) -> None:
    rows = rows_by_key(tmp_path, "folder", CASES / "sidecars")
    assert sorted(rows) == ["a.jpg", "b.png", "d.JPG", "e.jpg", "g.jpg"]
    assert all(row.text for row in rows.values())
    assert not any(mark in (row.text or "") for row in rows.values() for mark in ("\ufeff", "\0", "\ufffd"))


def test_a_tar_that_is_cut_in_a_header_says_so(tmp_path: Path) -> None:
    rows = rows_by_key(tmp_path, "webdataset", CASES / "cut_in_header.tar", text="txt")
    lost = [row for row in rows.values() if row.data is None]
    assert len(rows) == 3
    assert len(lost) == 1
    assert "rest of the tar" in lost[0].key
    assert lost[0].problem == "unreadable"


@pytest.mark.parametrize("kind", ["huggingface", "parquet"])
def test_a_list_of_images_gives_its_first_or_an_error_in_words(kind: str, tmp_path: Path) -> None:
    path = CASES / "hf_list" / ("data" if kind == "parquet" else "")
    try:
        rows = rows_by_key(tmp_path, kind, path, image="images", text="caption")
    except FactoryError as error:
        assert "images" in str(error)  # noqa: PT017 - either is right
        return
    assert any(row.data for row in rows.values())


def test_a_column_of_bytes_is_a_column_of_images(tmp_path: Path) -> None:
    assert sum(row.data is not None for row in rows_by_key(tmp_path, "huggingface", CASES / "hf_binary").values()) == 3


@pytest.mark.parametrize(
    ("file", "ok", "refused"), [("bom.jsonl", 3, 0), ("first_bad.jsonl", 3, 1), ("cut_shard", 1, 1)]
)
def test_damage_costs_its_own_rows_and_each_is_counted(file: str, ok: int, refused: int, tmp_path: Path) -> None:
    counts = filtered(tmp_path, CASES / file).accounts
    assert (counts["ok"], counts["quarantined"] + counts["failed"]) == (ok, refused)


def test_every_caption_of_a_list_is_a_candidate(tmp_path: Path) -> None:
    outcome = filtered(tmp_path, CASES / "listcap.parquet", id="uid")
    assert outcome.selection["captions"] == 3
    assert outcome.accounts["source_rows"] == 2


def test_a_float_is_no_id(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="uid"):
        filtered(tmp_path, CASES / "f64.parquet", id="uid")
