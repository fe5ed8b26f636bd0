"""`factory agree`: how far two judges of a run agree on the same yes/no questions about the same images."""

from __future__ import annotations

import csv
import heapq
import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from exports.foreign_text import cell
from factory.errors import RunError
from factory.work.judges import judge_names

if TYPE_CHECKING:
    import polars as pl

    from factory.runs.run import Run

THRESHOLD: Final = 0.5
"""P(yes) / (P(yes) + P(no)) from here on is a yes."""
SHOWN: Final = 10
MOST_CHARACTERS: Final = 100


@dataclass
class Agreement:
    """Of two judges and the questions that both answered. Shares are P(yes) / (P(yes) + P(no)) in [0, 1]."""

    judges: tuple[str, str]
    both_yes: int = 0
    both_no: int = 0
    only_first: int = 0  # yes by the first judge alone
    only_second: int = 0
    examples: list[tuple[float, str, str, float, float]] = field(
        default_factory=list
    )  # difference, key, question, P, P

    @property
    def answers(self) -> int:
        """Questions that both answered."""
        return self.both_yes + self.both_no + self.only_first + self.only_second

    @property
    def agreement(self) -> float:
        """Share of the same verdicts."""
        return (self.both_yes + self.both_no) / self.answers

    @property
    def yes_rates(self) -> tuple[float, float]:
        """Share of yes, by judge."""
        return (self.both_yes + self.only_first) / self.answers, (self.both_yes + self.only_second) / self.answers

    @property
    def kappa(self) -> float | None:
        """Agreement beyond chance (Cohen 1960): (agreement - by chance) / (1 - by chance), -1 to 1. None where both say only yes,
        or only no: then chance explains everything.
        """
        first, second = self.yes_rates
        by_chance = first * second + (1 - first) * (1 - second)
        return (self.agreement - by_chance) / (1 - by_chance) if by_chance < 1 else None

    def add(self, rows: pl.DataFrame) -> None:
        """Count rows with image_key, asked, first and second."""
        import polars as pl

        yes = (pl.col("first") >= THRESHOLD, pl.col("second") >= THRESHOLD)
        counts = rows.select(
            (yes[0] & yes[1]).sum().alias("both_yes"),
            (~yes[0] & ~yes[1]).sum().alias("both_no"),
            (yes[0] & ~yes[1]).sum().alias("only_first"),
            (~yes[0] & yes[1]).sum().alias("only_second"),
        ).row(0, named=True)
        for name, number in counts.items():
            setattr(self, name, getattr(self, name) + number)
        apart = (pl.col("first") - pl.col("second")).abs().alias("apart")
        worst = disagreements(rows).select(apart, "image_key", "asked", "first", "second").top_k(SHOWN, by="apart")
        self.examples = heapq.nlargest(SHOWN, [*self.examples, *worst.iter_rows()])

    def as_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "judges": list(self.judges),
            "answers": self.answers,
            "agreement": round(self.agreement, 4),
            "kappa": None if self.kappa is None else round(self.kappa, 4),
            "yes_rates": [round(rate, 4) for rate in self.yes_rates],
            "both_yes": self.both_yes,
            "both_no": self.both_no,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "examples": [
                {"image_key": key, "asked": asked, "yes": [round(first, 4), round(second, 4)]}
                for _, key, asked, first, second in self.examples
            ],
        }

    def lines(self) -> list[str]:
        """For a terminal."""
        kappa = "none (each says always the same)" if self.kappa is None else f"{self.kappa:.3f}"
        lines = [
            f"judge 1  {_shown(self.judges[0])}: yes to {self.yes_rates[0]:.1%}",
            f"judge 2  {_shown(self.judges[1])}: yes to {self.yes_rates[1]:.1%}",
            f"kappa    {kappa}; the same verdict on {self.agreement:.1%} of {self.answers:,} questions",
            f"both yes {self.both_yes:,}, both no {self.both_no:,}, only judge 1 yes {self.only_first:,}, only judge 2 yes {self.only_second:,}",
        ]
        if self.examples:
            lines.append("furthest apart (P(yes) of judge 1, of judge 2, image, question):")
        lines += [f"  {a:.3f}  {b:.3f}  {_shown(key, 40)}  {_shown(asked)}" for _, key, asked, a, b in self.examples]
        return lines


