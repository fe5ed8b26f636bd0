"""From a release to a checkpoint that the engine serves.

The directory `to` becomes the checkpoint when all is done. Until then its folder `.training/` holds the work: the training
goes on from there after a crash, and afterwards it keeps the record and the curve. It is no part of the checkpoint's
identity, as no file is whose path has a part that starts with a dot.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from exports.consume import open_release
from exports.mixture.mixing import is_mixture, open_mixture
from factory.engines.logs import quiet_stderr
from factory.errors import TrainingError
from factory.models.resolve import Model, resolve_model
from factory.rounds.checkpoint_check import check_checkpoint, first_row, loads_as_vlm, read_json, stored_dtype
from factory.rounds.outside_trainer import DONE, run_command
from factory.rounds.training_rows import Learned, Rows, choose_rows, find_rows, mixture_rows, write_rows
from factory.rounds.training_settings import Training
from factory.rounds.trl_loop import CURVE, MODEL, RESULT, explained, read_curve, train_loop

WORK: Final = ".training"
RECORD: Final = "trained.json"
ASKED: Final = "asked.json"
FEW_CHECKPOINTS: Final = 10


@dataclass(frozen=True)
class Trained:
    """A finished training.

    `seconds` are of the steps themselves, over all attempts; `tokens` all that were read (images too); losses in nats per
    token of the answers, None where nothing was measured. `parents`: the start and every release, by hash. `counts`: rows,
    images, without_caption (images left out), held_out (rows left out), validation, learned, and places = steps x batch. `canary`: the loss on one caption
    after its image and after a blank one.
    """

    checkpoint: str
    steps: int
    best_step: int
    tokens: int | None
    seconds: float
    train_loss: float | None
    validation_loss: float | None
    curve: str | None
    parents: Mapping[str, Any]
    counts: Mapping[str, int]
    canary: Mapping[str, float]
    settings: Mapping[str, Any]

    def lines(self) -> list[str]:
        """For a terminal."""
        losses = [f"loss {self.train_loss:.3f}"] if self.train_loss is not None else []
        losses += [f"validation {self.validation_loss:.3f}"] if self.validation_loss is not None else []
        learned = f"{self.counts['learned']:,} rows"
        if self.counts["without_caption"]:
            learned += f" ({self.counts['without_caption']:,} images have no caption to learn)"
        if self.counts["held_out"]:
            learned += f" ({self.counts['held_out']:,} of held-out images left out)"
        return [
            f"trained    {self.steps:,} steps on {learned} in {self.seconds:,.0f} s"
            + "".join(f", {one}" for one in losses),
            f"kept       step {self.best_step:,}, the least validation loss"
            if self.validation_loss is not None
            else "kept       the last step (no validation)",
            f"sees       the loss on a caption is {self.canary['image']:.2f} after its image, {self.canary['blank']:.2f} after a blank one",
            f"checkpoint {self.checkpoint}",
            f"next       model: {self.checkpoint}   (in a recipe; or --set views.0.model={self.checkpoint})",
        ]


def train(
    release: str,
    to: str | Path,
    settings: Training,
    held_out: frozenset[str] | Path | None = None,
    mix: Mapping[str, float] | None = None,
    log: Callable[[str], None] | None = None,
) -> Trained:
    """Train from a release. The same call goes on where a killed one stopped, and returns at once when it is done.

    Args:
        release: hub:org/name@v1.2.0, a release's directory, or one that holds versions (the newest); or the directory of a mixture.
        to: directory that becomes the checkpoint.
        settings: how.
        held_out: SHA-256 (hex) of the bytes of images that must not be learned, or a file with one a line.
        mix: further releases and their weights; `release` weighs 1. Shares are of rows.
        log: called with a line of progress, about twice a second.

    Raises:
        TrainingError: see its text; what was learned until then is kept.
        ReleaseError: no such release. RecipeError: no such start.
    """
    say = log or (lambda line: None)
    target = Path(to).expanduser().absolute()
    work = target / WORK
    hashes = _held_out(held_out)
    with _only_one(target, work):
        start = resolve_model(settings.start, settings.start_revision)
        say("reading the release")
        corpora = _corpora(release, mix or {}, settings, work / "data", say)
        parents: dict[str, Any] = {
            "start": {"name": start.name, "identity": start.identity, "init": settings.init},
            "releases": [
                {"release": one.release, "manifest_sha256": one.manifest_sha256, "weight": one.weight}
                for one in corpora
            ],
            "held_out_sha256": hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest() if hashes else None,
        }
        done = _begin(target, work, parents, settings)
        if done is not None:
            return done
        with quiet_stderr(str(work / "logs"), "libraries"):
            loads_as_vlm(start.path, _revision(start))
        rows = choose_rows([one.rows() for one in corpora], settings, hashes)
        if settings.command is not None:
            write_rows(rows, work / "sft")
            run_command(settings, corpora[0].folder, start.path, work, say)
        elif not (work / MODEL).exists():
            _run_trl(work, start, rows, settings, say)
        return _finish(target, work, start, rows, parents, settings, say)


@dataclass(frozen=True)
class _Corpus:
    """A release or a mixture that is learned; `rows` finds its rows, which may write files."""

    release: str
    folder: str
    manifest_sha256: str
    weight: float
    rows: Callable[[], Learned]


def _corpora(
    release: str, mix: Mapping[str, float], settings: Training, data: Path, say: Callable[[str], None]
) -> list[_Corpus]:
    if is_mixture(release):
        if mix:
            raise TrainingError(
                f"{release} is a mixture already; name all of its parts in its file, and mix nothing beside it"
            )
        mixture = open_mixture(release, check=True)
        return [_Corpus(release, mixture.to, mixture.manifest_sha256, 1.0, lambda: mixture_rows(mixture, settings))]
    found: list[_Corpus] = []
    for one, weight in {release: 1.0, **mix}.items():
        if is_mixture(one):
            raise TrainingError(
                f"{one} is a mixture and is learned alone; make it a part of one, or learn it in a stage of its own"
            )
        opened = open_release(one, report=say)
        rows = partial(find_rows, opened, weight, settings.view, data, settings.method)
        found.append(_Corpus(one, str(opened.folder), opened.release.manifest_sha256, weight, rows))
    return found


def _held_out(held_out: frozenset[str] | Path | None) -> frozenset[str]:
    if held_out is None:
        return frozenset()
    if isinstance(held_out, frozenset):
        words: list[str] = sorted(held_out)
    else:
        try:
            words = Path(held_out).read_text().split()
        except OSError as error:
            raise TrainingError(f"{held_out}: the list of held-out images cannot be read: {error.strerror}") from None
    for word in words:
        if len(word) != 64 or set(word.lower()) - set("0123456789abcdef"):
            raise TrainingError(
                f"held-out images are named by SHA-256, 64 hex digits of their bytes; got {word[:80]!r}"
            )
    return frozenset(word.lower() for word in words)


@contextmanager
def _only_one(target: Path, work: Path) -> Iterator[None]:
    if target.exists() and not target.is_dir():
        raise TrainingError(f"{target} is a file; name a directory for the checkpoint")
    if target.is_dir() and not work.exists() and any(target.iterdir()):
        raise TrainingError(f"{target} holds other things; name a new directory for the checkpoint")
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(
                f"{target}: another process is training into this directory; wait for it, or stop it"
            ) from None
        yield


def _begin(target: Path, work: Path, parents: dict[str, Any], settings: Training) -> Trained | None:
    """Note what is asked; the record, where it is done already."""
    asked = {"parents": parents, "settings": settings.model_dump(mode="json")}
    before = read_json(work / ASKED)
    if before is not None:
        with contextlib.suppress(ValueError):  # what an older version wrote lacks the settings that are new
            before["settings"] = Training.model_validate(before["settings"]).model_dump(mode="json")
    if before is not None and before != asked:
        changed = [name for name, value in asked["settings"].items() if before["settings"].get(name) != value]
        changed += [name for name, value in parents.items() if before["parents"].get(name) != value]
        raise TrainingError(
            f"{target} belongs to another training: {', '.join(changed)} changed. Name another directory, or remove this one "
            "to train anew"
        )
    record = read_json(work / RECORD)
    if record is not None and (target / "config.json").exists() | (target / "adapter_config.json").exists():
        return Trained(**{**record, "checkpoint": str(target)})
    if before is None:
        _write_json(work / ASKED, asked)
    return None


def _run_trl(work: Path, start: Model, rows: Rows, settings: Training, say: Callable[[str], None]) -> None:
    import numpy as np

    from factory.engines.cluster import ray_cluster

    logs = str(work / "logs")
    np.savez(work / "rows.npz", order=rows.order, validation=rows.validation)
    say("starting Ray")
    put_back = _own_signals()
    with ray_cluster(logs) as ray, _progress(work / CURVE, rows.steps, say):
        put_back()
        gpus = int(ray.cluster_resources().get("GPU", 0))
        workers = max(1, gpus) if settings.workers == "auto" else settings.workers
        if gpus and workers > gpus:
            raise TrainingError(f"workers: {workers} training processes need as many GPUs; this cluster has {gpus}")
        micro, accumulate = _micro_batch(settings, workers)
        config = {
            "settings": settings.model_dump(mode="json"),
            "folder": str(work),
            "files": rows.files,
            "columns": rows.columns,
            "start": start.path,
            "revision": _revision(start),
            "stored": stored_dtype(start.path, _revision(start)),
            "steps": rows.steps,
            "checkpoint_every": settings.checkpoint_every or max(1, -(-rows.steps // FEW_CHECKPOINTS)),
            "micro_batch": micro,
            "accumulate": accumulate,
            "threads": max(1, _processors() // workers),
            "bfloat16": _bfloat16(settings, bool(gpus)),
        }
        say("starting the trainer")
        _fit(config, workers, bool(gpus), len(ray.nodes()) > 1, work, settings)


def _fit(config: dict[str, Any], workers: int, gpus: bool, many: bool, work: Path, settings: Training) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    trainer = TorchTrainer(
        train_loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
        run_config=RunConfig(
            name=uuid.uuid4().hex[:12],
            storage_path=str(work / "ray"),
            # Threads that wait for each other do not spin: on a machine that does other things too, a step took 1.1 s with
            # spinning and 0.6 s without.
            worker_runtime_env={"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}},
            failure_config=FailureConfig(
                max_failures=2 if many else 0
            ),  # a node may go; the loop goes on from its checkpoint
        ),
    )
    try:
        _interruptible(trainer.fit)
    except TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {})
        first = next(iter(failures.values()), error)
        raise _told(first, settings, work) from None
    finally:
        shutil.rmtree(work / "ray", ignore_errors=True)


def _interruptible(work: Callable[[], object]) -> None:
    """Do it in a thread, so that Ctrl-C and SIGTERM reach this one: Ray Train and Ray put handlers of their own, which end
    the process without a word.
    """
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # handed to the waiting thread, whatever it is
            failed.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if failed:
        raise failed[0]


def _own_signals() -> Callable[[], None]:
    """Gives a function that puts back the handlers that were there at the beginning."""
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def put_back() -> None:
        for number, handler in before.items():
            if here and handler is not None:
                signal.signal(number, handler)

    return put_back


def _told(error: BaseException, settings: Training, work: Path) -> TrainingError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TrainingError):
            return TrainingError(str(cause))
        cause = getattr(cause, "cause", None) or cause.__cause__
    known = explained(error, settings)
    if known is not None:
        return known
    if "ActorDied" in type(error).__name__ or "WorkerCrashed" in type(error).__name__ or "actor died" in str(error):
        return TrainingError(
            "a training process was killed, most often because memory ran out: set micro_batch to "
            f"{max(1, (settings.micro_batch or settings.batch) // 2)} and run again; it goes on from the last checkpoint. "
            f"Logs: {work / 'logs'}"
        )
    last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    return TrainingError(f"the training broke: {last[0][:400]}. Logs: {work / 'logs'}")


def _micro_batch(settings: Training, workers: int) -> tuple[int, int]:
    """Rows at once of a worker, and how often before a step."""
    if settings.batch % workers:
        raise TrainingError(f"batch: {settings.batch} rows cannot be shared evenly by {workers} workers")
    share = settings.batch // workers
    micro = min(settings.micro_batch or share, share)
    if share % micro:
        raise TrainingError(f"micro_batch: {micro} does not divide the {share} rows of a worker")
    return micro, share // micro


def _processors() -> int:
    """Threads that a training may use here: what OMP_NUM_THREADS allows, else one a processor."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else (os.cpu_count() or 1)


