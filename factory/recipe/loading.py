"""From a file to a recipe.

A recipe is untrusted input: YAML is read without object tags, with bounded size, depth and alias expansion
(`factory/recipe/yaml_text.py`). Unknown keys are errors, and every error names the file, the line and, where one is near,
the key that was probably meant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError

from factory.errors import RecipeError
from factory.models.resolve import filter_params
from factory.recipe.part import Part, did_you_mean
from factory.recipe.recipe import Recipe
from factory.recipe.source import Source
from factory.recipe.yaml_text import RecipeText, read_yaml, set_value

SomePart = TypeVar("SomePart", bound=Part)


def load_recipe(path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file and apply `--set` overrides.

    Args:
        path: the YAML file.
        overrides: `key.path=value` texts; a list item is named by index or by its `name`; the value is YAML.

    Raises:
        RecipeError: everything that is wrong with it, each with file and line and what to do.
    """
    text = read_yaml(path)
    for override in overrides:
        set_value(text, override)
    return parse_recipe(text)


def parse_recipe(text: RecipeText) -> Recipe:
    """Validate parsed YAML. Raises RecipeError with all problems at once."""
    recipe = parse_part(text, Recipe)
    _check_filters(text, recipe)
    return recipe


def parse_part(text: RecipeText, part: type[SomePart]) -> SomePart:
    """Validate parsed YAML as a whole file of another kind than a recipe. Raises RecipeError with all problems at once."""
    try:
        return part.model_validate(text.data)
    except ValidationError as error:
        raise RecipeError([_problem(text, item, part) for item in error.errors()]) from None


def _check_filters(text: RecipeText, recipe: Recipe) -> None:
    """Unknown filters and wrong filter parameters are recipe errors too."""
    import filters

    problems = []
    for place, use in enumerate(recipe.filters):
        try:
            filters.build(use.name, filter_params(use.params))
        except (filters.FilterError, RecipeError) as error:
            problems.append(f"{text.where(('filters', place))}: filters.{place}: {error}")
    if problems:
        raise RecipeError(problems)


def _problem(text: RecipeText, item: Any, part: type[Part]) -> str:
    loc = tuple(item["loc"])
    path, model = _resolve(text, loc, part)
    name = ".".join(str(step) for step in path) or part.__name__.lower()
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = f"unknown key{did_you_mean(str(loc[-1]), _keys(model), every=True)}"
    elif item["type"] == "missing":
        message = "this key is missing"
    elif item["type"] == "union_tag_invalid":
        kinds = [part.model_fields["kind"].annotation.__args__[0] for part in _union_members(Source)]
        given = text.get(path).get("kind") if isinstance(text.get(path), dict) else None
        message = f"unknown kind '{given}'{did_you_mean(str(given), kinds, every=True)}"
        path, name = (*path, "kind"), f"{name}.kind"
    elif item["type"] == "union_tag_not_found":
        message = "'kind' is missing: folder, parquet, webdataset, huggingface, captions or demo"
    return f"{text.where(path)}: {name}: {message}"


def _resolve(text: RecipeText, loc: tuple[Any, ...], whole: type[Part]) -> tuple[tuple[Any, ...], type[Part]]:
    """The YAML path of a pydantic location (union tags are not in the YAML), and the model the last key belongs to."""
    model: Any = whole
    owner = whole
    path: list[Any] = []
    for step in loc:
        members = _union_members(model)
        tagged = [part for part in members if isinstance(step, str) and _tag(part) == step]
        if tagged:
            model = tagged[0]
            continue
        if isinstance(model, type) and issubclass(model, Part):
            owner = model
            field = model.model_fields.get(str(step))
            model = field.annotation if field else None
        elif isinstance(step, int) and get_origin(model) is tuple:
            model = get_args(model)[0]
        elif isinstance(step, str) and text.get((*path, step)) is None:
            continue  # a branch of a plain union such as `replicas`; not a key of the file
        path.append(step)
    return tuple(path), owner


def _union_members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Union:
        return [part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, Part)]
    return []


def _tag(part: type[Part]) -> str | None:
    kind = part.model_fields.get("kind")
    return get_args(kind.annotation)[0] if kind else None


def _keys(model: type[Part]) -> list[str]:
    return list(model.model_fields)


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
    schema["properties"]["filters"] = {
        "type": "array",
        "description": "The filters that score every caption.",
        "items": {"anyOf": [{"enum": list(names)}, one_filter]},
    }
    schema["$defs"].pop("FilterUse", None)
    return schema


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out; it loads again to an equal recipe."""
    import yaml

    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120))
