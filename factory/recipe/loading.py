"""From a file to a recipe.

A recipe is untrusted input: YAML is read without object tags, with bounded size, depth and alias expansion
(`factory/recipe/yaml_text.py`). Unknown keys are errors, and every error names the file, the line and, where one is near,
the key that was probably meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from factory.errors import RecipeError
from factory.models.resolve import filter_params
from factory.recipe.part import Part
from factory.recipe.problems import problems_of
from factory.recipe.recipe import FilterUse, Recipe, filter_use
from factory.recipe.yaml_text import RecipeText, read_yaml, set_value

SomePart = TypeVar("SomePart", bound=Part)
T = TypeVar("T")


def load_recipe(path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file and apply `--set` overrides.

    Args:
        path: the YAML file.
        overrides: `key.path=value` texts; a list item is named by index or by its `name`; the value is YAML.

    Raises:
        RecipeError: everything that is wrong with it, each with file and line and what to do.
    """
    return as_recipe(path, overrides)


Overrides = Mapping[str, Any] | tuple[str, ...]
"""`key.path` -> value, or texts `key.path=value` as `--set` takes them."""


def as_texts(overrides: Overrides) -> tuple[str, ...]:
    """Overrides as `--set` takes them; a value is written as JSON, which YAML reads."""
    if isinstance(overrides, Mapping):
        return tuple(f"{key}={json.dumps(value)}" for key, value in overrides.items())
    return tuple(overrides)


def as_recipe(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    overrides: Overrides = (),
    plugins: Sequence[str | Path] = (),
    released: bool = False,
) -> Recipe:
    """The recipe that a caller means: an object, a mapping of its keys, or a file; checked as a file is.

    Args:
        recipe: see above.
        overrides: values changed first.
        plugins: Python files to load beside those that the recipe names.
        released: the file came with a release: what it names as plugins is another's code, and `plugins` must be given instead.

    Raises:
        RecipeError: everything that is wrong with it, each with where it stands and what to do.
    """
    sets = as_texts(overrides)
    if isinstance(recipe, Recipe):
        if not sets and not plugins:
            _check_filters(RecipeText("Recipe", {}), recipe)
            return recipe
        recipe = recipe.model_dump(mode="json")
    if isinstance(recipe, str | Path):
        text = read_yaml(recipe)
        text.data.setdefault("name", _name_of(Path(recipe)))
    else:
        text = RecipeText("recipe", dict(recipe))
    named = text.data.get("plugins")
    if released and named:
        if not plugins:
            raise RecipeError(
                [
                    f"{text.where(('plugins',))}: this release was made with plugins ({named}); code of others is not run: "
                    "read it, and name your copy with --plugin"
                ]
            )
        text.data["plugins"] = named = []
    foreign = [one.get("kind") for one in _experts(text) if released]
    if any(":" in str(kind) for kind in foreign):
        raise RecipeError(
            [
                f"{text.where(('experts',))}: this release was made with experts of packages ({', '.join(map(str, foreign))}); code of others "
                "is not run: read it, and name your copy with --plugin"
            ]
        )
    if plugins:
        text.data["plugins"] = [*(named if isinstance(named, (list, tuple)) else ()), *map(str, plugins)]
    return with_overrides(text, sets, parse_recipe)


def _experts(text: RecipeText) -> list[dict[str, Any]]:
    named = text.data.get("experts")
    return [one for one in named.values() if isinstance(one, dict)] if isinstance(named, dict) else []


def with_overrides(text: RecipeText, overrides: tuple[str, ...], parse: Callable[[RecipeText], T]) -> T:
    """What `parse` makes of a text with `--set` overrides. What one of them made wrong is told as its fault.

    Raises RecipeError as `set_value` and `parse` do.
    """

    def parsed(sets: tuple[str, ...]) -> T:
        changed = deepcopy(text)
        for one in sets:
            set_value(changed, one)
        return parse(changed)

    return blame_overrides(parsed, overrides, text.file)


