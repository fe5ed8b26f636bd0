"""The gallery: every caption of a run, filtered, ordered and searched, and the page of one image."""

from __future__ import annotations

import html
import re
from io import BytesIO
from pathlib import Path

import polars as pl
from PIL import Image
from starlette.testclient import TestClient

from exports.storage import Storage
from factory.filtering import filter_recipe
from factory.pipeline import run_recipe
from factory.recipe import Recipe, recipe_yaml
from factory.review.caption_index import CaptionIndex, Wanted
from factory.review.caption_rows import captions_of
from factory.review.picture_shelf import PictureShelf
from factory.runs import tables
from factory.runs.run import SELECTION, Run
from factory.runs.tables import CAPTION_KEY
from factory.sources import open_source
from tests.recipes import demo_recipe
from tests.review.conftest import HOSTILE, client_of, rewrite_first


def keys(page: str) -> list[str]:
    """The image keys on a gallery page, in their order."""
    return re.findall(r'<span class="key"><bdi>(.*?)</bdi>', page)


def test_the_first_page_counts_all_captions_and_says_how_many_are_kept(run: Run, client: TestClient) -> None:
    kept = run.storage.scan([SELECTION]).collect()["kept"].sum()
    page = client.get("/").text
    assert "240 captions" in page
    assert f"{kept} of all captions are kept" in page
    assert len(keys(page)) == 24


def test_pages_show_every_caption_once(client: TestClient) -> None:
    seen = [key for number in range(1, 11) for key in keys(client.get(f"/?page={number}").text)]
    assert len(seen) == 240
    assert len(set(seen)) == 120


def test_worst_first_begins_with_the_lowest_score(run: Run, index: CaptionIndex) -> None:
    scorer = next(one for one in index.work.scorers if one.name == "token_confidence")
    scores = run.scores("token_confidence", scorer.fingerprint).collect()["score"].sort()
    places, total = index.page(Wanted(order="token_confidence"), 0, 5)
    assert total == 240
    assert places["score_token_confidence"].to_list() == scores.head(5).cast(pl.Float32).to_list()
    best, _ = index.page(Wanted(order="-token_confidence"), 0, 1)
    assert best["score_token_confidence"][0] == scores.cast(pl.Float32).max()


def test_filters_find_what_the_tables_have(run: Run, index: CaptionIndex) -> None:
    decided = run.storage.scan([SELECTION]).collect()
    for reason, number in decided["reason"].drop_nulls().value_counts().iter_rows():
        assert index.page(Wanted(reason=reason), 0, 1)[1] == number
    assert index.page(Wanted(state="kept"), 0, 1)[1] == decided["kept"].sum()
    assert index.page(Wanted(state="dropped"), 0, 1)[1] == (~decided["kept"]).sum()
    assert index.page(Wanted(view="detailed", state="ok"), 0, 1)[1] == 240
    assert index.page(Wanted(view="another"), 0, 1)[1] == 0
    low = index.page(Wanted(score="token_confidence", low=0.2, high=0.5), 0, 240)[0]["score_token_confidence"]
    assert low.min() >= 0.2
    assert low.max() <= 0.5


def test_words_are_found_whatever_their_case_and_are_no_pattern(run: Run, index: CaptionIndex) -> None:
    texts = run.scan("captions", tables.CAPTIONS).select("text").collect()["text"]
    assert index.page(Wanted(words="LARGE"), 0, 1)[1] == texts.str.contains("large", literal=True).sum()
    assert index.page(Wanted(words=".*"), 0, 1)[1] == 0


def test_an_image_is_found_by_its_key(client: TestClient) -> None:
    assert keys(client.get("/?words=Scene-0000017").text) == ["scene-0000017"] * 2


