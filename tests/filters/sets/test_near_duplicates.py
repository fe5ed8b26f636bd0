import random
from itertools import combinations

import polars as pl
import pytest

from filters import NearDuplicates, score
from filters.sets import near_duplicates

LONG = "a brown dog runs on the long wide sandy beach in the early light of a day"
NEAR = LONG.replace("a day", "a morning")  # 14 of 16 shingles in common
WORDS = [f"word{number}" for number in range(300)]


def keyed(*rows: tuple[str | None, ...]) -> pl.DataFrame:
    kinds = {"text": pl.String, "image_key": pl.String, "view": pl.String, "candidate": pl.Int64}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


def jaccard(a: str, b: str) -> float:
    return len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))


def edited(rng: random.Random, words: int, edits: int) -> list[str]:
    """A caption and one with so many of its words replaced."""
    text = rng.choices(WORDS, k=words)
    other = list(text)
    for at in rng.sample(range(words), edits):
        other[at] = rng.choice(WORDS)
    return [" ".join(text), " ".join(other)]


def test_the_first_of_a_cluster_scores_1_and_the_others_by_their_similarity() -> None:
    frame = keyed((LONG, "b", "v", 0), (NEAR, "a", "v", 0), ("a cat", "c", "v", 0), (LONG.upper(), "d", "v", 0))

    scores = NearDuplicates().score(frame)

    first = {"image_key": "a", "view": "v", "candidate": 0}
    assert scores.to_dict(as_series=False) == {
        "score": [0.0, 1.0, 1.0, 0.0],
        "cluster_size": [3, 3, 1, 3],
        "max_similarity": [1.0, 0.875, None, 1.0],
        "representative": [first, first, None, first],
    }


def test_the_example_of_the_page_is_true() -> None:
    assert score([LONG, NEAR], NearDuplicates())["near_duplicates"].to_list() == [1.0, 0.125]


def test_captions_of_one_image_can_be_looked_at_alone() -> None:
    frame = keyed((LONG, "a", "v", 0), (NEAR, "b", "v", 0), (NEAR, "a", "v", 1), (LONG, None, "v", 0))

    scores = NearDuplicates(within="image").score(frame)

    assert scores["score"].to_list() == [1.0, 1.0, 0.125, None]


def test_every_pair_it_calls_near_is_and_nearly_every_near_pair_is_found() -> None:
    rng = random.Random(5)
    pairs = [edited(rng, words=rng.randint(12, 60), edits=rng.randint(1, 3)) for _ in range(3000)]

    scores = score([text for pair in pairs for text in pair], NearDuplicates())

    found = scores["near_duplicates.max_similarity"].to_list()[::2]
    true = [jaccard(*pair) for pair in pairs]
    near = [similarity >= 0.8 for similarity in true]
    assert sum(near) > 500
    assert all(
        similarity is None or similarity == pytest.approx(real, abs=1e-6)
        for similarity, real in zip(found, true, strict=True)
    )
    assert not any(similarity is not None and not real for similarity, real in zip(found, near, strict=True))
    assert sum(similarity is not None for similarity in found) >= 0.97 * sum(near)


@pytest.mark.parametrize("limit", [0.5, 0.9, 1.0])
def test_the_limit_is_kept(limit: float) -> None:
    rng = random.Random(6)
    pairs = [edited(rng, words=40, edits=edits % 6) for edits in range(300)]

    scores = score([text for pair in pairs for text in pair], NearDuplicates(min_similarity=limit))

    found = {
        jaccard(*pair)
        for pair, size in zip(pairs, scores["near_duplicates.cluster_size"][::2], strict=True)
        if size > 1
    }
    assert found
    assert min(found) >= limit


def test_near_duplicates_of_near_duplicates_are_in_one_cluster() -> None:
    words = WORDS[:60]
    chain = [" ".join([*words[at:], *(f"new{number}" for number in range(at))]) for at in range(0, 30, 3)]
    assert jaccard(chain[0], chain[-1]) < 0.5

    scores = score(chain[::-1], NearDuplicates())

    assert scores["near_duplicates.cluster_size"].to_list() == [len(chain)] * len(chain)
    assert (scores["near_duplicates"] == 1.0).sum() == 1


def test_a_template_on_many_captions_is_one_cluster_at_a_bounded_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    together = near_duplicates._together

    def counted(shared):  # type: ignore[no-untyped-def]
        nonlocal compared
        pairs = together(shared)
        compared += len(pairs[0])
        return pairs

    monkeypatch.setattr(near_duplicates, "_together", counted)
    template = " ".join(WORDS[:40])
    texts = [f"{template} {number}" for number in range(2000)]

    scores = score(texts, NearDuplicates())

    assert scores["near_duplicates.cluster_size"].to_list() == [2000] * 2000
    assert compared <= 2000 * 16 * (near_duplicates.WINDOW + 1)
    assert compared < sum(1 for _ in combinations(range(2000), 2)) * 16


def test_a_caption_given_twice_is_no_duplicate_of_itself() -> None:
    frame = keyed(
        (LONG, "a", "v", 0), (LONG, "a", "v", 0), ("a cat", "b", "v", 0), ("a cat", "b", "v", 0), (NEAR, "c", "v", 0)
    )

    scores = NearDuplicates().score(frame)

    assert scores["score"].to_list() == [1.0, 1.0, 1.0, 1.0, 0.125]
    assert scores["cluster_size"].to_list() == [2, 2, 1, 1, 2]


def test_single_words_find_short_captions_that_differ_in_one() -> None:
    texts = [
        "a young man in red shorts jumps over the low fence",
        "a young man in blue shorts jumps over the low fence",
        "a young woman in blue trousers walks along the low fence",
    ]
    assert score(texts, NearDuplicates())["near_duplicates"].to_list() == [1.0, 1.0, 1.0]
    assert score(texts, NearDuplicates(shingle=1))["near_duplicates"].to_list() == [
        1.0,
        pytest.approx(2 / 12, abs=1e-6),
        1.0,
    ]
