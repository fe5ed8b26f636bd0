"""Sources, runs and releases on `s3://`, against an S3 server on this machine."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("s3fs")
pytest.importorskip("moto")

from exports.storage import Storage
from factory.errors import FactoryError
from factory.filtering import filter_recipe, source_settings
from factory.outcome import Outcome
from factory.pipeline import run_recipe
from factory.recipe import recipe_yaml
from factory.sources.files import find_files
from tests.pictures import encoded, picture

TEXTS = [f"A brown dog number {number} runs along the beach." for number in range(5)]
IMAGES = [encoded(picture(40 + number), "PNG") for number in range(5)]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket with a folder of images, a tar, a Parquet file and a file of captions."""
    import fsspec
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    names = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in names.items():
            environment.setenv(name, value)
        fsspec.config.conf.setdefault("s3", {})
        s3fs.S3FileSystem.clear_instance_cache()
        fs = s3fs.S3FileSystem()
        fs.mkdir("captions")
        for number, (text, image) in enumerate(zip(TEXTS, IMAGES, strict=True)):
            fs.pipe_file(f"captions/folder/{number}.png", image)
            fs.pipe_file(f"captions/folder/{number}.txt", text.encode())
        fs.pipe_file("captions/tars/a.tar", _tar())
        table = io.BytesIO()
        pl.DataFrame({"image": IMAGES, "text": TEXTS, "uid": list(range(5))}).write_parquet(table)
        fs.pipe_file("captions/tables/a.parquet", table.getvalue())
        fs.pipe_file("captions/a.jsonl", "\n".join(json.dumps({"text": text}) for text in TEXTS).encode())
        yield "s3://captions"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, (text, image) in enumerate(zip(TEXTS, IMAGES, strict=True)):
            for name, data in ((f"{number}.png", image), (f"{number}.txt", text.encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def filtered(source: str, out: str, *overrides: str) -> Outcome:
    recipe = filter_recipe(source, "run", overrides=("filters=[length]", *overrides))
    return run_recipe(recipe, recipe_yaml(recipe), out, quiet=True)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("folder", "folder"), ("tars", "webdataset"), ("tars/a.tar", "webdataset"), ("tables", "parquet"),
     ("tables/*.parquet", "parquet"), ("a.jsonl", "captions")],
)  # fmt: skip
def test_every_kind_of_source_is_read_from_s3(bucket: str, path: str, kind: str, tmp_path: Path) -> None:
    assert source_settings(f"{bucket}/{path}")["kind"] == kind
    outcome = filtered(f"{bucket}/{path}", str(tmp_path / "run"))
    assert outcome.accounts["ok"] == 5
    assert outcome.selection["captions"] == 5


def test_a_run_and_its_release_are_written_to_s3_and_found_done(bucket: str) -> None:
    release = f"release={{to: {bucket}/sets/dogs, version: 1.0.0, license: cc-by-4.0}}"
    first = filtered(f"{bucket}/tables/a.parquet", f"{bucket}/runs/one", release)
    again = filtered(f"{bucket}/tables/a.parquet", f"{bucket}/runs/one", release)

    assert first.release is not None
    assert first.release.rows == 5
    assert again.release is not None
    assert not again.release.is_new
    wanted = json.loads(Storage(first.release.url).read("manifest.json"))["files"]
    sizes = {name: details["size"] for name, details in Storage(first.release.url).walk()}
    assert {file["path"]: file["bytes"] for file in wanted}.items() <= sizes.items()


@pytest.mark.parametrize("path", ["s3://captions/nothing.jsonl", "s3://no-such-bucket-of-this/a.jsonl"])
def test_what_is_not_on_s3_is_one_message(bucket: str, path: str, tmp_path: Path) -> None:
    with pytest.raises(FactoryError) as error:
        filtered(path, str(tmp_path / "run"))
    assert path in str(error.value)
    with pytest.raises(FactoryError):
        find_files(path, (".jsonl",))
