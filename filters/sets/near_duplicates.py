"""Captions that say nearly what another caption of the set says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from filters.contract.filter import FilterError, SetFilter
from filters.sets import minhash
from filters.sets.clusters import Clusters
from filters.sets.duplicate_groups import KEY, arrange
from filters.sets.shingle_sets import ShingleSets
from filters.sets.spill import PARTS, Answers, Spill, part_of

WINDOW: Final = 16
"""Captions on either side that one is compared with among those that share a band with it; all that share it, up to 17."""
_PAIRS: Final = 2**20  # pairs that are compared at a time
_SIGNED: Final = 2**15  # captions whose signatures are in memory at a time, 0.5 kB each


class NearDuplicates(SetFilter):
    """Whether a caption is the first of those of its set that say nearly the same.

    **Finds** captions most of whose words stand in the same order in another: two are near duplicates where the Jaccard
    similarity of their sets of shingles (`shingle` words in a row, 3) is `min_similarity` or more. Near duplicates of near duplicates are in
    one cluster, so its ends may differ more. `cluster_size` is how many captions the cluster has, `max_similarity` the
    highest similarity found between the caption and another (1 where they say the same), and `representative` the key of
    the cluster's first; both are null for a caption alone. Case and punctuation do not matter. A caption of fewer
    words is a shingle of its own; in scripts without spaces every character is a word.

    **Scores** 1 for the first of a cluster, the one with the smallest key (image_key, view, candidate), and
    `1 - max_similarity` for its others, so that any threshold above `1 - min_similarity` keeps one of each. Rows that lack
    a part of the key come after those that have it, in their order; rows with the same complete key are one caption given
    twice, and score the same. Null text has no score, and where it looks within images, no more has a caption without an
    image key.

    **How sure it is.** What it calls near duplicates are: every pair is compared shingle by shingle. Which pairs are
    compared is found by MinHash with 128 permutations in 16 bands of 8 (Broder 1997; Indyk and Motwani 1998): 95 % of
    those of similarity 0.8, 99.99 % at 0.9, 6 % at 0.5. Where many captions share a band, each is compared with the first
    and 32 others of them there, so that a template on a million captions takes no million million comparisons.

    **Defaults.** A similarity of 0.8, as SlimPajama has it for web pages (datatrove's bands aim at 0.72): 29 words reach it
    with any one of them changed, 11 with the first or the last, fewer with none. In short captions one word is often what they say ("a dog on a beach",
    "a cat on a beach"); who wants them found sets `shingle: 1`, where ten different words reach 0.8 with one changed. Within the
    whole set; where images are
    alike, look `within: image`.

    **Takes** on disk about 170 bytes a row and its key, and 4 a word; in memory 8 bytes a row, a sixty-fourth of what is on
    disk, and some 300 MB: 10 million captions of 24 words take 2.9 GB of disk and 0.5 GB of memory.

    **Example.** Of "a brown dog runs on the long wide sandy beach in the early light of a day" and the same with "of a
    morning" the second scores 0.125.
    """

    name: ClassVar[str] = "near_duplicates"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = KEY
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "cluster_size": pl.UInt32(),
        "max_similarity": pl.Float64(),
        "representative": pl.Struct({"image_key": pl.String(), "view": pl.String(), "candidate": pl.Int64()}),
    }

    min_similarity: float = Field(
        0.8,
        ge=0.5,
        le=1,
        description="Jaccard similarity, in [0.5, 1], from which on two captions are near duplicates.",
    )
    shingle: int = Field(
        3,
        ge=1,
        le=5,
        description="Words to a shingle, 1 to 5. With 1, captions of ten words that differ in one are near, in whatever order.",
    )
    within: Literal["all", "image"] = Field(
        "all", description='Where captions are compared: in the whole set ("all") or those of one image ("image").'
    )

    def score_set(self, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path) -> Iterator[pl.DataFrame]:
        judged: list[pl.Series] = []
        captions = Spill(scratch / "captions")
        for batch in batches():
            rows = self._rows(batch, start=sum(map(len, judged)))
            judged.append(rows["judged"])
            captions.add(_with_shingles(rows.filter("judged").drop("judged"), self.shingle))
        distinct = _Distinct(scratch)
        for rows in captions.parts():
            distinct.add(rows)
        answers = Answers(scratch / "answers", [len(batch) for batch in judged])
        for rows in distinct.clusters(self.min_similarity, scratch):
            answers.add(rows)
        for rows, judgeable in zip(answers.batches({"first": pl.Boolean(), **self.evidence}), judged, strict=True):
            score = pl.when("first").then(1.0).otherwise(1.0 - pl.col("max_similarity")).fill_null(1.0)
            yield rows.select(
                score=pl.when(judgeable).then(score),
                cluster_size=pl.when(judgeable).then(pl.col("cluster_size").fill_null(1)),
                max_similarity="max_similarity",
                representative="representative",
            )

    def _rows(self, batch: pl.DataFrame, start: int) -> pl.DataFrame:
        """`row`, the key, `text`, whether it can be `judged`, and `place`: a hash of what it is compared within."""
        image, within = pl.col("image_key"), self.within == "image"
        return self.inputs(batch).select(
            "text",
            *KEY,
            row=pl.int_range(start, pl.len() + start, dtype=pl.UInt64),
            judged=pl.col("text").is_not_null() & (image.is_not_null() | pl.lit(not within)),
            place=image.hash() if within else pl.lit(0, pl.UInt64),
        )


class _Distinct:
    """The distinct captions, numbered in the order of their hashes, so that no number depends on the order of rows."""

    def __init__(self, scratch: Path) -> None:
        self._sets = ShingleSets(scratch / "sets")
        self._members = Spill(scratch / "members")  # the rows that say each of them
        self._shared = Spill(scratch / "shared")  # a band's hash and the number of a caption that has it

    def add(self, rows: pl.DataFrame) -> None:
        """All rows of some captions, whose hashes are above those of the captions before."""
        first = self._sets.count
        numbered = rows.with_columns(number=(pl.col("group").rank("dense") - 1 + first).cast(pl.UInt32))
        twice = arrange(rows.select("group", "row", *KEY)).select("row", twice=True)
        members = numbered.select("row", *KEY, "number", part=part_of(pl.col("group"))).join(
            twice, on="row", how="left"
        )
        self._members.add(members.with_columns(pl.col("twice").fill_null(False)))
        distinct = numbered.unique("number", keep="any").sort("number")
        for some in distinct.iter_slices(_SIGNED):
            self._sign(some)
        if self._sets.count >= 2**32:
            raise FilterError("near_duplicates compares up to 2**32 distinct captions; give it the set in pieces.")

    def _sign(self, captions: pl.DataFrame) -> None:
        sizes = captions["shingles"].list.len().to_numpy().astype(np.int64)
        flat = captions["shingles"].explode(empty_as_null=False).to_numpy()
        signed = minhash.signatures(flat, sizes)
        self._sets.add(flat, sizes, minhash.sketches(signed))
        hashes = minhash.bands(signed)
        hashes = minhash.mixed(hashes ^ captions["place"].to_numpy()).ravel()
        numbers = np.tile(captions["number"].to_numpy().astype(np.uint64), minhash.BANDS)
        # The higher half tells captions apart together with six bits of the lower, which say the partition.
        self._shared.add(
            pl.DataFrame(
                {
                    "shared": (hashes >> np.uint64(32) << np.uint64(32)) | numbers,
                    "part": (hashes % np.uint64(PARTS)).astype(np.uint8),
                }
            )
        )

    def clusters(self, min_similarity: float, scratch: Path) -> Iterator[pl.DataFrame]:
        """`row`, `first` and the evidence of every caption that is not alone."""
        clusters, highest = self._compare(min_similarity, scratch)
        self._sets.close()
        near = Spill(scratch / "near")
        for rows in self._members.parts():
            number = rows["number"].to_numpy()
            group = clusters.first(number)
            # A similarity is kept in 32 bits; six digits hide it.
            found = pl.Series(highest[number]).cast(pl.Float64).round(6)
            near.add(
                rows.with_columns(
                    max_similarity=pl.when("twice").then(1.0).otherwise(found),
                    group=pl.Series(group),
                    part=pl.Series(self._part(group)),
                ).filter(pl.col("max_similarity") > 0)
            )
        for rows in near.parts():
            yield arrange(rows).select(
                "row",
                "first",
                "max_similarity",
                cluster_size="size",
                representative=pl.when(pl.any_horizontal(pl.col(KEY).is_not_null()))
                .then(pl.struct(KEY))
                .first()
                .over("group"),
            )

    def _compare(self, min_similarity: float, scratch: Path) -> tuple[Clusters, NDArray[np.float32]]:
        """Clusters of captions by number, and the highest similarity of each to another, 0 where none is near."""
        pairs = Spill(scratch / "pairs")
        for rows in self._shared.parts():
            first, second = _together(rows["shared"].to_numpy())
            packed = (first.astype(np.uint64) << np.uint64(32)) | second
            pairs.add(pl.DataFrame({"pair": packed, "part": self._part(first)}))
        clusters, highest = Clusters(self._sets.count), np.zeros(self._sets.count, np.float32)
        for rows in pairs.parts():
            unique = minhash.distinct(rows["pair"].to_numpy())
            for some in np.split(unique, range(_PAIRS, unique.size, _PAIRS)):
                first, second = (some >> np.uint64(32)).astype(np.uint32), some.astype(np.uint32)
                similarity = self._sets.similarity(first, second, min_similarity)
                near = similarity >= min_similarity
                clusters.join(first[near], second[near])
                for half in (first, second):
                    np.maximum.at(highest, half[near], similarity[near].astype(np.float32))
        return clusters, highest

    def _part(self, numbers: minhash.U32) -> NDArray[np.uint8]:
        return (numbers.astype(np.uint64) * np.uint64(PARTS) // np.uint64(self._sets.count)).astype(np.uint8)


def _with_shingles(rows: pl.DataFrame, length: int) -> pl.DataFrame:
    """`row`, the key, `place`, `shingles`, `group` (a hash of them and the place) and its `part`."""
    flat, sizes = minhash.shingles(rows["text"], length)
    group = minhash.mixed(minhash.set_hashes(flat, sizes) ^ rows["place"].to_numpy())
    sets = pl.DataFrame({"at": np.repeat(np.arange(sizes.size), sizes), "shingles": flat})
    return (
        rows.drop("text")
        .with_columns(
            sets.group_by("at", maintain_order=True).agg("shingles")["shingles"],
            group=pl.Series(group, dtype=pl.UInt64),
        )
        .with_columns(part=part_of(pl.col("group")))
    )


def _together(shared: minhash.U64) -> tuple[minhash.U32, minhash.U32]:
    """Pairs of captions to compare, the lower number first: near one another among those with one hash, or with its first."""
    shared = np.sort(shared)
    hashes, numbers = shared >> np.uint64(32), shared.astype(np.uint32)
    place = np.arange(shared.size)
    begins = np.maximum.accumulate(
        np.where(np.concatenate([[True], hashes[1:] != hashes[:-1]])[: shared.size], place, 0)
    )
    far = place - begins > WINDOW
    pairs = [(numbers[begins[far]], numbers[far])]
    for ahead in range(1, WINDOW + 1):
        same = place - begins >= ahead
        if not same.any():
            break
        pairs.append((numbers[place[same] - ahead], numbers[same]))
    first, second = (np.concatenate(half) for half in zip(*pairs, strict=True))
    return first[first < second], second[first < second]
