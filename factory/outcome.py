"""What a run ended with, in words and as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from exports.release import ReleaseResult
from factory.captioning.caption_missing import Made
from factory.repair.repair import RepairCounts
from factory.runs.run import LEFT_OUT_ROWS
from factory.runs.set_aside import damage_lines
from factory.work.work import Work

LEFT_OUT = {
    "image_gone": "kept images are no longer in the source and so not in the release",
    "image_changed": "kept images changed since they were captioned and are not in the release; their keys need new captions",
    "image_unsafe": "dropped images are below a limit of publishing and are left out of the release",
    "no_text_chosen": "images lack a text that the caption template asks for and are released with their chosen caption",
    "no_text_leave_out": "images lack a text that the caption template asks for and are left out of the release",
}
"""Images that are not in the release as selected, by reason, in words that follow their number."""

SHOWN_REASONS = 4


@dataclass(repr=False)
class Outcome:
    """What a run ended with. Times are seconds. Printed, it is its last lines."""

    work: Work  # settled: as it was when selection decided
    made: Made = field(default_factory=Made)  # this time
    seconds: dict[str, float] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)  # files of the run that were set aside, as paths below it
    starts: dict[str, int] = field(default_factory=dict)  # of `ray`, and of `engines`
    repair: RepairCounts | None = None
    selection: dict[str, Any] = field(default_factory=dict)
    release: ReleaseResult | None = None
    left_out: dict[str, int] = field(default_factory=dict)  # images not released as selected, by reason
    accounts: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    report: str = ""

    def summary(self) -> dict[str, Any]:
        """As JSON data."""
        return {"run": self.work.run.url, "report": self.report, **self.metrics}

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The last lines of a run on a terminal."""
        from factory.judging.judge_report import judge_warnings

        states = [f"{number:,} {state}" for state, number in self.accounts.items() if number and state != "source_rows"]
        dropped = _reasons(self.selection["dropped"])
        made, rows = ("made", "images  ") if self.work.views else ("read", "rows    ")
        lines = [
            f"{rows} {self.accounts['source_rows']:,} in the source: {', '.join(states)}",
            f"captions {self.selection['captions']:,} {made}, {self.selection['kept']:,} kept"
            + (f"; dropped: {dropped}" if dropped else ""),
        ]
        now = self.metrics["this_time"]
        if not self.work.views:
            lines.append(f"time     {now['seconds']['total']:,.1f} s")
        elif now["images_per_s"]:
            lines.append(
                f"time     {now['seconds']['total']:,.0f} s, {now['seconds']['caption']:,.0f} s of it captioning with the engine's start, "
                f"{now['images_per_s']:,} images/s, {now['output_tokens']:,} tokens"
            )
        lines += [f"damaged  {line}" for line in damage_lines(self.damaged)]
        if self.repair is not None:
            lines += [f"repair   {line}" for line in self.repair.lines()]
        if self.release is not None:
            lines.append(
                f"release  {self.release.url} ({self.release.rows:,} images{'' if self.release.is_new else ', unchanged'})"
            )
        lines += [f"         {number:,} {LEFT_OUT[reason]}" for reason, number in self.left_out.items()]
        if self.left_out:
            lines.append(f"         which ones, row by row: {self.work.run.storage.full(LEFT_OUT_ROWS)}")
        lines.append(f"report   {self.report}")
        judges = self.metrics.get("judges", [])
        lines += [judge["line"] for judge in judges]
        lines += [f"warning  {warning}" for warning in [*self.selection.get("warnings", []), *judge_warnings(judges)]]
        if self.accounts.get("failed"):
            lines.append(f"failed   {self.accounts['failed']:,} images; run again to retry them")
        truth = self.metrics.get("truth")
        if truth:
            shares = {
                name: f"{part['correct'] / max(1, part['sentences']):.1%} of {part['sentences']:,}"
                for name, part in truth.items()
            }
            lines.append(f"truth    correct sentences before selection: {shares['before']}; after: {shares['after']}")
        return lines


def _reasons(dropped: dict[str, int]) -> str:
    """The reasons that cost most captions, and how many the others cost together."""
    listed = sorted(dropped.items(), key=lambda item: -item[1])
    shown = listed if len(listed) <= SHOWN_REASONS + 1 else listed[:SHOWN_REASONS]
    words = ", ".join(f"{number:,} {reason}" for reason, number in shown)
    others = listed[len(shown) :]
    return words + (f", and {sum(number for _, number in others):,} for {len(others)} other reasons" if others else "")


def outcome_metrics(outcome: Outcome) -> dict[str, Any]:
    """What happened this time, as JSON data. Seconds, and rates per second of captioning, engine start included."""
    seconds = outcome.seconds.get("caption", 0.0)
    images = sum(outcome.made.images.values())
    return {
        "images": outcome.accounts,
        "selection": outcome.selection,
        "this_time": {
            "images_by_state": dict(outcome.made.images),
            "prompt_tokens": outcome.made.tokens["prompt"],
            "output_tokens": outcome.made.tokens["output"],
            "engine_deaths": outcome.made.engine_deaths,
            "damaged_files": outcome.damaged,
            "starts": outcome.starts,
            "seconds": {name: round(value, 2) for name, value in outcome.seconds.items()},
            "images_per_s": round(images / seconds, 2) if seconds else None,
        },
        "repair": None if outcome.repair is None else outcome.repair.as_json(),
        "release": None
        if outcome.release is None
        else {"url": outcome.release.url, "version": outcome.release.version, "rows": outcome.release.rows},
        "left_out": outcome.left_out,
    }
