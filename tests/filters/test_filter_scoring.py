import doctest
import subprocess
import sys
from typing import ClassVar

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import filters
from filters import Filter, FilterError, Length, Refusal, Repetition, TokenConfidence, score, scoring

TEXTS = ["a dog on a beach", "a dog on a beach a dog on a beach a dog on a beach", None]


def test_a_list_of_strings_becomes_the_text_column() -> None:
    assert score(TEXTS, [Repetition()]).to_dict(as_series=False) == {
        "text": TEXTS,
        "repetition": [1.0, 0.0, None],
        "repetition.duplicate_4grams": [0.0, pytest.approx(2 / 3), None],
        "repetition.duplicate_sentences": [0.0, 0.0, None],
        "repetition.loops": [False, True, None],
    }


def test_a_frame_keeps_its_columns() -> None:
    frame = pl.DataFrame({"image_key": ["a", "b", "c"], "text": TEXTS})

    scored = score(frame, [Length(), Repetition()])

    assert_frame_equal(scored.select(frame.columns), frame)
    assert scored.columns[2:5] == ["length", "length.words", "length.chars"]
    assert scored.columns[5] == "repetition"


def test_a_dataset_keeps_its_columns_order_and_bytes() -> None:
    datasets = pytest.importorskip("datasets")
    image = {"bytes": b"not even an image", "path": None}
    features = datasets.Features({"text": datasets.Value("string"), "image": datasets.Image()})
    dataset = datasets.Dataset.from_dict({"text": TEXTS, "image": [image] * 3}, features=features)

    scored = score(dataset.select([1, 0]), [Repetition()])

    assert scored["text"].to_list() == [TEXTS[1], TEXTS[0]]
    assert scored["image"].to_list() == [image, image]
    assert scored["repetition"].to_list() == [0.0, 1.0]


def test_one_filter_needs_no_list() -> None:
    assert_frame_equal(score(TEXTS, Length()), score(TEXTS, [Length()]))


def test_no_filters_add_no_columns() -> None:
    assert score(["a dog"], []).columns == ["text"]


def test_no_captions_give_no_rows() -> None:
    assert score([], [Length(), TokenConfidence()]).height == 0


def test_scores_do_not_depend_on_where_a_batch_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{text} {number}" for number in range(7) for text in TEXTS]
    whole = score(texts, [Length(), Repetition(), Refusal()])

    monkeypatch.setattr(scoring, "BATCH_ROWS", 2)

    assert_frame_equal(score(texts, [Length(), Repetition(), Refusal()]), whole)


def test_a_missing_column_is_named_with_the_ones_found() -> None:
    with pytest.raises(FilterError, match="length needs the column 'text'; the captions have 'url', 'caption'"):
        score(pl.DataFrame({"url": ["u"], "caption": ["a dog"]}), [Length()])


def test_a_list_with_something_else_than_strings_is_refused_by_position() -> None:
    with pytest.raises(FilterError, match="Caption 1 is int, not a string: 3"):
        score(["a dog", 3], [Length()])  # type: ignore[list-item]


def test_broken_unicode_is_refused() -> None:
    with pytest.raises(FilterError, match="no valid Unicode"):
        score(["a dog \ud800"], [Length()])


@pytest.mark.parametrize("captions", ["a dog", {"text": ["a dog"]}, pl.LazyFrame({"text": ["a dog"]}), None])
def test_other_containers_are_refused_with_what_to_do(captions: object) -> None:
    with pytest.raises(FilterError, match=f"not as {type(captions).__name__}.*Collect a LazyFrame"):
        score(captions, [Length()])  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [[Length], ["length"]])
def test_what_is_no_filter_is_refused(wanted: list[object]) -> None:
    with pytest.raises(FilterError, match="is no filter; pass an instance"):
        score(["a dog"], wanted)  # type: ignore[arg-type]


def test_a_column_is_never_overwritten() -> None:
    with pytest.raises(FilterError, match="'length' is there already"):
        score(score(["a dog"], [Length()]), [Length()])
    with pytest.raises(FilterError, match="'length' is there already"):
        score(["a dog"], [Length(), Length(min_words=5)])


class Broken(Filter):
    """Gives whatever frame it is told to."""

    name: ClassVar[str] = "broken"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    gives: tuple[float, ...] = ()
    column: str = "score"

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({self.column: self.gives}, schema={self.column: pl.Float64})


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (Broken(gives=(1.0,)), "'broken' gave 1 rows for 2 captions"),
        (Broken(gives=(1.0, 1.5)), "'broken' gave scores outside"),
        (Broken(gives=(1.0, float("nan"))), "'broken' gave scores outside"),
        (Broken(gives=(1.0, 1.0), column="points"), "'broken' gave the columns .*points"),
    ],
)
def test_a_filter_that_breaks_its_contract_is_named(broken: Filter, problem: str) -> None:
    with pytest.raises(FilterError, match=problem):
        score(["a dog", "a cat"], [broken])


def test_importing_filters_imports_nothing_heavy() -> None:
    script = "import sys, filters; print(*{name.partition('.')[0] for name in sys.modules})"

    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert not {"torch", "datasets", "ray", "transformers", "vllm", "pandas", "pyarrow"} & set(run.stdout.split())


def test_the_example_of_the_package_is_true() -> None:
    assert doctest.testmod(filters) == (0, 3)
