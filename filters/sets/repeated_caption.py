"""One caption on many images."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import polars as pl

from filters.contract.filter import SetFilter
from filters.sets.spill import Answers, Spill, part_of
from filters.wording.same_text import same_text


class RepeatedCaption(SetFilter):
    """On how many images a caption stands.

    **Finds** captions that were given to images in bulk: default answers, place-holders, a join gone wrong (LVD-2M had one
    caption on some 4,000 videos). Case, punctuation and white space do not matter. `images` is how many images have it.

    **Scores** `1 / images`: 1 for a caption of one image, however many candidates and views of that image say it, 0.01 for
    one on a hundred images. All of them score the same; `exact_duplicates` tells the first from the others. Rows without
    an image key count as an image each. Null text has no score.

    **Defaults.** No parameters. What is rightly said of many images depends on the captions' length: of 2,000 COCO images
    InstructBLIP's short captions put the commonest on 15, LLaVA's longer ones none on two (POPE's repository), and of
    15,833 human ones of Conceptual Captions' validation set the commonest stands 40 times.

    **Takes** on disk 24 bytes a row, in memory a sixty-fourth of that and some 100 MB.

    **Example.** Of the captions of images a, b and c, "A dog.", "a dog" and "A cat", the first two score 0.5.
    """

    name: ClassVar[str] = "repeated_caption"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    uses: ClassVar[tuple[str, ...]] = ("image_key",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"images": pl.UInt32()}

    def score_set(self, batches: Callable[[], Iterator[pl.DataFrame]], scratch: Path) -> Iterator[pl.DataFrame]:
        judged: list[pl.Series] = []
        captions = Spill(scratch / "captions")
        for batch in batches():
            rows = self._rows(batch, start=sum(map(len, judged)))
            judged.append(rows["caption"].is_not_null())
            captions.add(rows.drop_nulls("caption").with_columns(part=part_of(pl.col("caption"))))
        answers = Answers(scratch / "answers", [len(batch) for batch in judged])
        for rows in captions.parts():
            # A row without a key is an image of its own: its place stands for it, and hardly any hash is that small.
            images = pl.coalesce("image", "row").n_unique().over("caption")
            answers.add(rows.with_columns(images=images).filter(pl.col("images") > 1).select("row", "images"))
        for rows, judgeable in zip(answers.batches(self.evidence), judged, strict=True):
            images = pl.col("images").fill_null(1)
            yield rows.select(
                score=pl.when(judgeable).then(1.0 / images),
                images=pl.when(judgeable).then(images),
            )

    def _rows(self, batch: pl.DataFrame, start: int) -> pl.DataFrame:
        """`row`, `caption` (a hash of what it says) and `image` (of its key), null where there is none."""
        image, said = pl.col("image_key"), pl.col("said")
        rows = self.inputs(batch)
        return rows.with_columns(said=same_text(rows["text"])).select(
            row=pl.int_range(start, pl.len() + start, dtype=pl.UInt64),
            caption=pl.when(said.is_not_null()).then(said.hash()),
            image=pl.when(image.is_not_null()).then(image.hash()),
        )
