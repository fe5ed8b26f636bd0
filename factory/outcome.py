"""What a run ended with, in words and as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from shlex import quote
from typing import Any

import polars as pl

from exports.release import ReleaseResult
from exports.storage import Storage
from factory.captioning.caption_missing import Made
from factory.costs.machine import machine_id
from factory.costs.quoted import Quoted
from factory.costs.run_costs import RunCosts, cost_key, source_key
from factory.costs.speed_of_light import SpeedOfLight
from factory.repair.repair import RepairCounts
from factory.runs import tables
from factory.runs.clock import now_ms
from factory.runs.run import LEFT_OUT_ROWS
from factory.runs.set_aside import damage_lines
from factory.work.accounts import cost
from factory.work.expert_accounts import account_words, expert_accounts
from factory.work.fusions import fusion_lines
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
    fused: Made = field(default_factory=Made)  # this time, by fusions
    seconds: dict[str, float] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)  # files of the run that were set aside, as paths below it
    starts: dict[str, int] = field(default_factory=dict)  # of `ray`, and of `engines`
    after: dict[str, float] = field(
        default_factory=dict
    )  # seconds of engines after captioning, by factory.engines.use.PARTS
    is_fresh: bool = False  # nothing was done before, so that it cost what the recipe costs
    costs: RunCosts | None = None  # where it is fresh
    quoted: Quoted | None = None  # what it was expected to take
    repair: RepairCounts | None = None
    selection: dict[str, Any] = field(default_factory=dict)
    release: ReleaseResult | None = None
    left_out: dict[str, int] = field(default_factory=dict)  # images not released as selected, by reason
    accounts: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    report: str = ""

    @property
    def speed(self) -> SpeedOfLight | None:
        """How near captioning came to the bare engine; None where nothing was captioned."""
        ideal = [one.ideal_seconds for one in self.made.bare]
        known = sum(one for one in ideal if one is not None) if ideal and None not in ideal else None
        seconds = self.seconds.get("caption", 0.0)
        return SpeedOfLight.of(self.made.tokens["output"], seconds, self.made.used, known)

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
                f"{now['images_per_s']:,} images/s{_without_start(now)}, {now['output_tokens']:,} tokens"
            )
        if self.speed is not None:
            lines.append(f"speed    {self.speed.line}")
        if self.quoted is not None:
            lines.append(f"quote    {self.quoted.line}")
        if "cost" in self.metrics:
            lines.append(
                f"cost     {self.metrics['cost']:,.4f} for all captions of this run so far, in the money of `price`"
            )
        lines += [
            f"expert   {one['name']} ({one['kind']}): {account_words(one)}" for one in self.metrics.get("experts", ())
        ]
        lines += [f"fused    {line}" for line in fusion_lines(self.selection.get("fusions", {}))]
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
        return [*lines, f"next     {self._next_step()}"]

    def _next_step(self) -> str:
        """What most people do then, as commands."""
        run = quote(self.work.run.url)
        look = f"factory review {run}"
        if self.release is not None:
            return f"{look}   factory publish {run} --to hub:ORG/NAME"
        return f"{look}   factory export {run} --to datasets/{quote(self.work.recipe.name)}"


def _without_start(now: dict[str, Any]) -> str:
    rate = now.get("images_per_s_after_start")
    return "" if rate is None else f" ({rate:,} without that start)"


def _reasons(dropped: dict[str, int]) -> str:
    """The reasons that cost most captions, and how many the others cost together."""
    listed = sorted(dropped.items(), key=lambda item: -item[1])
    shown = listed if len(listed) <= SHOWN_REASONS + 1 else listed[:SHOWN_REASONS]
    words = ", ".join(f"{number:,} {reason}" for reason, number in shown)
    others = listed[len(shown) :]
    return words + (f", and {sum(number for _, number in others):,} for {len(others)} other reasons" if others else "")


def outcome_metrics(outcome: Outcome) -> dict[str, Any]:
    """What happened this time, as JSON data. Seconds, and rates per second of captioning, with the engine's start and without it."""
    seconds = outcome.seconds.get("caption", 0.0)
    worked = min(seconds, sum(value for name, value in outcome.made.used.items() if name != "start"))
    images = sum(outcome.made.images.values())
    paid = cost(outcome.work)
    return {
        "images": outcome.accounts,
        **({} if paid is None else {"cost": round(paid, 6)}),
        **({"experts": experts} if (experts := expert_accounts(outcome.work, outcome.made.began_ms)) else {}),
        "selection": outcome.selection,
        "this_time": {
            "images_by_state": dict(outcome.made.images),
            "prompt_tokens": outcome.made.tokens["prompt"],
            "output_tokens": outcome.made.tokens["output"],
            "fused_by_state": dict(outcome.fused.images),
            "fused_tokens": outcome.fused.tokens["output"],
            "engine_deaths": outcome.made.engine_deaths + outcome.fused.engine_deaths,
            "damaged_files": outcome.damaged,
            "starts": outcome.starts,
            "seconds": {name: round(value, 2) for name, value in outcome.seconds.items()},
            "images_per_s": round(images / seconds, 2) if seconds else None,
            "images_per_s_after_start": round(images / worked, 2) if worked else None,
        },
        "speed_of_light": None if outcome.speed is None else outcome.speed.as_json(),
        "costs": None if outcome.costs is None else asdict(outcome.costs),
        "quote": None if outcome.quoted is None else outcome.quoted.as_json(),
        "repair": None if outcome.repair is None else outcome.repair.as_json(),
        "release": None
        if outcome.release is None
        else {"url": outcome.release.url, "version": outcome.release.version, "rows": outcome.release.rows},
        "left_out": outcome.left_out,
    }


