"""The loop: a release, a training, an evaluation, a verdict, and again.

Everything a round makes lies in `<loop>/round-N/`: the run that captioned, the releases of its arms, the checkpoints, the runs
that judged. Each is an ordinary run, release or checkpoint. Directories whose content depends on settings carry a hash of
these, so a changed loop file makes new ones beside the old. Every step does only what is missing, so the same command goes
on after a crash; a round that is in the ledger is not looked at again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from exports.mixture import mix, open_mixture
from exports.mixture.mixing import is_mixture
from exports.storage import Storage
from factory.errors import FactoryError, RunError
from factory.models.resolve import resolve_model
from factory.outcome import Outcome
from factory.pipeline import run_recipe
from factory.recipe import Recipe, recipe_yaml
from factory.releasing.export_run import export_release
from factory.rounds.evaluation import Judged, audit_judge, image_hashes, judge_model
from factory.rounds.ledger import Ledger, captioner_of
from factory.rounds.loop_file import CAPTIONS, MAIN, Loop, Stage
from factory.rounds.outside_evaluation import evaluate_outside
from factory.rounds.round_captions import what_was_captioned
from factory.rounds.training import Trained, train
from factory.rounds.win_rate import win_rates
from factory.runs.run import Run
from factory.work.fingerprint import fingerprint
from factory.work.plan import Plan, make_plan

HELD_OUT: Final = "held-out.sha256"
LOCK: Final = "loop.lock"
FIXED: Final = "fixed"
ENDS: Final = ("saturated", "worse", "refused")
"""Verdicts after which no round follows."""


@dataclass(frozen=True)
class Step:
    """What a model was made of: the stages' records and the compute they took together."""

    model: str
    trained: tuple[Trained, ...]
    mixtures: Mapping[str, Any] = field(default_factory=dict)

    def compute(self) -> dict[str, float]:
        """Steps, tokens (images too) and seconds of all stages."""
        return {
            "steps": sum(one.steps for one in self.trained),
            "tokens": sum(one.tokens or 0 for one in self.trained),
            "seconds": round(sum(one.seconds for one in self.trained), 1),
        }


