"""Labels of people: drawn as calibration needs them, durable, one per verdict, and given to `factory calibrate`."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from factory.calibration.calibrate_run import calibrate_run, labelled_captions, read_labels
from factory.demo.truth import judge_captions
from factory.errors import RunError
from factory.review.caption_index import CaptionIndex
from factory.review.labelling import Labelling, agreement, annotator_name
from factory.review.labels_needed import labels_needed
from factory.review.sampling import draw
from factory.runs import tables
from factory.runs.by_people import labels_for_calibration, last_labels
from factory.runs.growing_part import PART_ROWS, GrowingPart
from factory.runs.run import Run
from tests.command import fail, succeed
from tests.review.served import served


def label_all(labelling: Labelling, annotator: str, count: int, unit: str = "caption", wrong_too: int = 0) -> None:
    """Label by the demo world's truth; the first `wrong_too` the other way round."""
    for number in range(count):
        item = labelling.next_item(unit, count, annotator)
        assert item is not None
        text = item["text"] if unit == "caption" else item["sentence"]
        right = judge_captions([text], [item["image_key"]], 3)[0].correct ^ (number < wrong_too)
        assert labelling.label(unit, count, annotator, item, "right" if right else "wrong")


# --- the draw ----------------------------------------------------------------------------------------------------------


def test_a_draw_is_of_other_images_each_and_the_same_every_time(run: Run, index: CaptionIndex) -> None:
    first = draw(index, 60)
    assert first.height == first["image"].n_unique() == 60
    assert draw(CaptionIndex(run), 60).select("part", "row").equals(first.select("part", "row"))
    assert not draw(index, 60, seed=1).select("part", "row").equals(first.select("part", "row"))
    assert draw(index, 30).select("part", "row").equals(first.head(30).select("part", "row"))
    assert draw(index, 1_000).height == 120


def test_a_draw_for_calibration_knows_no_verdict_and_one_for_an_audit_only_kept_captions(index: CaptionIndex) -> None:
    assert draw(index, 120)["kept"].n_unique() == 2
    assert draw(index, 120, "audit")["kept"].all()


def test_captions_that_the_recipe_does_not_accept_are_not_drawn(run: Run) -> None:
    part = run.parts("captions")[0]
    rows = pl.read_parquet(run.storage.full(f"captions/{part}.parquet"))
    run.storage.write_parquet(
        f"captions/{part}.parquet",
        rows.with_columns(status=pl.when(pl.int_range(pl.len()) < 100).then(pl.lit("truncated")).otherwise("status")),
    )
    drawn = draw(CaptionIndex(run), 120)
    assert drawn.height == 70
    assert set(drawn["status"].cast(pl.String)) == {"ok"}


def test_strata_have_their_share_for_calibration_and_the_same_number_for_an_audit(index: CaptionIndex) -> None:
    proportional = draw(index, 40, by=("view", "length"))
    assert proportional.height == 40
    even = draw(index, 40, "audit", by=("length",))
    assert even.height == 40
    with pytest.raises(RunError, match="strata are view, length"):
        draw(index, 40, by=("colour",))


def test_a_sample_file_comes_back_from_a_spreadsheet_as_labels(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    said = succeed("sample", run.url, "-n", "50", "--by", "length", "--to", file)
    assert "50 captions" in said
    rows = pl.read_csv(file)
    assert rows.columns == ["image_key", "view", "candidate", "text", "label"]
    right = [verdict.correct for verdict in judge_captions(rows["text"].to_list(), rows["image_key"].to_list(), 3)]
    rows.with_columns(label=pl.Series([1 if one else 0 for one in right])).write_csv(file)
    index = CaptionIndex(run)
    captions = run.scan("captions", tables.CAPTIONS)
    labelled, aside = labelled_captions(index.work, captions, read_labels(str(file)))
    assert labelled.height == 50
    assert not aside
    assert "may hold labels" in fail("sample", run.url, "--to", file)
    assert "samples are written as" in fail("sample", run.url, "--to", tmp_path / "labels.xlsx")


# --- labels ------------------------------------------------------------------------------------------------------------


def test_labels_are_kept_when_the_server_is_killed(run: Run) -> None:
    from urllib.parse import urlencode
    from urllib.request import HTTPCookieProcessor, Request, build_opener

    def go_on(base: str, opener: object, page: str) -> str:
        fields = dict(
            re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)"', page.partition('class="verdicts"')[2])
        )
        body = urlencode({**fields, "verdict": "right"}).encode()
        return opener.open(Request(f"{base}/label/caption/verdict", body, {"Origin": base})).read().decode()  # type: ignore[attr-defined,no-any-return]

    given = 0
    for _ in range(2):
        with served(run.url) as server:
            opener = build_opener(HTTPCookieProcessor())
            opener.open(server.address)
            begin = urlencode({"name": "Ann", "unit": "caption", "count": "40"}).encode()
            page = opener.open(Request(f"{server.base}/label/begin", begin, {"Origin": server.base})).read().decode()
            assert f"{given} of 40" in page
            for _ in range(5):
                page = go_on(server.base, opener, page)
                given += 1
            server.kill()
        assert last_labels(run).height == given


