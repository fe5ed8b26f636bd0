"""`factory calibrate`: labels meet a run, a calibration is kept in it, and a recipe selects by it. No engine starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exports.storage import Storage
from factory.calibration.calibrate_run import calibrate_run, labelled_captions, read_labels
from factory.errors import RecipeError, RunError
from factory.pipeline import set_aside
from factory.recipe import Recipe
from factory.report.collect import rewrite_report
from factory.runs.run import Run
from factory.work.calibrations import captioner_of, copy_calibrations, read_calibration
from factory.work.plan import make_plan
from factory.work.views import ready_views
from factory.work.work import reopen
from filters import FilterError
from filters.calibration.calibration import Calibration
from tests.captioned_run import captioned, select_again, truth
from tests.command import factory, fail, succeed

FIRST = "calibration:token_confidence-v1"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with labels of 260 of its captions and two calibrations, and its recipe."""
    home = tmp_path_factory.mktemp("calibrated")
    run, raw = captioned(home)
    truth(run).sample(260, seed=1).write_parquet(home / "labels.parquet")
    labels = str(home / "labels.parquet")
    calibrate_run(run, labels, 0.9, filter_name="token_confidence")
    calibrate_run(run, labels, 0.9, stack="logistic")
    return home, raw


@pytest.fixture
def home(first: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy to change."""
    shutil.copytree(first[0], tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def raw(first: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    return json.loads(json.dumps(first[1]))  # type: ignore[no-any-return]


def run_of(home: Path) -> Run:
    return Run(Storage(str(home / "run")))


def kept(run: Run) -> pl.DataFrame:
    selection = pl.read_parquet(f"{run.url}/selection.parquet").filter("kept")
    return selection.join(truth(run), on=["image_key", "view", "candidate"])


def test_the_command_writes_a_version_that_a_recipe_names(home: Path) -> None:
    labels = home / "labels.parquet"
    shown = succeed(
        "calibrate", home / "run", "--labels", labels, "--target-precision", 0.8, "--filter", "token_confidence"
    )
    assert "calibration:token_confidence-v2" in shown
    assert "at least 80.0% of the captions that reach it are right, with 95% confidence" in shown
    assert "view detailed" in shown
    assert (home / "run" / "calibrations" / "token_confidence-v2.json").exists()
    again = succeed(
        "calibrate",
        home / "run",
        "--labels",
        labels,
        "--target-precision",
        0.8,
        "--filter",
        "token_confidence",
        "--json",
    )
    assert json.loads(again)["reference"] == "calibration:token_confidence-v2", "the same again is no new version"


def test_a_precision_that_is_not_proven_ends_with_exit_code_1_and_says_what_it_takes(home: Path) -> None:
    arguments = ("--labels", home / "labels.parquet", "--target-precision", 0.995, "--filter", "token_confidence")
    done = factory("calibrate", home / "run", *arguments)
    assert done.returncode == 1
    assert "it takes 598 even if every one of them is right" in done.stdout
    assert done.stderr == ""


def test_without_a_choice_every_filter_is_compared_and_nothing_written(home: Path) -> None:
    before = sorted(path.name for path in (home / "run" / "calibrations").iterdir())
    lines = succeed(
        "calibrate", home / "run", "--labels", home / "labels.parquet", "--target-precision", 0.9
    ).splitlines()
    assert lines[1].startswith("token_confidence")
    assert sorted(path.name for path in (home / "run" / "calibrations").iterdir()) == before


def test_versions_are_never_overwritten(home: Path) -> None:
    file = home / "run" / "calibrations" / "token_confidence-v1.json"
    before = file.read_bytes()
    for target, version in ((0.8, 2), (0.85, 3), (0.8, 2)):
        made = calibrate_run(run_of(home), str(home / "labels.parquet"), target, filter_name="token_confidence")
        assert made.reference == f"calibration:token_confidence-v{version}"
    assert file.read_bytes() == before


def test_a_recipe_selects_by_the_threshold_and_scores_nothing_again(home: Path, raw: dict[str, Any]) -> None:
    run = run_of(home)
    scores = {path: path.stat().st_mtime_ns for path in (home / "run" / "scores").rglob("*.parquet")}
    raw["select"] = {"require": {"token_confidence": FIRST}}
    outcome = select_again(run, raw)
    assert {path: path.stat().st_mtime_ns for path in (home / "run" / "scores").rglob("*.parquet")} == scores
    calibration = read_calibration(run, FIRST)
    assert calibration.all.kept is not None
    assert calibration.all.kept.keep_rate == pytest.approx(kept(run).height / 300, abs=1e-6)
    assert kept(run)["label"].mean() >= 0.9
    assert outcome.selection["calibrations"] == {FIRST: calibration.id}
    assert outcome.selection["warnings"] == []


def test_a_stack_is_required_ranked_and_kept_like_any_score(home: Path, raw: dict[str, Any]) -> None:
    stack = "calibration:stack-v1"
    raw["select"] = {
        "require": {"stack": stack},
        "best_of": stack,
        "keep_top": {stack: {"share": 0.5, "by": ["view", "length"]}},
    }
    dropped = select_again(run_of(home), raw).selection["dropped"]
    assert set(dropped) == {f"require:{stack}", f"keep_top:{stack}"}
    raw["select"] = {"require": {"stack": stack}}
    outcome = select_again(run_of(home), raw)
    found = read_calibration(run_of(home), stack).all.kept
    assert found is not None
    assert outcome.selection["kept"] == round(found.keep_rate * 300)


def test_a_changed_calibration_selects_again(home: Path, raw: dict[str, Any]) -> None:
    raw["select"] = {"require": {"token_confidence": FIRST}}
    before = select_again(run_of(home), raw).selection["kept"]
    made = calibrate_run(run_of(home), str(home / "labels.parquet"), 0.8, filter_name="token_confidence")
    shutil.copy(str(made.file), home / "run" / "calibrations" / "token_confidence-v1.json")
    assert select_again(run_of(home), raw).selection["kept"] != before


def test_another_prompt_or_model_is_warned_about_and_another_seed_is_not(
    home: Path, raw: dict[str, Any], first: tuple[Path, dict[str, Any]]
) -> None:
    select = {"require": {"token_confidence": FIRST}}
    raw["views"][0]["prompts"][0]["text"] = "What is in this picture?"
    other = Run(Storage(str(home / "other" / "run")))
    copy_calibrations(run_of(home), other)
    _, changed = captioned(home / "other", views=raw["views"], source={"kind": "demo", "scenes": 40, "seed": 3})
    outcome = select_again(other, changed | {"select": select})
    (warning,) = outcome.selection["warnings"]
    assert "the view 'detailed' has another prompt since" in warning
    assert f"warning  {warning}" in outcome.lines()
    assert "another prompt since" in (home / "other" / "run" / "report.html").read_text()
    reseeded = Recipe.model_validate(first[1] | {"seed": 6})
    assert read_calibration(other, FIRST).differences(captioner_of(reseeded, ready_views(reseeded))) == []


def test_the_report_has_the_plot_of_a_calibration_that_the_selection_uses(home: Path, raw: dict[str, Any]) -> None:
    page = home / "run" / "report.html"
    select_again(run_of(home), raw | {"select": {}})
    assert 'id="calibration"' not in page.read_text()
    select_again(run_of(home), raw | {"select": {"require": {"token_confidence": FIRST}}})
    drawn = page.read_text()
    assert f"<bdi>{FIRST}</bdi>" in drawn
    assert 'class="curve" points="' in drawn
    assert "target 90.0%" in drawn
    rewrite_report(run_of(home))
    assert 'class="curve" points="' in page.read_text()


def test_a_calibration_that_is_not_there_is_an_error_before_anything_starts(home: Path, raw: dict[str, Any]) -> None:
    raw["select"] = {"require": {"token_confidence": "calibration:faithful-v3"}}
    with pytest.raises(RunError, match=r"no such calibration .*calibration:token_confidence-v1.*factory calibrate"):
        make_plan(Recipe.model_validate(raw), run_of(home))


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ({"require": {"length": FIRST}}, "is about 'token_confidence'; write token_confidence: calibration"),
        ({"require": {"stack": FIRST}}, "is about 'token_confidence'"),
        (
            {"require": {"token_confidence": "calibration:stack-v1"}},
            "is about 'stack'; write stack: calibration:stack-v1",
        ),
    ],
)
def test_a_rule_about_another_score_than_the_calibration_is_an_error(
    home: Path, raw: dict[str, Any], select: dict[str, Any], words: str
) -> None:
    with pytest.raises(RunError, match=words):
        make_plan(Recipe.model_validate(raw | {"select": select}), run_of(home))


def test_a_calibration_of_a_filter_that_changed_or_left_is_an_error(home: Path, raw: dict[str, Any]) -> None:
    raw["select"] = {"require": {"token_confidence": FIRST}}
    raw["filters"] = [{"token_confidence": {"use": "min"}}]
    with pytest.raises(RunError, match="had other parameters"):
        make_plan(Recipe.model_validate(raw), run_of(home))
    raw["select"] = {"best_of": "calibration:stack-v1"}
    raw["filters"] = ["token_confidence"]
    with pytest.raises(RunError, match="reads the filter 'repetition', which is not among"):
        make_plan(Recipe.model_validate(raw), run_of(home))


def test_a_fresh_start_keeps_the_calibrations(home: Path) -> None:
    set_aside(run_of(home))
    assert sorted(path.name for path in (home / "run" / "calibrations").iterdir()) == [
        "stack-v1.json",
        "token_confidence-v1.json",
    ]
    assert not (home / "run" / "captions").exists()


def test_a_damaged_calibration_is_an_error_with_its_file(home: Path, raw: dict[str, Any]) -> None:
    file = home / "run" / "calibrations" / "token_confidence-v1.json"
    content = json.loads(file.read_text())
    raw["select"] = {"require": {"token_confidence": FIRST}}
    for damaged, words in ((json.dumps(content | {"threshold": 0.1}), "changed after"), ("{", "no calibration")):
        file.write_text(damaged)
        with pytest.raises(RunError, match=rf"token_confidence-v1\.json: .*{words}"):
            make_plan(Recipe.model_validate(raw), run_of(home))


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ({"require": {"length": "0.5"}}, "the least score is a number, or calibration:NAME-vN"),
        ({"require": {"length": "calibration:x"}}, "calibration:NAME-vN"),
        ({"require": {"length": "calibration:../x-v1"}}, "calibration:NAME-vN"),
        ({"require": {"length": True}}, "the least score is a number"),
        ({"require": {"length": 1.5}}, "between 0 and 1"),
        ({"require": {"stack": 0.5}}, "only a calibration says what a stack is"),
        ({"keep_top": {"length": 0}}, "greater than 0"),
        ({"keep_top": {"length": {"share": 0.5, "by": ["colour"]}}}, "'view' or 'length'"),
        ({"best_of": "lenth"}, "did you mean 'length'"),
    ],
)
def test_a_rule_that_is_none_is_a_recipe_error(raw: dict[str, Any], select: dict[str, Any], words: str) -> None:
    from factory.recipe import parse_recipe
    from factory.recipe.yaml_text import RecipeText

    with pytest.raises(RecipeError, match=words):
        parse_recipe(RecipeText("recipe.yaml", raw | {"select": select}))


# --- labels ------------------------------------------------------------------------------------------------------------


def labels_of(home: Path) -> pl.DataFrame:
    return pl.read_parquet(home / "labels.parquet")


def calibrated(home: Path, labels: pl.DataFrame, name: str = "other.parquet") -> Calibration:
    write = {".parquet": labels.write_parquet, ".csv": labels.write_csv, ".jsonl": labels.write_ndjson}
    write[Path(name).suffix](home / name)
    (made,) = calibrate_run(run_of(home), str(home / name), 0.9, filter_name="token_confidence").calibrations
    return made


@pytest.mark.parametrize("name", ["other.csv", "other.jsonl"])
def test_labels_of_every_form_say_the_same(home: Path, name: str) -> None:
    assert calibrated(home, labels_of(home), name).id == read_calibration(run_of(home), FIRST).id
    assert (
        calibrated(home, labels_of(home).select("label", "image_key"), name).id
        == read_calibration(run_of(home), FIRST).id
    )


def test_every_label_that_says_nothing_is_counted_with_its_reason(home: Path) -> None:
    rows = labels_of(home).cast({"candidate": pl.Int64})
    first = rows.head(1)
    labels = pl.concat(
        [
            rows,
            rows[1:4],  # repeated
            first.with_columns(~pl.col("label")),  # contradicted, with its first one
            rows[4:5].with_columns(image_key=pl.lit("elsewhere")),
            rows[4:5].with_columns(candidate=pl.lit(7, pl.Int64)),
            rows[4:5].with_columns(candidate=pl.lit(1 << 40)),
            rows[4:6].with_columns(label=None),
        ]
    )
    made = calibrated(home, labels)
    assert made.labels.set_aside == {"repeated": 3, "contradicted": 2, "no_such_caption": 3, "no_label": 2}
    assert made.labels.given == labels.height
    assert made.labels.used == rows.height - 1


def test_labels_of_captions_that_the_recipe_does_not_accept_are_set_aside(home: Path) -> None:
    plan = reopen(run_of(home))
    rows = labels_of(home).with_columns(status=pl.lit("ok"), token_confidence=pl.lit(0.5))
    captions = rows.with_columns(
        status=pl.when(pl.int_range(pl.len()) < 5).then(pl.lit("truncated")).otherwise("status")
    )
    _, aside = labelled_captions(plan, captions.drop("label").lazy(), labels_of(home))
    assert aside == {"not_accepted": 5}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.drop("label"), r"no column 'label'; it has 'image_key', 'view', 'candidate'"),
        (lambda rows: rows.rename({"image_key": "id"}), "no column 'image_key'"),
        (
            lambda rows: rows.with_columns(image_key=pl.lit("x") + pl.col("image_key")),
            "none of the 260 labels is about a caption",
        ),
        (lambda rows: rows.with_columns(view=pl.lit("other")), "none of the 260 labels is about a caption"),
        (lambda rows: rows.with_columns(candidate=pl.lit("a")), "'candidate' holds String"),
    ],
)
def test_labels_of_another_form_are_one_message(home: Path, change: Any, words: str) -> None:
    with pytest.raises(RunError, match=words):
        calibrated(home, change(labels_of(home)))


def test_labels_of_one_class_or_of_words_are_one_message(home: Path) -> None:
    with pytest.raises(FilterError, match=r"All .* usable labels say right"):
        calibrated(home, labels_of(home).filter("label"))
    with pytest.raises(FilterError, match="holds 'good'; a label is true or 1"):
        calibrated(home, labels_of(home).with_columns(label=pl.lit("good")))


def test_files_that_are_no_labels_are_one_message(home: Path) -> None:
    (home / "broken.parquet").write_bytes(b"PAR1 but not really")
    for name, words in (
        ("none.parquet", "no such file"),
        ("broken.parquet", "cannot be read"),
        ("x.docx", "not as '.docx'"),
    ):
        with pytest.raises(RunError, match=words):
            read_labels(str(home / name))
        arguments = ("--labels", home / name, "--target-precision", 0.9, "--stack")
        assert "error: " in fail("calibrate", home / "run", *arguments) if name == "none.parquet" else True


def test_an_unknown_filter_is_named_with_the_near_one(home: Path) -> None:
    with pytest.raises(RunError, match="did you mean 'token_confidence'"):
        calibrate_run(run_of(home), str(home / "labels.parquet"), 0.9, filter_name="token_confidense")


def test_columns_may_be_left_out_only_where_they_are_clear(tmp_path: Path) -> None:
    from tests.recipes import demo_recipe

    views = demo_recipe()["views"]
    views[0]["sampling"] = {"max_tokens": 96, "temperature": 0.7, "n": 2}
    run, _ = captioned(tmp_path, views=views, source={"kind": "demo", "scenes": 130, "seed": 3})
    labels = truth(run)
    labels.drop("candidate").write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(RunError, match="no column 'candidate', and the run has up to 2 an image"):
        calibrate_run(run, str(tmp_path / "labels.parquet"), 0.8, filter_name="token_confidence")
    labels.write_parquet(tmp_path / "labels.parquet")
    (made,) = calibrate_run(run, str(tmp_path / "labels.parquet"), 0.8, filter_name="token_confidence").calibrations
    assert made.labels.used == 130
    assert made.labels.set_aside == {"same_image_key": 130}
