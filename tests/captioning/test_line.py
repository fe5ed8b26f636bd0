"""The line on a real vLLM engine and a real Ray: images in, captions, scores, decisions and a release out; then again.

One folder of drawn scenes and broken files is run once; the other tests change something about that run and look at what
is done again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest
import yaml

from exports.storage import Storage
from factory.demo.source_row import source_rows
from factory.runs.run import Run
from tests import pictures
from tests.command import fail, succeed
from tests.recipes import TINY_ENGINE, demo_recipe, write_recipe

SCENES = 20


@dataclass
class Line:
    """A run, and the recipe that made it."""

    home: Path
    recipe: dict[str, Any]

    @property
    def out(self) -> Path:
        return self.home / "run"

    def write(self) -> Path:
        return write_recipe(self.home, self.recipe)

    def run(self, *arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            succeed("run", self.write(), "--out", self.out, "--json", *arguments, cwd=self.home)
        )
        return answer

    def plan(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(succeed("plan", self.write(), "--out", self.out, "--json", cwd=self.home))
        return answer

    def table(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.out / name / "*.parquet")

    def engines_started(self) -> int:
        return len(list((self.out / "logs").glob("engine-*.log")))

    def captions(self) -> dict[str, str]:
        rows = self.table("captions").filter(pl.col("status") != "failed")
        return dict(rows.select("image_key", "text").iter_rows())


def broken_files() -> dict[str, bytes]:
    return {
        "empty.jpg": b"",
        "code.js": b"alert(1)",
        "bomb.png": pictures.png_bomb(),
        "cut.png": pictures.encoded(pictures.picture(), "PNG")[:-30],
    }


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A finished run over a folder of scenes and broken files."""
    home = tmp_path_factory.mktemp("line")
    folder = home / "photos"
    folder.mkdir()
    for row in source_rows(7, SCENES):
        (folder / f"{row.key}.img").write_bytes(row.image)
    for name, data in broken_files().items():
        (folder / name).write_bytes(data)
    recipe = demo_recipe(source={"kind": "folder", "path": "photos"}, release={"to": "release", "license": "cc0-1.0"})
    line = Line(home, recipe)
    line.answer = line.run()  # type: ignore[attr-defined]
    return line


@pytest.fixture
def line(first: Line, tmp_path: Path) -> Line:
    """A copy of the finished run to change."""
    shutil.copytree(first.home, tmp_path / "home")
    return Line(tmp_path / "home", json.loads(json.dumps(first.recipe)))


def test_every_source_row_ends_in_one_state_and_the_counts_add_up(first: Line) -> None:
    states = first.answer["images"]  # type: ignore[attr-defined]
    assert states["source_rows"] == SCENES + len(broken_files())
    assert states["quarantined"] == len(broken_files())
    assert sum(number for name, number in states.items() if name != "source_rows") == states["source_rows"]
    assert states["pending"] == 0


def test_broken_files_are_quarantined_with_their_reason(first: Line) -> None:
    reasons = dict(first.table("quarantine").select("image_key", "reason").iter_rows())
    assert reasons == {
        "empty.jpg": "empty",
        "code.js": "not_an_image",
        "bomb.png": "too_many_pixels",
        "cut.png": "truncated",
    }


def test_every_caption_row_says_what_made_it(first: Line) -> None:
    rows = first.table("captions").filter(pl.col("status") == "ok")
    row = rows.row(0, named=True)
    assert row["model"] == "demo:small"
    assert len(row["model_revision"]) == 16
    assert row["engine"].startswith("vllm ")
    assert row["prompt"] in [prompt["text"] for prompt in first.recipe["views"][0]["prompts"]]
    assert row["min_logprob"] <= row["mean_logprob"] <= 0
    assert row["prompt_tokens"] > 16
    assert 0 < row["output_tokens"] <= row["max_tokens"] == 96
    assert len(row["image_sha256"]) == len(row["template_sha256"]) == 64
    assert rows["prompt_id"].n_unique() == 2


def test_every_caption_has_a_score_of_every_filter(first: Line) -> None:
    captions = first.table("captions")
    for name in ("length", "repetition", "truncation", "prompt_leak", "refusal", "token_confidence"):
        scores = first.table(f"scores/{name}")
        assert scores.height == captions.height
        assert scores["score"].drop_nulls().is_between(0, 1).all()