def test_a_label_is_on_the_disk_when_append_returns_and_parts_do_not_grow_for_ever(run: Run) -> None:
    table = GrowingPart(run, "labels", tables.LABELS)
    row = dict.fromkeys(tables.LABELS) | {
        "image_key": "a",
        "view": "v",
        "candidate": 0,
        "verdict": "right",
        "annotator": "Ann",
    }
    table.append([row])
    assert run.scan("labels", tables.LABELS).collect().height == 1
    table.append([{**row, "image_key": str(number)} for number in range(PART_ROWS)])
    table.append([row])
    assert len(run.parts("labels")) == 2
    rows = run.scan("labels", tables.LABELS).collect()
    assert rows.height == PART_ROWS + 2
    assert rows["created_ms"].n_unique() == rows.height


def test_undo_brings_the_last_caption_back_and_keeps_what_happened(run: Run, index: CaptionIndex) -> None:
    labelling = Labelling(index)
    label_all(labelling, "Ann", 3)
    assert labelling.next_item("caption", 3, "Ann") is None
    last = labelling.undo("caption", "Ann")
    again = labelling.next_item("caption", 3, "Ann")
    assert last is not None
    assert again is not None
    assert again["image_key"] == last["image_key"]
    assert labelling.progress("caption", 3, "Ann").done == 2
    assert run.scan("labels", tables.LABELS).collect().height == 4
    assert labelling.undo("caption", "Bob") is None


def test_only_what_was_drawn_can_be_labelled(client: TestClient, run: Run) -> None:
    client.post("/label/begin", data={"name": "Ann", "unit": "caption", "count": "5"})
    fields = {
        "image_key": "scene-9999999",
        "view": "detailed",
        "candidate": "0",
        "fingerprint": "x",
        "start": "",
        "count": "5",
    }
    assert client.post("/label/caption/verdict", data={**fields, "verdict": "right"}).status_code == 409
    page = client.get("/label/caption?count=5").text
    drawn = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)"', page.partition('class="verdicts"')[2]))
    assert client.post("/label/caption/verdict", data={**drawn, "verdict": "maybe"}).status_code == 409
    assert last_labels(run).is_empty()


def test_the_page_of_labelling_hides_scores_and_where_a_caption_comes_from(client: TestClient) -> None:
    page = client.post("/label/begin", data={"name": "Ann", "unit": "caption", "count": "5"}).text
    assert "Is all of this true" in page
    shown = re.sub(r'<input type="hidden".*?>|<img.*?>', "", page)
    for origin in ("token_confidence", "demo:small", "detailed", "kept", "dropped", "0."):
        assert origin not in shown, origin


def test_two_annotators_agree_as_far_as_they_do(index: CaptionIndex) -> None:
    labelling = Labelling(index)
    label_all(labelling, "Ann", 40)
    label_all(labelling, "Bob", 40, wrong_too=4)
    (pair,) = labelling.pairs()
    assert (pair.first, pair.second, pair.both) == ("Ann", "Bob", 40)
    assert pair.agreement == pytest.approx(0.9)
    assert pair.kappa is not None
    assert 0.5 < pair.kappa < 0.9
    assert agreement(last_labels(index.run).filter(pl.col("annotator") == "Ann")) == []


def test_a_name_is_one_printable_line() -> None:
    assert annotator_name("  Ann\n\x1b[31m  Lee ") == "Ann [31m Lee"
    assert annotator_name("\u202e\x00") == ""
    assert len(annotator_name("x" * 500)) == 60


