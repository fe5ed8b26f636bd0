"""What is done about unfaithful captions."""

from __future__ import annotations

from pydantic import Field, model_validator

from factory.recipe.part import Part, is_reference
from factory.recipe.view import Sampling, View


class Rung(Part):
    """One more try at what is unfaithful: another seed, and what is set here instead of what the view says."""

    prompt: str | None = Field(
        default=None, min_length=1, max_length=20_000, description="Asked instead of the view's prompts."
    )
    temperature: float | None = Field(default=None, ge=0, le=10, description="Unset: as in the view.")
    top_p: float | None = Field(default=None, gt=0, le=1, description="Unset: as in the view.")
    max_tokens: int | None = Field(default=None, ge=1, description="Unset: as in the view.")
    n: int = Field(default=1, ge=1, le=64, description="Candidates per image.")

    def sampling(self, view: View) -> Sampling:
        """How it samples the captions of a view. Raises ValueError for several greedy candidates."""
        own = {
            name: value for name in ("temperature", "top_p", "max_tokens") if (value := getattr(self, name)) is not None
        }
        return Sampling.model_validate(view.sampling.model_dump() | own | {"n": self.n})


class Repair(Part):
    """What is done about captions that a filter finds unfaithful, before selection decides. Nothing is written over: every
    repaired caption is one more candidate.
    """

    by: str = Field(description="The filter that decides, or calibration:NAME-vN.")
    least: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="A caption below this score is unfaithful, and so is a sentence; of a calibration, its threshold.",
    )
    regenerate: tuple[Rung, ...] = Field(
        default=(),
        max_length=8,
        description="The ladder: images and views of which no candidate is faithful are captioned again, rung by rung, each "
        "only for what the ones before left.",
    )
    cut: bool = Field(
        default=False,
        description="Where no candidate is faithful after that, cut the unsupported sentences out of each.",
    )

    @model_validator(mode="after")
    def _has_something_to_do(self) -> Repair:
        if not self.regenerate and not self.cut:
            raise ValueError("say what to do: regenerate: [{temperature: 0.7}], cut: true, or both")
        if is_reference(self.by) == (self.least is not None):
            raise ValueError(
                "least: a calibration has its own threshold; leave least out"
                if self.least is not None
                else f"least: name the least score of {self.by} that is faithful"
            )
        return self
