"""Caption images in bulk, score the captions, select, repair and release them.

>>> import factory
>>> outcome = factory.run("recipes/quickstart.yaml")       # doctest: +SKIP
>>> factory.Run("runs/quickstart").captions()              # doctest: +SKIP

What is named here is loaded when it is first used: `import factory` alone is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factory.api.calls import Released, filter, loop, plan, release, run
    from factory.api.opened_run import OpenedRun as Run
    from factory.errors import (
        EngineError,
        FactoryError,
        MissingExtra,
        RecipeError,
        RunError,
        SourceError,
        TrainingError,
    )
    from factory.outcome import Outcome
    from factory.recipe import (
        CaptionsSource,
        DemoSource,
        FolderSource,
        HuggingFaceSource,
        ImageSettings,
        ParquetSource,
        Prompt,
        Recipe,
        Release,
        Repair,
        Sampling,
        Select,
        UrlsSource,
        View,
        WebDatasetSource,
    )
    from factory.work.plan import Plan

_PARTS = (
    "CaptionsSource DemoSource FolderSource HuggingFaceSource ImageSettings ParquetSource Prompt Recipe Release Repair "
    "Sampling Select UrlsSource View WebDatasetSource"
)
_ERRORS = "EngineError FactoryError MissingExtra RecipeError RunError SourceError TrainingError"
_WHERE = {
    **dict.fromkeys(["Released", "filter", "loop", "plan", "release", "run"], "factory.api.calls"),
    **dict.fromkeys(_PARTS.split(), "factory.recipe"),
    **dict.fromkeys(_ERRORS.split(), "factory.errors"),
    "Outcome": "factory.outcome",
    "Plan": "factory.work.plan",
    "Run": "factory.api.opened_run",
}
"""Name -> the module that is imported when it is first used."""

__all__ = [
    "CaptionsSource",
    "DemoSource",
    "EngineError",
    "FactoryError",
    "FolderSource",
    "HuggingFaceSource",
    "ImageSettings",
    "MissingExtra",
    "Outcome",
    "ParquetSource",
    "Plan",
    "Prompt",
    "Recipe",
    "RecipeError",
    "Release",
    "Released",
    "Repair",
    "Run",
    "RunError",
    "Sampling",
    "Select",
    "SourceError",
    "TrainingError",
    "UrlsSource",
    "View",
    "WebDatasetSource",
    "filter",
    "loop",
    "plan",
    "release",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'factory' has no attribute {name!r}; there are: {', '.join(__all__)}")
    value = getattr(import_module(_WHERE[name]), "OpenedRun" if name == "Run" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
