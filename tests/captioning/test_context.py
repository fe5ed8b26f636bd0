"""Context between reading and captioning: looked at once, kept in the run, and found again. The processes of experts are real."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import factory
from exports.storage import Storage
from factory.captioning.context import AddContext, prove
from factory.captioning.stages import WORK, ReadShards
from factory.experts.contract import ExpertError
from factory.images.item import ImageItem
from factory.recipe import Recipe
from factory.runs import tables
from factory.runs.done_set import DoneSet
from factory.runs.known_context import ContextReader, KnownContext
from factory.runs.run import Run
from factory.work.experts import ReadyExpert, ready_experts
from factory.work.plan import make_plan
from tests.experts.own_experts import CRASHES, FINDS, NOTHING, picture
from tests.fake_captions import run_fake

pytestmark = pytest.mark.usefixtures("plugins_forgotten")
OWN = "tests.experts.own_experts"


def recipe_of(folder: Path, prompts: list[str], **settings: object) -> dict[str, Any]:
    """A recipe whose expert notes the images that it looks at."""
    view = {"name": "self", "model": "demo:small", "prompts": prompts}
    wide = {"kind": f"{OWN}:Widths", "notes": str(folder / "notes.txt"), "timeout_s": 20} | settings
    return {
        "name": "contexts",
        "source": {"kind": "folder", "path": str(folder / "images")},
        "views": [view],
        "experts": {"wide": wide},
    }


def experts_of(raw: dict[str, Any]) -> tuple[ReadyExpert, ...]:
    return ready_experts(Recipe.model_validate(raw))


def work_table(images: list[bytes], asks: list[list[str]] | None = None) -> pa.Table:
    rows = [
        {
            "image_key": f"image-{number}",
            "shard": "one",
            "sha256": hashlib.sha256(data).hexdigest(),
            "data": data,
            "asks": ["wide"] if asks is None else asks[number],
        }
        for number, data in enumerate(images)
    ]
    return pa.Table.from_pylist(rows, schema=WORK)


def looked_at(folder: Path) -> list[str]:
    notes = folder / "notes.txt"
    return notes.read_text().split() if notes.exists() else []


def stage(run: Run, experts: tuple[ReadyExpert, ...], since_ms: int = 0) -> AddContext:
    known = {one.name: KnownContext.of(run, one.name, one.fingerprint, since_ms) for one in experts}
    return AddContext(run, experts, known)


def contexts(table: pa.Table) -> list[dict[str, str | None]]:
    return [dict(one or ()) for one in table.column("context").to_pylist()]


def test_an_image_is_looked_at_once_whoever_asks(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path / "run")))
    experts = experts_of(recipe_of(tmp_path, ["See {wide}."]))
    images = [picture(FINDS), picture(NOTHING), picture(CRASHES), picture(FINDS)]

    made = stage(run, experts)(work_table(images))

    assert contexts(made) == [{"wide": "20 pixels"}, {"wide": ""}, {"wide": None}, {"wide": "20 pixels"}]
    assert made.column("data").null_count == 4
    rows = run.experts("wide", experts[0].fingerprint).sort("image_key").collect()
    assert rows.schema == tables.EXPERTS
    assert rows.select("image_key", "state", "reason", "text").rows() == [
        ("image-0", "found", None, "20 pixels"), ("image-1", "nothing", None, ""), ("image-2", "failed", "crashed", None),
    ]  # fmt: skip
    assert rows["findings"][0].to_list() == [{"text": "20 pixels", "confidence": 0.5, "box": [0.0, 0.0, 0.5, 0.125]}]
    assert looked_at(tmp_path) == ["20", "25", "24"]

    again = stage(run, experts)(work_table(images))  # a second view, or the run that goes on
    assert contexts(again) == contexts(made)
    assert looked_at(tmp_path) == ["20", "25", "24"]


def test_another_run_tries_again_what_failed_and_nothing_else(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path / "run")))
    experts = experts_of(recipe_of(tmp_path, ["See {wide}."]))
    stage(run, experts)(work_table([picture(FINDS), picture(CRASHES)]))
    stage(run, experts, since_ms=2**62)(work_table([picture(FINDS), picture(CRASHES)]))
    assert looked_at(tmp_path) == ["20", "24", "24"]
    assert run.experts("wide", experts[0].fingerprint).collect().height == 2


def test_rows_that_ask_for_nothing_pass(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path / "run")))
    experts = experts_of(recipe_of(tmp_path, ["See {wide}."]))
    made = stage(run, experts)(work_table([picture(FINDS), picture(NOTHING)], [[], ["wide"]]))
    assert contexts(made) == [{}, {"wide": ""}]
    assert ImageItem.from_row(made.to_pylist()[1] | {"rgb": b"", "width": 1, "height": 1}).context == {"wide": ""}


def test_what_is_known_is_found_also_while_parts_are_merged(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path / "run")))
    images = [f"{number:064x}" for number in range(200)]
    for start in range(0, 200, 20):
        rows = [
            dict.fromkeys(tables.EXPERTS)
            | {"image_sha256": image, "fingerprint": "f" * 16, "state": "found", "text": image[-3:], "created_ms": 1}
            for image in images[start : start + 20]
        ]
        run.append("experts/wide", pl.DataFrame(rows, schema=tables.EXPERTS))
    reader = ContextReader(KnownContext.of(run, "wide", "f" * 16, 0))
    assert len(reader.known) == 200
    assert reader.texts([images[7], "unknown", images[150]]) == {images[7]: "007", images[150]: "096"}
    for part in run.parts("experts/wide"):
        run.append("experts/wide", run.storage.scan([f"experts/wide/{part}.parquet"]).collect())
        run.storage.remove(f"experts/wide/{part}.parquet")
    assert reader.texts(images[40:60]) == {image: image[-3:] for image in images[40:60]}
    assert reader.texts([]) == {}
    assert KnownContext.of(run, "wide", "0" * 16, 0).hashes.size == 0


def test_an_expert_that_fails_on_a_plain_picture_stops_the_run_before_it_starts(tmp_path: Path) -> None:
    file = tmp_path / "always_fails.py"
    file.write_text(
        "from factory.experts import expert\n\n@expert(version=1)\ndef always_fails(image):\n    return 1 / 0\n"
    )
    raw = recipe_of(tmp_path, ["See {wide}."]) | {"plugins": [str(file)], "experts": {"wide": {"kind": "always_fails"}}}
    with pytest.raises(
        ExpertError, match=r"experts\.wide: it fails on a plain grey picture \(error: ZeroDivisionError"
    ):
        prove(experts_of(raw))
    broken = raw | {"plugins": [], "experts": {"wide": {"kind": f"{OWN}:Broken"}}}
    with pytest.raises(ExpertError, match=r"experts\.wide: cannot be loaded: OSError: its model is gone"):
        prove(experts_of(broken))


def test_only_images_whose_prompt_asks_are_read_with_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(12):
        (tmp_path / "images" / f"{number}.png").write_bytes(picture(40 + number))
    raw = recipe_of(tmp_path, ["See {wide}.", "Describe."])
    run = Run(Storage(str(tmp_path / "run")))
    plan = make_plan(Recipe.model_validate(raw), run, None, run.storage.child("source"))
    (group,) = plan.work.groups
    assert [expert.name for expert in group.experts] == ["wide"]
    read = ReadShards(plan.source, group, run, None, plan.work.reading)
    rows = [
        row
        for listed in plan.shards
        for table in read._read(listed.shard, None, DoneSet.of(iter(())))
        for row in table.to_pylist()
    ]
    asking = [row["image_key"] for row in rows if row["asks"]]
    drawn = [row["image_key"] for row in rows if group.first.choices([row["image_key"]])[0] == 0]
    assert 0 < len(asking) < 12
    assert asking == drawn
    assert [row["image_key"] for row in rows if row["data"] is not None] == asking


def test_a_changed_expert_redoes_the_captions_that_ask_for_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(12):
        (tmp_path / "images" / f"{number}.png").write_bytes(picture(40 + number))
    raw = recipe_of(tmp_path, ["See {wide}.", "Describe."])
    out = str(tmp_path / "run")
    outcome, made = run_fake(raw, out)
    assert made == 12
    asking = sum(ready.choices([f"{number}.png"])[0] == 0 for ready in outcome.work.views for number in range(12))
    changed = json.loads(json.dumps(raw))
    changed["experts"]["wide"]["unit"] = "px"
    assert run_fake(changed, out)[1] == asking
    slower = json.loads(json.dumps(changed))
    slower["experts"]["wide"]["timeout_s"] = 99
    assert run_fake(slower, out)[1] == 0
    opened = factory.Run(out)
    assert opened.experts().columns == ["expert", *tables.EXPERTS]
    with pytest.raises(factory.RunError, match="no expert 'wides'; did you mean 'wide'"):
        opened.experts("wides")
