"""A blind comparison of two runs: random sides, two questions, win rates with intervals, answers that last."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from exports.storage import Storage
from factory.comparison.verdicts import QUESTIONS, rates
from factory.demo.truth import judge_captions
from factory.errors import RunError
from factory.models.round_model import LEDGER
from factory.pipeline import run_recipe
from factory.recipe import Recipe, recipe_yaml
from factory.review.compare_app import CompareApp
from factory.review.comparing import Comparison
from factory.review.sides import side_of
from factory.runs import tables
from factory.runs.run import Run
from tests.captioned_run import select_again
from tests.command import fail, succeed
from tests.judge_server import completion, serving
from tests.releases import build, rows
from tests.review.conftest import HOST, HOSTILE, VIEW, rewrite_first
from tests.review.served import browser, serious_faults, served


@pytest.fixture
def rounds(captioned_once: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Run, Run]:
    """Two runs on the same images; the second keeps the other candidate of each, so mostly another caption."""
    home, raw = captioned_once
    runs = []
    for name, best in (("first", "token_confidence"), ("second", None)):
        shutil.copytree(home, tmp_path / name)
        run = Run(Storage(str(tmp_path / name)))
        select = {"best_of": best} if best else {}
        if best is None:
            part = run.parts("captions")[0]
            captions = pl.read_parquet(run.storage.full(f"captions/{part}.parquet"))
            keep = captions.with_columns(candidate=1 - pl.col("candidate"))
            run.storage.write_parquet(f"captions/{part}.parquet", keep.cast({"candidate": pl.Int16}))
        select_again(run, raw | {"select": select, "views": [VIEW]})
        runs.append(run)
    return runs[0], runs[1]


def client_of(comparison: Comparison) -> TestClient:
    app = CompareApp(comparison, "secret", (HOST,))
    client = TestClient(app.asgi, base_url=f"http://{HOST}", headers={"origin": f"http://{HOST}"})
    client.get("/?token=secret")
    return client


def answer_by_truth(comparison: Comparison, annotator: str) -> None:
    """Prefer the caption with fewer false sentences, and the longer one."""
    while (pair := comparison.next_pair(annotator)) is not None:
        key = [pair["image_key"]]
        if pair["question"] == "made_up":
            false = [
                sum(not one.correct for one in judge_captions([pair[f"{side}_text"]], key, 3)[0].sentences)
                for side in ("left", "right")
            ]
            better = -false[0], -false[1]
        else:
            better = len(pair["left_text"]), len(pair["right_text"])
        chosen = "tie" if better[0] == better[1] else "left" if better[0] > better[1] else "right"
        assert comparison.answer(annotator, pair["image_key"], pair["question"], chosen)


def test_the_better_round_wins_and_the_table_says_who_answered_what(rounds: tuple[Run, Run]) -> None:
    first, second = rounds
    comparison = Comparison(first.url, second.url, 40)
    answer_by_truth(comparison, "Ann")
    made_up, says_more = comparison.rates()
    assert made_up.a > made_up.b
    assert made_up.share is not None
    assert made_up.low < made_up.share < made_up.high
    assert made_up.a + made_up.b + made_up.tie == says_more.a + says_more.b + says_more.tie == comparison.pairs.height
    answers = first.scan("comparisons", tables.COMPARISONS).collect()
    assert answers.height == 2 * comparison.pairs.height
    assert set(answers["annotator"]) == {"Ann"}
    again = Comparison(first.url, second.url, 40)
    assert again.rates() == [made_up, says_more]
    printed = json.loads(succeed("compare", first.url, second.url, "-n", "40", "--json"))
    assert printed["questions"][0]["a"] == made_up.a
    assert "Which says more?" in succeed("compare", first.url, second.url, "-n", "40", "--results")


def test_answers_are_found_again_however_the_path_of_a_run_is_written(
    rounds: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Path(run.url) for run in rounds)
    comparison = Comparison(str(first), str(second), 5)
    pair = comparison.next_pair("Ann")
    assert pair is not None
    comparison.answer("Ann", pair["image_key"], "made_up", "tie")
    monkeypatch.chdir(first.parent)
    assert Comparison(first.name, f"{second.name}/", 5).done("Ann")[0] == 1
    assert Comparison(second.name, first.name, 5, out=first.name).done("Ann")[0] == 0


def test_sides_are_drawn_anew_for_each_image_and_the_same_every_time(rounds: tuple[Run, Run]) -> None:
    comparison = Comparison(rounds[0].url, rounds[1].url, 80)
    shares = comparison.pairs["left"].value_counts().to_dicts()
    assert len(shares) == 2
    assert all(one["count"] > 0.2 * comparison.pairs.height for one in shares), shares
    assert comparison.pairs.equals(Comparison(rounds[0].url, rounds[1].url, 80).pairs)


def test_the_left_is_the_side_that_the_table_says(rounds: tuple[Run, Run]) -> None:
    comparison = Comparison(rounds[0].url, rounds[1].url, 30)
    texts = {"a": side_of(rounds[0].url).texts, "b": side_of(rounds[1].url).texts}
    pair = comparison.next_pair("Ann")
    assert pair is not None
    row = texts[pair["left"]].filter(pl.col("image_key") == pair["image_key"])
    assert row["text"].item() == pair["left_text"]
    comparison.answer("Ann", pair["image_key"], "made_up", "left")
    answer = comparison.run.scan("comparisons", tables.COMPARISONS).collect().row(0, named=True)
    assert answer["answer"] == answer["left"] == pair["left"]


def test_a_pair_is_answered_and_taken_back_on_a_page_that_names_no_side(rounds: tuple[Run, Run]) -> None:
    comparison = Comparison(rounds[0].url, rounds[1].url, 10)
    client = client_of(comparison)
    page = client.post("/begin", data={"name": "Ann"}).text
    assert "0 of 20" in page
    assert QUESTIONS["made_up"] in page
    for origin in ("first<", "second<bdi", rounds[0].url, "demo:small", "detailed"):
        assert origin not in re.sub(r"<img.*?>|<button.*?</button>", "", page, flags=re.DOTALL), origin
    key = re.findall(r'name="image_key" value="(.*?)"', page)[0]
    assert "1 of 20" in client.post("/answer", data={"image_key": key, "question": "made_up", "chosen": "tie"}).text
    assert "0 of 20" in client.post("/undo").text
    assert client.post("/answer", data={"image_key": key, "question": "made_up", "chosen": "a"}).status_code == 409
    assert client.post("/answer", data={"image_key": "x", "question": "made_up", "chosen": "tie"}).status_code == 409
    assert client.get("/picture", params={"key": key}).content.startswith(b"\xff\xd8")
    assert "Win rates" in client.get("/results").text


def test_releases_and_files_can_be_compared(tmp_path: Path) -> None:
    old = build(tmp_path / "old", content=rows(12, "An old caption"))
    new = build(tmp_path / "new", content=rows(12, "A new caption"))
    file = tmp_path / "mine.csv"
    pl.DataFrame({"id": [f"album/{n:05d}" for n in range(12)], "caption": ["Mine."] * 12}).write_csv(file)
    with pytest.raises(RunError, match="--out"):
        Comparison(str(old.folder), str(new.folder))
    comparison = Comparison(str(old.folder), str(file), out=str(tmp_path / "answers"))
    assert comparison.pairs.height == 12
    key = comparison.pairs["image_key"][0]
    assert client_of(comparison).get("/picture", params={"key": key}).content.startswith(b"\xff\xd8")
    with pytest.raises(RunError, match="no two different captions"):
        Comparison(str(file), str(file), out=str(tmp_path / "answers"))
    with pytest.raises(RunError, match="no run, loop, release, or file"):
        side_of(str(tmp_path / "nothing"))


def says_more_wins(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The longer caption, nine to one; of captions of the same length the first."""
    text = next(part["text"] for part in request["messages"][0]["content"] if part["type"] == "text")
    first, second = re.findall(r'Caption \d: "(.*)"', text)
    chance = 0.9 if len(first) >= len(second) else 0.1
    return completion("1", {"1": chance, "2": 1 - chance})


