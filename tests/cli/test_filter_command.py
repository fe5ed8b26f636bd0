"""`factory filter`: captions that others made, scored, decided on, and released, without an engine."""

import json
from pathlib import Path

import datasets
import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.command import fail, succeed
from tests.pictures import encoded, picture

GOOD = [f"A brown dog number {number} runs along the beach in the sun." for number in range(40)]
LOOP = "a dog and a cat sit " * 12
REFUSAL = "I'm sorry, but I cannot help with that request."


def uid(number: int) -> str:
    return f"{number:032x}"


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with captions.jsonl (40 good ones, a loop, a refusal, one without text, a broken line) and its run."""
    folder = tmp_path_factory.mktemp("filtered")
    lines = [
        json.dumps({"uid": uid(number), "caption": text}) for number, text in enumerate([*GOOD, LOOP, REFUSAL, None])
    ]
    (folder / "captions.jsonl").write_text("\n".join([*lines, "not json"]))
    succeed("filter", "captions.jsonl", "--out", "run", "--id", "uid", cwd=folder)
    return folder


def decisions(run: Path) -> dict[str, str | None]:
    return dict(pl.read_parquet(run / "selection.parquet").select("image_key", "reason").iter_rows())


def test_every_row_of_a_caption_file_ends_in_one_state(filtered: Path) -> None:
    status = json.loads(succeed("status", "run", "--json", cwd=filtered))
    verdicts = decisions(filtered / "run")

    assert status["last"]["images"] == {
        "ok": 42,
        "truncated": 0,
        "failed": 0,
        "quarantined": 2,
        "pending": 0,
        "source_rows": 44,
    }
    assert status["quarantined"] == {"no_text": 1, "unreadable_row": 1}
    assert verdicts[uid(40)] == "require:repetition"
    assert verdicts[uid(41)] == "require:refusal"
    assert sum(reason is None for reason in verdicts.values()) == 40


def test_filtering_again_does_nothing_and_other_captions_are_added(filtered: Path, tmp_path: Path) -> None:
    folder = tmp_path / "captions"
    folder.mkdir()
    (folder / "a.jsonl").write_text(json.dumps({"text": GOOD[0]}) + "\n")
    command = ("filter", str(folder), "--out", str(tmp_path / "run"), "--json")
    succeed(*command)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*.parquet") if "scores" in file.parts}

    again = json.loads(succeed(*command))
    assert again["images"]["source_rows"] == 1
    assert {file: file.stat().st_mtime_ns for file in before} == before

    (folder / "b.jsonl").write_text(json.dumps({"text": GOOD[1]}) + "\n")
    more = json.loads(succeed(*command))
    assert more["images"]["source_rows"] == 2
    assert more["selection"]["captions"] == 2
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_selecting_again_changes_decisions_and_scores_nothing(filtered: Path) -> None:
    run = filtered / "run"
    scores = sorted(file.name for file in run.glob("scores/*/*"))

    out = json.loads(
        succeed(
            "select",
            "run",
            "--set",
            "select.require={refusal: 0.5}",
            "--set",
            "select.keep_unscored=[]",
            "--json",
            cwd=filtered,
        )
    )

    assert out["selection"]["kept"] == 41
    assert decisions(run)[uid(40)] is None
    assert sorted(file.name for file in run.glob("scores/*/*")) == scores
    succeed("select", "run", "--set", "select.require.repetition=0.7", cwd=filtered)
    assert decisions(run)[uid(40)] == "require:repetition"


def test_selecting_changes_rules_and_nothing_else(filtered: Path) -> None:
    recipe = (filtered / "run" / "recipe.yaml").read_text()

    assert "here only select can change" in fail("select", "run", "--set", "seed=5", cwd=filtered)
    assert "did you mean 'repetition'" in fail("select", "run", "--set", "select.require.repetitions=1", cwd=filtered)
    assert (filtered / "run" / "recipe.yaml").read_text() == recipe


def test_kept_ids_are_written_as_datacomp_reads_them(filtered: Path) -> None:
    succeed(
        "select",
        "run",
        "--set",
        "select.require={refusal: 0.5, repetition: 0.7}",
        "--set",
        "select.keep_unscored=[]",
        cwd=filtered,
    )

    succeed("export", "run", "--uids", "kept.npy", cwd=filtered)

    kept = np.load(filtered / "kept.npy")
    assert kept.dtype == np.dtype("u8,u8")
    assert kept.tolist() == [(0, number) for number in range(40)]


def test_captions_without_images_are_released(filtered: Path) -> None:
    out = json.loads(succeed("export", "run", "--to", "releases", "--license", "cc0-1.0", "--json", cwd=filtered))

    loaded = datasets.load_dataset(
        str(filtered / "releases" / out["version"]), split="train", cache_dir=str(filtered / "cache")
    )
    assert loaded.num_rows == 40
    assert loaded[0]["image"] is None
    assert loaded[0]["view"] == "original"
    assert {row["caption"] for row in loaded} == set(GOOD)


def test_rewritten_captions_keep_what_was_there_before_beside_them(tmp_path: Path) -> None:
    texts = ["The image shows a dog on a beach.", "A cat sleeps on a roof."]
    (tmp_path / "captions.txt").write_text("\n".join(texts))
    succeed("filter", "captions.txt", "--out", "run", cwd=tmp_path)

    out = json.loads(succeed("export", "run", "--to", "out", "--rewrite", "opener", "--json", cwd=tmp_path))

    table = pl.read_parquet(tmp_path / "out" / out["version"] / "data" / "*.parquet")
    assert sorted(table["caption"]) == ["A cat sleeps on a roof.", "A dog on a beach."]
    assert sorted(table["captions"].list.first().struct.field("text")) == sorted(texts)
    assert "1 kept captions were rewritten" in (tmp_path / "out" / out["version"] / "README.md").read_text()


def test_captions_that_others_made_are_calibrated(tmp_path: Path) -> None:
    good = [(f"g{number}", f"A dog runs along the beach number {number}.", True) for number in range(150)]
    bad = [(f"b{number}", f"A dog {number} " + "runs and runs and " * 6, False) for number in range(150)]
    rows = pl.DataFrame([*good, *bad], schema=["image_key", "text", "label"], orient="row")
    rows.write_parquet(tmp_path / "captions.parquet")
    rows.select("image_key", "label").write_csv(tmp_path / "labels.csv")
    succeed("filter", "captions.parquet", "--out", "run", "--id", "image_key", "--set", "select={}", cwd=tmp_path)
    command = ("calibrate", "run", "--labels", "labels.csv", "--target-precision", "0.9", "--filter", "repetition")

    made = json.loads(succeed(*command, "--json", cwd=tmp_path))
    reference = "calibration:repetition-v1"
    out = json.loads(
        succeed("select", "run", "--set", f"select.require.repetition={reference}", "--json", cwd=tmp_path)
    )

    assert reference in json.dumps(made)
    assert out["selection"]["kept"] == 150
    assert "warnings" not in out["selection"] or not out["selection"]["warnings"]


def test_an_image_set_is_filtered_with_its_images(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number, text in enumerate([GOOD[0], REFUSAL, ""]):
        (images / f"{number}.png").write_bytes(encoded(picture(40 + number), "PNG"))
        (images / f"{number}.txt").write_text(text)
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    (images / "broken.txt").write_text(GOOD[1])

    out = json.loads(succeed("filter", str(images), "--out", str(tmp_path / "run"), "--json"))
    release = json.loads(succeed("export", str(tmp_path / "run"), "--to", str(tmp_path / "out"), "--json"))

    assert out["images"]["quarantined"] == 2
    assert out["selection"]["dropped"] == {"require:refusal": 1}
    table = pl.read_parquet(f"{release['url']}/data/*.parquet")
    assert table["id"].to_list() == ["0.png"]
    assert table["image"].struct.field("bytes").to_list() == [(images / "0.png").read_bytes()]
    assert table["width"].to_list() == [40]


FILTERS = """
filters: [exact_duplicates, duplicate_image, image_size, shape]
select: {require: {exact_duplicates: 1, duplicate_image: 1}}
"""


def photo(number: int, side: int) -> bytes:
    """A picture with structure, a different one for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC), "PNG")


