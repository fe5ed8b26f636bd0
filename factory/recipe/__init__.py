"""What a user wrote: one file a section, and `loading`, which reads them."""

from factory.recipe.loading import as_recipe, load_recipe, parse_recipe, recipe_schema, recipe_yaml
from factory.recipe.part import (
    CALIBRATION,
    CALIBRATION_PATTERN,
    NAME_PATTERN,
    ORIGINAL,
    PLACE,
    SEMVER_PATTERN,
    STACK,
    TEMPLATE_FIELD,
    Part,
)
from factory.recipe.problems import did_you_mean
from factory.recipe.recipe import FilterUse, Recipe
from factory.recipe.release import CaptionRule, Release
from factory.recipe.repair import Repair, Rung
from factory.recipe.select import KeepTop, Select
from factory.recipe.source import (
    CaptionsSource,
    DemoSource,
    FolderSource,
    HuggingFaceSource,
    ParquetSource,
    Source,
    UrlsSource,
    WebDatasetSource,
)
from factory.recipe.view import (
    AS_IT_IS,
    AUTO,
    ORIGINAL_IMAGE,
    ImageSettings,
    Price,
    Prompt,
    Sampling,
    ServedModel,
    View,
)

__all__ = [
    "AS_IT_IS",
    "AUTO",
    "CALIBRATION",
    "CALIBRATION_PATTERN",
    "NAME_PATTERN",
    "ORIGINAL",
    "ORIGINAL_IMAGE",
    "PLACE",
    "SEMVER_PATTERN",
    "STACK",
    "TEMPLATE_FIELD",
    "CaptionRule",
    "CaptionsSource",
    "DemoSource",
    "FilterUse",
    "FolderSource",
    "HuggingFaceSource",
    "ImageSettings",
    "KeepTop",
    "ParquetSource",
    "Part",
    "Price",
    "Prompt",
    "Recipe",
    "Release",
    "Repair",
    "Rung",
    "Sampling",
    "Select",
    "ServedModel",
    "Source",
    "UrlsSource",
    "View",
    "WebDatasetSource",
    "as_recipe",
    "did_you_mean",
    "load_recipe",
    "parse_recipe",
    "recipe_schema",
    "recipe_yaml",
]
