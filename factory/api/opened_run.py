"""A run opened to look at: its captions with verdicts and scores, as Polars or as a `datasets.Dataset`."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.errors import RunError, extras_named
from factory.recipe import Recipe
from factory.runs.run import METRICS, REPORT, SELECTION, find_run
from factory.work.recipe_of import recipe_of

if TYPE_CHECKING:
    import datasets
    import polars as pl

    from factory.work.work import Work


class OpenedRun:
    """The tables of a run that is there, finished or not. It reads; nothing is changed.

    >>> run = factory.Run("runs/quickstart")                     # doctest: +SKIP
    >>> run.captions().filter("kept").select("image_key", "text")   # doctest: +SKIP
    """

    def __init__(self, url: str | Path) -> None:
        """Open a run directory, local or any fsspec URL. Raises RunError where there is no run."""
        self._run = find_run(str(url))

    def __repr__(self) -> str:
        return f"Run({self.url!r})"

    @property
    def url(self) -> str:
        """Where it is."""
        return self._run.url

    @property
    def recipe(self) -> Recipe:
        """The recipe it was made with, every default written out."""
        return recipe_of(self._run)

    @property
    def metrics(self) -> dict[str, Any]:
        """What happened, as data (metrics.json); {} before it has finished once."""
        return self._run.read_json(METRICS) or {}

    @property
    def report(self) -> str:
        """Where its HTML report is. Raises RunError before it has finished once."""
        if not self._run.storage.exists(REPORT):
            raise RunError(f"{self.url}: no report yet; finish the run with the command that started it")
        return self._run.storage.full(REPORT)

    @cached_property
    def _work(self) -> Work:
        from factory.work.work import reopen

        return reopen(self._run)

    def captions(self) -> pl.DataFrame:
        """Every caption of the recipe as it stands, in the order of image key, view and candidate.

        Columns: those of the captions table (`factory/runs/tables.py`), then `kept` and `drop_reason` (both null where
        nothing is decided yet), then `score_<filter>` for each filter, null where it has none.
        """
        import polars as pl

        from factory.runs.tables import CAPTION_KEY, CAPTIONS
        from factory.runs.with_score import with_score

        work = self._work
        parts = []
        for part in self._run.parts("captions"):
            scan = self._run.storage.scan([f"captions/{part}.parquet"])
            rows = scan.match_to_schema(CAPTIONS, missing_columns="insert", extra_columns="ignore").collect()
            for scorer in work.scorers:
                rows = with_score(self._run, rows, part, scorer.name, scorer.fingerprint, f"score_{scorer.name}")
            parts.append(rows.filter(pl.col("fingerprint").is_in(work.caption_fingerprints)))
        scores = {f"score_{scorer.name}": pl.Float64() for scorer in work.scorers}
        frame = pl.concat(parts) if parts else pl.DataFrame(schema={**CAPTIONS, **scores})
        keys = ["shard", *CAPTION_KEY, "fingerprint"]
        if self._run.storage.exists(SELECTION):
            decided = self._run.storage.scan([SELECTION]).select(*keys, "kept", drop_reason="reason").collect()
        else:
            decided = pl.DataFrame(
                schema={key: CAPTIONS[key] for key in keys} | {"kept": pl.Boolean, "drop_reason": pl.String}
            )
        from factory.runs.resolving import resolved

        joined = resolved(frame).join(decided, on=keys, how="left")
        return joined.select(*CAPTIONS, "kept", "drop_reason", *scores).sort(CAPTION_KEY)

    def scores(self, filter: str) -> pl.DataFrame:
        """The scores of a filter with their evidence, one row per scored caption. Raises RunError for an unknown filter."""
        from factory.recipe import did_you_mean

        known = {scorer.name: scorer.fingerprint for scorer in self._work.scorers}
        if filter not in known:
            raise RunError(f"{self.url} has no filter '{filter}'{did_you_mean(filter, list(known), every=True)}")
        return self._run.scores(filter, known[filter]).collect()

    def experts(self, name: str | None = None) -> pl.DataFrame:
        """What experts found in the images, one row per image and expert: `expert` and the columns of the experts table. They are
        beside captions by `image_sha256`.

        Args:
            name: of one expert; all of the recipe's that prompts ask for.

        Raises:
            RunError: there is no expert of that name, or no prompt asks for it.
        """
        import polars as pl

        from factory.recipe import did_you_mean
        from factory.runs.tables import EXPERTS

        known = {one.name: one.fingerprint for one in self._work.experts}
        if name is not None and name not in known:
            raise RunError(f"{self.url} has no expert '{name}'{did_you_mean(name, list(known), every=True)}")
        frames = [
            self._run.experts(one, fingerprint).select(pl.lit(one).alias("expert"), *EXPERTS).collect()
            for one, fingerprint in known.items()
            if name in (None, one)
        ]
        empty = pl.DataFrame(schema={"expert": pl.String, **EXPERTS})
        return pl.concat([empty, *frames]).sort("expert", "image_key")

    def quarantine(self) -> pl.DataFrame:
        """The images that could not be used, each with its reason."""
        return self._run.quarantine(self._work.quarantine_fingerprints).collect()

    def dataset(self, *, kept: bool = True, images: bool = True) -> datasets.Dataset:
        """The captions as a `datasets.Dataset`, one row per caption: `image_key`, `view`, `candidate`, `text`, verdict, scores.

        Args:
            kept: the kept captions alone; False: all of them.
            images: with the column `image`, read again from the source a few at a time; null where the image is gone.

        Raises:
            SourceError: the source is gone. What is to be published is made by `factory.release`.
        """
        with extras_named():
            import datasets

        rows = self.captions()
        rows = rows.filter("kept") if kept else rows
        if not images or self.recipe.source.kind == "captions":
            return datasets.Dataset(rows.to_arrow())
        features = datasets.Dataset(rows.to_arrow()).features | {"image": datasets.Image()}
        made = datasets.Dataset.from_generator(
            _with_images, features=datasets.Features(features), gen_kwargs={"url": self.url, "rows": rows}
        )
        assert isinstance(made, datasets.Dataset)
        return made


def _with_images(url: str, rows: pl.DataFrame) -> Any:
    """Each caption with the bytes of its image."""
    from exports.storage import Storage
    from factory.runs.run import RECIPE_LOCK, Run
    from factory.work.plan import make_plan

    run = Run(Storage(url))
    limit = (run.read_json(RECIPE_LOCK) or {}).get("limit")
    pictures = make_plan(recipe_of(run), run, limit).pictures
    for batch in pictures.beside(rows.with_row_index("row")):
        for row in batch.drop("row").iter_rows(named=True):
            data = row.pop("image")
            yield {**row, "image": None if data is None else {"bytes": data, "path": None}}