def test_filters_of_sets_and_images_score_the_row_they_saw(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name, data, text in [
        ("a", photo(1, 300), GOOD[0]),
        ("b", photo(2, 300), GOOD[0]),  # the same caption
        ("c", photo(3, 300), GOOD[1]),
        ("d", photo(3, 150), GOOD[2]),  # the same image, smaller
    ]:
        (images / f"{name}.png").write_bytes(data)
        (images / f"{name}.txt").write_text(text)
    (tmp_path / "filters.yaml").write_text(FILTERS)
    command = ("filter", "images", "--out", "run", "--filters", "filters.yaml", "--json")

    succeed(*command, cwd=tmp_path)
    assert decisions(tmp_path / "run") == {
        "a.png": None,
        "b.png": "require:exact_duplicates",
        "c.png": None,
        "d.png": "require:duplicate_image",
    }
    sizes = pl.read_parquet(tmp_path / "run" / "scores" / "image_size" / "*.parquet")
    assert dict(sizes.select("image_key", "min_side").iter_rows()) == {
        "a.png": 300,
        "b.png": 300,
        "c.png": 300,
        "d.png": 150,
    }

    (images / "Z.png").write_bytes(photo(4, 300))
    (images / "Z.txt").write_text(GOOD[0])  # now the first of three
    succeed(*command, cwd=tmp_path)
    after = decisions(tmp_path / "run")
    assert after["Z.png"] is None
    assert after["a.png"] == after["b.png"] == "require:exact_duplicates"


def test_a_quality_model_is_trained_and_used(tmp_path: Path) -> None:
    good = [
        f"A {animal} {verb} on a {place} near the water."
        for animal in ("dog", "cat", "fox", "cow")
        for verb in ("sits", "runs", "lies", "naps")
        for place in ("road", "hill", "roof", "lawn", "beach", "street", "field")
    ]
    bad = [f"{' '.join(text.split()[::-1])} buy now 4k hd" for text in good]
    (tmp_path / "good.txt").write_text("\n".join(good))
    (tmp_path / "bad.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in bad))
    (tmp_path / "filters.yaml").write_text(
        "filters: [{quality: {model: quality.bin}}]\nselect: {require: {quality: 0.5}}\n"
    )

    trained = json.loads(
        succeed(
            "train-quality", "--good", "good.txt", "--bad", "bad.jsonl", "--out", "quality.bin", "--json", cwd=tmp_path
        )
    )
    out = json.loads(succeed("filter", "good.txt", "--out", "run", "--filters", "filters.yaml", "--json", cwd=tmp_path))

    assert trained["auroc"] > 0.95
    assert out["selection"]["kept"] >= 0.9 * len(good)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.jsonl",), "nowhere.jsonl: no such file, folder or URL"),
        (("captions.jsonl", "--text", "words"), "no column 'words'; found: uid, caption"),
        (("captions.jsonl", "--set", "filters=[reptition]"), "Did you mean 'repetition'"),
        (
            ("captions.jsonl", "--set", "filters=[image_size]"),
            "look at the image, and a source of captions has none",
        ),
        (("hub:some-org/some-set@v1",), "some-org/some-set"),
        (("captions.jsonl", "--filters", "nowhere.yaml"), "nowhere.yaml: no such file"),
    ],
)
def test_mistakes_are_named_before_anything_starts(
    filtered: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert message in fail("filter", *arguments, "--out", str(tmp_path / "run"), cwd=filtered)
    assert not (tmp_path / "run" / "captions").exists()
