"""Score what has no scores yet: part by part, so that a changed filter scores again and nothing else happens."""

from __future__ import annotations

import polars as pl

from factory.plan import Scorer
from factory.run import Run
from factory.tables import CAPTION_KEY


def score_missing(run: Run, scorers: list[Scorer]) -> int:
    """Score every caption part that a filter has not scored under its fingerprint. Returns rows scored.

    Memory is that of one part. A score part has the rows of its caption part, in its order.
    """
    scored = 0
    missing = {scorer.name: set(run.unscored(scorer.name, scorer.fingerprint)) for scorer in scorers}
    for part in sorted(set().union(*missing.values())):
        captions = run.storage.scan([f"captions/{part}.parquet"]).collect()
        keys = captions.select(*CAPTION_KEY, pl.col("fingerprint").alias("caption_fingerprint"))
        for scorer in scorers:
            if part in missing[scorer.name]:
                scores = keys.hstack(scorer.filter.score(captions))
                run.append(f"scores/{scorer.name}", scores, f"{part}.{scorer.fingerprint}")
                scored += scores.height
    return scored
