"""What is wrong with a part of a recipe, in words: where it stands, and what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from factory.recipe.yaml_text import RecipeText


def did_you_mean(word: str, known: list[str] | tuple[str, ...], every: bool = False) -> str:
    """'; did you mean ...?' for a near miss; with `every`, otherwise the whole list of what is known."""
    known = [one for one in known if one != word]  # what was written is never what was meant
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(known)}" if every and known else ""


def problem(text: RecipeText, item: Any, part: type[BaseModel]) -> str:
    """One of pydantic's errors as a user reads it: `file:line: key: what is wrong and what to write`.

    Args:
        text: what was given, with its lines where it is a file.
        item: one of `ValidationError.errors()`.
        part: the model of all of `text`.
    """
    loc = tuple(item["loc"])
    path, owner, annotation = _resolve(text, loc, part)
    name = ".".join(str(step) for step in path) or part.__name__.lower()
    message = item["msg"].removeprefix("Value error, ")
    if not loc and (named := re.match(r"([a-z_.]+): (?:[^']*'([^']*)')?", message)):
        path = _path_of(text, tuple(named[1].split(".")), named[2]) or path
        name = name if path == () else ""
    if item["type"] == "extra_forbidden":
        message = f"unknown key{did_you_mean(str(loc[-1]), _keys(owner), every=True)}"
    elif item["type"] == "missing":
        message = "this key is missing"
    elif item["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kinds = [tag for member in _union_members(annotation) if (tag := _tag(member)) is not None]
        if item["type"] == "union_tag_not_found":
            message = f"'kind' is missing: {', '.join(kinds[:-1])} or {kinds[-1]}"
        else:
            given = text.get(path).get("kind") if isinstance(text.get(path), dict) else None
            message = f"unknown kind '{given}'{did_you_mean(str(given), kinds, every=True)}"
            path, name = (*path, "kind"), f"{name}.kind"
    return f"{text.where(path)}: {name + ': ' if name else ''}{message}"


def problems_of(text: RecipeText, items: Sequence[Any], part: type[BaseModel]) -> list[str]:
    """All of pydantic's errors as a user reads them. Of a value that may be a text or a mapping, where a mapping was given, those
    of the mapping alone.
    """
    told = []
    for item in items:
        beside = any(other["loc"][: len(item["loc"]) - 1] == item["loc"][:-1] for other in items if other is not item)
        if not (item["type"] == "string_type" and isinstance(item["input"], dict) and beside):
            told.append(item)
    return [problem(text, item, part) for item in told]


def _keys(part: type[BaseModel]) -> list[str]:
    """The keys of a part as a recipe has them."""
    return [field.alias or name for name, field in part.model_fields.items()]


def _path_of(text: RecipeText, section: tuple[Any, ...], word: str | None) -> tuple[Any, ...] | None:
    """Where a section stands that the rules of a whole file complain of: its key or value `word` if there is one."""
    below = [path for path in text.lines if path[: len(section)] == section]
    return next((path for path in below if word in (path[-1], text.get(path))), below[0] if below else None)


def _resolve(
    text: RecipeText, loc: tuple[Any, ...], whole: type[BaseModel]
) -> tuple[tuple[Any, ...], type[BaseModel], Any]:
    """The YAML path of a pydantic location (union tags are not in the YAML), the model the last key belongs to, and the
    annotation of what stands there.
    """
    model: Any = whole
    owner = whole
    path: list[Any] = []
    for step in loc:
        members = _union_members(model)
        tagged = [part for part in members if isinstance(step, str) and _tag(part) == step]
        if tagged:
            model = tagged[0]
            continue
        is_key = isinstance(step, int) or text.get((*path, step)) is not None
        if len(members) == 1 and (is_key or step in _keys(members[0])):
            model = members[0]  # of `Release | None`
        if isinstance(model, type) and issubclass(model, BaseModel):
            owner = model
            field = next((one for name, one in model.model_fields.items() if str(step) in (name, one.alias)), None)
            model = field.annotation if field else None
        elif isinstance(step, int) and get_origin(model) is tuple:
            model = get_args(model)[0]
        elif not is_key:
            # A branch of a plain union such as `replicas` or `release.caption`; not a key of the file.
            model = next((part for part in members if re.search(rf"\b{part.__name__}\b", str(step))), model)
            continue
        path.append(step)
    return tuple(path), owner, model


def _union_members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return [part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    return []


def _tag(part: type[BaseModel]) -> str | None:
    kind = part.model_fields.get("kind")
    return get_args(kind.annotation)[0] if kind else None
