"""Images that are in a set more than once, if scaled, recoded or lightly retouched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from filters.contract.filter import SetFilter
from filters.images.dual_encoder import Dtype, dual_encoder
from filters.images.hash_neighbours import close_pairs
from filters.images.image_facts import header, of_each
from filters.images.image_hash import ImageHash
from filters.models.transformers_checkpoint import Checkpoint

Batches = Callable[[], Iterator[pl.DataFrame]]

_SCHEMA: Final = {
    "image_key": pl.String,
    "content": pl.UInt64,
    "phash": pl.UInt64,
    "pixels": pl.Int64,
    "reason": pl.String,
}


class DuplicateImage(SetFilter):
    """Whether a set has the same image more than once.

    **Finds** near-duplicates among images of different keys (rows of one key are the same image): by perceptual hash (see
    `image_hash`), and where a `model` is given also by what it sees. Of each group the image with the most pixels stays, of
    equal ones that with the smallest key, whatever the order of rows. `duplicate_of` is the key of the image that stays,
    `distance` the bits in which the hashes differ, `cosine` that of the embeddings where they were compared.

    **Scores** 1 for an image that stays, 0 for a duplicate of one. Duplicates differ in at most `max_distance` bits. Those
    that differ in more, up to `max_candidate_distance`, are candidates: duplicates where the model's embeddings have a
    cosine of at least `min_cosine`. No score where there is no image, or it has no hash;
    `reason` says why. Without `image_key` an image is known by its content.

    **Defaults.** Up to 4 bits: duplicates; up to 10, imagededup's limit for pHash, only candidates, since in its own
    benchmark half of what that finds is wrong (precision 0.498). Without a model there are no candidates. A cosine of 0.75 is
    90 % precise for SSCD on DISC (its README); with CLIP, which knows less about copies, take 0.95.

    **Takes** about 100 bytes an image in memory, nothing on disk. Candidates take time that grows with the square of the
    number of images: set `max_candidate_distance` to `max_distance` above a million.

    **Example.** A photo and its thumbnail: the photo scores 1, the thumbnail 0.
    """

    name: ClassVar[str] = "duplicate_image"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("image",)
    uses: ClassVar[tuple[str, ...]] = ("image_key",)
    evidence: ClassVar[dict[str, pl.DataType]] = {
        "duplicate_of": pl.String(),
        "distance": pl.UInt8(),
        "cosine": pl.Float64(),
        "reason": pl.String(),
    }

    max_distance: int = Field(4, ge=0, le=12, description="Most bits in which hashes of duplicates differ.")
    max_candidate_distance: int = Field(
        10, ge=0, le=16, description="Most bits for candidates, which the model decides."
    )
    model: str | None = Field(
        None, description="Dual encoder (directory or Hub id) that confirms candidates; null: none."
    )
    revision: str | None = Field(None, description="Commit (40 hex digits) of a Hub id; required for one.")
    min_cosine: float = Field(0.75, ge=-1, le=1, description="Cosine from which on a candidate is a duplicate (SSCD).")
    device: str = Field("auto", description='"auto" (a GPU where there is one), "cpu", "cuda", "cuda:1".')
    dtype: Dtype = Field("float32", description="What the model computes in; the shorter ones are for GPUs.")
    batch_size: int = Field(16, ge=1, description="Images encoded at once.")

    @model_validator(mode="after")
    def _distances_in_order(self) -> DuplicateImage:
        if self.max_candidate_distance < self.max_distance:
            raise ValueError("max_candidate_distance must not be below max_distance")
        return self

    def score_set(self, batches: Batches, scratch: Path) -> Iterator[pl.DataFrame]:
        """One score frame a batch, in order. `batches` is called up to three times and must give the same rows each time.

        Raises FilterError where a column is missing.
        """
        hashed = self._hashed(batches)
        decided = self._decided(hashed, batches)
        for batch in batches():
            keys = self._inputs(batch).select("image_key", present=pl.col("image").is_not_null())
            yield keys.join(decided, on="image_key", how="left", maintain_order="left").select(
                pl.when("present").then(column).alias(column) for column in ("score", *self.evidence)
            )

    def models(self) -> dict[str, str]:
        """What the scores come from beside the parameters."""
        return {"model": self._checkpoint().identity()} if self.model is not None else {}

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.name, self.model or "", self.revision)

    def _inputs(self, batch: pl.DataFrame) -> pl.DataFrame:
        """`image_key` and `image` of each row; an image without a key is known by its content."""
        rows = self.inputs(batch).select("image_key", "image")
        nameless = rows["image_key"].is_null() & rows["image"].is_not_null()
        if not nameless.any():
            return rows
        content = rows["image"].map_elements(_content_key, return_dtype=pl.String)
        return rows.with_columns(image_key=pl.coalesce("image_key", content))

    def _hashed(self, batches: Batches) -> pl.DataFrame:
        """One row an image: its key, hash, pixels, and why it has no hash."""
        parts = [pl.DataFrame(schema=_SCHEMA)]
        for batch in batches():
            images = self._inputs(batch).drop_nulls().with_columns(content=pl.col("image").hash(7))
            images = images.unique(["image_key", "content"], keep="first", maintain_order=True)
            sizes = [
                (found.width or 0) * (found.height or 0) if found else 0 for found in of_each(images["image"], header)
            ]
            parts.append(
                images.select("image_key", "content")
                .hstack(ImageHash().score(images).select("phash", "reason"))
                .with_columns(pixels=pl.Series(sizes, dtype=pl.Int64))
                .select(*_SCHEMA)
            )
        # Should a key have several images, one with a hash stands for it, in whatever order they come.
        ordered = pl.concat(parts).sort("image_key", pl.col("phash").is_null(), "content")
        return ordered.unique("image_key", keep="first", maintain_order=True)

    def _decided(self, hashed: pl.DataFrame, batches: Batches) -> pl.DataFrame:
        """Score and evidence of each image key."""
        ranked = hashed.drop_nulls("phash").sort(["pixels", "image_key"], descending=[True, False])
        # The best image of each hash stands for all that have it.
        best = ranked.unique("phash", keep="first", maintain_order=True)
        reach = self.max_candidate_distance if self.model is not None else self.max_distance
        first, second, distance = close_pairs(best["phash"].to_numpy(), reach)
        cosines = self._cosines(best, first, second, distance, batches)
        kept_of: dict[
            int, tuple[int, int, float | None]
        ] = {}  # a duplicate's position: the kept one's, distance, cosine
        order = np.lexsort((first, distance, second))  # by the later of the pair, nearest first
        for at in order.tolist():
            earlier, later = int(first[at]), int(second[at])
            if earlier in kept_of or later in kept_of:
                continue
            cosine = cosines.get(at)
            if distance[at] <= self.max_distance or (cosine is not None and cosine >= self.min_cosine):
                kept_of[later] = earlier, int(distance[at]), cosine
        return self._table(hashed, best, kept_of)

    def _table(
        self, hashed: pl.DataFrame, best: pl.DataFrame, kept_of: dict[int, tuple[int, int, float | None]]
    ) -> pl.DataFrame:
        keys = best["image_key"]
        stands = best.select("phash", representative="image_key").with_columns(
            kept=pl.Series(
                [keys[kept_of[at][0]] if at in kept_of else None for at in range(best.height)], dtype=pl.String
            ),
            distance=pl.Series([kept_of[at][1] if at in kept_of else 0 for at in range(best.height)], dtype=pl.UInt8),
            cosine=pl.Series(
                [kept_of[at][2] if at in kept_of else None for at in range(best.height)], dtype=pl.Float64
            ),
        )
        duplicate_of = (
            pl.when(pl.col("kept").is_not_null())
            .then("kept")
            .when(pl.col("representative") != pl.col("image_key"))
            .then("representative")
        )
        return (
            hashed.join(stands, on="phash", how="left", maintain_order="left")
            .with_columns(duplicate_of=duplicate_of)
            .select(
                "image_key",
                score=pl.when(pl.col("phash").is_not_null()).then(pl.col("duplicate_of").is_null().cast(pl.Float64)),
                duplicate_of="duplicate_of",
                distance=pl.when(pl.col("duplicate_of").is_not_null()).then("distance"),
                cosine="cosine",
                reason="reason",
            )
        )

    def _cosines(
        self,
        best: pl.DataFrame,
        first: np.ndarray[tuple[int], np.dtype[np.int64]],
        second: np.ndarray[tuple[int], np.dtype[np.int64]],
        distance: np.ndarray[tuple[int], np.dtype[np.uint8]],
        batches: Batches,
    ) -> dict[int, float]:
        """The embeddings' cosine of each candidate pair, by its number."""
        candidates = np.flatnonzero(distance > self.max_distance)
        if self.model is None or not len(candidates):
            return {}
        encoder = dual_encoder(self._checkpoint(), self.device, self.dtype)
        wanted = np.unique(np.concatenate([first[candidates], second[candidates]]))
        place = {best["image_key"][int(at)]: int(at) for at in wanted}
        vectors: dict[int, np.ndarray[tuple[int], np.dtype[np.float16]]] = {}
        for batch in batches():
            rows = self._inputs(batch).drop_nulls().unique("image_key", keep="first", maintain_order=True)
            rows = rows.filter(pl.col("image_key").is_in(list(place)))
            seen, _ = encoder.images(rows["image"].unique(maintain_order=True).to_list(), self.batch_size)
            for key, image in rows.iter_rows():
                if image in seen:
                    vectors.setdefault(place[key], seen[image].astype(np.float16))
        return {
            int(at): round(
                float(vectors[int(first[at])].astype(np.float32) @ vectors[int(second[at])].astype(np.float32)), 4
            )
            for at in candidates.tolist()
            if int(first[at]) in vectors and int(second[at]) in vectors
        }


def _content_key(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
