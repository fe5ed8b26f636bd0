"""Two judges that answered the same questions are compared: kappa, and where they differ."""

from __future__ import annotations

import csv
from pathlib import Path

import polars as pl
import pytest

from exports.storage import Storage
from factory.errors import RunError
from factory.judging.agreement import Agreement, agree
from factory.runs import tables
from factory.runs.run import Run

Answers = list[tuple[str, float | None]]  # image key, P(yes); None: no answer


def write(run: Run, judge: str, part: str, answers: Answers, **columns: object) -> None:
    rows = [
        {
            "image_key": key,
            "question": "question",
            "asked": f"Is it {key}?",
            "filter": "vqa_faithfulness",
            "allowed": ["yes", "no"],
            "control": None,
            "values": None if yes is None else [0.9 * yes, 0.9 * (1 - yes)],
            "ends": [],
            "elsewhere": 0.1,
            "problem": "no answer" if yes is None else None,
            "created_ms": 1,
            **columns,
        }
        for key, yes in answers
    ]
    run.append(f"answers/{judge}", pl.DataFrame(rows, schema=tables.ANSWERS), f"{part}.made")
    run.write_json(f"answers/{judge}/judge.json", {"name": f"org/{judge}"})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The example of Wikipedia's page on kappa: 20 twice yes, 15 twice no, 5 and 10 differ; in two parts."""
    run = Run(Storage(str(tmp_path / "run")))
    verdicts = [(0.9, 0.8)] * 20 + [(0.7, 0.1)] * 5 + [(0.3, 0.6)] * 10 + [(0.1, 0.2)] * 15
    for part in range(2):
        mine = list(enumerate(verdicts))[part::2]
        write(run, "a", f"part-{part}", [(f"image-{number}", first) for number, (first, _) in mine])
        write(run, "b", f"part-{part}", [(f"image-{number}", second) for number, (_, second) in mine])
    return run


def test_kappa_is_agreement_beyond_chance(run: Run) -> None:
    (found,) = agree(run)

    assert found.judges == ("org/a", "org/b")
    assert (found.both_yes, found.only_first, found.only_second, found.both_no) == (20, 5, 10, 15)
    assert found.agreement == pytest.approx(0.7)
    assert found.yes_rates == pytest.approx((0.5, 0.6))
    assert found.kappa == pytest.approx(0.4)


def test_answers_that_only_one_judge_has_and_controls_do_not_count(run: Run) -> None:
    write(run, "a", "part-2", [("other", 0.9), ("unanswered", 0.9), ("control", 0.9)])
    write(run, "b", "part-2", [("unanswered", None), ("third", 0.9)])
    write(run, "b", "part-3", [("other", 0.1)])
    write(run, "a", "part-4", [("control", 0.9)], control="shuffled")
    write(run, "b", "part-4", [("control", 0.1)], control="shuffled")
    write(run, "a", "part-5", [("pair", 0.9)], allowed=["1", "2"])
    write(run, "b", "part-5", [("pair", 0.1)], allowed=["1", "2"])

    (found,) = agree(run)

    assert found.answers == 50


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_difference_is_in_the_table(run: Run, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"differ.{suffix}"

    (found,) = agree(run, str(out))

    rows = list(csv.DictReader(out.open())) if suffix == "csv" else pl.read_parquet(out).to_dicts()
    assert {row["image_key"] for row in rows} == {f"image-{number}" for number in range(20, 35)}
    assert {(row["judge_1"], row["judge_2"]) for row in rows} == {("org/a", "org/b")}
    assert rows[0]["asked"] == f"Is it {rows[0]['image_key']}?"
    assert len(found.examples) == 10
    assert found.examples[0][0] == pytest.approx(0.6)
    assert not list(tmp_path.glob("*.part"))


def test_judges_that_always_say_the_same_have_no_kappa() -> None:
    assert Agreement(("a", "b"), both_yes=5).kappa is None
    assert Agreement(("a", "b"), both_yes=5, both_no=5).kappa == 1.0
    assert Agreement(("a", "b"), only_first=5, only_second=5).kappa == -1.0


def test_one_judge_alone_is_told_how_to_get_another(tmp_path: Path) -> None:
    run = Run(Storage(str(tmp_path)))
    write(run, "a", "part-0", [("image", 0.9)])

    with pytest.raises(RunError, match=r"no two judges .*org/a.*Run the recipe again"):
        agree(run, str(tmp_path / "differ.csv"))
    assert not list(tmp_path.glob("differ*"))


def test_a_table_of_another_kind_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"\.csv or \.parquet"):
        agree(run, str(tmp_path / "differ.xlsx"))
    with pytest.raises(RunError, match="cannot be written"):
        agree(run, str(tmp_path / "missing" / "differ.csv"))


def test_answers_of_before_there_was_a_column_are_still_read(run: Run) -> None:
    """They have no `allowed`, so nobody knows whether they are yes or no, and they are left out."""
    old = tables.ANSWERS.to_frame().drop("filter", "allowed")
    for judge in ("a", "b"):
        run.append(f"answers/{judge}", old, "part-9.made")

    assert agree(run)[0].answers == 50
    assert run.answers("a", "part-9").schema == tables.ANSWERS