def test_rows_written_twice_by_a_task_that_ran_again_are_one_caption(run: Run) -> None:
    rows = run.scan("captions", tables.CAPTIONS).head(7).collect()
    run.append(
        "captions",
        rows.with_columns(status=pl.lit("failed"), text=pl.lit(None, pl.String), created_ms=pl.lit(0, pl.Int64)),
    )
    index = CaptionIndex(run)
    assert index.rows().height == 240
    assert index.page(Wanted(state="failed"), 0, 1)[1] == 0


def test_a_run_that_goes_on_shows_its_new_captions(run: Run, index: CaptionIndex) -> None:
    assert index.rows().height == 240
    more = run.scan("captions", tables.CAPTIONS).head(3).collect()
    run.append("captions", more.with_columns(image_key="new-" + pl.col("image_key")))
    index.look_again()
    assert index.rows().height == 243


def test_the_page_of_an_image_shows_its_candidates_with_the_truth_about_each_sentence(
    run: Run, index: CaptionIndex, client: TestClient
) -> None:
    rows = run.scan("captions", tables.CAPTIONS).select(*CAPTION_KEY, "text").collect()
    from factory.demo.truth import judge_captions

    verdicts = judge_captions(rows["text"].to_list(), rows["image_key"].to_list(), 3)
    wrong = next(row for row, verdict in zip(rows.iter_rows(named=True), verdicts, strict=True) if not verdict.correct)
    captions = captions_of(index, index.of_image(wrong["image_key"]), by_sentence=True)
    assert [caption.candidate for caption in captions] == [0, 1]
    for caption in captions:
        assert "".join(piece.text for piece in caption.pieces) == caption.text
    assert any(piece.right is False for piece in captions[wrong["candidate"]].pieces)
    page = client.get("/image", params={"key": wrong["image_key"]}).text
    assert page.count("<article") == 2
    assert 'class="sentence false' in page


def test_an_image_that_is_not_there_is_a_page_that_says_so(client: TestClient) -> None:
    answer = client.get("/image", params={"key": "no such image"})
    assert answer.status_code == 404
    assert "There is no caption of such an image" in answer.text


def test_pictures_come_from_the_source_in_two_sizes(run: Run, client: TestClient) -> None:
    row = run.scan("captions", tables.CAPTIONS).select("shard", "image_key").head(1).collect().row(0, named=True)
    for size in ("small", "large"):
        answer = client.get("/picture", params={"shard": row["shard"], "key": row["image_key"], "size": size})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.content.startswith(b"\xff\xd8")
    assert client.get("/picture", params={"shard": row["shard"], "key": "../../etc/passwd"}).status_code == 404
    assert client.get("/picture", params={"shard": "/etc", "key": "passwd"}).status_code == 404


def test_texts_of_strangers_are_shown_as_text(run: Run) -> None:
    row = rewrite_first(run, text=HOSTILE)
    client = client_of(CaptionIndex(run))
    for address, parameters in [("/", {"words": "owned"}), ("/image", {"key": row["image_key"]}), ("/live", {})]:
        page = client.get(address, params=parameters).text
        assert "<script>document" not in page
        assert "<img src=x" not in page
        assert "{{ 7*7 }}" in page or address == "/live"
    assert html.escape("</p><script>")[:10] in client.get("/", params={"words": "owned"}).text


def test_a_key_of_a_stranger_is_quoted_wherever_it_stands(run: Run) -> None:
    key = 'a"><script>x</script>&page=9/../☃'
    rewrite_first(run, image_key=key)
    client = client_of(CaptionIndex(run))
    page = client.get("/").text
    assert "<script>x" not in page
    link = html.unescape(re.findall(r'class="open" href="(.*?)"', page)[0])
    answer = client.get(link)
    assert answer.status_code == 200
    assert html.escape(key, quote=False).split("&")[0] in answer.text.replace("&#34;", '"')


