"""What the pages of docs/ tell a reader to type works as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import NOT_RUN, PAGES, RUN, blocks, run_page

PLUGINS = ("docs/own-filter.md", "docs/own-source.md", "docs/own-format.md")
RUNNABLE = [
    page
    for page in PAGES
    if any(block.language in RUN and block.mark not in ("file", "not run") for block in blocks(page))
]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_names_its_language_and_one_that_is_not_run_says_why(page: str) -> None:
    for block in blocks(page):
        assert block.language in (*RUN, *NOT_RUN), f"{block.where}: name the language, {', '.join((*RUN, *NOT_RUN))}"
        assert block.mark != "not run" or block.detail, f"{block.where}: say why it is not run"


@pytest.mark.parametrize("page", PLUGINS)
def test_the_example_of_a_plugin_runs_as_its_page_tells_it(page: str, tmp_path: Path) -> None:
    assert run_page(page, tmp_path, engine=False) >= 1


@pytest.mark.slow
@pytest.mark.pages
@pytest.mark.parametrize("page", RUNNABLE)
def test_a_page_runs_from_its_first_block_to_its_last(page: str, tmp_path: Path) -> None:
    assert run_page(page, tmp_path, engine=True) >= 1
