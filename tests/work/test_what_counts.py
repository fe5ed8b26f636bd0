"""What is not in the source is not counted, and a change redoes exactly what it touches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exports.storage import Storage
from factory.releasing.export_run import export_release
from factory.runs.run import Run
from tests import pictures
from tests.fake_captions import plan_of, run_fake

VIEW = {"name": "self", "model": "demo:small", "prompts": [{"text": "Describe the image."}]}


def folder_recipe(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "counts",
        "seed": 5,
        "source": {"kind": "folder", "path": str(folder / "images")},
        "views": [VIEW],
        "filters": ["length"],
    } | changes


def put(folder: Path, names: range, text: bool = False) -> None:
    """Small pictures, each of its own bytes."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for number in names:
        size = 24 + number % 50, 20 + number // 50
        (images / f"{number:03d}.png").write_bytes(pictures.encoded(pictures.picture(*size), "PNG"))
        if text:
            (images / f"{number:03d}.txt").write_text(f"text {number}")


def removed_and_added(folder: Path, raw: dict[str, Any]) -> str:
    """A run of 30 images, of which 6 then leave the source and 6 others come."""
    put(folder, range(30))
    out = str(folder / "run")
    _, made = run_fake(raw, out)
    assert made == 30
    for number in range(6):
        (folder / "images" / f"{number:03d}.png").unlink()
    put(folder, range(30, 36))
    return out


def selection(out: str) -> pl.DataFrame:
    return pl.read_parquet(Path(out) / "selection.parquet")


def test_images_that_left_the_source_are_not_counted(tmp_path: Path) -> None:
    rules = {"keep_top": {"length": 0.5}, "dedup": ["exact"], "budget": 15}
    raw = folder_recipe(tmp_path, select=rules, release={"to": str(tmp_path / "release")})
    out = removed_and_added(tmp_path, raw)
    plan = plan_of(raw, out)
    assert (plan.source_rows, plan.gone) == (30, 6)
    assert [(view.reused, view.to_caption) for view in plan.counts] == [(24, 6)]
    outcome, made = run_fake(raw, out)
    assert made == 6
    assert outcome.accounts == {
        "ok": 30, "truncated": 0, "failed": 0, "quarantined": 0, "pending": 0, "source_rows": 30
    }  # fmt: skip
    assert outcome.selection["captions"] == 30
    assert outcome.selection["kept"] == 15
    names = {f"{number:03d}.png" for number in range(6, 36)}
    assert set(selection(out)["image_key"]) == names
    assert outcome.release is not None
    assert outcome.release.rows == outcome.selection["kept_images"]
    assert not outcome.left_out
    again = plan_of(raw, out)
    assert not again.open_shards


def test_a_limit_is_what_plan_and_selection_speak_of(tmp_path: Path) -> None:
    raw = folder_recipe(tmp_path, select={"budget": 8})
    put(tmp_path, range(30))
    out = str(tmp_path / "run")
    run_fake(raw, out)
    plan = plan_of(raw, out, limit=10)
    assert [(view.reused, view.to_caption) for view in plan.counts] == [(10, 0)]
    assert plan.gone == 20
    outcome, made = run_fake(raw, out, limit=10)
    assert made == 0
    assert outcome.accounts["ok"] == outcome.accounts["source_rows"] == 10
    assert (outcome.selection["captions"], outcome.selection["kept_images"]) == (10, 8)
    whole, made = run_fake(raw, out)
    assert (made, whole.selection["captions"]) == (0, 30)


def test_other_bytes_under_a_key_are_captioned_again(tmp_path: Path) -> None:
    raw = folder_recipe(tmp_path)
    put(tmp_path, range(12))
    out = str(tmp_path / "run")
    run_fake(raw, out)
    file = tmp_path / "images" / "003.png"
    before = file.read_bytes()
    file.write_bytes(pictures.encoded(pictures.picture(60, 60), "PNG"))
    assert plan_of(raw, out).to_compare == 1
    outcome, made = run_fake(raw, out)
    assert (made, outcome.selection["captions"]) == (1, 12)
    file.write_bytes(before)  # what was made of it counts again
    outcome, made = run_fake(raw, out)
    assert (made, outcome.selection["captions"]) == (0, 12)


def test_bytes_changed_behind_the_file_s_size_and_time_are_found_where_the_recipe_asks_for_it(tmp_path: Path) -> None:
    raw = folder_recipe(tmp_path)
    put(tmp_path, range(4))
    out = str(tmp_path / "run")
    run_fake(raw, out)
    file = tmp_path / "images" / "002.png"
    before, times = file.read_bytes(), file.stat()
    changed = pictures.encoded(pictures.picture(26, 20), "PNG", compress_level=0)
    data = bytearray(before)
    data[-20] ^= 0 if len(changed) == len(before) else 1  # other bytes, same size
    file.write_bytes(bytes(data))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    plan = plan_of(raw, out)
    assert not plan.open_shards
    assert any("source.detect: bytes" in line for line in plan.lines())
    careful = raw | {"source": raw["source"] | {"detect": "bytes"}}
    assert plan_of(careful, out).to_compare == 4
    _, made = run_fake(careful, out)
    assert made <= 1
    captions = pl.read_parquet(Path(out) / "captions" / "*.parquet")
    refused = pl.read_parquet(Path(out) / "quarantine" / "*.parquet") if (Path(out) / "quarantine").exists() else []
    assert captions.height + len(refused) == 5


