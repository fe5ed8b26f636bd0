"""From the texts of an image's views to the caption and the conversation that are released.

Everything that is drawn is drawn from the recipe's seed and the image's key, so it is the same in every version, whatever
else is released.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from exports.placeholder import neutral
from exports.release import Turn
from factory.recipe import ORIGINAL, TEMPLATE_FIELD, CaptionRule, Recipe

ASSEMBLED: Final = "(template)"  # stands for the view of a caption that was put together from several
TEMPLATE: Final = "template"  # its questions in the recipe
QUESTIONS: Final = (
    "Describe the image.",
    "What does this image show?",
    "Describe this picture in detail.",
    "What can be seen in the image?",
    "Give a description of the image.",
    "Please describe what you see.",
)
"""Asked where a view has no prompts of its own, as the source's texts and templates have none."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A released caption, the view it is of, and the conversation with it."""

    caption: str
    view: str
    turns: tuple[Turn, ...]


class Assembly:
    """The assembly rule of a recipe. `cuts`: of a split, where the shares end among the draws of all images, see `split_cuts`."""

    def __init__(self, recipe: Recipe, cuts: Mapping[str, float] | None = None) -> None:
        assert recipe.release is not None
        self.rule: CaptionRule | None = recipe.release.rule
        self.seed = recipe.seed
        self.cuts = cuts
        prompts = {view.name: tuple(one.text for one in view.prompts if "{" not in one.text) for view in recipe.views}
        self.questions = {**prompts, **recipe.release.questions}

    def assemble(self, key: str, original: str | None, kept: Mapping[str, str]) -> Assembled | None:
        """What is released of an image.

        Args:
            key: the image key.
            original: the source's own text, as the source has it.
            kept: view -> its first kept caption, in the order of the views; not empty.

        Returns:
            None where the rule asks for a text that is not there. Without a rule, the first kept caption.
        """
        rule = self.rule
        texts: dict[str, str | None] = {ORIGINAL: original, **kept}
        if rule is None:
            return self.chosen(key, kept)
        if rule.template is not None:
            if any(not texts.get(name) for name in TEMPLATE_FIELD.findall(rule.template)):
                return None
            filled = TEMPLATE_FIELD.sub(lambda match: texts[match.group(1)] or "", rule.template)
            return self._of([(ASSEMBLED, filled)], key)
        views = rule.views or (self._view(rule, key),)
        if any(not texts.get(view) for view in views):
            return None
        return self._of([(view, texts[view] or "") for view in views], key)

    def chosen(self, key: str, kept: Mapping[str, str]) -> Assembled:
        """The first kept caption."""
        return self._of([next(iter(kept.items()))], key)

    def _view(self, rule: CaptionRule, key: str) -> str:
        if not rule.shares:
            return ORIGINAL if rule.rule == "original" else str(rule.view)
        number = draw(self.seed, key)
        ends = self.cuts if self.cuts is not None else _ends(rule.shares)
        return next((view for view, end in ends.items() if number < end), next(reversed(rule.shares)))

    def _of(self, answers: list[tuple[str, str]], key: str) -> Assembled:
        turns = tuple(Turn(neutral(self._question(view, key)), neutral(text), view) for view, text in answers)
        return Assembled(turns[0].answer, turns[0].view, turns)

    def _question(self, view: str, key: str) -> str:
        pool = self.questions.get(TEMPLATE if view == ASSEMBLED else view) or QUESTIONS
        return pool[int(draw(self.seed, f"{view}\x1f{key}", "question") * len(pool))]


def draw(seed: int, key: str, of: str = "view") -> float:
    """A number in [0, 1) that depends on the seed and the key alone: 53 bits of a SHA-256."""
    digest = hashlib.sha256(f"{seed}\x1f{of}\x1f{key}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53


def split_cuts(shares: Mapping[str, float], seed: int, keys: Iterable[str]) -> dict[str, float]:
    """Where each view's share ends among the draws of these images, so that the shares are exact to one image.

    Needs 8 bytes an image.
    """
    import numpy as np

    draws = np.sort(np.fromiter((draw(seed, key) for key in keys), np.float64))
    cuts = {}
    for view, end in _ends(shares).items():
        place = round(end * len(draws))
        cuts[view] = float(draws[place]) if place < len(draws) else 1.0
    return cuts


def _ends(shares: Mapping[str, float]) -> dict[str, float]:
    ends, total = {}, 0.0
    for view, share in shares.items():
        total += share
        ends[view] = total
    return ends