def test_wrong_values_are_a_message_and_not_a_failure(client: TestClient) -> None:
    for address in (
        "/?page=0",
        "/?page=x",
        "/?low=abc",
        "/?low=nan",
        "/picture?size=huge",
        "/label/nothing",
        "/?page=9999999999999",
    ):
        answer = client.get(address, follow_redirects=False)
        assert answer.status_code in (303, 400, 404), address
    assert client.get("/?order=nothing&score=nothing&state=nothing").status_code == 200


def test_no_page_names_a_directory_of_this_machine(run: Run, client: TestClient) -> None:
    key = run.scan("captions", tables.CAPTIONS).select("image_key").head(1).collect().item()
    for address in ("/", f"/image?key={key}", "/label", "/calibrate", "/live", "/image?key=none"):
        assert run.storage.full() not in client.get(address).text


def test_the_kind_of_file_and_the_sources_own_fields_are_filters(tmp_path: Path, run: Run, index: CaptionIndex) -> None:
    part = run.parts("captions")[0]
    rows = pl.read_parquet(run.storage.full(f"captions/{part}.parquet"))
    is_first = pl.int_range(pl.len()) < 10
    run.storage.write_parquet(
        f"captions/{part}.parquet",
        rows.with_columns(source_format=pl.when(is_first).then(pl.lit("WEBP")).otherwise(pl.lit("PNG"))),
    )
    assert index.page(Wanted(field="format", value="webp"), 0, 1)[1] == 10
    assert index.page(Wanted(field="nothing", value="x"), 0, 1)[1] == 240
    file = tmp_path / "captions.csv"
    pl.DataFrame(
        {"name": ["a", "b", "c"], "said": ["A red house.", "Two dogs run.", "A bird."], "site": ["News", None, "blog"]}
    ).write_csv(file)
    recipe = {"name": "r", "original": True, "filters": ["length"]}
    recipe["source"] = {"kind": "captions", "path": str(file), "text": "said", "key": "name", "fields": ["site"]}
    read = Recipe.model_validate(recipe)
    run_recipe(read, recipe_yaml(read), str(tmp_path / "other"), quiet=True)
    client = client_of(CaptionIndex(Run(Storage(str(tmp_path / "other")))))
    assert keys(client.get("/?field=site&value=new").text) == ["a"]
    assert "site" in client.get("/").text


def test_scores_between_two_ends_are_those_of_a_bar(index: CaptionIndex) -> None:
    scores = index.rows()["score_token_confidence"]
    halves = [index.page(Wanted(score="token_confidence", low=low, high=low + 0.5), 0, 1)[1] for low in (0.0, 0.5)]
    assert sum(halves) == scores.len()
    assert index.page(Wanted(score="length", low=1.0, high=1.0), 0, 1)[1] == (index.rows()["score_length"] == 1).sum()


def test_one_goes_from_caption_to_caption_in_the_order_of_the_gallery(client: TestClient) -> None:
    page = client.get("/?order=token_confidence").text
    first = html.unescape(re.findall(r'class="open" href="(.*?)"', page)[0])
    seen = []
    address = first
    for _ in range(4):
        page = client.get(address).text
        seen.append(re.findall(r'<h1>Image <bdi class="key">(.*?)</bdi>', page)[0])
        address = html.unescape(re.findall(r'rel="next".*?href="(.*?)"', page)[0])
    assert seen == keys(client.get("/?order=token_confidence").text)[:4]
    assert 'rel="prev"' not in client.get(first).text
    assert "order=token_confidence" in re.findall(r'data-key="g" href="(.*?)"', page)[0]


def test_claims_are_listed_with_their_probabilities(run: Run, index: CaptionIndex) -> None:
    from factory.review.caption_rows import _claims

    claims = [
        {"start": 0, "end": 9, "statement": "There is a car.", "score": 0.9, "state": "asked", "parents": []},
        {"start": 0, "end": 9, "statement": "The car is red.", "score": 0.2, "state": "asked", "parents": [0]},
        {"start": 0, "end": 9, "statement": "It is new.", "score": None, "state": "problem", "parents": []},
        {"start": 10, "end": 19, "statement": "There is a tree.", "score": 0.5, "state": "asked", "parents": []},
    ]
    scorer = index.work.scorers[0]
    found = _claims([(scorer, {"claims": claims})], 0)
    assert [(statement, score) for statement, score, _ in found] == [
        ("The car is red.", 0.2), ("There is a car.", 0.9), ("It is new.", None),
    ]  # fmt: skip


