"""What a change redoes: every field of a recipe is tried on a run, and the page says what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.work import redone

pytestmark = pytest.mark.usefixtures("plugins_forgotten")

ROOT = Path(__file__).parents[2]


def test_every_field_of_a_recipe_is_tried() -> None:
    assert redone.missing_fields() == []


def test_the_page_says_what_each_field_redoes(tmp_path: Path) -> None:
    assert (ROOT / "docs" / "redone.md").read_text() == redone.page(tmp_path), "run: make docs"