def test_a_judge_is_asked_the_same_in_both_orders_and_stands_beside_people(rounds: tuple[Run, Run]) -> None:
    first, second = (run.url for run in rounds)
    with serving() as server:
        server.reply = says_more_wins
        judge = {"endpoint": server.url, "model": "judge"}
        comparison = Comparison(first, second, 6)
        answer_by_truth(comparison, "Ann")
        found = comparison.ask(judge)
        asked = len(server.requests)
        assert asked >= 2 * 2 * comparison.pairs.height  # two questions, two orders; and checks of the judge
        again = Comparison(first, second, 6)
        again.ask(judge)
        assert len(server.requests) == asked  # nothing is asked twice
    _, of_people = comparison.rates()
    _, of_judge = rates(found.verdicts)
    assert (of_judge.a, of_judge.b, of_judge.tie) == (of_people.a, of_people.b, of_people.tie)
    assert 0 <= found.order_bias["says_more"] <= 1
    agreement = next(one for one in comparison.agreements() if one.question == "says_more")
    assert (agreement.first, agreement.second, agreement.agreement) == ("people", "judge", 1.0)
    assert again.summary()["judge"] == comparison.summary()["judge"]
    assert again.summary()["judge"]["questions"][1]["a"] == of_judge.a
    assert again.summary()["judge"]["seconds"] > 0
    assert f"judge: {QUESTIONS['says_more']}" in "\n".join(again.lines())
    costs = {cost["who"]: cost for cost in comparison.costs(20.0, 3.6)}
    assert costs["judge"]["money_per_1000"] == pytest.approx(costs["judge"]["seconds_per_1000"] / 1000, rel=0.01)
    page = client_of(comparison).get("/results").text
    assert "How far they agree" in page
    assert "seconds per 1,000" in page
    assert server.url not in page


