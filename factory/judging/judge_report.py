"""What a run says about its judges: who judges whom, whether they are of one family, and what they say yes to that is not so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from factory.models.family import model_family
from factory.recipe import ORIGINAL
from factory.work.judges import Judge
from filters.asking.questions import SELF, VlmFilter

if TYPE_CHECKING:
    from factory.runs.run import Run
    from factory.work.plan import Plan
    from factory.work.scorer import Scorer
    from factory.work.work import Work

SUSPICIOUS_YES: Final = 0.5
"""A judge says yes to questions about other images more often than this: mostly they are not true of this one."""
LEAST_CONTROLS: Final = 16
"""Controls below which a rate says too little to warn."""
MOST_ELSEWHERE: Final = 0.2
"""With more of the probability outside the allowed answers, on average, the question or the template is wrong for this judge."""
BLANK_GAIN: Final = 0.02
"""Mean distance, in [0, 1], between answers about an image and about a blank one: with less it is not seen, or plays no part."""
ORDER_BIAS: Final = 0.1
NUMBERS: Final = [str(digit) for digit in range(10)]


@dataclass(frozen=True)
class JudgeAndCaptioners:
    """A judge of a run, the filters it answers for, and the captioners whose captions it judges."""

    judge: Judge
    filters: tuple[str, ...]
    is_self: bool  # each captioner answers for its own captions
    family: str | None
    captioners: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # view -> model, family

    @property
    def same_family(self) -> list[str]:
        """Views whose captioner is of the judge's family, where the recipe names a judge."""
        if self.is_self or self.family is None:
            return []
        return [view for view, (_, family) in self.captioners.items() if family == self.family]

    def line(self) -> str:
        """Who judges what, for a terminal."""
        about = (
            "its own captions"
            if self.is_self
            else _listed(f"{model} ({kind or 'family unknown'})" for model, kind in self.captioners.values())
        )
        who = f"{self.judge.name} ({self.family or 'family unknown'})"
        return f"judge    {who} answers for {', '.join(self.filters)} about {about or 'captions of others'}"

    def warning(self) -> str | None:
        """That judge and captioner are of one family; None where they are not, or nobody can tell."""
        views = self.same_family
        if not views:
            return None
        models = _listed(self.captioners[view][0] for view in views)
        return (
            f"the judge {self.judge.name} and the captioner {models} are of one family ({self.family}): judges are lenient with "
            "their own kind; judge a sample with another family and compare (factory agree)"
        )


def judges_of_run(work: Work) -> list[JudgeAndCaptioners]:
    """The judges of the recipe, once each, in its order."""
    found: dict[tuple[str, bool], tuple[Judge, list[str], list[str]]] = {}
    for scorer in work.scorers:
        for view, judge in scorer.judges.items():
            _, filters, views = found.setdefault((judge.fingerprint, _is_self(scorer)), (judge, [], []))
            filters += [scorer.name] if scorer.name not in filters else []
            views += [view] if view not in views else []
    captioners = {
        ready.name: (ready.view.model_name, model_family(ready.model) if found else None) for ready in work.views
    }
    return [
        JudgeAndCaptioners(
            judge,
            tuple(filters),
            is_self,
            model_family(judge.ready.model),
            {view: captioners[view] for view in views if view in captioners},
        )
        for (_, is_self), (judge, filters, views) in found.items()
    ]


def engines_for_judges(plan: Plan) -> list[tuple[Judge, list[str]]]:
    """Judges that are asked in a pass of their own after captioning, with the filters: an engine is started for each, or its
    server is asked. As far as is known before: a condition may leave nothing to ask.
    """
    to_score = {one.name: one.to_score for one in plan.filter_counts}
    captioning = bool(plan.open_shards) and bool(plan.work.views)
    reading = any(not listed.complete for listed in plan.original_shards)
    found: dict[str, tuple[Judge, list[str]]] = {}
    for scorer in plan.work.scorers:
        for view, judge in scorer.judges.items():
            new = reading if view == ORIGINAL else captioning and not (_is_self(scorer) and _asks(scorer).when is None)
            if new or to_score.get(scorer.name):
                _, names = found.setdefault(judge.fingerprint, (judge, []))
                names += [scorer.name] if scorer.name not in names else []
    return list(found.values())


def plan_lines(plan: Plan) -> list[str]:
    """What `factory plan` says about judges."""
    judges = judges_of_run(plan.work)
    lines = [one.line() for one in judges]
    for judge, names in engines_for_judges(plan):
        how = "its server is asked" if judge.endpoint is not None else "an engine is started for it"
        lines.append(f"after captioning: {how}: {judge.name}, for {', '.join(names)}; images are read once more")
    return lines + [f"warning: {text}" for one in judges for text in [one.warning()] if text]


