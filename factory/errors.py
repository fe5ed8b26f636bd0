"""The errors a user can act on. The command line prints their text alone; anything else is a bug and says so."""

from __future__ import annotations


class FactoryError(Exception):
    """What was wrong, where, and what to do. `exit_code` is what the command ends with."""

    exit_code = 1


class RecipeError(FactoryError, ValueError):
    """One or more problems of a recipe, each with its file and line."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class SourceError(FactoryError):
    """The source cannot be read: missing, empty, of another layout, or gone half-way."""


class RunError(FactoryError):
    """The run directory cannot be used: locked, of another recipe, read-only, full, or damaged."""


class EngineError(FactoryError):
    """The engine cannot work at all; carries the engine's own message."""


class TrainingError(FactoryError):
    """A training cannot start, broke, or left no checkpoint that can be used."""
