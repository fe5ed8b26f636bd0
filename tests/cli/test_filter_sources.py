"""What `factory filter` makes of the source that a user names: the kind, the ids, and errors in words for the rest."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from factory.errors import FactoryError, SourceError
from factory.filtering import filter_recipe, source_settings
from factory.outcome import Outcome
from factory.pipeline import run_recipe
from factory.recipe import recipe_yaml
from tests.pictures import encoded, picture

TEXTS = [f"A brown dog number {number} runs along the beach." for number in range(5)]


def filtered(source: Path | str, out: Path, limit: int | None = None) -> Outcome:
    recipe = filter_recipe(str(source), "run", overrides=("filters=[length]",))
    return run_recipe(recipe, recipe_yaml(recipe), str(out), limit, quiet=True)


def told(source: Path | str, **columns: str | None) -> dict[str, Any]:
    settings = source_settings(str(source), **columns)
    del settings["path"]
    return settings


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tar(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for number, text in enumerate(TEXTS):
            for name, data in ((f"{number}.png", encoded(picture(), "PNG")), (f"{number}.txt", text.encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def test_the_kind_is_told_from_what_is_there(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"text": text}) for text in TEXTS)
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars.tar.d").mkdir()
    tar(tmp_path / "tars" / "a.tgz")
    tar(tmp_path / "b.tar.gz")
    for number, text in enumerate(TEXTS):
        write(tmp_path / "texts" / f"{number}.txt", text)
        write(tmp_path / "images" / f"{number}.txt", text)
        write(tmp_path / "tars.tar.d" / f"{number}.txt", text)
    write(tmp_path / "texts" / "README.md", "texts")
    write(tmp_path / "images" / "0.png", encoded(picture(), "PNG"))
    write(tmp_path / "UPPER.JSONL", lines)
    write(tmp_path / "a.tsv", "caption\n" + "\n".join(TEXTS))
    write(tmp_path / "lists" / "a.json", json.dumps(TEXTS))
    pl.DataFrame({"text": TEXTS, "image": [encoded(picture(), "PNG")] * 5}).write_parquet(tmp_path / "i.parquet")
    pl.DataFrame({"text": TEXTS, "image": list(range(5))}).write_parquet(tmp_path / "n.parquet")
    pl.DataFrame({"text": TEXTS, "image": ["https://a.org/b.jpg"] * 5}).write_parquet(tmp_path / "u.parquet")

    kinds = {
        "tars": "webdataset",
        "b.tar.gz": "webdataset",
        "*.tar.gz": "webdataset",
        "texts": "captions",
        "tars.tar.d": "captions",
        "images": "folder",
        "UPPER.JSONL": "captions",
        "a.tsv": "captions",
        "lists": "captions",
        "lists/a.json": "captions",
        "i.parquet": "parquet",
        "n.parquet": "captions",
        "u.parquet": "captions",
    }
    assert {name: told(tmp_path / name)["kind"] for name in kinds} == kinds
    assert all("text" not in told(tmp_path / name) for name in kinds)
    assert told("hub:org/name@v1") == {"kind": "huggingface", "revision": "v1"}


@pytest.mark.parametrize("source", ["texts", "a.tsv", "a.json", "b.tar.gz", "i.parquet"])
def test_every_kind_finds_its_texts_without_being_told(source: str, tmp_path: Path) -> None:
    for number, text in enumerate(TEXTS):
        write(tmp_path / "texts" / f"{number}.txt", text)
    write(tmp_path / "a.tsv", "Caption\n" + "\n".join(TEXTS))
    write(tmp_path / "a.json", json.dumps([{"description": text} for text in TEXTS]))
    tar(tmp_path / "b.tar.gz")
    images = [encoded(picture(40 + number), "PNG") for number in range(5)]
    pl.DataFrame({"caption": TEXTS, "image": images}).write_parquet(tmp_path / "i.parquet")

    assert filtered(tmp_path / source, tmp_path / "run").accounts["ok"] == 5


def test_ids_of_the_user_are_the_keys_where_they_are_unique_and_carried_where_not(tmp_path: Path) -> None:
    rows = [{"image_id": number // 2, "uid": f"u{number}", "text": text} for number, text in enumerate(TEXTS)]
    file = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    fractions = [{"id": number + 0.5, "text": text} for number, text in enumerate(TEXTS)]
    floats = write(tmp_path / "floats.jsonl", "\n".join(map(json.dumps, fractions)))
    for number in range(2):  # each file counts from 0
        write(tmp_path / "parts" / f"{number}.csv", "id,text\n" + "\n".join(f"{at},{t}" for at, t in enumerate(TEXTS)))

    assert told(file) == {"kind": "captions", "key": "uid", "fields": ["image_id"]}
    assert told(file, id="image_id")["key"] == "image_id"
    assert "key" not in told(file, id="")
    assert told(floats) == {"kind": "captions", "fields": ["id"]}
    assert told(tmp_path / "parts") == {"kind": "captions", "fields": ["id"]}
    filtered(file, tmp_path / "run")
    decided = pl.read_parquet(tmp_path / "run" / "selection.parquet")
    assert sorted(decided["image_key"]) == ["u0", "u1", "u2", "u3", "u4"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_limit_takes_the_first_rows_and_counts_captions_beyond_the_most_of_a_row(limit: int, tmp_path: Path) -> None:
    many = [{"captions": [f"a caption with number {n}" for n in range(70)]}, {"captions": TEXTS[:2]}, {"captions": "b"}]
    file = write(tmp_path / "many.jsonl", "\n".join(map(json.dumps, many)))

    outcome = filtered(file, tmp_path / "run", limit)

    assert outcome.accounts["ok"] == limit
    assert outcome.accounts["quarantined"] == 1  # captions 65 to 70 of the first row
    assert outcome.selection["captions"] == 64 + (0, 2, 3)[limit - 1]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nul\0.jsonl", "no file has a NUL character in its name"),
        ("hub:a/b\0c", "not a Hub id"),
        ("{0..99999}{0..99999}{0..99999}.jsonl", "stands for 1,000,000,000,000,000 files"),
        ("{0..999999999999999999999}.tar", "more than 18 digits"),
        ("{a,b}" * 60 + ".jsonl", "the limit is 10,000,000"),
        ("x" * 5000 + ".jsonl", "no such file"),
        ("", "no source named"),
        ("/dev/zero", "neither captions"),
        ("pipe.jsonl", "a pipe, not a file"),
        ("pipe.csv", "a pipe, not a file"),
        ("pipe.json", "a pipe, not a file"),
        ("pipe.parquet", "a pipe, not a file"),
        ("pipe.tar", "a pipe, not a file"),
        ("zero.jsonl", "a device, not a file"),
        ("picture.png", "images are given as their folder"),
        ("foo://bucket/a.jsonl", "no address that can be read here"),
        ("folder/nothing", "no such directory, though folder/ is there"),
        ("nowhere/captions.jsonl", "no such file"),
        ("empty", "no files in this folder"),
    ],
)
def test_what_is_no_source_is_one_message(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pipe.jsonl", "pipe.csv", "pipe.json", "pipe.parquet", "pipe.tar"):
        os.mkfifo(name)
    os.symlink("/dev/zero", "zero.jsonl")
    write(Path("picture.png"), encoded(picture(), "PNG"))
    Path("folder").mkdir()
    Path("empty").mkdir()
    with pytest.raises(FactoryError) as error:
        filtered(source, tmp_path / "run")
    assert words in str(error.value)


def test_a_pipe_beside_captions_is_a_row_with_a_reason(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.jsonl", json.dumps({"text": TEXTS[0]}))
    os.mkfifo(tmp_path / "in" / "b.jsonl")
    outcome = filtered(tmp_path / "in", tmp_path / "run")
    assert (outcome.accounts["ok"], outcome.accounts["quarantined"]) == (1, 1)


@pytest.mark.parametrize("name", [b"caf\xe9.jsonl", b"caf\xe9.parquet", b"caf\xe9.csv"])
def test_a_file_whose_name_is_not_utf8_is_read(name: bytes, tmp_path: Path) -> None:
    plain = tmp_path / f"plain{Path(os.fsdecode(name)).suffix}"
    frame = pl.DataFrame({"text": TEXTS})
    if plain.suffix == ".parquet":
        frame.write_parquet(plain)
    elif plain.suffix == ".csv":
        frame.write_csv(plain)
    else:
        frame.write_ndjson(plain)
    (tmp_path / "in").mkdir()
    os.rename(plain, os.fsencode(tmp_path / "in") + b"/" + name)
    assert filtered(tmp_path / "in", tmp_path / "run").accounts["ok"] == 5


@pytest.mark.parametrize("name", ["deep.jsonl", "deep.json", "deep.csv"])
def test_json_that_is_nested_without_end_costs_its_own_row(name: str, tmp_path: Path) -> None:
    deep = '{"text":' + "[" * 200_000 + "]" * 200_000 + "}"
    good = json.dumps({"text": TEXTS[0]})
    content = {".jsonl": f"{deep}\n{good}\n", ".json": f"[{good},{deep}]", ".csv": f'text\n"{deep}"\n{TEXTS[0]}\n'}
    file = write(tmp_path / name, content[Path(name).suffix])
    accounts = filtered(file, tmp_path / "run").accounts
    assert accounts["ok"] + accounts["quarantined"] == 2
    assert accounts["ok"] >= 1


def test_a_set_of_images_without_texts_is_told_before_an_image_is_read(tmp_path: Path) -> None:
    images = [encoded(picture(40 + number), "PNG") for number in range(3)]
    pl.DataFrame({"image": images, "words": TEXTS[:3]}).write_parquet(tmp_path / "i.parquet")
    with pytest.raises(SourceError, match="no column with texts"):
        filtered(tmp_path / "i.parquet", tmp_path / "run")


def test_columns_that_a_kind_has_not_are_the_option_s_fault(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", json.dumps({"text": TEXTS[0]}))
    with pytest.raises(FactoryError, match="--image: files of captions have no images"):
        source_settings(str(file), image="picture")