def test_a_set_of_texts_alone_has_no_place_for_pictures(tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    pl.DataFrame({"id": ["a", "b"], "caption": ["A red house by the sea.", "Two dogs run over a field."]}).write_csv(
        file
    )
    recipe = filter_recipe(str(file), "texts", text="caption", id="id")
    run_recipe(recipe, recipe_yaml(recipe), str(tmp_path / "texts"), quiet=True)
    client = client_of(CaptionIndex(Run(Storage(str(tmp_path / "texts")))))
    client.post("/label/begin", data={"name": "Ann"})
    for address in ("/", "/image?key=a", "/live", "/label/caption"):
        page = client.get(address).text
        assert "<img" not in page, address
        assert "<figure" not in page, address
        assert "no-pictures" in page, address
    assert keys(client.get("/").text) == ["a", "b"]


def test_a_text_that_turns_its_direction_turns_nothing_beside_it(run: Run) -> None:
    key = rewrite_first(run, text="\u202eA red square. It is on the left.")["image_key"]
    page = client_of(CaptionIndex(run)).get("/image", params={"key": key}).text
    assert "<bdi>\u202eA red square.</bdi>" in page


def test_a_very_long_caption_scrolls_in_its_box_which_the_keyboard_reaches(run: Run) -> None:
    key = rewrite_first(run, text="word " * 4_000)["image_key"]
    client = client_of(CaptionIndex(run))
    for address in ("/", f"/image?key={key}"):
        assert '<p class="caption" dir="auto" tabindex="0">' in client.get(address).text


def test_a_page_that_is_not_there_says_so_as_every_message_does(client: TestClient) -> None:
    answer = client.get("/nothing")
    assert answer.status_code == 404
    assert "There is no such page" in answer.text
    assert "Back to Gallery" in answer.text
    assert "page 10 of 10" in client.get("/?page=99").text


def test_a_run_without_captions_says_where_to_look(run: Run) -> None:
    for part in run.parts("captions"):
        run.storage.remove(f"captions/{part}.parquet")
    assert "no captions yet" in client_of(CaptionIndex(run)).get("/").text


def test_a_source_that_was_away_for_a_moment_shows_its_pictures_again(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (40, 30), "red").save(pictures / "a.png")
    recipe = Recipe.model_validate(demo_recipe(source={"kind": "folder", "path": str(pictures)}))
    shelf = PictureShelf(recipe)
    shard = next(iter(open_source(recipe, Storage(str(tmp_path))).shards()))
    pictures.rename(tmp_path / "away")
    assert shelf.picture(shard.name, "a.png", "small") is None
    (tmp_path / "away").rename(pictures)
    assert shelf.picture(shard.name, "a.png", "small")


def test_the_pictures_of_a_page_are_found_in_one_reading_of_their_shard(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    file = tmp_path / "pictures.parquet"
    pl.DataFrame({"id": ["a", "b", "c"], "image": [buffer.getvalue()] * 3}).write_parquet(file)
    recipe = Recipe.model_validate(demo_recipe(source={"kind": "parquet", "path": str(file), "key": "id"}))
    shelf = PictureShelf(recipe)
    shard = next(iter(open_source(recipe, Storage(str(tmp_path))).shards())).name
    shelf.want([(shard, "a"), (shard, "b")])
    assert shelf.picture(shard, "a", "small")
    file.rename(tmp_path / "away")
    assert shelf.picture(shard, "b", "small")
    assert shelf.picture(shard, "c", "small") is None
