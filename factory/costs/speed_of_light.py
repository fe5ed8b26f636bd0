"""How near captioning came to what the bare engine does with the same lengths, where the rest of the time went, and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

WORDS: Final = {
    "start": "until the engine was up and had its first images",
    "starved": "the engine could have taken more images than were ready",
    "questions": "the engine answered filters' questions",
    "drained": "the last captions ended while nothing was left to begin",
    "slower": "the engine was full, but slower than alone",
}
"""Where time goes that makes no captions."""
ADVICE: Final = {
    "start": "caption more images a run: a start costs the same for any number (--limit only to try things)",
    "starved": "give reading more: more processor cores, a smaller image.max_pixels, a nearer source, larger shards",
    "questions": "ask less: `when` asks only about doubtful captions, cheaper filters drop some before",
    "drained": "caption more images a run, or lower max_tokens if few answers are long",
    "slower": "leave the machine to the run: preparing images, filters or other programs share the engine's processors",
}
LEAST_LOSS: Final = 0.05
"""A part that takes less of the time is not worth a change."""


@dataclass(frozen=True)
class SpeedOfLight:
    """Of the captioning of one execution. Shares of its seconds; with `share` they add up to 1.

    `share`: seconds in which the bare engines would have made the same tokens, over those it took; None where a bare engine was
    not measured, and then what it would have taken stays in `captions`.
    """

    seconds: float
    tokens_per_s: float
    share: float | None
    captions: float | None
    losses: Mapping[str, float]

    @classmethod
    def of(
        cls, tokens: int, seconds: float, used: Mapping[str, float], ideal_seconds: float | None
    ) -> SpeedOfLight | None:
        """From what captioning wrote down; None where it made nothing.

        Args:
            tokens: output tokens of the captions.
            seconds: that captioning took, engine starts included.
            used: by `factory.engines.use.PARTS`; what is missing of `seconds` was before the first stage, so it is start.
            ideal_seconds: of the bare engines for the same tokens, None where that is not known.
        """
        if not tokens or seconds <= 0:
            return None
        losses = {name: used.get(name, 0.0) for name in ("starved", "questions", "drained")}
        captions = used.get("captions", 0.0)
        losses = {"start": max(0.0, seconds - captions - sum(losses.values())), **losses, "slower": 0.0}
        if ideal_seconds is not None:
            losses["slower"] = max(0.0, captions - ideal_seconds)
            # An engine that is half full does more than half of its work, so part of what it waited was none.
            spare, waited = max(0.0, ideal_seconds - captions), sum(losses.values())
            if spare and waited:
                losses = {name: value * max(0.0, 1 - spare / waited) for name, value in losses.items()}
        shares = {name: value / seconds for name, value in losses.items()}
        rate = tokens / seconds
        if ideal_seconds is None:
            return cls(seconds, rate, None, captions / seconds, shares)
        return cls(seconds, rate, ideal_seconds / seconds, None, shares)

    @property
    def line(self) -> str:
        """For a terminal."""
        lost = [f"{name} {value:.0%}" for name, value in self._largest() if value >= 0.005]
        if self.share is None:
            said = f"{self.tokens_per_s:,.0f} tokens/s; of the time: captions {self.captions:.0%}"
            said = ", ".join([said, *lost])
            return f"{said}. The bare engine was not measured for such images and lengths: `factory quote` does it, or a longer run"
        bare = self.tokens_per_s / self.share
        said = f"{self.share:.0%} of the bare engine ({self.tokens_per_s:,.0f} of {bare:,.0f} tokens/s)"
        said += f"; the rest: {', '.join(lost)}" if lost else ""
        return f"{said}. {self.advice[0].upper()}{self.advice[1:]}" if self.advice else said

    @property
    def advice(self) -> str:
        """What to change about the largest loss; "" where none is worth it."""
        name, value = self._largest()[0]
        return ADVICE[name] if value >= LEAST_LOSS else ""

    def rows(self) -> list[dict[str, str]]:
        """A table for the report: where the time went."""
        made = ("captions", "as fast as the bare engine", self.share)
        if self.share is None:
            made = ("captions", "the engine made captions", self.captions)
        parts = [made, *((name, WORDS[name], value) for name, value in self._largest())]
        return [
            {
                "part": name,
                "what": words,
                "share": f"{value or 0:.1%}",
                "seconds": f"{(value or 0) * self.seconds:,.1f}",
                "what to change": ADVICE.get(name, "") if (value or 0) >= LEAST_LOSS else "",
            }
            for name, words, value in parts
        ]

    def _largest(self) -> list[tuple[str, float]]:
        return sorted(self.losses.items(), key=lambda one: -one[1])

    def as_json(self) -> dict[str, Any]:
        """As JSON data; shares rounded."""
        rounded = {name: round(value, 4) for name, value in self.losses.items()}
        share = None if self.share is None else round(self.share, 4)
        captions = None if self.captions is None else round(self.captions, 4)
        return asdict(self) | {
            "seconds": round(self.seconds, 2),
            "tokens_per_s": round(self.tokens_per_s, 1),
            "share": share,
            "captions": captions,
            "losses": rounded,
            "line": self.line,
            "rows": self.rows(),
        }
