"""A captioned run of the demo world, and the app over it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from exports.storage import Storage
from factory.review.access import READ_ONLY
from factory.review.app import ReviewApp
from factory.review.caption_index import CaptionIndex
from factory.runs.run import Run
from tests.captioned_run import captioned

HOST = "127.0.0.1:8765"
HOSTILE = (
    "</p><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> {{ 7*7 }} \u202egnp.exe"
)
VIEW = {
    "name": "detailed",
    "model": "demo:small",
    "prompts": [{"text": "Describe the image in details."}],
    "sampling": {"max_tokens": 96, "n": 2, "temperature": 0.7},
    "engine": {"enforce_eager": True, "max_model_len": 512},
}


@pytest.fixture(scope="session")
def captioned_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """120 scenes with two captions each, scored and selected, and the recipe."""
    home = tmp_path_factory.mktemp("reviewed")
    source = {"kind": "demo", "scenes": 120, "seed": 3}
    select = {"require": {"length": 1.0, "token_confidence": 0.4}, "best_of": "token_confidence"}
    _, raw = captioned(home, source=source, views=[VIEW], select=select)
    return home / "run", raw


@pytest.fixture
def run(captioned_once: tuple[Path, dict[str, Any]], tmp_path: Path) -> Run:
    """A copy to change."""
    shutil.copytree(captioned_once[0], tmp_path / "run")
    return Run(Storage(str(tmp_path / "run")))


@pytest.fixture
def raw(captioned_once: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    """The recipe of `run`, to change."""
    return json.loads(json.dumps(captioned_once[1]))  # type: ignore[no-any-return]


@pytest.fixture
def index(run: Run) -> CaptionIndex:
    return CaptionIndex(run)


@pytest.fixture
def client(index: CaptionIndex) -> TestClient:
    """Somebody with the token."""
    return client_of(index)


def client_of(index: CaptionIndex, read_only: bool = False) -> TestClient:
    app = ReviewApp(index, "secret", (HOST,), READ_ONLY if read_only else "")
    found = TestClient(app.asgi, base_url=f"http://{HOST}", headers={"origin": f"http://{HOST}"})
    assert found.get("/live?token=secret").status_code == 200
    return found


def rewrite_first(run: Run, **values: Any) -> dict[str, Any]:
    """Change the first caption of a run where it lies; returns the row."""
    part = run.parts("captions")[0]
    rows = pl.read_parquet(run.storage.full(f"captions/{part}.parquet"))
    is_first = pl.int_range(pl.len()) == 0
    changes = [
        pl.when(is_first).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in values.items()
    ]
    run.storage.write_parquet(f"captions/{part}.parquet", rows.with_columns(changes))
    return rows.row(0, named=True) | values
