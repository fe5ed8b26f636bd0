"""English parsers of spaCy, loaded from installed packages or directories."""

from __future__ import annotations

import importlib.util
import warnings
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from filters.contract.filter import FilterError

DEFAULT: Final = "en_core_web_sm"
NEEDED: Final = ("tagger", "parser")
_UNUSED: Final = ("ner", "senter", "textcat", "textcat_multilabel", "entity_linker")
_INSTALL: Final = f"pip install 'caption-factory[spacy]' && python -m spacy download {DEFAULT}"


@lru_cache(maxsize=4)
def english_parser(model: str | None, asked_by: str) -> Any:
    """A spaCy pipeline with a tagger and a parser.

    Args:
        model: an installed package, or a directory; None: `en_core_web_sm`, or else the one English model that is installed.
        asked_by: the setting that names it, for errors.

    Raises:
        FilterError: spaCy or the model is missing, there are several to choose from, or the model cannot parse.
    """
    try:
        import spacy
    except ImportError as error:
        raise FilterError(f"{asked_by}: spaCy is not installed; {_INSTALL}") from error
    folder = parser_folder(model, asked_by)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"\[W095\]")  # a model of an older spaCy: measured to work
            found = spacy.load(folder, exclude=list(_UNUSED))
    except Exception as error:  # whatever spaCy raises for a broken or foreign model
        raise FilterError(f"{asked_by}: {str(folder)!r} is no model that spaCy can load: {error}") from error
    missing = [name for name in NEEDED if name not in found.pipe_names]
    if missing or found.lang != "en":
        raise FilterError(
            f"{asked_by}: {str(folder)!r} must be an English model with {' and '.join(NEEDED)}; "
            f"it is of language {found.lang!r} and has {', '.join(found.pipe_names) or 'nothing'}."
        )
    return found


def parser_folder(model: str | None, asked_by: str) -> Path:
    """The directory with the model's config.cfg. Arguments and errors as `english_parser`."""
    name = model or _only_installed(asked_by)
    if (Path(name).expanduser() / "config.cfg").is_file():
        return Path(name).expanduser()
    known = importlib.util.find_spec(name) if name.isidentifier() else None
    if known is not None and known.origin is not None:
        configs = sorted(Path(known.origin).parent.glob("*/config.cfg"))
        if configs:
            return configs[0].parent
    raise FilterError(
        f"{asked_by}: {name!r} is neither an installed model of spaCy nor a directory with a config.cfg; {_INSTALL}"
    )


def parser_identity(model: str | None, asked_by: str) -> str:
    """Name and version of the model, for fingerprints: "en_core_web_sm-3.8.0". Arguments and errors as `english_parser`."""
    meta = english_parser(model, asked_by).meta
    return f"{meta['lang']}_{meta['name']}-{meta['version']}"


def _only_installed(asked_by: str) -> str:
    found = sorted({name for one in distributions() for name in _models_of(one)})
    if DEFAULT in found:
        return DEFAULT
    if len(found) != 1:
        several = f"there are several: {', '.join(found)}; name one" if found else f"none is installed; {_INSTALL}"
        raise FilterError(f"{asked_by}: without a name an English model of spaCy must be installed, and {several}")
    return found[0]


def _models_of(distribution: Any) -> list[str]:
    """The English models that a distribution registers, as spaCy's own packages do (entry points `spacy_models`)."""
    return [
        point.value
        for point in distribution.entry_points
        if point.group == "spacy_models" and point.value.startswith("en_")
    ]