def plan_summary(plan: Plan) -> dict[str, Any]:
    """The same as JSON data."""
    return {
        "judges": [
            {
                "judge": one.judge.name,
                "family": one.family,
                "is_self": one.is_self,
                "filters": list(one.filters),
                "same_family": one.same_family,
            }
            for one in judges_of_run(plan.work)
        ],
        "judged_after": [{"judge": judge.name, "filters": names} for judge, names in engines_for_judges(plan)],
    }


# --- what judges said ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """A mean answer in [0, 1] and the number of answers it is of."""

    value: float
    count: int

    def as_json(self) -> dict[str, float]:
        """Rounded to four decimals."""
        return {"value": round(self.value, 4), "count": self.count}


@dataclass
class Answered:
    """What a judge said to one filter.

    `rates` by control (own, shuffled, blank). Of yes or no: P(yes) / (P(yes) + P(no)). Of a digit: the expected digit over 9.
    Of 1 or 2: the share of what was named first, one half without bias. `blank_gain`: mean distance between the answer about
    an image and about a blank one.
    """

    filter: str
    allowed: tuple[str, ...]
    rates: dict[str, Rate]
    problems: int
    elsewhere: float | None
    blank_gain: Rate | None = None

    def as_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "filter": self.filter,
            "answers": list(self.allowed),
            "rates": {name: rate.as_json() for name, rate in self.rates.items()},
            "problems": self.problems,
            "elsewhere": None if self.elsewhere is None else round(self.elsewhere, 4),
            "blank_gain": None if self.blank_gain is None else self.blank_gain.as_json(),
        }

    def warnings(self, judge: str) -> list[str]:
        """What makes these answers doubtful."""
        texts = []
        yes = _enough(self.rates.get("shuffled")) if self.allowed == ("yes", "no") else None
        if yes is not None and yes > SUSPICIOUS_YES:
            texts.append(
                f"the judge {judge} says yes to {yes:.0%} of {self.rates['shuffled'].count} questions about other images "
                f"({self.filter}): it agrees with what it is told, or the images are much alike; do not trust its scores"
            )
        if self.elsewhere is not None and self.elsewhere > MOST_ELSEWHERE:
            texts.append(
                f"{self.elsewhere:.0%} of the probability that the judge {judge} has for {self.filter} lies outside "
                f"{' or '.join(self.allowed)}: the question does not suit it"
            )
        gain = _enough(self.blank_gain)
        if gain is not None and gain < BLANK_GAIN:
            texts.append(
                f"the judge {judge} answers {self.filter} about a blank picture as about the images "
                f"(they differ by {gain:.3f} on average): it does not see them, or gives all the same answer; choose a "
                "vision-language model, and of a server check that its chat template puts the image into the prompt"
            )
        first = _enough(self.rates.get("own")) if self.allowed == ("1", "2") else None
        if first is not None and abs(first - 0.5) > ORDER_BIAS:
            texts.append(
                f"the judge {judge} prefers the caption that is named {'first' if first > 0.5 else 'second'} ({first:.0%} for the "
                f"first, each pair asked in both orders); the scores of {self.filter} are means of both orders"
            )
        return texts


def _enough(rate: Rate | None) -> float | None:
    """A rate of enough answers to warn."""
    return rate.value if rate is not None and rate.count >= LEAST_CONTROLS else None


def answered(run: Run, judge: str) -> list[Answered]:
    """What a judge said, by filter and allowed answers, from the answers of the run; a part of them is in memory at a time."""
    groups = ["filter", "allowed", "control"]
    pieces: list[pl.DataFrame] = []
    gains: list[pl.DataFrame] = []
    for (rows,) in run.answered_parts(judge, columns=["filter", "allowed", "values", "elsewhere"]):
        known = with_rate(rows.filter(pl.col("allowed").list.len() > 0)).with_columns(
            pl.col("filter").fill_null("?"), pl.col("allowed").list.join("\x1f"), pl.col("control").fill_null("own")
        )
        pieces.append(
            known.group_by(groups).agg(
                pl.col("rate").sum().alias("sum"),
                pl.col("rate").count().alias("count"),
                pl.col("problem").count().alias("problems"),
                pl.col("elsewhere").sum(),
                pl.col("elsewhere").count().alias("told"),
            )
        )
        blank = known.filter(pl.col("control") == "blank").select("image_key", "question", blank="rate")
        own = known.filter(pl.col("control") == "own").join(blank, on=["image_key", "question"])
        distance = (pl.col("rate") - pl.col("blank")).abs()
        gains.append(
            own.group_by("filter", "allowed").agg(distance.sum().alias("sum"), distance.count().alias("count"))
        )
    if not pieces:
        return []
    sums = pl.concat(pieces).group_by(groups).sum().sort(groups)
    gained = {(name, allowed): Rate(total / count, count) for name, allowed, total, count in _sum(gains) if count}
    found = []
    for (name, allowed), group in sums.group_by("filter", "allowed", maintain_order=True):
        rates = {
            control: Rate(total / count, count)
            for control, total, count in group.select("control", "sum", "count").iter_rows()
            if count
        }
        told = int(group["told"].sum())
        found.append(
            Answered(
                str(name),
                tuple(str(allowed).split("\x1f")),
                {control: rates[control] for control in ("own", "shuffled", "blank") if control in rates},
                int(group["problems"].sum()),
                float(group["elsewhere"].sum()) / told if told else None,
                gained.get((str(name), str(allowed))),
            )
        )
    return found


