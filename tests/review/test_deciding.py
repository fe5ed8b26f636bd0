"""Decisions of people: written into the run, never over anything, and followed by selection and release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import polars as pl
import pytest
from starlette.testclient import TestClient

from exports.local_release import find_release
from factory.errors import RunError
from factory.review.access import MAX_BODY
from factory.review.caption_index import CaptionIndex, Wanted
from factory.review.caption_rows import Caption, captions_of
from factory.review.deciding import MOST_CHARACTERS, CaptionName, Deciding
from factory.runs import tables
from factory.runs.by_people import last_decisions
from factory.runs.run import SELECTION, Run
from factory.runs.tables import EDIT_CANDIDATES, PERSON
from factory.runs.writer_lock import RunLock
from tests.captioned_run import select_again


def named(caption: Caption) -> CaptionName:
    return CaptionName(caption.image_key, caption.view, caption.candidate, caption.fingerprint)


def form(caption: Caption, decision: str, **more: str) -> dict[str, str]:
    name = {"image_key": caption.image_key, "view": caption.view, "candidate": str(caption.candidate)}
    return {**name, "fingerprint": caption.fingerprint, "decision": decision, "name": "Ann", **more}


def dropped_and_kept(index: CaptionIndex) -> tuple[Caption, Caption]:
    """A dropped caption, and a kept one of another image."""
    dropped = captions_of(index, index.page(Wanted(state="dropped"), 0, 1)[0])[0]
    kept = captions_of(index, index.page(Wanted(state="kept"), 0, 60)[0])
    return dropped, next(caption for caption in kept if caption.image_key != dropped.image_key)


def test_a_decision_says_who_and_when_and_can_be_taken_back(run: Run, index: CaptionIndex, client: TestClient) -> None:
    dropped, _ = dropped_and_kept(index)
    assert client.post("/decide", data=form(dropped, "accepted")).status_code == 200
    (row,) = last_decisions(run).to_dicts()
    assert (row["image_key"], row["candidate"], row["decision"], row["annotator"]) == (
        dropped.image_key, dropped.candidate, "accepted", "Ann",
    )  # fmt: skip
    assert row["created_ms"] > 1_000_000_000_000
    assert index.page(Wanted(state="accepted"), 0, 9)[1] == 1
    client.post("/decide", data=form(dropped, "undone"))
    assert last_decisions(run).is_empty()
    assert run.scan("decisions", tables.DECISIONS).collect().height == 2


def test_an_edit_is_a_new_candidate_and_the_old_one_stays(run: Run, index: CaptionIndex, client: TestClient) -> None:
    dropped, _ = dropped_and_kept(index)
    before = run.scan("captions", tables.CAPTIONS).collect()
    page = client.post("/decide", data=form(dropped, "edited", text="  Two shapes,\r\nboth red. ")).text
    assert "edited by a person from number" in page
    after = run.scan("captions", tables.CAPTIONS).collect()
    assert after.filter(pl.col("candidate") < EDIT_CANDIDATES).equals(before)
    (edit,) = after.filter(pl.col("candidate") >= EDIT_CANDIDATES).to_dicts()
    assert edit["text"] == "Two shapes,\nboth red."
    assert (edit["model"], edit["cut_from"], edit["status"]) == (PERSON, dropped.candidate, "ok")
    assert edit["mean_logprob"] is None
    again = Deciding(index).edit(named(dropped), "Another text.", "Bob")
    assert again == EDIT_CANDIDATES + 1


def test_an_edit_of_nothing_is_refused(index: CaptionIndex, client: TestClient) -> None:
    dropped, _ = dropped_and_kept(index)
    for text in ("", "   ", dropped.text, "x" * 50_000):
        assert client.post("/decide", data=form(dropped, "edited", text=text)).status_code == 409, text[:20]
    other = {**form(dropped, "accepted"), "image_key": "no such image"}
    assert client.post("/decide", data=other).status_code == 409
    assert client.post("/decide", data=form(dropped, "burnt")).status_code == 400
    assert client.post("/decide", data={**form(dropped, "accepted"), "candidate": "x"}).status_code == 400


def test_nothing_is_decided_while_the_run_is_written(run: Run, index: CaptionIndex, client: TestClient) -> None:
    dropped, _ = dropped_and_kept(index)
    with RunLock(run):
        with pytest.raises(RunError, match="another run is writing here"):
            Deciding(index).decide(named(dropped), "accepted", "Ann")
        answer = client.post("/decide", data=form(dropped, "edited", text="A text."))
    assert answer.status_code == 409
    assert run.storage.full() not in answer.text
    assert last_decisions(run).is_empty()
    assert index.rows().height == 240


def test_an_edit_and_a_rejection_reach_the_release_which_says_how_many(
    run: Run, index: CaptionIndex, raw: dict[str, Any], tmp_path: Path
) -> None:
    dropped, kept = dropped_and_kept(index)
    deciding = Deciding(index)
    deciding.edit(named(dropped), "A person wrote that there is a shape.", "Ann")
    deciding.decide(named(kept), "rejected", "Ann")
    raw["release"] = {"to": str(tmp_path / "released"), "version": "1.0.0", "license": "cc-by-4.0"}
    without = select_again(run, raw | {"release": None})
    assert "reviewed" not in without.selection
    raw["select"]["reviewed"] = "first"
    outcome = select_again(run, raw)
    assert outcome.selection["reviewed"] == {"accepted": 1, "edited": 1, "rejected": 1}
    decided = run.storage.scan([SELECTION]).collect()
    reasons = {
        row["candidate"]: row["reason"] for row in decided.filter(pl.col("image_key") == dropped.image_key).to_dicts()
    }
    assert reasons == {0: "reviewed:other_accepted", 1: "reviewed:other_accepted", EDIT_CANDIDATES: None}
    released = find_release(str(tmp_path / "released" / "1.0.0"))
    rows = pl.concat([pl.read_parquet(file) for file in sorted((released.folder / "data").glob("*.parquet"))])
    row = rows.filter(pl.col("id") == dropped.image_key).row(0, named=True)
    assert row["caption"] == "A person wrote that there is a shape."
    assert PERSON in {caption["model"] for caption in row["captions"]}
    assert json.loads((released.folder / "manifest.json").read_text())["counts"]["reviewed"]["edited"] == 1
    assert "were accepted by a person" in (released.folder / "README.md").read_text()


def test_a_decision_is_a_reason_to_select_again(run: Run, index: CaptionIndex, raw: dict[str, Any]) -> None:
    raw["select"]["reviewed"] = "first"
    first = select_again(run, raw).selection
    dropped, _ = dropped_and_kept(index)
    Deciding(index).decide(named(dropped), "accepted", "Ann")
    second = select_again(run, raw).selection
    assert second["reviewed"]["accepted"] == 1
    assert first["reviewed"]["accepted"] == 0


def test_the_longest_text_of_any_script_fits_into_a_request(index: CaptionIndex) -> None:
    longest = urlencode({"text": "\U0001f600" * MOST_CHARACTERS})
    assert len(longest) < MAX_BODY - 10_000
