"""Who may ask: the token, the host, the origin, read-only, and the headers that keep other pages away."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from factory.review.access import MAX_BODY
from factory.review.app import ReviewApp
from factory.review.caption_index import CaptionIndex
from factory.review.pages import without_directories
from factory.review.server import is_loopback
from factory.runs.by_people import last_decisions
from factory.runs.run import Run
from tests.review.conftest import HOST, client_of


def stranger(index: CaptionIndex) -> TestClient:
    return TestClient(ReviewApp(index, "secret", (HOST,)).asgi, base_url=f"http://{HOST}")


def decision(index: CaptionIndex) -> dict[str, str]:
    from factory.review.caption_rows import captions_of

    caption = captions_of(index, index.rows().head(1))[0]
    return {
        "image_key": caption.image_key,
        "view": caption.view,
        "candidate": str(caption.candidate),
        "fingerprint": caption.fingerprint,
        "decision": "rejected",
        "name": "Ann",
    }


def test_nothing_is_shown_without_the_token(index: CaptionIndex) -> None:
    client = stranger(index)
    for address in ("/", "/image?key=a", "/picture?key=a&shard=b", "/static/review.css", "/?token=wrong", "/live"):
        assert client.get(address).status_code == 403
    assert client.post("/decide", data={"token": "secret"}).status_code == 403


def test_the_token_leaves_the_address_and_stays_in_a_cookie_that_scripts_cannot_read(index: CaptionIndex) -> None:
    client = stranger(index)
    answer = client.get("/?words=red&token=secret", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?words=red"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert client.get("/").status_code == 200


def test_another_name_for_this_machine_is_refused(client: TestClient) -> None:
    assert client.get("/", headers={"host": "evil.example:8765"}).status_code == 421
    assert client.get("/", headers={"host": "127.0.0.1:1"}).status_code == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://127.0.0.1:1", f"http://{HOST}.evil.example"]
)
def test_other_pages_cannot_change_anything(index: CaptionIndex, client: TestClient, run: Run, origin: str) -> None:
    answer = client.post("/decide", data=decision(index), headers={"origin": origin})
    assert answer.status_code == 403
    assert last_decisions(run).is_empty()


def test_read_only_changes_nothing_and_offers_nothing(index: CaptionIndex, run: Run) -> None:
    client = client_of(index, read_only=True)
    assert client.post("/decide", data=decision(index)).status_code == 403
    assert last_decisions(run).is_empty()
    assert 'method="post"' not in client.get("/image", params={"key": decision(index)["image_key"]}).text


def test_pages_run_no_script_of_their_own_and_are_in_no_frame(client: TestClient) -> None:
    for address in ("/", "/label", "/static/review.js", "/image?key=none"):
        policy = client.get(address).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
    page = client.get("/").text
    assert " style=" not in page
    assert "onclick" not in page
    assert "<script>" not in page


def test_a_body_without_end_is_refused(client: TestClient) -> None:
    assert client.post("/decide", content=b"x" * (MAX_BODY + 1)).status_code == 413


def test_paths_lead_nowhere_outside_the_static_files(client: TestClient) -> None:
    for address in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2frun.lock", "/captions"):
        assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False)],
)
def test_only_this_machine_means_only_this_machine(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/opt/a/b.py:12: no file", "b.py:12: no file"),
        ("see '~/runs/x' and ../y/z.txt", "see 'x' and z.txt"),
        ("file:///tmp/rv/odd.csv: no column", "odd.csv: no column"),
        ("http://localhost:8000/v1/models is away, and/or 3/4", "http://localhost:8000/v1/models is away, and/or 3/4"),
    ],
)
def test_texts_of_other_programs_keep_the_last_part_of_a_path(text: str, shown: str) -> None:
    assert without_directories(text) == shown