def costs_of(outcome: Outcome) -> RunCosts:
    """What a fresh execution cost; its release is made, its report not yet."""
    work = outcome.work
    made = work.captions(work.first_fingerprints).select(
        pl.len().alias("captions"),
        pl.col("prompt_tokens").sum(),
        pl.col("output_tokens").sum(),
        pl.col("output_tokens").var().alias("variance"),
        (pl.col("status") == tables.Status.truncated).sum().alias("truncated"),
    )
    row = made.collect(engine="streaming").row(0, named=True)
    after = {"after_start": outcome.after.get("start", 0.0)}
    after["after_work"] = sum(outcome.after.values()) - after["after_start"]
    return RunCosts(
        key=cost_key(work),
        source=source_key(work),
        machine=machine_id(),
        at=now_ms(),
        images=outcome.accounts["source_rows"] - outcome.accounts["pending"],
        captions=row["captions"],
        prompt_tokens=row["prompt_tokens"] or 0,
        output_tokens=row["output_tokens"] or 0,
        output_variance=row["variance"] or 0.0,
        truncated=row["truncated"] or 0,
        kept=outcome.selection.get("kept", 0),
        seconds={name: round(value, 3) for name, value in {**outcome.seconds, **after}.items()},
        used=_used(outcome),
        engine_starts=outcome.starts.get("engines", 0),
        stored_bytes=_bytes(work.run.storage, without=("logs", "before-", "damaged")),
        released_bytes=_bytes(Storage(outcome.release.url)) if outcome.release is not None else 0,
        engines=max((one.engines for one in outcome.made.bare), default=1),
        rates=_rates(outcome),
    )


def _used(outcome: Outcome) -> dict[str, float]:
    """Of the seconds of captioning; what no stage counted, such as the start of Ray, is start."""
    used = dict(outcome.made.used)
    missing = outcome.seconds.get("caption", 0.0) - sum(used.values())
    return used | {"start": used.get("start", 0.0) + max(0.0, missing)}


def _rates(outcome: Outcome) -> dict[str, float]:
    """Milliseconds an image of the bare engines, by stage; {} where they are not all known."""
    bare = [one.bare for one in outcome.made.bare if one.bare is not None]
    if not bare or len(bare) < len(outcome.made.bare):
        return {}
    return {
        "rendering": sum(one.render_ms for one in bare),
        "encoding": sum(max(0.0, one.first_ms - one.render_ms) for one in bare),
        "decoding": sum(max(0.0, one.image_ms - one.first_ms) for one in bare),
        "image": sum(one.image_ms for one in bare),
    }


def _bytes(storage: Storage, without: tuple[str, ...] = ()) -> int:
    return sum(int(info.get("size") or 0) for path, info in storage.walk() if not path.startswith(without))
