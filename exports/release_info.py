"""What a release says about itself, beside its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ReleaseInfo:
    """What a release says about itself."""

    name: str
    license: str
    filters: dict[str, str]  # name -> one line
    inputs: str  # fingerprint of what the release is made from; equal inputs are not built twice
    provenance: dict[str, Any] = field(default_factory=dict)  # for the card: models, prompts, sampling, counts, recipe
    image_license: str | None = None  # of all images; None where each row has its own
    limits: dict[str, float] = field(default_factory=dict)  # filter -> least score of any caption that is published
    configs: tuple[str, ...] = ("default",)  # of exports/columns.py; default is always there
    repository: str | None = None  # org/name on the Hub, where it is to be published; the card names it
    languages: tuple[str, ...] = ()  # of the captions, ISO 639 codes; () where nothing says so
    run_id: str | None = None
    recipe_id: str | None = None
    limit: int | None = None  # only so many rows of the source were asked for
    filter_facts: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # filter -> `reads`, `parameters`; see gate.py