def _bfloat16(settings: Training, gpus: bool) -> bool:
    if settings.dtype != "auto":
        return settings.dtype == "bfloat16"
    return gpus or _fast_bfloat16()


def _fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; otherwise it is several times slower than float32."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in words or "amx_bf16" in words


def _revision(model: Model) -> str | None:
    return None if model.is_local else model.revision


@contextmanager
def _progress(curve: Path, steps: int, say: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, say what the curve's last points are."""
    stop = threading.Event()
    size = -1

    def watch() -> None:
        nonlocal size
        while not stop.wait(0.5):
            now = curve.stat().st_size if curve.exists() else -1
            if now != size:
                size = now
                line = progress_line(read_curve(curve), steps)
                if line:
                    say(line)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def progress_line(points: list[dict[str, Any]], steps: int) -> str:
    """The last points of a curve as one line: step, loss, lr, tokens/s, time left; '' before the first."""
    learned = [point for point in points if "loss" in point]
    if not learned:
        return ""
    last = learned[-1]
    parts = [f"step {last['step']:,}/{steps:,}", f"loss {last['loss']:.3f}"]
    checked = [point for point in points if "validation_loss" in point]
    parts += [f"validation {checked[-1]['validation_loss']:.3f}"] if checked else []
    parts += [f"lr {last['lr']:.1e}"] if "lr" in last else []
    since = learned[-20] if len(learned) > 20 else learned[0]
    seconds = last["seconds"] - since["seconds"]
    if seconds > 0 and last["step"] > since["step"]:
        left = (steps - last["step"]) * seconds / (last["step"] - since["step"])
        parts += [
            f"{(last['tokens'] - since['tokens']) / seconds:,.0f} tokens/s",
            f"{left / 60:.0f}:{left % 60:02.0f} left",
        ]
    return " | ".join(parts)


def _finish(
    target: Path,
    work: Path,
    start: Model,
    rows: Rows,
    parents: dict[str, Any],
    settings: Training,
    say: Callable[[str], None],
) -> Trained:
    say("checking the checkpoint")
    row = first_row(rows.files, rows.columns)
    try:
        with quiet_stderr(str(work / "logs"), "libraries"):
            canary = check_checkpoint(work / MODEL, start.path, _revision(start), row, settings.max_pixels)
    except TrainingError:
        (work / DONE).unlink(missing_ok=True)  # so that the same command runs again
        raise
    curve = read_curve(work / CURVE)
    learned = [point for point in curve if "loss" in point]
    result = read_json(work / RESULT) or {}
    trained = Trained(
        checkpoint=str(target),
        steps=rows.steps,
        best_step=result.get("best_step") or rows.steps,
        tokens=learned[-1]["tokens"] if learned else None,
        seconds=curve[-1]["seconds"] if curve else 0.0,
        train_loss=learned[-1]["loss"] if learned else None,
        validation_loss=result.get("validation_loss"),
        curve=str(work / CURVE) if curve else None,
        parents=parents,
        counts={**rows.counts, "places": len(rows.order)},
        canary=asdict(canary),
        settings=settings.model_dump(mode="json"),
    )
    _write_json(work / RECORD, asdict(trained))
    _publish(work / MODEL, target)
    for path in [*work.glob("checkpoint-*"), work / "cache", work / "data", work / "sft", work / MODEL]:
        shutil.rmtree(path, ignore_errors=True)
    return trained


def _publish(model: Path, target: Path) -> None:
    """The files of the model into the directory, that which makes it one last. They stay in both until all are there."""
    files = sorted(path for path in model.iterdir() if path.is_file())
    last = [path for path in files if path.name in ("config.json", "adapter_config.json")]
    for path in [*(one for one in files if one not in last), *last]:
        copy = target / f".{path.name}"
        copy.unlink(missing_ok=True)
        os.link(path, copy)
        os.replace(copy, target / path.name)


def _write_json(file: Path, content: Any) -> None:
    building = file.with_name(f".{file.name}.{int(time.time())}")
    building.write_text(json.dumps(content, indent=1, sort_keys=True))
    os.replace(building, file)
