"""The rules that turn scores into kept or dropped."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from factory.recipe.part import CALIBRATION, STACK, LeastInFile, Part, is_reference, least_score


class KeepTop(Part):
    """The best share by one score; a number alone is `share`."""

    share: float = Field(gt=0, le=1, description="Share of the captions that still stand to keep, best first (0-1].")
    by: tuple[Literal["view", "length"], ...] = Field(
        default=("view",), description="The share of each of these: of each view, of each length bucket, or of both."
    )


class Select(Part):
    """The rules that turn scores into kept / dropped(reason), applied in the order of the fields."""

    accept: tuple[Literal["ok", "truncated"], ...] = Field(
        default=("ok",), min_length=1, description="Caption states that may be kept."
    )
    reviewed: Literal["first", "only"] | None = Field(
        default=None,
        description="first: what people decided in factory review goes before every rule: accepted captions are kept, rejected "
        "ones and the others of an image and view with an accepted one are dropped. only: captions that nobody accepted are "
        "dropped, too. Unset: decisions do not count.",
    )
    require: dict[str, float | str] = Field(
        default_factory=dict,
        description="filter: least score, a number or the threshold of a calibration of this run "
        "(calibration:NAME-vN); 'stack: calibration:NAME-vN' requires its stacked score.",
    )
    keep_unscored: tuple[str, ...] = Field(
        default=(), description="Filters of `require` that let a caption pass which they cannot judge (no score)."
    )
    keep_top: dict[str, KeepTop] = Field(
        default_factory=dict,
        description="filter (or calibration:NAME-vN): share of the captions of each view to keep, best first (0-1], or "
        "{share: 0.3, by: [view, length]}.",
    )
    best_of: str | None = Field(
        default=None, description="Filter (or calibration:NAME-vN) that picks one candidate per image and view."
    )
    dedup: tuple[Literal["exact"], ...] = Field(
        default=(), description="exact: of captions with the same text (case and spacing aside), keep one."
    )
    budget: int | None = Field(default=None, ge=1, description="Most images to keep, drawn by seed.")

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """`reviewed` is left out where unset, so that the fingerprints of recipes without it are as they were."""
        found: dict[str, Any] = write(self)
        if found.get("reviewed") is None:
            found.pop("reviewed", None)
        return found

    @field_validator("require", mode="before", json_schema_input_type=dict[str, LeastInFile])
    @classmethod
    def _least_scores(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if STACK in value and not is_reference(value[STACK]):
            raise ValueError(f"{STACK}: write {STACK}: {CALIBRATION}NAME-vN; only a calibration says what a stack is")
        return {name: least_score(name, least) for name, least in value.items()}

    @field_validator("keep_top", mode="before", json_schema_input_type=dict[str, float | KeepTop])
    @classmethod
    def _shares_alone(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        is_share = {name: isinstance(top, (int, float)) and not isinstance(top, bool) for name, top in value.items()}
        return {name: {"share": top} if is_share[name] else top for name, top in value.items()}

    @property
    def filters(self) -> list[str]:
        """The filters that the rules name themselves; a calibration may read others."""
        named = [*self.require, *self.keep_top, *([self.best_of] if self.best_of else [])]
        return [name for name in dict.fromkeys(named) if name != STACK and not is_reference(name)]

    @property
    def calibrations(self) -> list[str]:
        """The calibrations that the rules name."""
        named = [*self.require.values(), *self.keep_top, *([self.best_of] if self.best_of else [])]
        return [str(name) for name in dict.fromkeys(named) if is_reference(name)]
