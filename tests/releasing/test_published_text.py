"""What is published is what was scored and gated, in every column."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exports.gate import problems
from exports.local_release import LocalRelease, find_release
from exports.release import ReleaseInfo, build_release
from factory.pipeline import run_recipe
from factory.recipe import Recipe, recipe_yaml
from factory.releasing.machine_paths import last_part
from factory.releasing.released_recipe import recipe_file, released_limit
from tests.releases import build, row

MAIL = "jane.doe@example.org"
CARD = 4111111111111111
TEXTS = {
    "clean": "A brown dog runs along the beach in the sun.",
    "mail": f"A dog for sale, write to {MAIL} about it.",
    "opener": "The image shows a grey cat that sleeps on a roof.",
    "field": "A red car is parked in front of a house.",
}


def released(folder: Path, texts: dict[str, str] = TEXTS, select: Any = None, **release: Any) -> LocalRelease:
    """A release of captions that others made, with the filters `pii` and `length`."""
    lines = []
    for name, text in texts.items():
        fields = {"by": f"someone <{MAIL}>", "of": {"card": CARD}} if name == "field" else {"by": "nobody", "of": {}}
        lines.append(json.dumps({"id": name, "caption": text, "license": "cc0", **fields}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    raw = {
        "name": "theirs",
        "original": True,
        "source": {
            "kind": "captions",
            "path": str(folder / "captions.jsonl"),
            "key": "id",
            "fields": ["by", "of", "license"],
        },
        "filters": ["pii", {"length": {"min_words": 3}}, "opener"],
        "select": select or {},
        "release": {"to": str(folder / "set"), "license": "cc0-1.0"} | release,
    }
    recipe = Recipe.model_validate(raw)
    outcome = run_recipe(recipe, recipe_yaml(recipe), str(folder / "run"), quiet=True)
    assert outcome.release is not None
    return find_release(outcome.release.url)


def data(release: LocalRelease) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in pl.read_parquet(release.folder / "data" / "*.parquet").to_dicts()}


def published_bytes(release: LocalRelease) -> str:
    """Every value of every table, as text."""
    tables = [pl.read_parquet(path) for path in sorted(release.folder.rglob("*.parquet"))]
    return json.dumps([table.to_dicts() for table in tables], default=str)


def test_masked_personal_data_is_in_no_column_and_passes_the_gate(tmp_path: Path) -> None:
    release = released(tmp_path, rewrite=["pii", "opener"])
    everything = published_bytes(release)
    assert MAIL not in everything
    assert str(CARD) not in everything
    rows = data(release)
    assert rows["mail"]["caption"] == rows["mail"]["original"] == "A dog for sale, write to [email] about it."
    assert json.loads(rows["field"]["source_fields"])["of"] == {"card": "[card]"}
    assert rows["field"]["license"] == "cc0"
    assert rows["mail"]["score_pii"] == 1.0
    assert rows["mail"]["captions"][0]["score_pii"] == 1.0
    assert problems(release) == []


def test_a_rewritten_caption_has_the_scores_of_the_new_text(tmp_path: Path) -> None:
    plain, rewritten = (
        data(released(_made(tmp_path / name), rewrite=names))["opener"]
        for name, names in (("plain", []), ("rewritten", ["opener"]))
    )
    assert plain["score_opener"] < 0.5
    assert rewritten["caption"] == "A grey cat that sleeps on a roof."
    assert rewritten["score_opener"] == 1.0
    assert rewritten["captions"][0]["text"] == TEXTS["opener"]


def test_a_text_beside_the_caption_passes_the_gate_only_when_it_was_read(tmp_path: Path) -> None:
    texts = {name: text for name, text in TEXTS.items() if name != "mail"}
    (line,) = problems(released(tmp_path, texts))
    assert line.startswith("1 rows have personal data in source_fields (field); mask it with release.rewrite: [pii]")
    content = [row(number, scores={"pii": 1.0}) for number in range(4)]
    content[2] = _with_original(content[2], f"mail me: {MAIL}")
    (line,) = problems(build(tmp_path / "other", content=content))
    assert line.startswith("1 rows have personal data in original (album/00002)")
    assert MAIL not in line


def test_dropped_captions_are_published_with_their_reason_and_without_what_they_were_dropped_for(
    tmp_path: Path,
) -> None:
    texts = {name: text for name, text in TEXTS.items() if name != "field"} | {"short": "Dog."}
    select = {"require": {"pii": 0.5, "length": 0.5}}
    release = released(tmp_path, texts, select, configs=["default", "rejected"], dropped="leave_out")
    rejected = {one["id"]: one for one in pl.read_parquet(release.folder / "rejected" / "*.parquet").to_dicts()}
    assert (rejected["mail"]["text"], rejected["mail"]["reason"]) == (None, "require:pii")
    assert (rejected["mail"]["score_pii"], rejected["short"]["text"]) == (0.0, "Dog.")
    assert MAIL not in published_bytes(release)
    assert problems(release) == []
    card = (release.folder / "README.md").read_text()
    assert "The text of 1 dropped captions is withheld" in card
    assert "Kept captions have at least `score_pii` 0.5, `score_length` 0.5." in card


def test_dropped_images_of_a_required_filter_can_be_included(tmp_path: Path) -> None:
    texts = {name: text for name, text in TEXTS.items() if name != "field"}
    release = released(tmp_path, texts, {"require": {"pii": 0.5}}, rewrite=["pii"], dropped="include")
    row = data(release)["mail"]
    assert (row["keep"], row["drop_reason"], row["caption"]) == (False, "require:pii", None)
    assert row["captions"][0]["text"] == "A dog for sale, write to [email] about it."
    assert problems(release) == []
    unmasked = released(tmp_path, texts, {"require": {"pii": 0.5}}, dropped="include", to=str(tmp_path / "unmasked"))
    row = data(unmasked)["mail"]
    assert (row["original"], row["captions"][0]["text"], row["captions"][0]["score_pii"]) == (None, None, 0.0)
    assert problems(unmasked) == []


def test_scores_of_an_assembled_caption_are_its_own(tmp_path: Path) -> None:
    row = data(released(tmp_path, caption="The image shows {original}", rewrite=["pii"]))["clean"]
    assert row["score_opener"] < 0.5
    assert row["captions"][0]["score_opener"] == 1.0


@pytest.mark.parametrize("reads", [["image"], []])
def test_a_dropped_image_below_a_limit_still_stops_publishing(tmp_path: Path, reads: list[str]) -> None:
    content = [row(number, scores={"nsfw": 1.0}) for number in range(3)]
    bad = row(3, scores={"nsfw": 0.1})
    hidden = [{**one, "text": None, "kept": False} for one in bad.captions]
    content.append(dataclasses.replace(bad, captions=hidden, keep=False, drop_reason="require:nsfw"))
    facts = {"nsfw": {"reads": reads}} if reads else {}
    (line,) = problems(build(tmp_path, content=content, filter_facts=facts))
    assert line.startswith("1 rows have a caption whose nsfw score is below 0.5 (album/00003)")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _with_original(one: Any, text: str) -> Any:
    return dataclasses.replace(one, original=text)


def test_paths_of_the_machine_do_not_go_public_and_a_limit_does(tmp_path: Path) -> None:
    release = released(tmp_path)
    texts = [(release.folder / name).read_text() for name in ("README.md", "recipe.yaml", "manifest.json")]
    assert not any(str(tmp_path) in text for text in (*texts, published_bytes(release)))
    assert "path: captions.jsonl" in (release.folder / "recipe.yaml").read_text()
    limited = dataclasses.replace(ReleaseInfo("birds", "cc0-1.0", {}, "a"), limit=7, provenance={"recipe": "name: b"})
    built = build_release([row(1, scores={})], str(tmp_path / "limited"), "auto", limited, 10**9)
    assert released_limit(recipe_file(built.url)) == 7
    assert released_limit(recipe_file(release.folder)) is None


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("/home/jane/photos", "photos"),
        ("~/models/mine/", "mine"),
        ("file:///data/a.tar", "a.tar"),
        ("C:\\Users\\jane\\x", "x"),
        ("photos/a", "photos/a"),
        ("s3://bucket/{00..99}.tar", "s3://bucket/{00..99}.tar"),
        ("Qwen/Qwen3-VL-8B", "Qwen/Qwen3-VL-8B"),
    ],
)
def test_only_absolute_paths_are_cut(path: str, public: str) -> None:
    assert last_part(path) == public
