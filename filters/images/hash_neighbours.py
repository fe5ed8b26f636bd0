"""All pairs of 64-bit hashes that differ in few bits, without comparing every pair."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
_PAIRS_AT_ONCE: Final = 4_000_000


def close_pairs(
    hashes: Hashes, bits: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Positions `first < second` of all pairs of `hashes` that differ in at most `bits` of 64 bits, and in how many.

    The hashes are each there once. Exact: cut into `bits + k` blocks, such a pair agrees in at least k of them, so it is
    found among the hashes that agree in some k blocks; k is chosen by the number of hashes. For 4 bits that takes little more
    than time linear in their number; for 10, a hundred times as long at 100,000 hashes and growing with its square.
    """
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for mask in _masks(bits, len(hashes)):
        keys = hashes & mask
        order = np.argsort(keys, kind="stable")
        for left, right in _same_key(keys[order]):
            first, second = order[left], order[right]
            near = np.bitwise_count(hashes[first] ^ hashes[second]) <= bits
            first, second = first[near], second[near]
            found.append((np.minimum(first, second), np.maximum(first, second)))
    if not found:
        empty = np.empty(0, np.int64)
        return empty, empty, np.empty(0, np.uint8)
    pairs = np.unique(np.stack([np.concatenate(side) for side in zip(*found, strict=True)], axis=1), axis=0)
    first, second = pairs[:, 0], pairs[:, 1]
    return first, second, np.bitwise_count(hashes[first] ^ hashes[second])


def _masks(bits: int, count: int) -> Iterator[np.uint64]:
    """Bits that are compared exactly, one mask a table: all choices of k out of bits + k blocks of the hash."""
    if bits == 0:
        yield np.uint64(2**64 - 1)
        return
    wanted = max(1.0, np.log2(max(2, count)) - 2)  # so many bits leave a handful of hashes a key
    choices = [k for k in range(1, 5) if comb(bits + k, k) <= 120]
    agree = next((k for k in choices if 64 * k / (bits + k) >= wanted), choices[-1] if choices else 1)
    blocks = np.array_split(np.arange(64), bits + agree)
    for chosen in combinations(blocks, agree):
        yield np.uint64(sum(1 << int(bit) for block in chosen for bit in block))


def _same_key(keys: Hashes) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Positions of all pairs of equal ones among sorted keys, some millions at a time."""
    if not len(keys):
        return
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    ends = np.r_[starts[1:], len(keys)]
    last = np.repeat(ends, ends - starts)  # for each position, where its key ends
    left = np.flatnonzero(last - np.arange(len(keys)) > 1)
    ahead = 1
    held: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []
    size = 0
    while len(left):
        held.append((left, left + ahead))
        size += len(left)
        if size >= _PAIRS_AT_ONCE:
            yield np.concatenate([one for one, _ in held]), np.concatenate([two for _, two in held])
            held, size = [], 0
        ahead += 1
        left = left[left + ahead < last[left]]
    if held:
        yield np.concatenate([one for one, _ in held]), np.concatenate([two for _, two in held])
