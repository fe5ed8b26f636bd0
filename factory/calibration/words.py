"""A calibration in words and tables, for the terminal and for the report."""

from __future__ import annotations

from collections.abc import Sequence

from filters.calibration.calibration import ALL, Calibration, Estimate, Stratum


def page(calibration: Calibration) -> list[str]:
    """Everything about one calibration, as lines."""
    labels = calibration.labels
    lost = ", ".join(f"{count:,} {reason}" for reason, count in labels.set_aside.items())
    whole = calibration.all
    lines = [
        f"score       {title(calibration)}",
        f"labels      {labels.used:,} of {labels.given:,} used{f' ({lost} set aside)' if lost else ''}; the threshold is tested "
        f"on {labels.tested:,}, of which {whole.right:,} are right",
        f"AUROC       {with_interval(whole.auroc, '.3f')}",
    ]
    if whole.kept is not None:
        kept = whole.kept
        lines += [
            f"threshold   {kept.threshold:.6f}: {promise(calibration)}",
            f"precision   {with_interval(kept.precision, '.1%')}: {kept.right:,} of {kept.rows:,} labelled ones; one-sided "
            f"bound {kept.lower_bound:.1%}",
            f"recall      {with_interval(kept.recall, '.1%')}",
            f"keeps       {kept.keep_rate:.1%} of the {calibration.unit}s",
        ]
    else:
        lines.append(f"threshold   none: {promise(calibration)}")
    lines += ["", *in_columns(strata_table(calibration)), ""]
    return [*lines, *(f"warning     {warning}" for warning in calibration.warnings)]


def title(calibration: Calibration) -> str:
    """What it is about."""
    if calibration.stack is None:
        return str(calibration.filter)
    parts = ", ".join(f"{one.name} {one.weight:+.2f}" for one in calibration.stack.features)
    return f"{calibration.stack.method} stack of {parts}, fitted on {calibration.stack.fitted_on:,} labels"


def promise(calibration: Calibration) -> str:
    """What its labels prove, or why they prove nothing and how many would."""
    target = f"{calibration.target_precision:.1%}"
    whole = calibration.all
    if calibration.threshold is not None:
        return f"at least {target} of the {calibration.unit}s that reach it are right, with {calibration.confidence:.0%} confidence"
    if whole.labels_needed is None:
        return f"at no threshold are {target} of the labelled {calibration.unit}s right; more labels would not help, a better score would"
    return (
        f"these labels do not prove {target} at any threshold; about {whole.labels_needed:,} would (now {whole.labels:,}), "
        f"if the shares stay as they are"
    )


def strata_table(calibration: Calibration) -> list[tuple[str, ...]]:
    """A heading, then a row per stratum."""
    rows: list[tuple[str, ...]] = [
        ("stratum", "labels", "right", "AUROC", "kept", "precision", "recall", "own threshold")
    ]
    for stratum in calibration.strata:
        name = ALL if stratum.by == ALL else f"{stratum.by} {stratum.value}"
        counts = (f"{stratum.labels:,}", f"{stratum.right / stratum.labels:.1%}", with_interval(stratum.auroc, ".3f"))
        rows.append((name, *counts, *_kept_cells(stratum), _own(stratum)))
    return rows


def comparison_table(calibrations: Sequence[Calibration]) -> list[tuple[str, ...]]:
    """A heading, then a row per calibration, the best AUROC first."""
    rows: list[tuple[str, ...]] = [("filter", "labels", "AUROC", "kept", "precision", "recall", "threshold")]
    for one in sorted(calibrations, key=lambda one: -(one.all.auroc.value if one.all.auroc else 0)):
        auroc = with_interval(one.all.auroc, ".3f")
        rows.append((str(one.filter), f"{one.all.labels:,}", auroc, *_kept_cells(one.all), _own(one.all)))
    return rows


def in_columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A table as lines of equal columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def with_interval(estimate: Estimate | None, form: str) -> str:
    """A number and its interval, such as 0.912 (0.881 to 0.936)."""
    return "-" if estimate is None else f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def _kept_cells(stratum: Stratum) -> tuple[str, str, str]:
    kept = stratum.kept
    if kept is None or not kept.rows:
        return "-" if kept is None else f"{kept.keep_rate:.1%}", "-", "-"
    return f"{kept.keep_rate:.1%}", with_interval(kept.precision, ".1%"), with_interval(kept.recall, ".1%")


def _own(stratum: Stratum) -> str:
    if stratum.own is not None:
        return f"{stratum.own.threshold:.4f} keeps {stratum.own.keep_rate:.1%}"
    return f"needs ~{stratum.labels_needed:,} labels" if stratum.labels_needed else "out of reach"
