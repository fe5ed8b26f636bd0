"""`factory review` of what is no run, its live page, and its numbers for Prometheus."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener, urlopen

import polars as pl
from starlette.testclient import TestClient

from factory.review.caption_index import CaptionIndex
from factory.review.live import live, prometheus
from factory.runs import tables
from factory.runs.run import Run
from factory.runs.writer_lock import RunLock
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
        opener = build_opener(HTTPCookieProcessor())
        page = opener.open(server.address).read().decode()
        assert "6 captions" in page
        assert "read only" in page
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