class LoopRun:
    """A loop in its directory. Say hears what happens, a line at a time."""

    def __init__(self, loop: Loop, folder: Path, say: Callable[[str], None], quiet: bool = True) -> None:
        self.loop = loop
        self.folder = folder.expanduser().absolute()
        self.ledger = Ledger(self.folder)
        self.say = say
        self.quiet = quiet

    def plan(self, rounds: int | None = None) -> list[str]:
        """What `run` would do, a line each; starts nothing."""
        rounds = self.loop.rounds if rounds is None else rounds
        entries = self.ledger.entries()
        standing = self._standing(entries)
        lines = [f"loop: {self.folder}"]
        lines += [f"round {entry['round']}: in the ledger, {entry['verdict']['word']}" for entry in entries[:standing]]
        if standing < len(entries):
            lines.append(
                f"{len(entries) - standing} later round(s) were made or judged by other settings and are made again; "
                "of what they left, all that still fits is used"
            )
        ended = bool(standing) and entries[standing - 1]["verdict"]["word"] in ENDS
        if ended:
            return [*lines, f"the loop has ended: {entries[standing - 1]['verdict']['why']}"]
        for number in range(standing, rounds + 1):
            chains = [self.loop.round, *(arm.stages or self.loop.round for arm in self.loop.arms.values())]
            if number == 0:
                chains = [] if isinstance(self.loop.first, str) else [self.loop.first]
            trainings = sum(map(len, chains))
            what = f"caption, release, {trainings} training(s), judge" if number else f"{trainings} training(s), judge"
            lines.append(f"round {number}: {what} {max(1, len(chains))} model(s)")
        return lines

    def run(self, rounds: int | None = None) -> list[dict[str, Any]]:
        """Make the rounds that are missing, until one is saturated, worse or refused. Returns the ledger's entries.

        Raises:
            FactoryError: with what to do; what was finished is kept, and the same command goes on.
        """
        rounds = self.loop.rounds if rounds is None else rounds
        with self._only_one():
            aside = self.ledger.keep(self._standing(self.ledger.entries()))
            for entry in aside:
                self.say(
                    f"round {entry['round']} was made or judged by other settings; it is made again, from what still fits"
                )
            held_out = self._held_out()
            while len(entries := self.ledger.entries()) <= rounds:
                if entries and entries[-1]["verdict"]["word"] in ENDS:
                    break
                entry = self._first(held_out) if not entries else self._round(len(entries), entries, held_out)
                entry |= {"asked": self._asked(entry["round"]), "rules": self._rules()}
                self.ledger.append(entry)
                self.say(f"round {entry['round']}: {entry['verdict']['word']}: {entry['verdict']['why']}")
            return self.ledger.entries()

    def judged(self, number: int, arm: str = MAIN) -> Judged:
        """An arm's captions of the held-out images, from the run that a finished round left; starts no engine.

        Raises RunError: no such round, or no such arm in it.
        """
        entry = next((one for one in self.ledger.entries() if one["round"] == number and arm in one["arms"]), None)
        if entry is None:
            raise RunError(f"{self.folder}: no arm '{arm}' in a round {number}")
        checkpoints = [one["checkpoint"] for one in entry["arms"][arm]["trainings"]]
        stages = self.loop.first if number == 0 else dict(self._chains())[arm]
        home = self._home(number, arm, None if number == 0 or isinstance(stages, str) else stages)
        return self._judge(home, checkpoints[-1] if checkpoints else entry["model"], self._max_pixels(arm))

    # --- rounds ---

    def _first(self, held_out: Path) -> dict[str, Any]:
        first = self.loop.first
        step = (
            Step(first, ())
            if isinstance(first, str)
            else self._train(self._home(0, MAIN), first, {}, held_out, self.loop.base)
        )
        judged = self._judge(self._home(0, MAIN), step.model)
        made = {
            "evaluation": dict(judged.figures),
            "held_out": self._below(judged),
            "compute": step.compute(),
            "trainings": _records(step),
        }
        arms = {MAIN: made | ({"mixtures": step.mixtures} if step.mixtures else {})}
        verdict = {"word": "first", "why": "the first captioner"}
        return {"round": 0, "model": step.model, "parent": None, "arms": arms, "verdict": verdict}

    def _round(self, number: int, entries: Sequence[Mapping[str, Any]], held_out: Path) -> dict[str, Any]:
        parent = captioner_of(entries)
        assert parent is not None
        before = self._judge(self._home(_round_of(entries, parent), MAIN), parent)
        recipe = self.loop.recipe("caption", self.loop.caption, parent)
        self.say(f"round {number}: captioning with {parent}")
        outcome, release = self._caption(number, MAIN, recipe)
        audit = None
        if self.loop.guard.judge is not None:
            audit = audit_judge(outcome.work, self.loop.guard.judge, self.loop.guard.least)
        entry: dict[str, Any] = {
            "round": number,
            "model": None,
            "parent": {
                "round": _round_of(entries, parent),
                "model": parent,
                "identity": resolve_model(parent, None).identity,
            },
            "captions": {
                "run": str(self._folder(number) / "run"),
                **what_was_captioned(outcome, self.loop.guard.judge, self.loop.guard.least),
            },
            "judge": audit,
            "arms": {},
        }
        problems, warnings = self._refusals(audit, outcome)
        for warning in warnings:
            self.say(f"round {number}: warning: {warning}")
        entry["warnings"] = warnings
        if problems:
            return entry | {"verdict": {"word": "refused", "why": "; ".join(problems)}}
        assert release is not None  # something was kept
        made = {MAIN: (outcome, release)}
        for name, arm in self.loop.arms.items():
            made[name] = made[MAIN]
            if arm.recipe:
                changed = self.loop.recipe("caption", self.loop.caption, parent, **arm.recipe)
                captioned, released = self._caption(number, name, changed)
                if released is None:
                    raise RunError(f"arms.{name}: its selection keeps no caption of round {number}; change its rules")
                made[name] = captioned, released
        entry["arms"], models, judged = {}, {}, {}
        for name, stages in self._chains():
            captioned, released = made[name]
            home = self._home(number, name, stages)
            self.say(f"round {number}: training {name}")
            start = parent if self.loop.begin == "captioner" else self.loop.base
            step = self._train(home, stages, {CAPTIONS: released}, held_out, start)
            models[name], judged[name] = step.model, self._judge(home, step.model, self._max_pixels(name))
            entry["arms"][name] = {
                "evaluation": dict(judged[name].figures),
                "held_out": self._below(judged[name]),
                "compute": step.compute(),
                "trainings": _records(step),
                **(_learned_of(captioned, released) if self._learns_captions(stages) else {}),
                **({"mixtures": step.mixtures} if step.mixtures else {}),
                "gain": judged[name].gain_over(before).as_json(),
                "changed": judged[name].changed_from(before),
            }
        if self.loop.evaluate.wins is not None:
            entry["wins"] = self._wins(number, entries, judged[MAIN], self._home(number, MAIN, self.loop.round))
        for name in self.loop.arms:
            entry["arms"][name]["main_gains"] = judged[MAIN].gain_over(judged[name]).as_json()
        return entry | {"model": models[MAIN], "verdict": self._verdict(judged[MAIN], before)}

    def _wins(self, number: int, entries: Sequence[Mapping[str, Any]], now: Judged, home: Path) -> dict[str, Any]:
        """Win rates of a round over every earlier one that has a model, by its number."""
        wins = self.loop.evaluate.wins
        assert wins is not None
        pictures = self._held_out_plan().pictures
        found = {}
        for entry in entries:
            if entry["arms"]:
                self.say(f"round {number}: compared with round {entry['round']} by {wins.judge}")
                before = self.judged(entry["round"])
                found[str(entry["round"])] = win_rates(now, before, pictures, wins, home, self.quiet)
        return found

    def _chains(self) -> Iterator[tuple[str, tuple[Stage, ...]]]:
        yield MAIN, self.loop.round
        for name, arm in self.loop.arms.items():
            stages = arm.stages or self.loop.round
            if arm.max_pixels is not None:
                changed = {"max_pixels": arm.max_pixels}
                stages = tuple(
                    one.model_copy(update={"training": one.training.model_copy(update=changed)}) for one in stages
                )
            yield name, stages

    def _max_pixels(self, arm: str) -> int | None:
        return self.loop.arms[arm].max_pixels if arm in self.loop.arms else None

    def _refusals(self, audit: Mapping[str, Any] | None, outcome: Outcome) -> tuple[list[str], list[str]]:
        """Why a round is not trained on, and what is only warned of, in words."""
        guard = self.loop.guard
        if not outcome.selection["kept"]:
            return ["nothing was kept of its captions"], []
        if audit is None:
            return [], []
        problems: list[str] = []
        warnings: list[str] = []
        if audit["auroc"] is not None and audit["auroc"] < guard.auroc:
            problems.append(
                f"the judge {audit['judge']} tells right sentences from wrong ones with AUROC {audit['auroc']:.2f}, below {guard.auroc:g}"
            )
        for kind, found in audit["kinds"].items():
            if (
                found["sentences"] >= guard.claims
                and found["precision"] is not None
                and found["precision"] < guard.precision
            ):
                (warnings if kind in guard.warn else problems).append(
                    f"of the sentences of the kind '{kind}' that {audit['judge']} lets through {found['precision']:.0%} are right, "
                    f"below {guard.precision:.0%}"
                )
        return problems, warnings

    def _verdict(self, now: Judged, before: Judged) -> dict[str, Any]:
        guard, gain = self.loop.guard, now.gain_over(before)
        words = f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) on {gain.images:,} images"
        for name, least, what in (
            ("distinct_2", guard.distinct, "distinct word pairs"),
            ("words_mean", guard.length, "mean length"),
        ):
            old, new = before.figures.get(name), now.figures.get(name)
            if old and new is not None and new < least * old:
                return {"word": "worse", "why": f"collapse: {what} fell from {old:.3g} to {new:.3g}; its parent stays"}
        if gain.high < 0:
            return {"word": "worse", "why": f"{words}: worse than its parent, which stays the captioner"}
        if gain.mean <= self.loop.go_on.gain or gain.low <= 0:
            return {"word": "saturated", "why": f"{words}: no gain above {self.loop.go_on.gain:g} is proven"}
        return {"word": "better", "why": words}

    def _below(self, judged: Judged) -> str:
        """Where the captions of the held-out images lie, from the loop's directory."""
        return os.path.relpath(judged.run, self.folder)

    # --- steps ---

    def _caption(self, number: int, arm: str, recipe: Recipe) -> tuple[Outcome, str | None]:
        """Run the captioning recipe of a round, and release its selection for an arm; None where nothing was kept."""
        run = str(self._folder(number) / "run")
        settings = {"license": "unknown"} | (recipe.release.model_dump(mode="json") if recipe.release else {})
        alone = recipe.model_copy(update={"release": None})
        outcome = run_recipe(alone, recipe_yaml(alone), run, quiet=self.quiet)
        if not outcome.selection["kept"]:
            return outcome, None
        del settings["to"]
        released, _ = export_release(outcome.work.run, str(self._folder(number) / "releases" / arm), **settings)
        return outcome, released.url

    def _train(self, home: Path, stages: Sequence[Stage], own: Mapping[str, str], held_out: Path, model: str) -> Step:
        """Train a chain of stages from a model: each begins from the checkpoint of the one before with the least validation loss."""
        done: list[Trained] = []
        mixtures: dict[str, Any] = {}
        for place, stage in enumerate(stages, start=1):
            if stage.learn in self.loop.mixtures:
                release = self._mixture(home, stage.learn, own)
                mixtures[stage.learn] = {name: asdict(part) for name, part in open_mixture(release).parts.items()}
            else:
                release = own.get(stage.learn) or self._release(stage.learn)
            mix = {own.get(name) or self._release(name): weight for name, weight in stage.mix.items()}
            training = stage.training.model_copy(
                update={"start": model, "seed": (stage.training.seed + self.loop.seed) % 2**32}
            )
            identity = resolve_model(model, training.start_revision).identity
            learned = [_manifest(release), {_manifest(one): weight for one, weight in mix.items()}]
            settings = training.model_dump(mode="json", exclude={"start"}, exclude_defaults=True)
            name = fingerprint("stage", [identity, learned, settings])
            to = home / f"{place}-{stage.learn}-{name[:8]}"
            trained = train(
                release, to, training, held_out, mix or None, log=None if self.quiet else _now_and_then(self.say)
            )
            done.append(trained)
            model = str(to)
        return Step(model, tuple(done), mixtures)

    def _mixture(self, home: Path, name: str, own: Mapping[str, str]) -> str:
        """One of the loop's mixtures, of the releases that are there now; made once for all arms of a round."""
        mixture = self.loop.mixture(name)
        parts = {}
        inputs: list[str] = []
        for part, of in mixture.parts.items():
            found = tuple(
                own.get(one) or (self._release(one) if one in self.loop.releases else one) for one in of.release or ()
            )
            inputs += [_manifest(one) for one in found]
            parts[part] = of.model_copy(update={"release": found}) if found else of
        asked = mixture.model_dump(mode="json", exclude_defaults=True)
        folder = home.parent / "mixtures" / f"{name}-{fingerprint('mixture', [asked, inputs])[:8]}"
        if not is_mixture(folder):
            self.say(f"mixing {name}")
            mix(mixture.model_copy(update={"parts": parts}), folder)
        return str(folder)

    def _release(self, name: str) -> str:
        """One of the loop's releases; made where it is a recipe."""
        content = self.loop.releases[name]
        if isinstance(content, str):
            return content
        folder = self.folder / "releases" / name
        recipe = self.loop.recipe(name, content, None)
        release = {"license": "unknown"} | (recipe.release.model_dump(mode="json") if recipe.release else {})
        recipe = Recipe.model_validate(
            recipe.model_dump(mode="json") | {"release": release | {"to": str(folder / "versions")}}
        )
        return _released(run_recipe(recipe, recipe_yaml(recipe), str(folder / "run"), quiet=self.quiet))

    def _judge(self, home: Path, model: str, max_pixels: int | None = None) -> Judged:
        """Caption the held-out images with a model and judge it; `max_pixels` instead of the recipe's."""
        recipe = self.loop.recipe("evaluate", self.loop.evaluate.recipe, model)
        # A model that does not see images is worth little, and that is measured: no reason to stop the loop with an error.
        blind = tuple(view.model_copy(update={"canary": False}) for view in recipe.views)
        if max_pixels is not None:
            smaller = {"max_pixels": max_pixels}
            blind = tuple(one.model_copy(update={"image": one.image.model_copy(update=smaller)}) for one in blind)
        recipe = recipe.model_copy(update={"views": blind})
        name = fingerprint(
            "judged",
            [
                resolve_model(model, None).identity,
                recipe.model_dump(mode="json", exclude={"views": {"__all__": {"model"}}}),
            ],
        )
        folder = home / f"judged-{name[:8]}"
        outcome = run_recipe(recipe, recipe_yaml(recipe), str(folder), quiet=self.quiet)
        judged = judge_model(outcome.work, self.loop.evaluate.by)
        resolved = resolve_model(model, None)
        found = {
            one: dict(evaluate_outside(one, outside, resolved.path, resolved.identity, home, self.say))
            for one, outside in self.loop.evaluate.outside.items()
        }
        return replace(judged, figures={**judged.figures, "outside": found}) if found else judged

    def _held_out(self) -> Path:
        """The file with the hashes of the images that nothing may be trained on."""
        file = self.folder / HELD_OUT
        recipe = self.loop.recipe("evaluate", self.loop.evaluate.recipe, self.loop.base)
        asked = fingerprint("held-out", [recipe.source.model_dump(mode="json")])
        note = file.with_suffix(".json")
        if file.exists() and note.exists() and json.loads(note.read_text()) == asked:
            return file
        self.folder.mkdir(parents=True, exist_ok=True)
        hashes = sorted(set(image_hashes(self._held_out_plan())))
        if not hashes:
            raise RunError("evaluate.recipe: its source has no image, so no round could be judged")
        building = file.with_name(f".{file.name}.{os.getpid()}")
        building.write_text("".join(f"{one}\n" for one in hashes))
        os.replace(building, file)
        note.write_text(json.dumps(asked))
        return file

    def _held_out_plan(self) -> Plan:
        recipe = self.loop.recipe("evaluate", self.loop.evaluate.recipe, self.loop.base)
        return make_plan(recipe, Run(Storage(str(self.folder / ".held-out"))))

    # --- what is done ---

    def _folder(self, number: int) -> Path:
        return self.folder / f"round-{number}"

    def _home(self, number: int, arm: str, stages: Sequence[Stage] | None = None) -> Path:
        """Where an arm's models lie. One that learns no captions is the same in every round, and made once."""
        if stages is not None and not self._learns_captions(stages) and self.loop.begin == "base":
            return self.folder / FIXED / arm
        return self._folder(number) / arm

    def _learns_captions(self, stages: Sequence[Stage]) -> bool:
        return CAPTIONS in self.loop.learned_by(tuple(stages))

    def _asked(self, number: int) -> str:
        """Identifies what the loop file says of a round."""
        # Without defaults, so that a setting that a later version adds redoes nothing.
        content = self.loop.model_dump(mode="json", exclude={"rounds", "name", "go_on", "guard"}, exclude_defaults=True)
        if number == 0:
            first = ("seed", "base", "releases", "mixtures", "first", "evaluate")
            content = {name: content[name] for name in first if name in content}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def _standing(self, entries: Sequence[Mapping[str, Any]]) -> int:
        """How many of the first rounds stand: made by what the loop file says now, and, where one ended the loop, by its rules of now."""
        count = 0
        for entry in entries:
            ended = entry["verdict"]["word"] in ENDS
            if entry.get("asked") != self._asked(entry["round"]) or (ended and entry.get("rules") != self._rules()):
                break
            count += 1
        return count

    def _rules(self) -> str:
        """Identifies the rules by which a verdict is found."""
        content = self.loop.model_dump(mode="json", include={"go_on", "guard"}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"{self.folder}: another process is at this loop; wait for it, or stop it") from None
            yield