def agree(run: Run, out: str | None = None) -> list[Agreement]:
    """Compare every two judges of a run that answered the same yes/no questions; a caption part is in memory at a time.

    Args:
        run: its answers, whichever recipes asked for them.
        out: where every question goes on which the verdicts differ, as .csv or .parquet; unset: nowhere.

    Raises:
        RunError: fewer than two judges answered the same questions; `out` is of another kind, or cannot be written.
    """
    import polars as pl

    if out is not None and not out.endswith((".csv", ".parquet")):
        raise RunError(f"--out {out}: give a file that ends in .csv or .parquet")
    names = judge_names(run)
    found: list[Agreement] = []
    with _table(out) as write:
        for first, second in itertools.combinations(
            sorted(names, key=lambda fingerprint: (names[fingerprint], fingerprint)), 2
        ):
            one = Agreement(_told_apart(names, first, second))
            for rows in _both(run, first, second):
                one.add(rows)
                judges = [pl.lit(name).alias(f"judge_{place}") for place, name in enumerate(one.judges, 1)]
                write(disagreements(rows).select(*judges, "image_key", "asked", yes_1="first", yes_2="second"))
            if one.answers:
                found.append(one)
        if not found:
            known = ", ".join(names.values()) or "none"
            raise RunError(
                f"{run.url}: no two judges answered the same yes/no questions (judges with answers: {known}). Run the recipe again in "
                "this directory with another judge in the same filter; what the first one answered is kept"
            )
    return found


def _told_apart(names: dict[str, str], first: str, second: str) -> tuple[str, str]:
    """Their names; with their fingerprints where those are the same, as of one model with other image settings."""
    if names[first] != names[second]:
        return names[first], names[second]
    return f"{names[first]} [{first}]", f"{names[second]} [{second}]"


def _both(run: Run, first: str, second: str) -> Iterator[pl.DataFrame]:
    """image_key, asked, first and second (shares of yes) of the questions that both judges answered."""
    import polars as pl

    from filters.asking.vqa_faithfulness import YES_NO

    yes, no = pl.col("values").list.get(0), pl.col("values").list.get(1)
    for one, other in run.answered_parts(first, second, columns=["asked", "allowed", "values"]):
        known = [
            rows.filter(
                pl.col("control").is_null(),
                pl.col("problem").is_null(),
                pl.col("allowed") == pl.lit(list(YES_NO), pl.List(pl.String)),
                pl.col("values").list.sum() > 0,
            ).select("image_key", "question", "asked", yes / (yes + no))
            for rows in (one, other)
        ]
        left = known[0].rename({"values": "first"})
        right = known[1].drop("asked").rename({"values": "second"})
        yield left.join(right, on=["image_key", "question"], how="inner")


def disagreements(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows on which the verdicts of `first` and `second` differ."""
    import polars as pl

    return rows.filter((pl.col("first") >= THRESHOLD) != (pl.col("second") >= THRESHOLD))


@contextmanager
def _table(path: str | None) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Writes frames one after the other to a table that appears, under its name, when all are written."""
    import os

    if path is None:
        yield lambda rows: None
        return
    columns = ["judge_1", "judge_2", "image_key", "asked", "yes_1", "yes_2"]
    part = f"{path}.part"
    try:
        file = open(part, "wb")  # noqa: SIM115 - closed below, before it gets its name
    except OSError as error:
        raise RunError(f"--out {path}: cannot be written: {error.strerror}") from None
    try:
        with file:
            if path.endswith(".csv"):
                text = io.TextIOWrapper(file, "utf-8", errors="replace", newline="")
                writer = csv.writer(text)
                writer.writerow(columns)
                yield lambda rows: writer.writerows(
                    [cell(value) if isinstance(value, str) else value for value in row] for row in rows.iter_rows()
                )
                text.flush()
            else:
                import pyarrow as pa
                import pyarrow.parquet as pq

                kinds = [pa.large_string()] * 4 + [pa.float64()] * 2
                with pq.ParquetWriter(file, pa.schema(list(zip(columns, kinds, strict=True)))) as table:
                    yield lambda rows: table.write_table(rows.to_arrow().cast(table.schema))
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


def _shown(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text of strangers on one line of a terminal."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