@pytest.mark.parametrize("where", ["text changed", "another column"])
def test_another_text_under_original_is_captioned_again(tmp_path: Path, where: str) -> None:
    prompts = [{"text": "Describe the image. Its text: {original}"}]
    raw = folder_recipe(tmp_path, views=[VIEW | {"prompts": prompts}])
    put(tmp_path, range(10))
    lines = [
        f'{{"file_name": "{number:03d}.png", "text": "text {number}", "other": "text {number % 2}"}}'
        for number in range(10)
    ]
    (tmp_path / "images" / "metadata.jsonl").write_text("\n".join(lines))
    out = str(tmp_path / "run")
    run_fake(raw, out)
    if where == "text changed":
        lines[3] = lines[3].replace("text 3", "another")
        (tmp_path / "images" / "metadata.jsonl").write_text("\n".join(lines))
        expected = 1
    else:
        raw["source"] |= {"text": "other"}
        expected = 8  # two of them have the text that they had
    outcome, made = run_fake(raw, out)
    assert (made, outcome.selection["captions"]) == (expected, 10)


def test_another_text_is_no_matter_where_no_prompt_asks_for_it(tmp_path: Path) -> None:
    raw = folder_recipe(tmp_path)
    put(tmp_path, range(5), text=True)
    out = str(tmp_path / "run")
    run_fake(raw, out)
    (tmp_path / "images" / "002.txt").write_text("something else")
    outcome, made = run_fake(raw, out)
    assert (made, outcome.selection["captions"]) == (0, 5)


def test_the_captions_of_a_changed_pool_are_those_that_images_draw_now(tmp_path: Path) -> None:
    two = [{"text": "Describe the image."}, {"text": "What is there?"}]
    raw = folder_recipe(tmp_path, views=[VIEW | {"prompts": two}])
    put(tmp_path, range(40))
    out = str(tmp_path / "run")
    run_fake(raw, out)

    def drawn(prompts: list[dict[str, Any]]) -> int:
        """Captions made for this pool; afterwards each image has the caption of the prompt that it draws."""
        changed = raw | {"views": [VIEW | {"prompts": prompts}]}
        foretold = plan_of(changed, out).counts[0]
        outcome, made = run_fake(changed, out)
        assert foretold.to_caption == made
        assert outcome.selection["captions"] == 40
        ready = plan_of(changed, out).work.views[0]
        keys = selection(out)["image_key"].to_list()
        assert selection(out)["fingerprint"].to_list() == [ready.fingerprints[place] for place in ready.choices(keys)]
        return made

    heavier = drawn([two[0], two[1] | {"weight": 5}])
    assert 0 < heavier < 40
    assert 0 < drawn([*two, {"text": "Say what you see."}]) < 40
    assert drawn(two) == 0


def test_another_seed_redoes_nothing_of_greedy_captions(tmp_path: Path) -> None:
    raw = folder_recipe(tmp_path)
    put(tmp_path, range(5))
    out = str(tmp_path / "run")
    run_fake(raw, out)
    assert run_fake(raw | {"seed": 99}, out)[1] == 0
    sampled = raw | {"views": [VIEW | {"sampling": {"temperature": 0.5}}]}
    assert run_fake(sampled, out)[1] == 5
    assert run_fake(sampled | {"seed": 99}, out)[1] == 5


def test_a_tar_written_anew_without_some_images_starts_no_engine(tmp_path: Path) -> None:
    import io
    import tarfile

    def write(names: range) -> None:
        with tarfile.open(tmp_path / "images.tar", "w") as tar:
            for number in names:
                data = pictures.encoded(pictures.picture(24 + number, 20), "PNG")
                info = tarfile.TarInfo(f"{number:03d}.png")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

    write(range(10))
    raw = folder_recipe(tmp_path, source={"kind": "webdataset", "path": str(tmp_path / "images.tar")})
    out = str(tmp_path / "run")
    run_fake(raw, out)
    write(range(2, 10))
    plan = plan_of(raw, out)
    assert any("none to start unless" in line for line in plan.lines())
    outcome, made = run_fake(raw, out)
    assert (made, outcome.accounts["source_rows"], outcome.selection["captions"]) == (0, 8, 8)


def test_a_release_that_differs_from_the_selection_says_why_row_by_row(tmp_path: Path) -> None:
    raw = folder_recipe(tmp_path)
    put(tmp_path, range(20))
    out = str(tmp_path / "run")
    run_fake(raw, out)
    images = tmp_path / "images"
    for name in ("003.png", "017.png"):
        (images / name).unlink()
    (images / "005.png").write_bytes(pictures.encoded(pictures.picture(70, 70), "PNG"))
    result, left_out = export_release(Run(Storage(out)), str(tmp_path / "release"))
    assert (result.rows, left_out) == (17, {"image_gone": 2, "image_changed": 1})
    rows = pl.read_parquet(Path(out) / "left_out.parquet").select("image_key", "reason")
    assert set(rows.iter_rows()) == {
        ("003.png", "image_gone"), ("017.png", "image_gone"), ("005.png", "image_changed")
    }  # fmt: skip
    assert export_release(Run(Storage(out)), str(tmp_path / "release"))[1] == left_out