# --- calibration -------------------------------------------------------------------------------------------------------


def test_labels_of_the_app_calibrate_as_a_file_does(run: Run, index: CaptionIndex, client: TestClient) -> None:
    with pytest.raises(RunError, match="no labels"):
        calibrate_run(run, "review", 0.7)
    labelling = Labelling(index)
    label_all(labelling, "Ann", 100)
    made = calibrate_run(run, "review", 0.7, filter_name="token_confidence")
    assert made.calibrations[0].labels.given == 100
    page = client.post("/calibrate", data={"unit": "caption", "target": "0.7", "filter": "token_confidence"}).text
    assert "calibration:token_confidence-v1" in page  # the same labels, the same calibration
    assert "factory calibrate RUN --labels review:caption --target-precision 0.7 --filter token_confidence" in page
    assert run.storage.full() not in page
    assert (
        "Nothing was written" in client.post("/calibrate", data={"unit": "caption", "target": "0.7", "filter": ""}).text
    )
    assert client.post("/calibrate", data={"unit": "sentence", "target": "0.7"}).status_code == 409


def test_labels_of_sentences_name_where_the_sentence_begins(run: Run, index: CaptionIndex) -> None:
    labelling = Labelling(index)
    label_all(labelling, "Ann", 60, "sentence")
    label_all(labelling, "Ann", 3)
    rows = labels_for_calibration(run, "sentence")
    assert rows.height == rows["image_key"].n_unique() == 60
    with pytest.raises(RunError, match="of captions and of sentences"):
        calibrate_run(run, "review", 0.7)
    made = calibrate_run(run, "review:sentence", 0.7, filter_name="token_confidence").calibrations[0]
    assert made.unit == "sentence"
    assert made.labels.given == 60


def test_unsure_is_no_label_and_a_contradiction_is_set_aside(run: Run, index: CaptionIndex) -> None:
    labelling = Labelling(index)
    label_all(labelling, "Ann", 30)
    label_all(labelling, "Bob", 2, wrong_too=2)
    item = labelling.next_item("caption", 31, "Ann")
    assert item is not None
    labelling.label("caption", 31, "Ann", item, "unsure")
    _, aside = labelled_captions(
        index.work, run.scan("captions", tables.CAPTIONS), labels_for_calibration(run, "caption")
    )
    assert aside == {"no_label": 1, "contradicted": 4}


# --- how many more -----------------------------------------------------------------------------------------------------


def test_the_page_of_labelling_says_how_many_more_labels_are_needed(index: CaptionIndex, client: TestClient) -> None:
    begin = {"name": "Ann", "unit": "caption", "count": "120"}
    assert "29 more labels, all right, would prove that 90 %" in client.post("/label/begin", data=begin).text
    labelling = Labelling(index)
    label_all(labelling, "Ann", 20)
    first = labelling.needed("caption", 120)
    assert first.have == 20
    assert first.more is None or first.more > 0
    assert "more labels" in client.get("/label/caption?count=120").text
    label_all(labelling, "Bob", 3, wrong_too=3)
    assert labelling.needed("caption", 120).have == 17  # contradictions say nothing


def test_what_is_proven_is_what_calibration_proves(run: Run, index: CaptionIndex) -> None:
    labelling = Labelling(index)
    label_all(labelling, "Ann", 120)
    needed = labels_needed(index, labelled(labelling), 0.7)
    assert needed.more == 0
    made = calibrate_run(run, "review", 0.7, filter_name=needed.score or "token_confidence")
    assert made.calibrations[0].threshold is not None
    impossible = labels_needed(index, labelled(labelling), 0.999)
    assert impossible.more is None or impossible.more > 0


def labelled(labelling: Labelling) -> pl.DataFrame:
    sample = labelling.sample("caption", 120)
    names = ["image_key", "view", "candidate", "fingerprint", "start"]
    said = last_labels(labelling.index.run).select(*names, (pl.col("verdict") == "right").alias("label"))
    return sample.select(*names, "shard").join(said, on=names, how="inner", nulls_equal=True)


def test_sentences_are_estimated_by_their_share_alone(index: CaptionIndex) -> None:
    labelling = Labelling(index)
    label_all(labelling, "Ann", 40, "sentence")
    needed = labelling.needed("sentence", 40)
    assert (needed.have, needed.score) == (40, "")
