"""`factory review` of what is no run, its live page, and its numbers for Prometheus."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, build_opener, urlopen

import polars as pl
import pytest
from starlette.testclient import TestClient

from factory import progress as progress_module
from factory.progress import Progress
from factory.review.caption_index import CaptionIndex
from factory.review.live import live, prometheus
from factory.runs import tables
from factory.runs.run import PROGRESS, Run
from factory.runs.writer_lock import RunLock
from tests.captioned_run import select_again
from tests.command import fail, succeed
from tests.releases import build, rows
from tests.review.served import served


def shown(*arguments: str | Path) -> str:
    with served(*arguments) as server:
        return build_opener(HTTPCookieProcessor()).open(server.address).read().decode()  # type: ignore[no-any-return]


def test_a_release_can_be_looked_at_with_its_pictures(tmp_path: Path) -> None:
    release = build(
        tmp_path / "release", content=rows(6, "A caption of something that is long enough to be kept, number")
    )
    with served(release.folder) as server:
        assert f"review of {release.folder}," in server.said
        opener = build_opener(HTTPCookieProcessor())
        page = opener.open(server.address).read().decode()
        assert "6 captions" in page
        assert "read only" in page
        assert "--out DIR" in opener.open(f"{server.base}/label").read().decode()
        picture = page.partition('<img src="')[2].partition('"')[0].replace("&amp;", "&")
        assert opener.open(server.base + picture).read().startswith(b"\xff\xd8")


def test_a_file_of_captions_is_kept_as_a_run_where_asked(tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    pl.DataFrame(
        {"name": ["a", "b"], "said": ["A red house by the sea under clouds.", "Two dogs run over a green field."]}
    ).write_csv(file)
    page = shown(file, "--text", "said", "--id", "name", "--out", tmp_path / "run")
    assert "2 captions" in page
    assert "read only" not in page
    assert "Two dogs run" in page
    assert (tmp_path / "run" / "recipe.lock.json").exists()


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert "no such" in fail("review", tmp_path / "nothing", "--no-browser")
    assert "RUN" in succeed("review", "--help")


def test_a_port_that_is_taken_is_said(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "choose another --port" in fail("review", run.url, "--no-browser", "--port", str(taken.getsockname()[1]))


def test_the_live_page_says_whether_somebody_writes_and_how_far_it_is(run: Run, client: TestClient) -> None:
    page = client.get("/live").text
    assert "Nobody is writing this run" in page
    assert "240" in page
    with RunLock(run):
        assert "The run is being written" in client.get("/live").text


def test_new_captions_are_on_the_live_page_at_once(run: Run, index: CaptionIndex, client: TestClient) -> None:
    client.get("/live")
    more = run.scan("captions", tables.CAPTIONS).head(3).collect()
    run.append("captions", more.with_columns(image_key=pl.format("new-{}", "image_key"), status=pl.lit("truncated")))
    now = live(index)
    assert now.captions == 243
    assert now.states["detailed"]["truncated"] == 3
    assert "new-scene" in client.get("/live").text


def test_the_live_page_shows_stages_time_left_and_what_engines_have_to_do(
    run: Run, index: CaptionIndex, client: TestClient
) -> None:
    with Progress(400, True, lambda now: None) as progress:
        progress.engines = lambda: [{"model": "/models/private/captioner", "waiting": 37, "most": 128}]
        progress.phase("starting the engine")
        progress.update({"ok": 0}, {}, 0, "")
        assert progress.started is not None
        progress.started -= 10
        progress.update({"ok": 100}, {"output": 5_000}, 2, "CUDA error in /opt/private/vllm/worker.py, line 3")
        now = progress.now()
    assert [stage["name"] for stage in now["stages"]] == ["starting the engine", "captioning"]
    assert now["left_s"] == pytest.approx(30, rel=0.1)
    run.write_json(PROGRESS, now)
    assert "captioner" not in client.get("/live").text  # nobody writes, so nothing of it goes on
    with RunLock(run):
        page = client.get("/live").text
        lines = list(prometheus(live(index)))
    assert "captioned in about" in page
    assert "37" in page
    assert "captioner" in page
    assert "/models/private" not in page
    assert "Engines died 2 times" in page
    assert "CUDA error in worker.py, line 3" in page
    assert 'factory_engine_waiting_rows{engine="0",model="captioner"} 37' in lines
    assert any(line.startswith("factory_seconds_left ") for line in lines)


def test_what_a_killed_run_said_of_itself_is_not_told_for_ever(run: Run, index: CaptionIndex) -> None:
    run.write_json(PROGRESS, {"stages": [{"name": "captioning", "seconds": 3}], "engines": [], "at": 1.0})
    with RunLock(run):
        assert live(index).stages == []


def test_a_run_says_what_it_does_while_it_runs_and_not_afterwards(run: Run, raw: dict[str, Any]) -> None:
    noted: list[bool] = []
    before = progress_module.NOTE_EVERY_S
    progress_module.NOTE_EVERY_S = 0.01
    try:
        thread = threading.Thread(target=select_again, args=(run, raw))
        thread.start()
        while thread.is_alive():
            noted.append(run.storage.exists(PROGRESS))
            thread.join(0.005)
    finally:
        progress_module.NOTE_EVERY_S = before
    assert any(noted)
    assert not run.storage.exists(PROGRESS)


def test_prometheus_has_the_numbers_of_the_live_page(index: CaptionIndex) -> None:
    lines = list(prometheus(live(index)))
    assert 'factory_captions{view="detailed",state="ok"} 240' in lines
    assert "factory_running 0" in lines
    names = {line.split(maxsplit=3)[2] for line in lines if line.startswith("# TYPE")}
    assert {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")} <= names


def test_the_metrics_port_gives_numbers_and_no_caption(run: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with served(run.url, "--metrics-port", port):
        body = urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    assert "factory_captions" in body
    assert "scene-" not in body