def _now_and_then(say: Callable[[str], None], every_s: float = 15.0) -> Callable[[str], None]:
    """Lets a line through every so many seconds."""
    last = -every_s

    def sometimes(line: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every_s:
            last = now
            say(f"  {line}")

    return sometimes


def _round_of(entries: Sequence[Mapping[str, Any]], model: str) -> int:
    return next(int(entry["round"]) for entry in reversed(entries) if entry["model"] == model)


def _learned_of(outcome: Outcome, release: str) -> dict[str, Any]:
    """What an arm learned of its round's captions."""
    kept = outcome.selection["kept"] / max(1, outcome.selection["captions"])
    return {"kept": round(kept, 4), "release": release}


def _released(outcome: Outcome) -> str:
    if outcome.release is None:
        raise FactoryError(f"{outcome.work.run.url}: nothing was released, so there is nothing to learn from")
    return outcome.release.url


def _manifest(release: str) -> str:
    """The hash of a release's manifest, where it is on this machine; else its address."""
    file = Path(release) / "manifest.json"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else release


def _records(step: Step) -> list[dict[str, Any]]:
    return [
        {
            "checkpoint": one.checkpoint,
            "parents": dict(one.parents),
            "settings": dict(one.settings),
            "steps": one.steps,
            "best_step": one.best_step,
            "tokens": one.tokens,
            "seconds": round(one.seconds, 1),
            "train_loss": one.train_loss,
            "validation_loss": one.validation_loss,
            "counts": dict(one.counts),
        }
        for one in step.trained
    ]
