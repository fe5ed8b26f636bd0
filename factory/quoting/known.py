"""What is known of a plan's cost without a probe: from earlier runs of such recipes on this machine."""

from __future__ import annotations

from factory.costs.estimate import estimate
from factory.costs.run_costs import past_costs
from factory.work.plan import Plan


def known_lines(plan: Plan) -> list[str]:
    """What is known without a probe of a plan's cost, for a terminal; [] where it captions nothing."""
    missing = _to_caption(plan)
    if not plan.work.views or not missing:
        return []
    past = past_costs(plan.work)
    if not past:
        return ["cost: nothing is known of such runs on this machine; `factory quote` takes a probe"]
    seconds = estimate(past, missing).seconds
    runs = "1 run" if len(past) == 1 else f"{len(past)} runs"
    return [
        f"cost: about {seconds.mid:,.0f} s ({seconds.low:,.0f} to {seconds.high:,.0f}) for {missing:,} images, by {runs} of such "
        "recipes on this machine"
    ]


def known_summary(plan: Plan) -> dict[str, object]:
    """The same as JSON data."""
    missing, past = _to_caption(plan), past_costs(plan.work)
    if not plan.work.views or not missing or not past:
        return {"cost": None}
    return {"cost": {"images": missing, "seconds": estimate(past, missing).seconds.as_json(), "runs": len(past)}}


def _to_caption(plan: Plan) -> int:
    counts = [one.to_caption for one in plan.counts if one.to_caption is not None]
    return max(counts, default=0)
