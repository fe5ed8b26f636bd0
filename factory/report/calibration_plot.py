"""The plot of a calibration: precision over coverage, its band, the target and the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from factory.calibration.words import promise, strata_table, title
from factory.report.data import CalibrationPlot
from filters.calibration.calibration import Calibration

AREA = {"left": 46.0, "right": 412.0, "top": 14.0, "bottom": 182.0}
"""Where the curve is drawn, in the plot's 420 x 224."""


@dataclass(frozen=True, slots=True)
class CalibrationDrawing:
    """A calibration, ready to be written as SVG; points as the `points` attribute takes them."""

    reference: str
    summary: str
    curve: str
    band: str
    target: str
    target_y: float
    chosen: tuple[float, float] | None
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    strata: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...]


def calibration_plot(reference: str, calibration: Calibration) -> CalibrationPlot:
    """What the report shows of a calibration."""
    curve = calibration.all.curve
    kept = calibration.all.kept
    return CalibrationPlot(
        reference=reference,
        summary=f"{title(calibration)}: {promise(calibration)}.",
        points=tuple(zip(curve.keep_rate, curve.precision, curve.precision_low, curve.precision_high, strict=True)),
        target=calibration.target_precision,
        confidence=calibration.confidence,
        chosen=None if kept is None else (kept.keep_rate, kept.precision.value),
        strata=tuple(strata_table(calibration)),
        warnings=calibration.warnings,
    )


def draw_calibration(plot: CalibrationPlot) -> CalibrationDrawing:
    """The vertical axis starts at a tenth below everything that matters: the curve and the target, not the whole band."""
    least = min([plot.target, *(precision for _, precision, _, _ in plot.points)])
    floor = max(0.0, int(least * 10 - 1e-9) / 10 - (0.1 if least < 1 else 0.0))
    tenths = range(round(floor * 10), 11, 1 if floor >= 0.5 else 2)

    def x(coverage: float) -> float:
        return round(AREA["left"] + coverage * (AREA["right"] - AREA["left"]), 2)

    def y(precision: float) -> float:
        share = (max(floor, min(1.0, precision)) - floor) / (1 - floor)
        return round(AREA["bottom"] - share * (AREA["bottom"] - AREA["top"]), 2)

    return CalibrationDrawing(
        reference=plot.reference,
        summary=plot.summary,
        curve=_joined([(x(coverage), y(precision)) for coverage, precision, _, _ in plot.points]),
        band=_joined(
            [(x(coverage), y(high)) for coverage, _, _, high in plot.points]
            + [(x(coverage), y(low)) for coverage, _, low, _ in reversed(plot.points)]
        ),
        target=f"{plot.target:.1%}",
        target_y=y(plot.target),
        chosen=None if plot.chosen is None else (x(plot.chosen[0]), y(plot.chosen[1])),
        x_ticks=tuple((x(part / 4), f"{part / 4:.0%}") for part in range(5)),
        y_ticks=tuple((y(tenth / 10), f"{tenth / 10:.0%}") for tenth in tenths),
        strata=plot.strata,
        warnings=plot.warnings,
    )


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
