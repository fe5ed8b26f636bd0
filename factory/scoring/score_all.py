"""All filters of a recipe over all captions that have no scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.judging.answering import WANTED, answer_missing, asked_filter
from factory.scoring.score_missing import score_answered, score_missing
from factory.sources.pictures import Pictures
from factory.work.work import Work
from filters.asking.questions import VlmFilter

if TYPE_CHECKING:
    from factory.engines.room import EngineRoom
    from factory.progress import Progress


def score_all(work: Work, pictures: Pictures, progress: Progress, room: EngineRoom) -> Work:
    """Score every caption that has no scores, with all filters of the recipe; those that ask come last.

    Returns the work with its filters of whole sets settled on the captions that there are.
    """
    work = work.settled()
    score_missing(work, pictures, room)
    answer_and_score(work, pictures, progress, room)
    return work


def answer_and_score(work: Work, pictures: Pictures, progress: Progress, room: EngineRoom) -> int:
    """Score with every filter that asks, in the order of the recipe; ask what nobody asked yet. Returns rows scored."""
    scored = 0
    asking = [scorer for scorer in work.scorers if isinstance(scorer.filter, VlmFilter)]
    for place, scorer in enumerate(asking):
        # Those after it that wait for nobody's score are asked with it: an image is read once for all of them.
        together = [scorer, *(one for one in asking[place + 1 :] if asked_filter(one).when is None)]
        answer_missing(work, pictures, together, progress, room)
        scored += score_answered(work, scorer, room)
    work.run.storage.remove_tree(WANTED)
    return scored
