"""Which engines a run will start, and for what: told before it starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from factory.work.views import EngineGroup
from factory.work.work import Work


@dataclass(frozen=True)
class EngineNeed:
    """An engine that starts: captions of `views`, questions of `filters`. `tries`: rungs of the ladder, where repair finds
    something to do; an engine that has nothing else starts only then.
    """

    model: str
    views: tuple[str, ...]
    filters: tuple[str, ...]
    tries: int
    server: str | None = None  # its address; None for an engine that starts here

    def line(self) -> str:
        """For a terminal."""
        what = [
            *([f"captions of {', '.join(self.views)}"] if self.views else []),
            *([f"questions of {', '.join(self.filters)}"] if self.filters else []),
            *([f"up to {self.tries} tries of repair, where it finds something"] if self.tries else []),
        ]
        where = f"engine {self.model}" if self.server is None else f"server {self.model} at {self.server}"
        return f"{where}: {'; '.join(what)}"

    def as_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def engine_needs(work: Work, to_caption: Collection[str], to_score: Collection[str]) -> list[EngineNeed]:
    """The engines that will be started, in order of need; one that has nothing to do is not among them.

    Args:
        work: the resolved work.
        to_caption: the views with images to caption.
        to_score: the filters with captions to score.
    """
    return [need for group in work.engines if (need := _need(work, group, to_caption, to_score)) is not None]


def _need(work: Work, group: EngineGroup, to_caption: Collection[str], to_score: Collection[str]) -> EngineNeed | None:
    views = tuple(ready.name for ready in work.views if ready in group.views and ready.name in to_caption)
    asking = tuple(dict.fromkeys(_asking(work, group, to_caption, to_score)))
    tries = sum(any(ready in group.views for ready in rung.views) for rung in work.rungs)
    if not (views or asking or tries):
        return None
    server = group.server.endpoint if group.server is not None else None
    return EngineNeed(group.first.view.model_name, views, asking, tries, server)


def _asking(work: Work, group: EngineGroup, to_caption: Collection[str], to_score: Collection[str]) -> Iterator[str]:
    for scorer in work.scorers:
        for view, judge in scorer.judges.items():
            if (
                judge.endpoint is None
                and judge.ready in group.views
                and (scorer.name in to_score or view in to_caption)
            ):
                yield scorer.name
