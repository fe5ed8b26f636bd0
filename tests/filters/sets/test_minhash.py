from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.sets import minhash
from filters.sets.clusters import Clusters
from filters.sets.shingle_sets import ShingleSets


def sets_of(*texts: str) -> list[set[int]]:
    flat, sizes = minhash.shingles(pl.Series(texts, dtype=pl.String))
    return [set(part.tolist()) for part in np.split(flat, np.cumsum(sizes)[:-1])]


def similarity(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)


def python_shingles(text: str) -> set[str]:
    words = text.split()
    return {" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=8).map(" ".join), min_size=2, max_size=6))
def test_shingles_are_the_sets_of_three_words(texts: list[str]) -> None:
    expected = [python_shingles(text) for text in texts]

    found = sets_of(*texts)

    assert [len(one) for one in found] == [len(one) for one in expected]
    assert [[a == b for b in found] for a in found] == [[a == b for b in expected] for a in expected]
    assert [[len(a & b) for b in found] for a in found] == [[len(a & b) for b in expected] for a in expected]


def test_case_and_punctuation_make_no_other_shingles() -> None:
    plain, loud = sets_of("a dog runs by", '"A DOG, runs -- by!"')

    assert plain == loud


def test_no_texts_have_no_shingles() -> None:
    flat, sizes = minhash.shingles(pl.Series([], dtype=pl.String))

    assert flat.size == sizes.size == 0
    assert minhash.bands(minhash.signatures(flat, sizes)).shape == (minhash.BANDS, 0)


def pairs_of_sets(shared: int, own: int, pairs: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Random sets, two and two with so many members in common; and the Jaccard similarity of each two."""
    rng = np.random.default_rng(1)
    members = rng.integers(2**32, size=(pairs, shared + 2 * own), dtype=np.uint64).astype(np.uint32)
    flat = np.concatenate([members[:, : shared + own], members[:, own:]], axis=1).ravel()
    return flat, np.full(2 * pairs, shared + own), shared / (shared + 2 * own)


@pytest.mark.parametrize(("shared", "own"), [(6, 14), (20, 10), (40, 5), (300, 100)])
def test_signatures_estimate_the_similarity_within_the_standard_error(shared: int, own: int) -> None:
    flat, sizes, true = pairs_of_sets(shared, own, 2000)

    signed = minhash.signatures(flat, sizes)
    estimates = (signed[:, ::2] == signed[:, 1::2]).mean(axis=0)

    assert estimates.mean() == pytest.approx(true, abs=0.01)
    assert estimates.std() < 1.2 * np.sqrt(true * (1 - true) / minhash.PERMUTATIONS)


@pytest.mark.parametrize(("shared", "own", "low", "high"), [(8, 4, 0, 0.12), (16, 2, 0.93, 1), (36, 2, 0.998, 1)])
def test_bands_are_shared_as_often_as_promised(shared: int, own: int, low: float, high: float) -> None:
    flat, sizes, _ = pairs_of_sets(shared, own, 3000)

    bands = minhash.bands(minhash.signatures(flat, sizes))

    assert low <= (bands[:, ::2] == bands[:, 1::2]).any(axis=0).mean() <= high


@pytest.mark.parametrize(("shared", "own", "low", "high"), [(10, 10, 0, 0.03), (16, 2, 0.999, 1), (10, 0, 1, 1)])
def test_sketches_tell_near_sets_from_others(shared: int, own: int, low: float, high: float) -> None:
    flat, sizes, _ = pairs_of_sets(shared, own, 3000)

    sketches = minhash.sketches(minhash.signatures(flat, sizes))
    agreement = minhash.PERMUTATIONS - np.bitwise_count(sketches[::2] ^ sketches[1::2]).sum(axis=1)

    assert low <= (agreement >= minhash.least_agreement(0.8)).mean() <= high


def test_a_signature_depends_on_its_own_set_alone() -> None:
    rng = np.random.default_rng(3)
    sizes = np.array([1, 70_000, 3, 2, 900, 1, 40])
    parts = [rng.integers(2**32, size=size, dtype=np.uint64).astype(np.uint32) for size in sizes]

    together = minhash.signatures(np.concatenate(parts), sizes)

    alone = [minhash.signatures(part, np.array([part.size])) for part in parts]
    assert np.array_equal(together, np.concatenate(alone, axis=1))


def test_similarities_of_sets_on_disk_are_exact(tmp_path: Path) -> None:
    texts = ["a b c d e f", "a b c d e g", "x y", "a b c d e f", "a b"]
    flat, sizes = minhash.shingles(pl.Series(texts))
    sets = ShingleSets(tmp_path)
    sketches = minhash.sketches(minhash.signatures(flat, sizes))
    sets.add(flat[: sizes[0]], sizes[:1], sketches[:1])
    sets.add(flat[sizes[0] :], sizes[1:], sketches[1:])
    a, b = (half.ravel().astype(np.uint32) for half in np.meshgrid(range(5), range(5)))

    found = sets.similarity(a, b, at_least=0.0)

    expected = [[similarity(python_shingles(one), python_shingles(other)) for one in texts] for other in texts]
    assert found.reshape(5, 5).tolist() == expected
    sets.close()
    assert not list(tmp_path.iterdir())


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40), st.integers(1, 5))
def test_clusters_are_what_pairs_connect(pairs: list[tuple[int, int]], at_a_time: int) -> None:
    clusters = Clusters(31)
    expected = {number: {number} for number in range(31)}
    for start in range(0, len(pairs), at_a_time):
        some = np.array(pairs[start : start + at_a_time], np.uint32)
        clusters.join(some[:, 0], some[:, 1])
    for a, b in pairs:
        joined = expected[a] | expected[b]
        expected |= dict.fromkeys(joined, joined)

    first = clusters.first(np.arange(31, dtype=np.uint32))

    assert first.tolist() == [min(expected[number]) for number in range(31)]
