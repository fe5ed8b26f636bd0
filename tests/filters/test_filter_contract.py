"""What every registered filter promises, whatever it looks for."""

import json
import re
import subprocess
import sys
import unicodedata
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from filters import Filter, FilterError, SetFilter, build, registered
from filters.asking.questions import Question, VlmFilter, questions_of
from filters.contract.answers import ANSWERS
from filters.contract.filter import COLUMNS
from filters.contract.sentence_columns import SENTENCE_LOGPROBS
from filters.sets import spill
from filters.wording.sentences import sentences
from tests.pictures import encoded, gif_bomb, jpeg_declaring, picture, png_bomb, samples, webp_bomb

ODD_TEXTS: list[str | None] = [
    "a dog on a beach",
    None,
    "",
    " ",
    "\n",
    "\x00",
    "a\x00b\x00c",
    "🐕‍🦺🏖️👨‍👩‍👧‍👦",
    "كلب على الشاطئ",
    "שלום! a dog. שלום!",
    unicodedata.normalize("NFD", "Ça déjà vu à la plage"),
    "e" + "\u0301" * 300,
    "海辺の犬。海辺の犬。海辺の犬。",
    "\u202e\u200b\ufeff\ufffd",
    "\r\n\t\v\f\u2028",
    "I’m sorry, but I can’t help with that.",
    "A man on a bench. As an AI language model, I cannot see this man.",
    "the dog that runs on a wide street and the dog that runs on a narrow one are both brown and very much alike",
    'Assistant: {"caption": "a dog"} <image>',
    "a dog. " * 40,
    "Okay, let me describe it. **Step 1:** a dog at [12, 30, 400, 210], highlighted with a red box",
    "The image appears to show jane.doe@example.org, +49 30 1234567, 4111 1111 1111 1111 and 192.168.1.17",
    "CLICK HERE: royalty-free stock photo IMG_2034.JPG © 2015 all rights reserved",
    "Ein Hund läuft über den breiten Strand und bellt die Wellen an",
    "." * 500,
    '"' * 501,
    "x" * 1_000_000,
    "a dog runs. " * 80_000,
]