def test_a_judge_is_named_as_in_a_recipe(rounds: tuple[Run, Run]) -> None:
    first, second = (run.url for run in rounds)
    assert "as in a recipe" in fail("compare", first, second, "--judge", "{endpoint", "--results")
    assert "wrong" in fail("compare", first, second, "--judge", "{wrong: 1}", "--results")


def test_win_rates_are_parted_by_length_view_and_what_the_source_says(rounds: tuple[Run, Run], tmp_path: Path) -> None:
    comparison = Comparison(rounds[0].url, rounds[1].url, 60, by=("length", "format"))
    answer_by_truth(comparison, "Ann")
    parted = comparison.rates_by(comparison.answers())
    assert len(parted["length"]) > 1
    for question, whole in enumerate(comparison.rates()):
        assert sum(found[question].a for found in parted["length"].values()) == whole.a
    with pytest.raises(RunError, match="--by colour"):
        Comparison(rounds[0].url, rounds[1].url, by=("colour",))
    keys = [f"k{number}" for number in range(40)]
    for name in ("old", "new"):
        pl.DataFrame(
            {"id": keys, "caption": [f"{name} {key}" for key in keys], "site": ["a.example", "b.example"] * 20}
        ).write_csv(tmp_path / f"{name}.csv")
    files = Comparison(str(tmp_path / "old.csv"), str(tmp_path / "new.csv"), 40, str(tmp_path / "out"), by=("site",))
    for pair in files.pairs.iter_rows(named=True):
        files.answer("Ann", pair["image_key"], "made_up", "left")
    assert set(files.rates_by(files.answers())["site"]) == {"a.example", "b.example"}
    assert "By <bdi>site</bdi>" in client_of(files).get("/results").text