def _sum(gains: list[pl.DataFrame]) -> list[tuple[Any, ...]]:
    return pl.concat(gains).group_by("filter", "allowed").sum().select("filter", "allowed", "sum", "count").rows()


def with_rate(rows: pl.DataFrame) -> pl.DataFrame:
    """Answers to choices with `rate` (see `Answered`); null where there is no answer."""
    values = pl.col("values")
    covered = values.list.sum()
    digits = pl.sum_horizontal(values.list.get(place, null_on_oob=True) * place for place in range(10)) / 9
    of_digits = pl.col("allowed") == pl.lit(NUMBERS, pl.List(pl.String))
    first = values.list.get(0, null_on_oob=True)
    rate = pl.when(of_digits).then(digits).otherwise(first) / covered
    return rows.with_columns(rate=pl.when(values.is_not_null() & (covered > 0)).then(rate))


def judge_metrics(work: Work) -> list[dict[str, Any]]:
    """Of each judge of the recipe: who it is, whom it judges, and what it said, as JSON data."""
    metrics = []
    for one in judges_of_run(work):
        said = [found for found in answered(work.run, one.judge.fingerprint) if found.filter in (*one.filters, "?")]
        warnings = [text for found in said for text in found.warnings(one.judge.name)]
        family = one.warning()
        metrics.append(
            {
                "judge": one.judge.name,
                "print": one.judge.fingerprint,
                "family": one.family,
                "is_self": one.is_self,
                "line": one.line(),
                "filters": list(one.filters),
                "captioners": {
                    view: {"model": model, "family": kind} for view, (model, kind) in one.captioners.items()
                },
                "answers": [found.as_json() for found in said],
                "warnings": [*([family] if family else []), *warnings],
            }
        )
    return metrics


def judge_warnings(metrics: list[dict[str, Any]]) -> list[str]:
    """Every warning about the judges, once."""
    return list(dict.fromkeys(text for one in metrics for text in one["warnings"]))


def judge_rows(metrics: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The report's table of judges: one row for each judge, filter and kind of answer."""
    rows = []
    for one in metrics:
        captioners = _listed(
            f"{who['model']} ({who['family'] or 'family unknown'})" for who in one["captioners"].values()
        )
        start = {
            "judge": one["judge"] + (" (itself)" if one["is_self"] else ""),
            "family": one["family"] or "unknown",
            "of captions by": captioners or "others",
        }
        said = one["answers"] or [{"filter": ", ".join(one["filters"]), "answers": [], "rates": {}, "elsewhere": None}]
        for found in said:
            rates = found["rates"]
            rows.append(
                start
                | {
                    "filter": found["filter"],
                    "answer": _kind(found["answers"]),
                    **{column: _rate(rates.get(name)) for name, column in COLUMNS.items()},
                    "no answer": f"{found.get('problems', 0):,}",
                    "elsewhere": "" if found["elsewhere"] is None else f"{found['elsewhere']:.1%}",
                }
            )
    return rows


COLUMNS: Final = {"own": "its own image", "shuffled": "another image", "blank": "a blank one"}


def _kind(allowed: list[str]) -> str:
    if allowed == NUMBERS:
        return "expected digit / 9"
    return f"{allowed[0]} of {', '.join(allowed)}" if allowed else ""


def _rate(rate: dict[str, Any] | None) -> str:
    return "" if rate is None else f"{rate['value']:.3f} ({rate['count']:,})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _is_self(scorer: Scorer) -> bool:
    return isinstance(scorer.filter, VlmFilter) and scorer.filter.judge == SELF


def _asks(scorer: Scorer) -> VlmFilter:
    assert isinstance(scorer.filter, VlmFilter)
    return scorer.filter