def _images() -> list[bytes | None]:
    whole = encoded(picture(), "JPEG", quality=95)
    odd = [
        None,
        b"",
        b"\x00",
        b"not an image",
        b"\xff\xd8\xff",
        bytes(range(256)) * 8,
        whole[: len(whole) // 2],
        whole + b"x" * 99,
    ]
    bombs = [png_bomb(), webp_bomb(), gif_bomb(), jpeg_declaring(60_000, 60_000), jpeg_declaring(200, 200, scans=500)]
    return [*odd, *bombs, *samples().values(), encoded(picture(1, 1), "PNG"), encoded(picture(3, 900), "PNG")]


ODD_IMAGES = _images()


def captions(texts: list[str | None]) -> pl.DataFrame:
    """A frame with every column of the contract, its values a function of the text alone."""
    size = pl.col("text").str.len_bytes().cast(pl.Int64)
    images = [ODD_IMAGES[len((text or "").encode()) % len(ODD_IMAGES)] for text in texts]
    return pl.DataFrame({"text": texts, "image": images}, schema={"text": pl.String, "image": pl.Binary}).select(
        "text",
        "image",
        finish_reason=pl.when(size % 3 == 0).then(pl.lit("length")).when(size % 3 == 1).then(pl.lit("stop")),
        prompt=pl.when(size % 5 != 0).then(pl.lit("Describe the dog that runs on a wide beach.")),
        output_tokens=size % 7,
        max_tokens=pl.lit(5, pl.Int64),
        mean_logprob=-(size % 11) / 10,
        min_logprob=pl.when(size % 4 != 0).then(-(size % 13).cast(pl.Float64)),
        inputs=pl.when(size % 5 != 1).then(pl.lit("alt-text: a dog on a wide beach")),
        sentence_logprobs=pl.Series([_logprobs(text) for text in texts], dtype=SENTENCE_LOGPROBS),
        references=pl.lit(["A dog on a wide beach.", "A brown dog runs on sand."], dtype=pl.List(pl.String)),
        answers=pl.Series([answers(text) for text in texts], dtype=ANSWERS),
        image_key=pl.lit("image"),
        view=pl.lit("self"),
        candidate=pl.lit(0, pl.Int64),
    )


def names(of_sets: bool) -> list[str]:
    return [name for name, kind in registered().items() if issubclass(kind, SetFilter) is of_sets]


ASKING = [build(name, {}) for name, kind in registered().items() if issubclass(kind, VlmFilter)]


@lru_cache
def answers(text: str | None) -> list[dict[str, object]] | None:
    """An answer to every question about a text, a function of the question alone; some questions have none."""
    if text is None:
        return None
    about = [(one, text, ()) for one in ASKING if isinstance(one, VlmFilter)]
    made: dict[str, dict[str, object]] = {}
    while asked := questions_of(about, made):
        made |= {question.id: _answer(question) for question in asked}
    return list(made.values())


def _answer(question: Question) -> dict[str, object]:
    number = int(question.id, 16)
    if number % 10 == 0:
        return {"question": question.id, "problem": "no answer within 10 s"}
    known: dict[str, object] = {"question": question.id, "problem": None, "elsewhere": None}
    if question.kind == "open":
        return known | {"values": [], "ends": [], "said": "[]"}
    if question.kind == "choice":
        share = (number % 101) / 100
        values = [share * 0.9, *[(1 - share) * 0.9 / (len(question.allowed) - 1)] * (len(question.allowed) - 1)]
        return known | {"values": values, "ends": [], "elsewhere": 0.1}
    ends = list(range(7, len(question.text), max(7, len(question.text) // 500)))
    return known | {"values": [-(end % 5) / 2 for end in ends], "ends": ends}


@lru_cache
def _logprobs(text: str | None) -> list[dict[str, float]] | None:
    if text is None or len(text) % 4 == 0:
        return None
    return [{"start": one.start, "end": one.end, "mean": -0.5, "min": -1.5} for one in sentences(text)[:100]]


every_filter = pytest.mark.parametrize("caption_filter", list(registered()), indirect=True)
every_row_filter = pytest.mark.parametrize("caption_filter", names(of_sets=False), indirect=True)
every_set_filter = pytest.mark.parametrize("caption_filter", names(of_sets=True), indirect=True)


def score_set(caption_filter: SetFilter, batches: list[pl.DataFrame], scratch: Path) -> list[pl.DataFrame]:
    """Scores batch by batch, from a folder that holds nothing after."""
    scores = list(caption_filter.score_set(lambda: iter(batches), scratch))
    assert not [path for path in scratch.rglob("*") if path.is_file()]
    return scores


def reads_order(caption_filter: Filter) -> bool:
    return isinstance(caption_filter, SetFilter) and caption_filter.ordered


@pytest.fixture
def caption_filter(request: pytest.FixtureRequest, models: dict[str, str]) -> Filter:
    """The filter of that name, with a small model where it takes one."""
    params: dict[str, object] = {"model": models[request.param]} if request.param in models else {}
    return build(request.param, params | ({"batch_size": 2} if request.param == "alignment" else {}))


def frame_for(caption_filter: Filter, texts: list[str | None]) -> pl.DataFrame:
    """As little as the filter needs: the texts, and one image where it is an image filter."""
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    if "answers" in caption_filter.needs:
        return frame.with_columns(answers=pl.Series([answers(text) for text in texts], dtype=ANSWERS))
    if "image" not in caption_filter.needs:
        return frame
    return frame.with_columns(image=pl.lit(encoded(picture(), "PNG")))


@every_filter
def test_returns_the_promised_columns_and_one_row_per_caption(caption_filter: Filter) -> None:
    scores = caption_filter.score(captions(ODD_TEXTS))

    assert scores.schema == pl.Schema({"score": pl.Float64(), **caption_filter.evidence})
    assert scores.height == len(ODD_TEXTS)


@every_filter
def test_scores_lie_between_0_and_1_or_are_null(caption_filter: Filter) -> None:
    score = caption_filter.score(captions(ODD_TEXTS))["score"]

    assert score.is_between(0.0, 1.0).drop_nulls().all()
    assert score.is_not_null().any() or reads_order(caption_filter)  # these texts are in no order


@every_filter
def test_scores_the_same_twice(caption_filter: Filter) -> None:
    frame = captions(ODD_TEXTS)

    assert_frame_equal(caption_filter.score(frame), caption_filter.score(frame), check_exact=True)


def test_scores_the_same_in_another_process(models: dict[str, str]) -> None:
    script = (
        "import json, sys; import polars as pl; from filters import build, registered\n"
        "models = json.loads(sys.argv[1])\n"
        "params = lambda name: {'model': models[name]} if name in models else {}\n"
        "from tests.pictures import encoded, picture\n"
        "frame = pl.DataFrame({'text': ['a dog runs by. a dog runs by.', 'a b c d a b c d', 'Answer: \"yes\"']})\n"
        "from tests.filters.test_filter_contract import ANSWERS, answers\n"
        "frame = frame.with_columns(image=pl.lit(encoded(picture(), 'PNG')))\n"
        "frame = frame.with_columns(pl.Series('answers', [answers(text) for text in frame['text']], dtype=ANSWERS))\n"
        "print(json.dumps([build(name, params(name)).score(frame)['score'].to_list() for name in registered()]))"
    )

    first, second = (
        subprocess.run(
            [sys.executable, "-c", script, json.dumps(models)], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    )

    assert first == second


@every_filter
def test_a_score_does_not_depend_on_the_order_of_rows(caption_filter: Filter) -> None:
    if reads_order(caption_filter):
        pytest.skip("the order of the rows is what it judges by")
    frame = captions(ODD_TEXTS * 2).with_row_index("position")
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=7)

    scores = caption_filter.score(frame.drop("position"))
    shuffled_scores = caption_filter.score(shuffled.drop("position"))

    assert_frame_equal(shuffled_scores, scores[shuffled["position"]], check_exact=True)


@every_row_filter
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(texts=ODD_TEXTS[:-2])
@given(texts=st.lists(st.none() | st.text(max_size=40) | st.sampled_from(ODD_TEXTS[:-2]), max_size=8))
def test_a_score_does_not_depend_on_the_other_rows(caption_filter: Filter, texts: list[str | None]) -> None:
    frame = captions(texts)

    together = caption_filter.score(frame)

    assert together.height == len(texts)
    for position in range(len(texts)):
        assert_frame_equal(caption_filter.score(frame[position]), together[position], check_exact=True)


@every_set_filter
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.none() | st.text(max_size=40) | st.sampled_from(ODD_TEXTS[:-2]), max_size=12),
    cuts=st.lists(st.integers(0, 12), max_size=4),
)
def test_a_score_does_not_depend_on_batches(
    caption_filter: SetFilter, texts: list[str | None], cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame = captions(texts)
    ends = sorted([0, *(min(cut, frame.height) for cut in cuts), frame.height])
    batches = [frame[start:end] for start, end in pairwise(ends)]

    scores = score_set(caption_filter, batches, tmp_path_factory.mktemp("scratch"))

    assert [part.height for part in scores] == [batch.height for batch in batches]
    assert_frame_equal(pl.concat(scores), caption_filter.score(frame), check_exact=True)


@every_set_filter
def test_a_score_does_not_depend_on_what_fits_in_memory(
    caption_filter: SetFilter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = captions([f"{text} {number % 9}" for number in range(12) for text in ODD_TEXTS[:-2]])
    in_memory = caption_filter.score(frame)

    monkeypatch.setattr(spill, "BUFFER_BYTES", 20_000)
    monkeypatch.setattr(spill, "BLOCK_ROWS", 50)
    on_disk = score_set(caption_filter, list(frame.iter_slices(100)), tmp_path)

    assert_frame_equal(pl.concat(on_disk), in_memory, check_exact=True)


@every_set_filter
def test_no_batches_give_none_back(caption_filter: SetFilter, tmp_path: Path) -> None:
    assert score_set(caption_filter, [], tmp_path) == []


@every_filter
def test_leaves_the_captions_as_they_were(caption_filter: Filter) -> None:
    frame = captions(ODD_TEXTS)

    caption_filter.score(frame)

    assert_frame_equal(frame, captions(ODD_TEXTS), check_exact=True)


@every_filter
@pytest.mark.parametrize(
    "empty", [captions([]), pl.DataFrame({"text": [], "image": [], "answers": []})], ids=["typed", "untyped"]
)
def test_no_captions_give_no_scores(caption_filter: Filter, empty: pl.DataFrame) -> None:
    scores = caption_filter.score(empty)

    assert scores.schema == pl.Schema({"score": pl.Float64(), **caption_filter.evidence})
    assert scores.is_empty()


@every_filter
def test_captions_without_text_have_no_score_where_text_is_needed(caption_filter: Filter) -> None:
    frame = frame_for(caption_filter, [None, None])

    scores = caption_filter.score(frame)

    if "text" in caption_filter.needs:
        assert scores["score"].to_list() == [None, None]
    assert scores.height == 2


@every_filter
def test_rows_without_an_image_have_no_score_where_one_is_needed(caption_filter: Filter) -> None:
    frame = captions(["a dog", 'a sign that says "stop"']).with_columns(image=pl.lit(None, pl.Binary))

    scores = caption_filter.score(frame)

    if "image" in caption_filter.needs:
        assert scores["score"].to_list() == [None, None]
    assert scores.height == 2


@every_filter
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([data for data in ODD_IMAGES if data]),
    cut=st.integers(0, 4000),
    at=st.integers(0, 4000),
    noise=st.binary(max_size=16),
)
def test_an_image_may_be_anything(caption_filter: Filter, start: bytes, cut: int, at: int, noise: bytes) -> None:
    data = start[:at] + noise + start[at + len(noise) : max(at + len(noise), len(start) - cut)]

    scores = caption_filter.score(captions(['a sign that says "stop"']).with_columns(image=pl.lit(data)))

    assert scores.height == 1


@every_filter
def test_text_and_image_are_all_that_a_filter_may_require_of_captions_from_elsewhere(caption_filter: Filter) -> None:
    assert caption_filter.score(frame_for(caption_filter, ["a dog on a beach"])).height == 1


@every_filter
def test_a_missing_column_is_named_with_the_ones_found(caption_filter: Filter) -> None:
    for needed in caption_filter.needs:
        with pytest.raises(FilterError, match=rf"{caption_filter.name} needs the column '{needed}'.*'caption'"):
            caption_filter.score(captions(["a dog"]).drop(needed).with_columns(caption=pl.lit("a dog")))


@every_filter
def test_a_column_of_another_type_is_named(caption_filter: Filter) -> None:
    for column in (*caption_filter.needs, *caption_filter.uses):
        value, kind = (1.5, "Float64") if column == "image" else (b"a dog", "Binary")
        wrong = captions(["a dog"]).with_columns(pl.lit(value).alias(column))
        with pytest.raises(FilterError, match=f"{caption_filter.name}: the column '{column}' holds {kind}"):
            caption_filter.score(wrong)


@every_filter
def test_columns_of_a_convertible_type_are_converted(caption_filter: Filter) -> None:
    frame = captions(["a dog on a beach", None, "Answer: yes"])
    narrow = frame.with_columns(
        pl.col("text").cast(pl.Categorical),
        pl.col("output_tokens", "max_tokens").cast(pl.UInt16),
        pl.col("mean_logprob", "min_logprob").cast(pl.Float32).cast(pl.Float64).cast(pl.Float32),
    )

    assert_frame_equal(caption_filter.score(narrow), caption_filter.score(frame), check_exact=False)


@every_filter
def test_describes_itself(caption_filter: Filter) -> None:
    kind = type(caption_filter)

    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", kind.name)
    assert kind.version >= 1
    assert set(kind.needs) | set(kind.uses) <= set(COLUMNS)
    assert "score" not in kind.evidence
    assert kind.summary().endswith(".")
    assert all(part in (kind.__doc__ or "") for part in ("**Finds**", "**Scores**", "**Defaults.**", "**Example.**"))
    assert "**Takes**" in (kind.__doc__ or "") or not issubclass(kind, SetFilter)
    assert all(field.description for field in kind.model_fields.values())


@every_filter
def test_parameters_cannot_be_changed_after_the_fact(caption_filter: Filter) -> None:
    for field in type(caption_filter).model_fields:
        with pytest.raises(ValueError, match="frozen"):
            setattr(caption_filter, field, 1)
