"""A training aid: reads a scene straight from the image's tokens, so that the model learns to see before it can speak.

Captions alone teach a small vision tower very slowly, because the language model does not look at the image until
there is something to see, and the tower learns nothing until someone looks. This probe, a linear layer that is thrown
away after training, asks the image tokens directly what is at each of the nine places, and which word is printed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from factory.demo.checkpoint import IMAGE_TOKENS
from factory.demo.scenes import COLOURS, PLACES, ROWS, SHAPES, SIZES, WORDS, Scene

# One classification each; class 0 is "nothing there".
_ATTRIBUTES = (SHAPES, tuple(COLOURS), SIZES)
SCENE_CLASSES = [1 + len(values) for _ in PLACES for values in _ATTRIBUTES] + [1 + len(WORDS) for _ in ROWS]


def scene_labels(scene: Scene) -> list[int]:
    """The right class of each classification: shape, colour and size for each place, then the word for each row."""
    things = {thing.place: thing for thing in scene.things}
    labels = []
    for place in PLACES:
        thing = things.get(place)
        values = (None,) * 3 if thing is None else (thing.shape, thing.colour, thing.size)
        labels += [0 if v is None else 1 + known.index(v) for v, known in zip(values, _ATTRIBUTES, strict=True)]
    for row in ROWS:
        printed = scene.word is not None and scene.word.place == row
        labels.append(1 + WORDS.index(scene.word.word) if printed and scene.word is not None else 0)
    return labels


class SceneProbe(nn.Module):
    """Linear classifiers over all image tokens of a picture."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(IMAGE_TOKENS * hidden)
        self.classify = nn.Linear(IMAGE_TOKENS * hidden, sum(SCENE_CLASSES))

    def loss(self, features: torch.Tensor, labels: Sequence[Sequence[int]]) -> torch.Tensor:
        """``classification_loss`` of what it reads; ``features``: (pictures, image tokens, hidden), ``labels``: their
        ``scene_labels``.
        """
        return classification_loss(self.classify(self.norm(features.flatten(1).float())).float(), labels)


def classification_loss(logits: torch.Tensor, labels: Sequence[Sequence[int]]) -> torch.Tensor:
    """The cross-entropy summed over a picture's classifications, mean over the pictures, divided by the number of places;
    ``logits``: (pictures, sum of SCENE_CLASSES).
    """
    targets = torch.tensor(labels)
    losses = [
        functional.cross_entropy(part, targets[:, number])
        for number, part in enumerate(logits.split(SCENE_CLASSES, dim=1))
    ]
    return torch.stack(losses).sum() / len(PLACES)