def test_the_release_loads_with_original_bytes(first: Line) -> None:
    url = first.home / first.answer["release"]["url"]  # type: ignore[attr-defined]
    loaded = datasets.load_dataset(str(url), split="train", cache_dir=str(first.home / "cache"))
    kept = pl.read_parquet(first.out / "selection.parquet").filter("kept")
    assert sorted(loaded["id"][:]) == sorted(kept["image_key"].to_list())
    raw = loaded.cast_column("image", datasets.Image(decode=False))
    for record in raw:
        assert record["image"]["bytes"] == (first.home / "photos" / record["id"]).read_bytes()
    assert loaded[0]["image"].mode == "RGB"


def test_the_report_and_status_tell_the_same_counts(first: Line) -> None:
    page = (first.out / "report.html").read_text()
    assert f"{SCENES + len(broken_files())}" in page
    assert "too_many_pixels" in page
    status = json.loads(succeed("status", first.out, "--json"))
    assert sum(status["quarantined"].values()) == len(broken_files())
    assert sum(status["views"]["detailed"].values()) == SCENES
    before = (first.out / "report.html").read_bytes()
    succeed("report", first.out, cwd=first.home)
    assert (first.out / "report.html").read_bytes() == before


def test_a_second_run_starts_no_engine_and_changes_nothing(line: Line) -> None:
    before = sorted(path.name for path in (line.out / "captions").iterdir())
    answer = line.run()
    assert line.engines_started() == 1
    assert sorted(path.name for path in (line.out / "captions").iterdir()) == before
    assert answer["release"]["version"] == "1.0.0"
    plan = line.plan()
    assert (plan["views"][0]["reused"], plan["views"][0]["to_caption"], plan["shards_to_read"]) == (SCENES, 0, 0)


def test_a_changed_threshold_selects_again_without_engine_or_scoring(line: Line) -> None:
    scores = sorted(path.name for path in (line.out / "scores" / "length").iterdir())
    line.recipe["select"] = {"keep_top": {"token_confidence": 0.5}}
    answer = line.run()
    assert line.engines_started() == 1
    assert sorted(path.name for path in (line.out / "scores" / "length").iterdir()) == scores
    assert answer["selection"]["dropped"]["keep_top:token_confidence"] > 0
    assert answer["release"]["version"] == "1.1.0"


def test_a_changed_filter_scores_again_without_engine(line: Line) -> None:
    line.recipe["filters"][0] = {"length": {"min_words": 30}}
    assert line.plan()["filters"][0]["to_score"] == SCENES
    line.run()
    assert line.engines_started() == 1
    assert line.plan()["filters"][0]["to_score"] == 0


def test_a_changed_prompt_redoes_exactly_its_rows_and_new_images_join(line: Line) -> None:
    before = line.table("captions")
    line.recipe["views"][0]["prompts"][1]["text"] = "Describe the image in detail."
    touched = set(before.filter(pl.col("prompt_id") == "p2")["image_key"])
    assert 0 < len(touched) < SCENES
    new = next(iter(source_rows(8, 1)))
    (line.home / "photos" / "new.img").write_bytes(new.image)
    plan = line.plan()
    assert plan["views"][0]["to_caption"] == len(touched) + 1
    assert plan["views"][0]["stale"] == len(touched)
    answer = line.run()
    parts = line.table("captions").filter(pl.col("created_ms") > before["created_ms"].max())
    assert set(parts["image_key"]) == touched | {"new.img"}
    assert answer["images"]["source_rows"] == SCENES + len(broken_files()) + 1


def test_failed_rows_are_tried_again_and_others_are_not(line: Line) -> None:
    (part,) = (line.out / "captions").glob("*.parquet")
    rows = pl.read_parquet(part)
    failed = rows["image_key"][0]
    is_first = pl.col("image_key") == failed
    empty = pl.lit(None, dtype=pl.String)
    rows.with_columns(
        status=pl.when(is_first).then(pl.lit("failed")).otherwise("status"),
        text=pl.when(is_first).then(empty).otherwise("text"),
    ).write_parquet(part)
    plan = line.plan()
    assert plan["views"][0]["failed_before"] == 1
    assert plan["views"][0]["to_caption"] == 1
    answer = line.run()
    assert answer["this_time"]["images_by_state"].get("quarantined", 0) == 0
    assert answer["images"]["failed"] == 0
    assert answer["images"]["ok"] + answer["images"]["truncated"] == SCENES


