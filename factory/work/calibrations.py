"""The calibrations of a run: `calibrations/<name>-v<N>.json`, written once, named by recipes as `calibration:<name>-v<N>`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from factory.errors import RunError
from factory.recipe import CALIBRATION, ORIGINAL, STACK, Select
from factory.runs.run import CALIBRATIONS, Run
from factory.work.fingerprint import fingerprint, sampling_content, source_identity, talking_content
from filters.calibration.calibration import Calibration
from filters.contract.filter import FilterError

if TYPE_CHECKING:
    from factory.recipe import Recipe, View
    from factory.work.views import ReadyView


def load_calibrations(run: Run, recipe: Recipe, filters: Mapping[str, str]) -> dict[str, Calibration]:
    """The calibrations that selection and repair name, by reference.

    Args:
        filters: `Scorer.identity` of each filter of the recipe.

    Raises:
        RunError: one is missing or damaged, reads a filter that the recipe does not have or has with other parameters, is
            about another filter than the rule, or has no threshold where one is required.
    """
    found = {reference: read_calibration(run, reference) for reference in recipe.calibrations}
    for reference, calibration in found.items():
        for name in calibration.reads:
            if name not in filters:
                raise RunError(f"{reference} reads the filter '{name}', which is not among the filters of this recipe")
            if calibration.filters.get(name, filters[name]) != filters[name]:
                raise RunError(
                    f"{reference} was made when '{name}' had other parameters or another version, so its threshold means "
                    f"nothing now; calibrate again (`factory calibrate {run.url} --labels ...`)"
                )
    for name, least in recipe.select.require.items():
        if isinstance(least, str):
            _check_rule(name, least, found[least])
    if recipe.repair is not None and recipe.repair.by in found:
        _check_threshold("repair.by", recipe.repair.by, found[recipe.repair.by])
    return found


def _check_rule(name: str, reference: str, calibration: Calibration) -> None:
    about = STACK if calibration.stack is not None else str(calibration.filter)
    if name != about:
        raise RunError(f"select.require.{name}: {reference} is about '{about}'; write {about}: {reference}")
    _check_threshold(f"select.require.{name}", reference, calibration)


def _check_threshold(where: str, reference: str, calibration: Calibration) -> None:
    if calibration.threshold is None:
        raise RunError(
            f"{where}: {reference} has no threshold, because its labels did not prove a precision of "
            f"{calibration.target_precision:g}; calibrate again with more labels or another target"
        )


def resolved_rules(select: Select, calibrations: Mapping[str, Calibration]) -> dict[str, Any]:
    """The rules for `selection.decide`: thresholds as numbers, a stack under the reference that is also its column."""
    rules = select.model_dump()
    rules["require"] = {
        least if name == STACK else name: calibrations[least].threshold if isinstance(least, str) else least
        for name, least in select.require.items()
    }
    return rules


def calibration_warnings(calibrations: Mapping[str, Calibration], captioner: Mapping[str, dict[str, str]]) -> list[str]:
    """In words, which calibrations come from another captioner or prompt than these captions."""
    warnings = []
    for reference, calibration in calibrations.items():
        differences = calibration.differences(dict(captioner))
        if differences:
            warnings.append(
                f"{reference} was made from other captions: {'; '.join(differences)}. Its promised precision of "
                f"{calibration.target_precision:g} holds for those, not for these; calibrate again"
            )
    return warnings


def captioner_of(recipe: Recipe, views: Sequence[ReadyView]) -> dict[str, dict[str, str]]:
    """Per view, what shapes its captions, by the word for it. The seed is left out: other draws of the same captioner."""
    originals = {ORIGINAL: {"source": fingerprint("source", source_identity(recipe))}} if recipe.original else {}
    return originals | {
        ready.name: {
            "model": ready.identity,
            "prompt": fingerprint("prompts", _asked(ready.view)),
            "sampling": fingerprint("sampling", sampling_content(ready.view)),
            "image preparation": ready.image_fingerprint,
        }
        for ready in views
    }


def _asked(view: View) -> list[Any]:
    talks = talking_content(view)
    return [view.system, sorted(one.text for one in view.prompts), *([talks] if talks else [])]


# --- files -------------------------------------------------------------------------------------------------------------


def read_calibration(run: Run, reference: str) -> Calibration:
    """The calibration of a reference. Raises RunError where it is missing (with the ones there are) or damaged."""
    name = f"{reference.removeprefix(CALIBRATION)}.json"
    try:
        calibration = Calibration.from_json(run.storage.read(f"{CALIBRATIONS}/{name}"))
    except FileNotFoundError:
        there = [f"{CALIBRATION}{file.removesuffix('.json')}" for file in run.storage.names(CALIBRATIONS, ".json")]
        raise RunError(
            f"{reference}: {run.url} has no such calibration ({', '.join(there) or 'it has none'}). Run the recipe without "
            f"it once, then `factory calibrate {run.url} --labels ...`; or copy the file of another run to "
            f"{run.storage.full(CALIBRATIONS)}"
        ) from None
    except FilterError as error:
        raise RunError(f"{run.storage.full(f'{CALIBRATIONS}/{name}')}: {error}") from None
    return calibration


def write_calibration(run: Run, calibration: Calibration) -> tuple[str, Calibration]:
    """Write a calibration as the next version of its name; the same content again is the version it has.

    Returns its reference and itself with its version. The caller holds the run's lock.
    """
    pattern = re.compile(re.escape(calibration.name) + r"-v(\d+)\.json")
    versions = [
        int(match[1]) for name in run.storage.names(CALIBRATIONS, ".json") if (match := pattern.fullmatch(name))
    ]
    for version in versions:
        old = read_calibration(run, _reference(calibration.name, version))
        if old.id == calibration.id:
            return _reference(old.name, version), old
    calibration = calibration.model_copy(update={"version": max(versions, default=0) + 1})
    reference = _reference(calibration.name, calibration.version)
    path = f"{CALIBRATIONS}/{reference.removeprefix(CALIBRATION)}.json"
    run.storage.write_new(path, calibration.to_json().encode())
    return reference, calibration


def copy_calibrations(source: Run, target: Run) -> None:
    """Copy the calibrations of one run into another that does not have them, as a preview does."""
    for name in source.storage.names(CALIBRATIONS, ".json"):
        if not target.storage.exists(f"{CALIBRATIONS}/{name}"):
            target.storage.write_new(f"{CALIBRATIONS}/{name}", source.storage.read(f"{CALIBRATIONS}/{name}"))


def _reference(name: str, version: int) -> str:
    return f"{CALIBRATION}{name}-v{version}"
