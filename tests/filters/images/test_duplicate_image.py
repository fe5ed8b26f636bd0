import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from factory.demo.source_row import source_row
from filters import DuplicateImage, FilterError
from filters.images.hash_neighbours import close_pairs
from filters.images.pixels import decode
from tests.pictures import encoded

hashes = st.integers(0, 2**64 - 1)


@given(
    known=st.lists(hashes, max_size=40, unique=True),
    turned=st.lists(st.tuples(st.integers(0, 39), st.sets(st.integers(0, 63), max_size=12)), max_size=20),
    bits=st.integers(0, 12),
)
def test_close_pairs_are_all_pairs_within_the_distance(known: list[int], turned: list, bits: int) -> None:
    near = [known[at % len(known)] ^ sum(1 << bit for bit in some) for at, some in turned if known]
    values = sorted({*known, *near})

    first, second, distance = close_pairs(np.array(values, dtype=np.uint64), bits)

    assert dict(zip(zip(first.tolist(), second.tolist(), strict=True), distance.tolist(), strict=True)) == {
        (one, two): (values[one] ^ values[two]).bit_count()
        for two in range(len(values))
        for one in range(two)
        if (values[one] ^ values[two]).bit_count() <= bits
    }


def test_close_pairs_are_found_among_many() -> None:
    rng = np.random.default_rng(0)
    many = rng.integers(0, 2**64, 200_000, dtype=np.uint64)
    many[1000:1100] = many[:100] ^ np.uint64(0b1000010000100001 << 20)

    first, second, distance = close_pairs(many, 4)

    assert {*zip(first.tolist(), second.tolist(), strict=True)} >= {(at, at + 1000) for at in range(100)}
    assert set(distance.tolist()) == {4}


def large(index: int) -> Image.Image:
    return decode(source_row(9, index).image).resize((320, 320), Image.Resampling.BICUBIC)


def photos() -> dict[str, bytes]:
    """Two scenes with copies of the first: as a thumbnail, recoded, and brighter."""
    return {
        "a-thumbnail": encoded(large(0).resize((160, 160)), "JPEG", quality=90),
        "b-whole": encoded(large(0), "PNG"),
        "c-recoded": encoded(large(0), "JPEG", quality=70),
        "d-brighter": encoded(ImageEnhance.Brightness(large(0)).enhance(0.97), "PNG"),
        "e-other": encoded(large(1), "PNG"),
    }


def scores_of(rows: list[tuple[str, bytes | None]], tmp_path: Path, size: int = 2, **params: object) -> pl.DataFrame:
    frame = pl.DataFrame(rows, {"image_key": pl.String, "image": pl.Binary}, orient="row")

    def batches() -> Iterator[pl.DataFrame]:
        return frame.iter_slices(size)

    scored = list(DuplicateImage(**params).score_set(batches, tmp_path))
    assert [part.height for part in scored] == [part.height for part in batches()]
    return pl.concat([frame.select("image_key"), pl.concat(scored)], how="horizontal")


def test_the_largest_copy_stays_and_the_others_name_it(tmp_path: Path) -> None:
    scores = scores_of([*photos().items()], tmp_path)

    assert dict(scores.select("image_key", "score").iter_rows()) == {
        "a-thumbnail": 0.0, "b-whole": 1.0, "c-recoded": 0.0, "d-brighter": 0.0, "e-other": 1.0,
    }  # fmt: skip
    assert set(scores.filter(score=0.0)["duplicate_of"]) == {"b-whole"}
    assert scores.filter(score=0.0)["distance"].max() <= 4
    assert scores.filter(score=1.0)["duplicate_of"].null_count() == 2


def test_neither_the_order_of_rows_nor_the_batches_matter(tmp_path: Path) -> None:
    rows = [*photos().items()]
    known = scores_of(rows, tmp_path).sort("image_key")

    for seed in range(4):
        random.Random(seed).shuffle(rows)
        assert scores_of(rows, tmp_path, size=seed + 1).sort("image_key").equals(known)


def test_rows_of_one_image_are_no_duplicates_of_each_other(tmp_path: Path) -> None:
    one = photos()["b-whole"]

    assert scores_of([("a", one), ("a", one), ("a", one)], tmp_path)["score"].to_list() == [1.0] * 3


def test_what_is_like_a_duplicate_alone_stays() -> None:
    """One, two and three in a row, each 4 bits further: the third is 8 bits from the one that stays."""
    hashed = pl.DataFrame(
        {"image_key": ["a", "b", "c"], "phash": [0, 0b1111, 0b1111_1111], "pixels": [3, 2, 1], "reason": [None] * 3},
        schema_overrides={"phash": pl.UInt64, "reason": pl.String},
    )

    decided = DuplicateImage()._decided(hashed, lambda: iter(()))

    assert decided["score"].to_list() == [1.0, 0.0, 1.0]
    assert decided["duplicate_of"].to_list() == [None, "a", None]


def test_images_without_a_hash_have_no_score(tmp_path: Path) -> None:
    flat = encoded(Image.new("RGB", (90, 90), "white"), "PNG")

    scores = scores_of([("a", flat), ("b", flat), ("c", b"a dog"), ("d", None)], tmp_path)

    assert scores["score"].to_list() == [None] * 4
    assert scores["reason"].to_list() == ["flat", "flat", "unknown_format", None]


def test_candidates_are_duplicates_where_the_model_says_so(tmp_path: Path, models: dict[str, str]) -> None:
    whole = large(0)
    cut = whole.crop((40, 10, 310, 300))  # 8 bits off
    rows = [("whole", encoded(whole, "PNG")), ("cut", encoded(cut, "PNG"))]

    alone = scores_of(rows, tmp_path)
    confirmed = scores_of(rows, tmp_path, min_cosine=-1.0, model=models["alignment"])
    refused = scores_of(rows, tmp_path, min_cosine=1.0, model=models["alignment"])

    assert alone["score"].to_list() == [1.0, 1.0]
    assert confirmed["score"].to_list() == [1.0, 0.0]
    assert confirmed.row(1)[2:4] == ("whole", 8)
    assert -1 <= confirmed["cosine"][1] < 1
    assert refused["score"].to_list() == [1.0, 1.0]


def test_missing_columns_are_named(tmp_path: Path) -> None:
    frame = pl.DataFrame({"image_key": ["a"]})

    with pytest.raises(
        FilterError, match="needs the column 'image' with the bytes of each image file; the captions have 'image_key'"
    ):
        list(DuplicateImage().score_set(lambda: iter([frame]), tmp_path))


def test_distances_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="must not be below"):
        DuplicateImage(max_distance=6, max_candidate_distance=5)
