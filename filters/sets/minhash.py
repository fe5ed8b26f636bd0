"""Sets of word shingles, their similarity, and which of very many sets are worth comparing (MinHash, LSH).

A. Broder: On the resemblance and containment of documents (1997); P. Indyk, R. Motwani: Approximate nearest neighbors (1998).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.wording.words import WORD

SHINGLE: Final = 3
"""Words to a shingle."""
BANDS: Final = 16
ROWS: Final = 8
"""Two sets of Jaccard similarity s share a band with probability 1 - (1 - s**ROWS)**BANDS: 0.95 at 0.8, 0.06 at 0.5."""
PERMUTATIONS: Final = BANDS * ROWS

_RANDOM: Final = np.random.Generator(np.random.PCG64(0x5E71E5))
_PERMUTATION: Final = _RANDOM.integers(2**32, size=PERMUTATIONS, dtype=np.uint32) | np.uint32(1)
_BAND: Final = _RANDOM.integers(2**64, size=(BANDS, ROWS, 1), dtype=np.uint64) | np.uint64(1)
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_BLOCK: Final = 2**16  # shingles permuted at a time: they stay in the processor's caches

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


def mixed(hashes: U64) -> U64:
    """Hashes whose every bit depends on all bits of the given ones (the finaliser of MurmurHash3)."""
    hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return hashes ^ (hashes >> np.uint64(33))


def distinct(hashes: U64) -> U64:
    """The different ones among them, ascending. (For 64-bit numbers many times as fast as `numpy.unique`.)"""
    hashes = np.sort(hashes)
    return np.asarray(hashes[np.concatenate([hashes[:1] == hashes[:1], hashes[1:] != hashes[:-1]])])


def shingles(texts: pl.Series, length: int = SHINGLE) -> tuple[U32, I64]:
    """The sets of shingles of texts that are not null, one after another, and how many each has, at least one.

    A shingle of `length` words is a 32-bit hash; those of a set are distinct and ascending. Case and punctuation do not
    matter. Fewer words are a shingle of their own, and a text without words is one, less outer white space.
    """
    found = texts.to_frame("text").select(
        words=pl.col("text").str.to_lowercase().str.extract_all(WORD),
        whole=pl.col("text").str.strip_chars().hash(),
    )
    counts = found["words"].list.len().to_numpy().astype(np.int64)
    words = found["words"].explode(empty_as_null=False).hash().to_numpy()
    grams = np.maximum(counts - (length - 1), 1)
    of = np.repeat(np.arange(counts.size), grams)
    first = _ranges(np.cumsum(counts) - counts, grams)
    words = np.concatenate([words, np.zeros(length, np.uint64)])
    hashes = words[first]
    for ahead in range(1, length):
        longer = hashes * _MULTIPLIER + words[first + ahead]
        hashes = longer if counts.min(initial=length) > ahead else np.where(counts[of] > ahead, longer, hashes)
    if counts.min(initial=1) == 0:
        hashes = np.where(counts[of] > 0, hashes, found["whole"].to_numpy()[of])
    keyed = distinct((of.astype(np.uint64) << np.uint64(32)) | (mixed(hashes) >> np.uint64(32)))
    sizes = np.bincount((keyed >> np.uint64(32)).astype(np.int64), minlength=counts.size)
    return keyed.astype(np.uint32), sizes


def set_hashes(flat: U32, sizes: I64) -> U64:
    """A 64-bit hash of each set; equal for equal sets."""
    if not sizes.size:
        return np.zeros(0, np.uint64)
    return mixed(np.add.reduceat(mixed(flat.astype(np.uint64) + np.uint64(1)), np.cumsum(sizes) - sizes))


def signatures(flat: U32, sizes: I64) -> U32:
    """The MinHash signatures of these sets: one column a set, PERMUTATIONS rows.

    The share of rows in which two columns are equal estimates their sets' Jaccard similarity s, with a standard error of
    sqrt(s * (1 - s) / PERMUTATIONS).
    """
    signed = np.empty((PERMUTATIONS, sizes.size), np.uint32)
    order = np.argsort(sizes, kind="stable")
    starts = np.cumsum(sizes) - sizes
    done = 0
    while done < order.size:
        # Sets of nearly one size make a matrix; a smaller one says its last shingle again, which changes no minimum.
        height = int(sizes[order[min(done + _BLOCK // int(sizes[order[done]]), order.size - 1)]])
        chosen = order[done : done + max(1, _BLOCK // height)]
        height = int(sizes[chosen[-1]])
        matrix = flat[starts[chosen] + np.minimum(np.arange(height)[:, None], sizes[chosen] - 1)]
        permuted = np.empty_like(matrix)
        for number, multiplier in enumerate(_PERMUTATION):
            np.multiply(matrix, multiplier, out=permuted)
            signed[number, chosen] = permuted.min(axis=0)
        done += chosen.size
    return signed


def bands(signed: U32) -> U64:
    """64-bit hashes of each set's bands: BANDS rows, one column a set. Sets with a hash in common are worth comparing."""
    hashes = np.empty((BANDS, signed.shape[1]), np.uint64)
    for band in range(BANDS):
        rows = signed[band * ROWS : (band + 1) * ROWS].astype(np.uint64)
        hashes[band] = mixed((rows * _BAND[band]).sum(axis=0, dtype=np.uint64))
    return hashes


def sketches(signed: U32) -> U64:
    """One bit of each row of each signature: a row of PERMUTATIONS / 64 numbers a set (Li and König 2010, "b-Bit Minwise Hashing")."""
    bits = (signed * _MULTIPLIER.astype(np.uint32) >> np.uint32(31)).astype(np.uint8)
    return np.ascontiguousarray(np.packbits(bits, axis=0).T).view(np.uint64)


def least_agreement(similarity: float) -> float:
    """Bits that the sketches of two sets of this Jaccard similarity have in common, less four standard deviations."""
    share = (1 + similarity) / 2
    return float(PERMUTATIONS * share - 4 * np.sqrt(PERMUTATIONS * share * (1 - share)))


def jaccard(flat: U32, starts: I64, sizes: I64) -> NDArray[np.float64]:
    """The exact Jaccard similarities of 2 n sets, of the first with the one in place n, of the second with the next, ...

    Set k is `flat[starts[k]:][:sizes[k]]`, its members distinct.
    """
    pairs = sizes.size // 2
    pair = np.repeat(np.tile(np.arange(pairs, dtype=np.uint64), 2), sizes)
    keyed = np.sort((pair << np.uint64(32)) | flat[_ranges(starts, sizes)])
    shared = keyed[1:][keyed[1:] == keyed[:-1]] >> np.uint64(32)
    common = np.bincount(shared.astype(np.int64), minlength=pairs)
    return np.asarray(common / (sizes[:pairs] + sizes[pairs:] - common))


def _ranges(starts: I64, lengths: I64) -> I64:
    """The numbers start, start + 1, ... of each range, one after another."""
    return np.asarray(np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths))
