"""What a release holds, and where it goes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from factory.recipe.part import REPOSITORY_PATTERN, SEMVER_PATTERN, TEMPLATE_FIELD, Part


class CaptionRule(Part):
    """How the released caption of an image is made from its views. What a rule draws, it draws from the seed and the key."""

    rule: Literal["original", "replace", "concatenate", "random", "split", "turns"] = Field(
        description="original: the source's own text. replace: the caption of one view. concatenate: a template. random: "
        "each image draws its view. split: the same, in exact shares of the images. turns: the captions of several views as "
        "questions and answers, the first of them as the caption."
    )
    view: str | None = Field(default=None, description="Of replace.")
    template: str | None = Field(default=None, description="Of concatenate, for example '{original}\\n{self}'.")
    shares: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict, description="Of random and split: view: its probability or share; together 1."
    )
    views: tuple[str, ...] = Field(default=(), description="Of turns, in their order.")

    @model_validator(mode="after")
    def _fits_its_rule(self) -> CaptionRule:
        wanted = {"replace": "view", "concatenate": "template", "random": "shares", "split": "shares", "turns": "views"}
        needed = wanted.get(self.rule)
        for name in sorted({*wanted.values()}):
            if name == needed and not getattr(self, name):
                raise ValueError(f"the rule {self.rule} needs {name}")
            if name != needed and getattr(self, name):
                raise ValueError(f"the rule {self.rule} has no {name}")
        if self.shares and abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError(f"shares: they must sum to 1, not {sum(self.shares.values()):g}")
        if len(set(self.views)) != len(self.views):
            raise ValueError("views: each view may be named once")
        return self

    def named(self) -> list[str]:
        """The views that the rule asks for."""
        if self.rule == "original":
            return ["original"]
        texts = TEMPLATE_FIELD.findall(self.template) if self.template else []
        return list(dict.fromkeys([*([self.view] if self.view else []), *texts, *self.shares, *self.views]))


class Release(Part):
    """Where the selected captions are released."""

    to: str = Field(min_length=1, description="Directory that holds the versions, local or any fsspec URL.")
    version: str = Field(
        default="auto", description="Semantic version, or 'auto': the next minor version whenever the content changed."
    )
    license: str = Field(
        default="unknown", min_length=1, description="Licence of the captions, as on the Hub (cc-by-4.0)."
    )
    image_license: str | None = Field(
        default=None,
        min_length=1,
        description="Licence of all images, as on the Hub; unset: each row names its own (source.fields: [license]).",
    )
    repository: str | None = Field(
        default=None,
        pattern=REPOSITORY_PATTERN,
        description="Dataset on the Hub that it is published to (org/name): the card names it, and no other takes it.",
    )
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")], ...] = Field(
        default=(),
        description="Languages of the captions, ISO 639 codes, for the card; unset: those that the filter `language` keeps, "
        "where the selection requires it.",
    )
    limits: dict[str, float] = Field(
        default_factory=dict,
        description="filter: least score of any caption that may be published; pii and nsfw have 0.5 unless set.",
    )
    caption: str | CaptionRule | None = Field(
        default=None,
        description="How the released caption is made from the views; a text is a template, for example "
        "'{original}\\n{self}'; unset: the first kept caption in the order of the views.",
    )
    questions: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="view: questions that its caption answers, of which each image draws one by seed; 'template' are those of "
        "a template. Unset: the prompts of the view.",
    )
    without: Literal["chosen", "leave_out", "error"] = Field(
        default="chosen",
        description="Images that lack a text the rule asks for: released with the chosen caption alone, left out, or an error. "
        "Counted.",
    )
    rewrite: tuple[Literal["html", "mojibake", "reasoning", "refusal", "opener", "cut_sentence", "pii"], ...] = Field(
        default=(),
        description="Rewrites of the released captions, in this order: HTML entities as characters, text read in a wrong "
        "encoding as it was, take off reasoning (<think> and other dialects), cut refusing sentences, take off 'The image "
        "shows', trim a cut last sentence (of truncated captions), mask personal data. The original text stays beside; pii "
        "masks every text that is published, the source's own and its fields too. Scores are of the new text.",
    )
    configs: tuple[Literal["default", "sft", "preference", "text", "rejected"], ...] = Field(
        default=("default", "sft", "text"),
        description="What is written; default always is. sft: images, prompt, completion (the images a second time on disk, not "
        "on the Hub). preference: the released caption and the worst candidate that a filter turned down, as TRL's DPO takes "
        "them. text: captions alone. rejected: dropped captions, no images.",
    )
    dropped: Literal["leave_out", "include"] = Field(
        default="leave_out",
        description="Images without a kept caption: left out, or in the default config with keep: false and a drop_reason. "
        "Texts below a limit are withheld, images below one (nsfw) left out.",
    )
    shard_mb: int = Field(
        default=400,
        ge=1,
        le=5000,
        description="Size of a new Parquet shard in MB. Building needs memory for two.",
    )

    @property
    def rule(self) -> CaptionRule | None:
        """The assembly rule; of a text, that of a template."""
        if isinstance(self.caption, str):
            return CaptionRule(rule="concatenate", template=self.caption)
        return self.caption

    @field_validator("limits")
    @classmethod
    def _limits_are_scores(cls, value: dict[str, float]) -> dict[str, float]:
        for name, least in value.items():
            if not 0 <= least <= 1:
                raise ValueError(f"{name}: scores are between 0 and 1, got {least}")
        return value

    @field_validator("version", mode="before")
    @classmethod
    def _semver(cls, value: Any) -> Any:
        """'v1.2.0', as tags are written, is the same; YAML reads 1.2 as a number."""
        version = value.removeprefix("v") if isinstance(value, str) else value
        if version != "auto" and not (isinstance(version, str) and re.match(SEMVER_PATTERN, version)):
            raise ValueError(f"'{value}' is no version; write three numbers, for example 1.2.0 (or 'auto')")
        return version
