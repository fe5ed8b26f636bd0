"""A damaged file of a run is named, set aside, and what it held is made again: whichever table it belongs to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exports.storage import Storage
from factory.errors import RunError
from factory.filtering import filter_recipe
from factory.outcome import Outcome
from factory.pipeline import run_recipe, select_again
from factory.recipe import Recipe, recipe_yaml
from factory.runs import tables
from factory.runs.run import Run, find_run
from factory.runs.set_aside import set_damaged_aside
from factory.work.plan import make_plan
from tests.captioned_run import captioned
from tests.captioned_run import select_again as run_again
from tests.command import fail

FILTERS = ("length", "repetition")
Damage = Callable[[bytes], bytes]


def _truncated(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def _garbage(data: bytes) -> bytes:
    return b"\x93NUMPY" * (len(data) // 6)


def _pages_overwritten(data: bytes) -> bytes:
    """The footer stays whole; every page is noise."""
    footer = int.from_bytes(data[-8:-4], "little") + 8
    return data[:4] + b"\xff" * (len(data) - 4 - footer) + data[-footer:]


def _emptied(_: bytes) -> bytes:
    return b""


DAMAGES = {"truncated": _truncated, "garbage": _garbage, "pages": _pages_overwritten, "emptied": _emptied}


def _filtered(folder: Path, files: int = 3) -> Callable[[], Outcome]:
    """A run of `factory filter` over some files of captions; what is given back runs it again."""
    (folder / "in").mkdir()
    for number in range(files):
        rows = [{"id": f"{number}-{row}", "caption": f"A dog number {row} runs in the sun."} for row in range(20)]
        lines = [json.dumps(row) for row in rows] + ["not json"]
        (folder / "in" / f"{number}.jsonl").write_text("\n".join(lines))
    recipe = filter_recipe(str(folder / "in"), "run", overrides=("filters=[length, repetition]",), id="id")

    def run() -> Outcome:
        return run_recipe(recipe, recipe_yaml(recipe), str(folder / "run"), quiet=True)

    run()
    return run


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[[Path], Outcome]]:
    """A finished run, and what runs its recipe again in a copy of it."""
    folder = tmp_path_factory.mktemp("filtered")
    _filtered(folder)

    def again(run: Path) -> Outcome:
        recipe = filter_recipe(str(folder / "in"), "run", overrides=("filters=[length, repetition]",), id="id")
        return run_recipe(recipe, recipe_yaml(recipe), str(run), quiet=True)

    return folder / "run", again


def _damage(run: Path, pattern: str, damage: Damage) -> Path:
    file = sorted(run.glob(pattern))[0]
    file.write_bytes(damage(file.read_bytes()))
    return file


def _verdicts(run: Path) -> list[Any]:
    return pl.read_parquet(run / "selection.parquet").drop("fingerprint").sort("image_key").rows()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "table", ["captions", "quarantine", "originals", "scores/length", "selection.parquet", "selection.json", "metrics.json"]
)  # fmt: skip
def test_what_a_damaged_file_held_is_made_again_and_the_file_is_kept(
    filtered: tuple[Path, Callable[[Path], Outcome]], tmp_path: Path, table: str, damage: str
) -> None:
    finished, again = filtered
    if table.endswith(".json") and damage == "pages":
        pytest.skip("JSON has no pages")
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = _verdicts(run)
    accounts = json.loads((run / "metrics.json").read_text())["images"]
    broken = _damage(run, table if "." in table else f"{table}/*.parquet", DAMAGES[damage])
    content = broken.read_bytes()

    outcome = again(run)

    assert _verdicts(run) == before
    assert outcome.accounts == accounts
    if outcome.damaged:  # pages that nothing had to read are as good as they were
        (kept,) = (run / "damaged").glob(f"*/{broken.relative_to(run)}")
        assert kept.read_bytes() == content
        assert outcome.damaged == [str(broken.relative_to(run))]
        assert any(broken.name in line and "set aside" in line for line in outcome.lines())
        assert outcome.metrics["this_time"]["damaged_files"] == outcome.damaged
    else:
        assert damage == "pages"
    assert not set_damaged_aside(Run(Storage(str(run))))


def test_damaged_answers_are_set_aside_and_the_others_kept(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path)))
    rows = pl.DataFrame({"image_key": ["a"], "question": ["q"], "asked": ["is it?"]}, schema_overrides=tables.ANSWERS)
    rows = pl.concat([rows, tables.ANSWERS.to_frame()], how="diagonal").select(tables.ANSWERS.names())
    run.append("answers/judge", rows, "part-1.a")
    run.append("answers/judge", rows, "part-2.a")
    broken = _damage(tmp_path, "answers/judge/part-1*", _garbage)

    assert set_damaged_aside(run) == ["answers/judge/part-1.a.parquet"]
    assert run.answers("judge", "part-2").height == 1
    assert run.answers("judge", "part-1").height == 0
    assert not broken.exists()


@pytest.mark.parametrize("table", ["captions", "shards", "gallery"])
def test_images_of_damaged_captions_are_captioned_again_and_no_others(tmp_path: Path, table: str) -> None:
    run, raw = captioned(tmp_path)
    if table == "gallery":
        run.append("gallery", pl.DataFrame({"image_key": ["a"], "thumbnail": [b"x"]}))
    rows = pl.read_parquet(sorted(Path(run.url).glob("captions/*.parquet"))[0]).height
    lost = _damage(Path(run.url), f"{table}/*.parquet", _truncated)

    assert set_damaged_aside(run) == [str(lost.relative_to(run.url))]
    plan = make_plan(Recipe.model_validate(raw), run)

    assert bool(plan.open_shards) == (table != "gallery")
    if table == "captions":  # the scores of what is gone went with it
        part = lost.name.removesuffix(".parquet")
        assert not list(Path(run.url).glob(f"scores/*/{part}.*"))
        assert all(view.to_caption == rows for view in plan.counts)
    elif table == "shards":
        assert all(view.to_caption == 0 for view in plan.counts)
    else:
        run_again(run, raw)


def test_every_command_names_the_damaged_file_and_what_to_do(tmp_path: Path) -> None:
    _filtered(tmp_path)
    run = tmp_path / "run"
    broken = _damage(run, "scores/length/*.parquet", _truncated)
    for command in (
        ["status", run],
        ["report", run],
        ["select", run, "--set", "select.require.length=0.5"],
        ["agree", run],
    ):
        said = fail(*command)
        assert broken.name in said, command
        assert "give the command that made this run" in said


def test_pages_that_cannot_be_read_are_named_too(tmp_path: Path) -> None:
    _filtered(tmp_path)
    run = tmp_path / "run"
    broken = _damage(run, "captions/*.parquet", _pages_overwritten)
    assert broken.name in fail("status", run)


def test_a_run_of_many_files_reads_again_only_what_was_lost(tmp_path: Path) -> None:
    again = _filtered(tmp_path)
    run = tmp_path / "run"
    shutil.rmtree(run)
    recipe_files = sorted((tmp_path / "in").glob("*.jsonl"))
    held = tmp_path / "held"
    held.mkdir()
    for file in recipe_files[1:]:
        file.rename(held / file.name)
    again()  # a part of its own for the first file
    for file in held.iterdir():
        file.rename(tmp_path / "in" / file.name)
    again()
    first, second = sorted(run.glob("captions/*.parquet"))
    whole = first.read_bytes()
    second.write_bytes(_truncated(second.read_bytes()))

    outcome = again()

    assert first.read_bytes() == whole
    assert sum(pl.read_parquet(file).height for file in run.glob("captions/*.parquet")) == 60
    assert outcome.accounts["ok"] == 60


def test_selecting_again_does_not_start_from_damaged_scores(tmp_path: Path) -> None:
    _filtered(tmp_path)
    run = find_run(str(tmp_path / "run"))
    broken = _damage(tmp_path / "run", "scores/repetition/*.parquet", _emptied)
    with pytest.raises(RunError, match=broken.name):
        select_again(run, ())
