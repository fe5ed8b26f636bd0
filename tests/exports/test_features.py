"""What is written without the `datasets` library is what it would have written."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

from exports.columns import FOLDERS, features
from exports.features import Features, Image, List, Value


def of_the_library(feature: Any) -> Any:
    if isinstance(feature, dict):
        return {name: of_the_library(inner) for name, inner in feature.items()}
    if isinstance(feature, List):
        return datasets.List(of_the_library(feature.feature))
    return datasets.Image() if isinstance(feature, Image) else datasets.Value(feature.dtype)


ODD = Features({"a": List(Value("int64")), "b": List(Image()), "c": List({"d": Value("float32"), "e": Image()})})


@pytest.mark.parametrize("made", [*(features(config, ["length", "odd_name"]) for config in FOLDERS), ODD])
def test_schema_and_card_are_those_of_the_library_byte_for_byte(made: Features) -> None:
    theirs = datasets.Features(of_the_library(made.columns))
    assert made.arrow_schema.equals(theirs.arrow_schema, check_metadata=True)
    assert made.card_list() == theirs._to_yaml_list()