def blame_overrides(make: Callable[[tuple[str, ...]], T], overrides: tuple[str, ...], file: str) -> T:
    """What `make` makes of the overrides. A problem that is not there without one of them is told as its fault.

    Args:
        make: called again with fewer overrides where there are problems, to see which of them brought each.
        overrides: `--set` texts.
        file: the name that problems begin with, perhaps with a line.
    """
    try:
        return make(overrides)
    except RecipeError as error:
        problems = error.problems
    before: dict[str, int] = {}  # problem -> with how many overrides it comes up
    for count in range(len(overrides)):
        try:
            make(overrides[:count])
        except RecipeError as error:
            before |= {one: before.get(one, count) for one in error.problems}
    told = []
    for one in problems:
        count = before.get(one, len(overrides))
        if count and not one.startswith("--set "):
            where = re.compile(rf"{re.escape(file)}(:\d+)?: (recipe: )?")
            one = f"--set {overrides[count - 1]}: {where.sub('', one, count=1)}"
        told.append(one)
    raise RecipeError(told)


def _name_of(file: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._")[:100] or "captions"


def parse_recipe(text: RecipeText) -> Recipe:
    """Validate parsed YAML. Raises RecipeError with all problems at once."""
    try:
        recipe = Recipe.model_validate(text.data)
    except ValidationError as error:
        problems = problems_of(text, error.errors(), Recipe)
        whole = all(not item["loc"] for item in error.errors())
        wrong = _wrong_filters(text, text.data.get("filters")) if whole else []
        raise RecipeError(wrong or problems) from None  # rules that name a misspelt filter rightly are not the fault
    _check_filters(text, recipe)
    return recipe


def parse_part(text: RecipeText, part: type[SomePart]) -> SomePart:
    """Validate parsed YAML as a whole file of another kind than a recipe. Raises RecipeError with all problems at once."""
    try:
        return part.model_validate(text.data)
    except ValidationError as error:
        raise RecipeError(problems_of(text, error.errors(), part)) from None


def _check_filters(text: RecipeText, recipe: Recipe) -> None:
    """Unknown filters and wrong filter parameters are recipe errors too."""
    if problems := _wrong_filters(text, recipe.filters):
        raise RecipeError(problems)


def _wrong_filters(text: RecipeText, listed: Any) -> list[str]:
    import filters

    problems = []
    for place, item in enumerate(listed or ()):
        use = FilterUse.model_validate(filter_use(item))
        try:
            filters.build(use.name, filter_params(use.params))
        except (filters.FilterError, RecipeError) as error:
            problems.append(f"{text.where(('filters', place))}: filters.{place}: {error}")
    return problems


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe for editors, with the two ways to write a filter and each filter's parameters."""
    import filters

    schema = Recipe.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "caption factory recipe"
    names = {}
    for name, cls in filters.registered().items():
        parameters = cls.model_json_schema()
        schema["$defs"].update(parameters.pop("$defs", {}))
        names[name] = {"anyOf": [parameters, {"type": "null"}]}
    one_filter = {
        "type": "object",
        "properties": names,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    for part in schema["$defs"].values():  # in Python the class says it
        if "const" in part.get("properties", {}).get("kind", {}):
            part["required"] = list(dict.fromkeys(["kind", *part.get("required", ())]))
    schema["properties"]["filters"] = {
        "type": "array",
        "description": "The filters that score every caption.",
        "items": {"anyOf": [{"enum": list(names)}, one_filter]},
    }
    schema["$defs"].pop("FilterUse", None)
    experts = schema["properties"]["experts"]
    experts["patternProperties"] = dict.fromkeys(experts["patternProperties"], _schema_of_experts(schema["$defs"]))
    schema["$defs"].pop("Expert", None)
    return schema


def _schema_of_experts(definitions: dict[str, Any]) -> dict[str, Any]:
    """Of one expert: of a kind of this package with its parameters, or of another, which editors cannot know."""
    from factory.experts.kinds import shipped_kinds

    kinds = []
    for name, kind in sorted(shipped_kinds().items()):
        parameters = kind.model_json_schema()
        definitions.update(parameters.pop("$defs", {}))
        parameters["properties"]["kind"] = {"const": name}
        parameters["required"] = list(dict.fromkeys(["kind", *parameters.get("required", ())]))
        kinds.append(parameters)
    own = {
        "type": "object",
        "properties": {"kind": {"type": "string", "not": {"enum": list(shipped_kinds())}}},
        "required": ["kind"],
    }
    return {"anyOf": [*kinds, own]}


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out; it loads again to an equal recipe."""
    import yaml

    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120))
