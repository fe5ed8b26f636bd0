"""What a release is made of: configs, columns, shards that stay, pages that readers can skip."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from exports.formats import export
from exports.local_release import LocalRelease
from exports.release import Turn
from exports.shard_file import ROW_OVERHEAD, group_bounds
from exports.verify import verify
from tests.releases import build, card_metadata, row, rows, with_rejected

ALL = ("default", "sft", "text", "rejected")


def shards(release: LocalRelease, folder: str = "data") -> dict[str, list[str]]:
    """File name -> ids in their order."""
    return {
        path.name: pq.read_table(path, columns=["id"])["id"].to_pylist()
        for path in sorted((release.folder / folder).iterdir())
    }


def image_bytes(path: Path) -> list[bytes]:
    """The bytes of every column chunk of images, as they are in the file."""
    metadata = pq.read_metadata(path)
    data = path.read_bytes()
    found = []
    for number in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            chunk = metadata.row_group(number).column(place)
            if chunk.path_in_schema.endswith("bytes") and "image" in chunk.path_in_schema:
                found.append(data[chunk.data_page_offset :][: chunk.total_compressed_size])
    return found


def load(release: LocalRelease, tmp_path: Path, config: str | None = None, **options: Any) -> Any:
    return datasets.load_dataset(
        str(release.folder), config, split="train", cache_dir=str(tmp_path / "cache"), **options
    )


def test_the_default_config_has_every_column(tmp_path: Path) -> None:
    release = build(tmp_path / "birds", run_id="birds-1", recipe_id="r1", image_license="cc0-1.0")
    found = load(release, tmp_path)
    kinds = {name: kind.dtype if isinstance(kind, datasets.Value) else kind for name, kind in found.features.items()}
    text = {
        "id",
        "caption",
        "view",
        "original",
        "source",
        "source_fields",
        "license",
        "sha256",
        "drop_reason",
        "run_id",
        "recipe_id",
    }
    assert {name: kinds[name] for name in text} == dict.fromkeys(text, "string")
    assert (kinds["score_length"], kinds["keep"], kinds["bytes"]) == ("float64", "bool", "int64")
    assert isinstance(found.features["image"], datasets.Image)
    lineage = found.features["captions"].feature
    assert {
        "view",
        "candidate",
        "text",
        "kept",
        "reason",
        "prompt",
        "seed",
        "model",
        "model_revision",
        "score_length",
    } <= set(lineage)
    one = load(release, tmp_path).cast_column("image", datasets.Image(decode=False))[0]
    assert (one["bytes"], one["run_id"], one["recipe_id"], one["license"]) == (
        len(one["image"]["bytes"]),
        "birds-1",
        "r1",
        "cc0",
    )


def test_a_row_without_a_licence_has_that_of_all_images(tmp_path: Path) -> None:
    content = [dataclasses.replace(row(0), fields={}), row(1)]
    found = load(build(tmp_path / "birds", content=content, image_license="cc-by-2.0"), tmp_path)
    assert found["license"][:] == ["cc-by-2.0", "cc0"]


@pytest.mark.parametrize("streaming", [False, True])
def test_every_config_loads_from_the_directory_alone(tmp_path: Path, streaming: bool) -> None:
    turns = (Turn("What is it?", "A bird", "self"), Turn("And behind it?", "A tree", "detailed"))
    content = [dataclasses.replace(row(0, "A bird"), turns=turns), row(1, "Two\n words  here <image>")]
    release = build(tmp_path / "birds", content=content, configs=ALL)
    default, sft, text = (list(load(release, tmp_path, name, streaming=streaming)) for name in ALL[:3])
    assert [one["caption"] for one in default] == ["A bird", "Two\n words  here < image>"]
    assert isinstance(default[0]["image"], Image.Image)
    assert [one["prompt"][-1]["content"] for one in sft] == ["What is it?", "And behind it?", "Describe the image."]
    assert [turn["role"] for turn in sft[1]["prompt"]] == ["user", "assistant", "user"]
    assert [one["completion"][0]["content"] for one in sft] == ["A bird", "A tree", "Two\n words  here < image>"]
    assert all(len(one["images"]) == 1 for one in sft)
    assert [(one["text"], one["words"]) for one in text] == [("A bird", 2), ("Two words here < image>", 5)]
    declared = [config["config_name"] for config in card_metadata(release)["configs"]]
    assert declared == [
        "default",
        "sft",
        "text",
    ]  # nothing was rejected, and `datasets` cannot read a config without rows
    assert release.manifest["configs"]["text"]["splits"]["train"] == {
        "rows": 2,
        "words": 7,
        "images": 0,
        "image_bytes": 0,
    }


def test_the_config_preference_has_the_pairs_that_the_format_writes(tmp_path: Path) -> None:
    content = [row(0, "Alone"), with_rejected(row(1, "A bird")), with_rejected(row(2, "Two <image>"), "Two\nwrong")]
    release = build(tmp_path / "birds", content=content, configs=(*ALL, "preference"))
    found = load(release, tmp_path, "preference")
    exported = export(release.folder, tmp_path / "pairs", "preference")
    written = pl.concat(map(pl.read_parquet, sorted((tmp_path / "pairs").rglob("*.parquet"))))
    texts = ["id", "prompt", "chosen", "rejected"]
    assert pl.DataFrame(found.select_columns(texts).to_list()).equals(written.select(texts))
    assert exported.written == found.num_rows == 2
    assert all(isinstance(one["images"][0], Image.Image) for one in found)
    assert "preference" in [config["config_name"] for config in card_metadata(release)["configs"]]
    assert verify(str(release.folder)).problems == []


def test_dropped_rows_are_in_the_default_config_alone(tmp_path: Path) -> None:
    dropped = dataclasses.replace(row(1), keep=False, drop_reason="require:length", caption="Bad")
    release = build(tmp_path / "birds", content=[row(0, "Good"), dropped], configs=ALL)
    assert load(release, tmp_path)["drop_reason"][:] == [None, "require:length"]
    assert load(release, tmp_path, "text")["text"][:] == ["Good"]
    assert load(release, tmp_path, "sft").num_rows == 1


def test_images_are_plain_pages_with_an_index_and_rows_sorted_by_id(tmp_path: Path) -> None:
    content = rows(40)
    random.Random(1).shuffle(content)
    release = build(tmp_path / "birds", content=content, shard_bytes=30_000, configs=("default", "sft"))
    found = shards(release)
    assert len(found) > 1
    assert all(ids == sorted(ids) for ids in found.values())
    assert all(name == f"train-{number:05d}.parquet" for number, name in enumerate(found))
    for path in [*(release.folder / "data").iterdir(), *(release.folder / "sft").iterdir()]:
        metadata = pq.read_metadata(path)
        chunks = [metadata.row_group(0).column(place) for place in range(metadata.num_columns)]
        images = [
            chunk
            for chunk in chunks
            if chunk.path_in_schema.startswith("image") and chunk.path_in_schema.endswith("bytes")
        ]
        assert [(chunk.compression, "PLAIN" in chunk.encodings, chunk.has_dictionary_page) for chunk in images] == [
            ("UNCOMPRESSED", True, False)
        ]
        assert all(chunk.has_offset_index for chunk in chunks)


@given(st.lists(st.integers(0, 40_000_000), max_size=60))
def test_row_groups_have_32_to_100_megabytes(sizes: list[int]) -> None:
    bounds = group_bounds(sizes, 64_000_000)
    assert [place for start, stop in bounds for place in range(start, stop)] == list(range(len(sizes)))
    weights = [sum(sizes[start:stop]) + (stop - start) * ROW_OVERHEAD for start, stop in bounds]
    assert all(32_000_000 <= weight < 64_000_000 + 40_001_000 for weight in weights[:-1])
    assert len(weights) < 2 or weights[-1] >= 32_000_000


def test_other_captions_leave_every_image_where_it_is(tmp_path: Path) -> None:
    first = build(tmp_path / "birds", content=rows(40), shard_bytes=30_000)
    content = rows(40, "A longer caption of the very same image")
    random.Random(2).shuffle(content)
    second = build(tmp_path / "birds", "1.1.0", content, shard_bytes=30_000)
    assert shards(second) == shards(first)
    for name in shards(first):
        assert image_bytes(second.folder / "data" / name) == image_bytes(first.folder / "data" / name)


def test_new_images_go_to_new_shards_and_dropped_ones_leave_the_rest_in_theirs(tmp_path: Path) -> None:
    first = build(tmp_path / "birds", content=rows(40)[::2], shard_bytes=15_000)
    second = build(tmp_path / "birds", "1.1.0", rows(40)[6:], shard_bytes=15_000)
    before, after = shards(first), shards(second)
    old = {f"album/{number:05d}" for number in range(6, 40, 2)}
    for name, ids in before.items():
        assert after.get(name, []) == [one for one in ids if one in old]
    assert sorted(one for name in after.keys() - before.keys() for one in after[name]) == [
        f"album/{number:05d}" for number in range(7, 40, 2)
    ]
    assert json.loads((second.folder / "manifest.json").read_text())["changelog"][0] == {
        "version": "1.1.0",
        "added": 17,
        "removed": 3,
        "recaptioned": 0,
    }


def test_a_shard_number_is_not_used_again(tmp_path: Path) -> None:
    build(tmp_path / "birds", content=rows(40), shard_bytes=30_000)
    second = build(tmp_path / "birds", "1.1.0", rows(4), shard_bytes=30_000)
    third = build(tmp_path / "birds", "1.2.0", rows(40), shard_bytes=30_000)
    assert list(shards(second)) == ["train-00000.parquet"]
    assert len(shards(third)) > 1
    assert "train-00001.parquet" not in shards(third)


def test_a_score_of_nine_tenths_is_nine_tenths_in_every_reader(tmp_path: Path) -> None:
    release = build(tmp_path / "birds", content=[row(0, scores={"length": 0.9})])
    path = release.folder / "data" / "train-00000.parquet"
    assert pq.read_table(path, filters=[("score_length", ">=", 0.9)]).num_rows == 1
    assert pl.read_parquet(path).filter(pl.col("score_length") >= 0.9).height == 1


def test_a_broken_parent_stops_the_build(tmp_path: Path) -> None:
    first = build(tmp_path / "birds")
    (first.folder / "data" / "train-00000.parquet").write_bytes(b"x")
    with pytest.raises(Exception, match=r"its shards cannot be read .* put it right"):
        build(tmp_path / "birds", "1.1.0", rows(20, "Another"))


def test_the_card_has_every_section_and_metadata_the_hub_reads(tmp_path: Path) -> None:
    provenance = {
        "views": [("self", "org/model", "abc123", "Describe it.", "{temperature: 0.7}")],
        "counts": {
            "captions": 100,
            "kept": 60,
            "dropped": {"require:length": 30, "dedup:exact": 10},
            "rules": ["require:length", "dedup:exact"],
            "images": {"ok": 100},
            "release": {"no_text_chosen": 4},
        },
        "recipe": "name: birds",
    }
    build(tmp_path / "birds", content=rows(3))
    release = build(tmp_path / "birds", "1.1.0", provenance=provenance)
    card = (release.folder / "README.md").read_text()
    headings = re.findall(r"^##+ (.+)$", card.split("```yaml")[0], re.MULTILINE)
    assert headings == [
        "Dataset description", "How to load this version", "Version and changelog", "Licence", "Uses", "Direct use",
        "Out-of-scope use", "Dataset structure", "Dataset creation", "Source data", "How the captions were made", "Selection",
        "Scores", "Personal and sensitive information", "Bias, risks and limitations", "Known failures", "Checksums", "Recipe",
    ]  # fmt: skip
    assert card.endswith("The discussions of this repository.\n")
    assert 'revision="v1.1.0"' in card
    assert "- 1.1.0: 17 images added" in card
    assert "| self | org/model | abc123 | Describe it. | {temperature: 0.7} |" in card
    assert "| require:length | 100 | 30 | 70 | 30.0% |\n| dedup:exact | 70 | 10 | 60 | 10.0% |" in card
    assert "require:length 75.0%; dedup:exact 25.0%" in card
    assert "Captions: cc-by-4.0. Images: as" in card
    assert "name: birds" in card
    assert (release.folder / "recipe.yaml").read_text() == "name: birds"
    metadata = card_metadata(release)
    assert (metadata["license"], metadata["size_categories"]) == ("cc-by-4.0", ["n<1K"])
    declared = {one["config_name"]: one["features"] for one in metadata["dataset_info"]}
    assert datasets.Features._from_yaml_list(declared["default"]) == load(release, tmp_path).features


def test_the_card_names_the_repository_and_the_language_where_they_are_known(tmp_path: Path) -> None:
    release = build(tmp_path / "birds", content=rows(3), repository="org/birds", languages=("en", "de"))
    card = (release.folder / "README.md").read_text()
    assert 'load_dataset("org/birds", revision="v1.0.0"' in card
    assert "`factory run hub:org/birds@v1.0.0` runs it again" in card
    assert "ORG/NAME" not in card
    assert "### Language\n\nCaptions: en, de." in card
    assert card_metadata(release)["language"] == ["en", "de"]


def test_a_release_of_no_images_is_read_as_text(tmp_path: Path) -> None:
    content = [dataclasses.replace(one, image=None, file_name=None, sha256=None) for one in rows(3)]
    release = build(tmp_path / "birds", content=content, configs=ALL)
    assert not (release.folder / "sft").exists()
    assert load(release, tmp_path)["image"][:] == [None] * 3
    assert load(release, tmp_path, "text")["words"][:] == [3] * 3


def test_row_groups_of_sft_count_an_image_for_each_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exports.release.ROW_GROUP_BYTES", 30_000)
    turns = tuple(Turn(f"Question {number}?", "A bird", "self") for number in range(5))
    content = [dataclasses.replace(row(number, "A bird"), turns=turns) for number in range(30)]
    release = build(tmp_path / "birds", content=content, configs=ALL)
    metadata = pq.read_metadata(release.folder / "sft" / "train-00000.parquet")
    found = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert sum(group.num_rows for group in found) == 150
    assert all(15_000 < group.total_byte_size < 60_000 for group in found)


def test_images_of_all_row_groups_are_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exports.release.ROW_GROUP_BYTES", 5_000)
    content = [dataclasses.replace(one, image=None) if number % 7 == 3 else one for number, one in enumerate(rows(40))]
    release = build(tmp_path / "birds", content=content, configs=ALL)
    found = load(release, tmp_path).cast_column("image", datasets.Image(decode=False))
    assert [one["bytes"] if one else None for one in found["image"]] == [one.image for one in content]
    sft = load(release, tmp_path, "sft").cast_column("images", datasets.List(datasets.Image(decode=False)))
    assert [one[0]["bytes"] for one in sft["images"]] == [one.image for one in content if one.image]