def test_the_same_recipe_gives_the_same_captions_from_another_source_kind(first: Line, tmp_path: Path) -> None:
    """Greedy captions depend on image, prompt and model only: here from Parquet, with two views and a memory run."""
    rows = [{"name": f"{row.key}.img", "image": row.image, "alt": row.text} for row in source_rows(7, SCENES)]
    pl.DataFrame(rows).write_parquet(tmp_path / "scenes.parquet")
    recipe = demo_recipe(source={"kind": "parquet", "path": "scenes.parquet", "key": "name", "text": "alt"})
    recipe["views"].append(
        {
            "name": "short",
            "model": "demo:small",
            "prompts": [{"text": 'The web page says: "{original}". Describe the image in detail.'}],
            "sampling": {"max_tokens": 4},
            "image": {"max_pixels": 1024},
            "engine": TINY_ENGINE,
        }
    )
    line = Line(tmp_path, recipe)
    answer = line.run("--limit", str(SCENES))
    assert line.engines_started() == 1  # both views share one engine
    mine = line.table("captions")
    detailed = mine.filter(pl.col("view") == "detailed")
    same = sum(text == first.captions()[key] for key, text in detailed.select("image_key", "text").iter_rows())
    assert same >= SCENES - 1  # batches of another size may round differently
    short = mine.filter(pl.col("view") == "short")
    without_text = {row["name"] for row in rows if not row["alt"]}
    assert set(short.filter(pl.col("reason") == "no_original")["image_key"]) == without_text
    assert short.filter(pl.col("status") == "truncated").height > 0
    assert (short["width"] * short["height"]).max() <= 1024
    assert answer["images"]["failed"] == len(without_text)


def test_an_engine_that_cannot_start_stops_the_run_with_its_own_words(tmp_path: Path) -> None:
    recipe = demo_recipe()
    recipe["views"][0]["engine"] = {"max_model_len": 10_000_000}
    message = fail("run", write_recipe(tmp_path, recipe), cwd=tmp_path)
    assert "max_model_len" in message
    assert "10000000" in message


def test_preview_writes_a_page_of_a_few_images(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, demo_recipe(release={"to": "release"}))
    answer = json.loads(succeed("preview", file, "-n", "3", "--json", cwd=tmp_path))
    assert answer["images"]["source_rows"] == 3
    page = Path(answer["report"]).read_text()
    assert page.count("data:image/jpeg;base64,") == 3
    assert not (tmp_path / "release").exists()


def test_quickstart_ends_with_the_truth_before_and_after(tmp_path: Path) -> None:
    recipe = yaml.safe_load((Path(__file__).parents[2] / "recipes" / "quickstart.yaml").read_text())
    recipe["source"]["scenes"] = 48
    file = write_recipe(tmp_path, recipe)
    *_, truth_line, next_line = succeed("run", file, cwd=tmp_path).strip().splitlines()
    assert "correct sentences before selection" in truth_line
    assert next_line.startswith("next     factory review runs/quickstart   factory publish runs/quickstart --to hub:")
    run = Run(Storage(str(tmp_path / "runs" / "quickstart")))
    truth = run.read_json("metrics.json")["truth"]
    before, after = (truth[name]["correct"] / truth[name]["sentences"] for name in ("before", "after"))
    assert 0.4 < before <= 1
    assert 0.4 < after <= 1  # how much selection helps is measured on more scenes than a test has


def test_a_fresh_run_sets_the_old_one_aside(line: Line) -> None:
    del line.recipe["release"]
    answer = line.run("--fresh", "--limit", "6")
    (aside,) = line.out.glob("before-*")
    assert (aside / "selection.parquet").exists()
    assert answer["images"]["source_rows"] == 6
    assert answer["images"]["pending"] == 0
    assert len(line.captions()) == answer["images"]["ok"] + answer["images"]["truncated"] > 0