def test_the_source_is_asked_for_fields_that_no_table_has(tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    pl.DataFrame(
        {"name": ["a", "b"], "said": ["A red house by the sea.", "Two dogs run."], "site": ["x", None]}
    ).write_csv(file)
    recipe = {"name": "r", "original": True, "filters": ["length"]}
    recipe["source"] = {"kind": "captions", "path": str(file), "text": "said", "key": "name", "fields": ["site"]}
    read = Recipe.model_validate(recipe)
    run_recipe(read, recipe_yaml(read), str(tmp_path / "run"), quiet=True)
    side = side_of(str(tmp_path / "run"))
    assert "site" in side.known
    assert dict(side.fields(side.texts, ["site"]).iter_rows()) == {"a": "x", "b": None}


def test_of_two_judges_each_brings_the_caption_that_it_prefers(rounds: tuple[Run, Run]) -> None:
    run = rounds[0]
    side = side_of(f"{run.url}#best:token_confidence")
    captions = run.scan("captions", tables.CAPTIONS).select("image_key", "text", "mean_logprob").collect()
    best = captions.sort("mean_logprob", descending=True).unique("image_key", keep="first")
    both = side.texts.join(best, on="image_key", suffix="_best")
    assert both.height == 120
    assert (both["text"] == both["text_best"]).all()
    with pytest.raises(RunError, match="no scores of 'claims'"):
        side_of(f"{run.url}#best:claims")


def test_rounds_of_a_loop_are_compared_and_the_ledger_shows_what_people_prefer(
    rounds: tuple[Run, Run], tmp_path: Path
) -> None:
    loop = tmp_path / "loop"
    figures = {"worth": {"mean": 0.5, "low": 0.4, "high": 0.6, "images": 120}}
    entries = []
    for number, run in enumerate(rounds):
        home = loop / f"round-{number}" / "main"
        home.mkdir(parents=True)
        shutil.copytree(run.storage.full(), home / "judged-1")
        arm = {
            "evaluation": figures,
            "held_out": f"round-{number}/main/judged-1",
            "compute": {"steps": 1, "seconds": 1.0},
        }
        entries.append({"round": number, "arms": {"main": arm}, "verdict": {"word": "better", "why": "it is"}})
    (loop / LEDGER).write_text(json.dumps({"version": 1, "rounds": entries}))
    comparison = Comparison(f"{loop}#1", f"{loop}#0", 10)
    assert comparison.run.storage.full() == str(loop)
    for pair in comparison.pairs.iter_rows(named=True):
        comparison.answer("Ann", pair["image_key"], "made_up", "left" if pair["left"] == "a" else "right")
    turned = Comparison(f"{loop}#0", f"{loop}#1", 10)  # the same question the other way round counts as well
    turned.answer("Bob", turned.pairs["image_key"][0], "made_up", "tie")
    said = succeed("rounds", loop)
    assert "main, people over round 0: Which has fewer made-up things? 100% (69% to 100%) of 10, 1 ties" in said
    assert "People, over round 0" in (loop / "rounds.html").read_text()
    people = json.loads(succeed("rounds", loop, "--json"))["people"]
    assert people[0]["questions"][0]["a"] == 10
    for target, words in ((f"{loop}#7", "the ledger has 0, 1"), (f"{loop}", "say which round")):
        with pytest.raises(RunError, match=words):
            side_of(target)


def test_two_rounds_are_compared_by_keyboard_in_a_browser(rounds: tuple[Run, Run]) -> None:
    rewrite_first(rounds[0], text=HOSTILE)
    first, second = (run.url for run in rounds)
    with browser() as chromium, served(first, second, "-n", "5", command="compare") as server:
        page = chromium.new_page(bypass_csp=True)  # for axe
        page.set_default_timeout(60_000)
        page.goto(server.address)
        assert serious_faults(page) == []
        page.locator("input[name=name]").fill("Ann")
        page.keyboard.press("Enter")
        page.get_by_text("0 of 10").wait_for()
        page.wait_for_load_state("load")
        assert serious_faults(page) == []
        for number, key in enumerate("1231231231", start=1):
            page.keyboard.press(key)
            page.get_by_text(f"{number} of 10").wait_for()
        page.get_by_text("All pairs are answered").wait_for()
        assert "owned" not in page.title()
        page.goto(f"{server.base}/results")
        assert serious_faults(page) == []
    answers = rounds[0].scan("comparisons", tables.COMPARISONS).collect()
    assert answers.height == 10
    chosen = [
        "tie" if row["answer"] == "tie" else "left" if row["answer"] == row["left"] else "right"
        for row in answers.iter_rows(named=True)
    ]
    assert chosen == ["left", "right", "tie"] * 3 + ["left"]


def test_the_two_sides_look_alike(rounds: tuple[Run, Run]) -> None:
    with browser() as chromium, served(rounds[0].url, rounds[1].url, "-n", "5", command="compare") as server:
        page = chromium.new_page()
        page.goto(server.address)
        page.locator("input[name=name]").fill("Ann")
        page.keyboard.press("Enter")
        page.locator("blockquote").first.wait_for()
        style = "all => all.map(one => { const s = getComputedStyle(one); return [s.color, s.backgroundColor, s.font, one.offsetWidth] })"
        for part in (".pair blockquote", ".pair .one", ".pair .one button"):
            first, second = page.eval_on_selector_all(part, style)
            assert first == second, part
