"""The columns of a release as the `datasets` library describes them: the Arrow schema with its metadata, and the card's list.

Of `datasets` only these four kinds are needed to write, and it brings pandas: so a release is written without it, byte for byte as
with it (tests/exports/test_features.py compares the two), and read by it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Value:
    """A plain value; `dtype` is a name of Arrow's types, such as string, int32, float64, bool."""

    dtype: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image as its bytes and a file name."""


@dataclass(frozen=True, slots=True)
class List:
    """A list of a feature; of a dict: of structs."""

    feature: Any


@dataclass(frozen=True, slots=True)
class Features:
    """Column -> feature, in order."""

    columns: dict[str, Any]

    @property
    def arrow_schema(self) -> pa.Schema:
        """The schema of a Parquet file that `datasets.load_dataset` reads with these features."""
        import pyarrow as pa

        metadata = {"huggingface": json.dumps({"info": {"features": _described(self.columns)}})}
        return pa.schema({name: _arrow(feature) for name, feature in self.columns.items()}, metadata=metadata)

    def card_list(self) -> list[dict[str, Any]]:
        """What stands below `features` in the card of a dataset."""
        return [{"name": name, **_of_card(feature)} for name, feature in self.columns.items()]


def _described(feature: Any) -> Any:
    if isinstance(feature, dict):
        return {name: _described(inner) for name, inner in feature.items()}
    if isinstance(feature, List):
        return {"feature": _described(feature.feature), "_type": "List"}
    return {"_type": "Image"} if isinstance(feature, Image) else {"dtype": feature.dtype, "_type": "Value"}


def _arrow(feature: Any) -> pa.DataType:
    import pyarrow as pa

    if isinstance(feature, dict):
        return pa.struct({name: _arrow(inner) for name, inner in feature.items()})
    if isinstance(feature, List):
        return pa.list_(_arrow(feature.feature))
    if isinstance(feature, Image):
        return pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.bool_() if feature.dtype == "bool" else pa.type_for_alias(feature.dtype)


def _of_card(feature: Any) -> dict[str, Any]:
    if isinstance(feature, List):
        inner = feature.feature
        if isinstance(inner, dict):
            return {"list": [{"name": name, **_of_card(one)} for name, one in inner.items()]}
        return {"list": _of_card(inner)["dtype"]}
    return {"dtype": "image" if isinstance(feature, Image) else feature.dtype}
