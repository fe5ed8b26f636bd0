"""The training loop of one worker: TRL's SFTTrainer or DPOTrainer on the rows that were chosen, from the last checkpoint on.

It runs in a process that Ray Train started. Everything that it leaves is below the training's own folder, `.training/`
of the checkpoint's directory: `checkpoint-N/` (of which the best and the last stay), `curve.jsonl`, `attempts.txt`, and at the
end `model/`.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any, Final

from factory.errors import TrainingError
from factory.recipe import ImageSettings
from factory.rounds.mixture_batches import mixture_batches
from factory.rounds.model_parts import adapted_layers, freeze_others
from factory.rounds.training_settings import Training

CURVE: Final = "curve.jsonl"
ATTEMPTS: Final = "attempts.txt"  # the step at which each process began, a line each
MODEL: Final = "model"
RESULT: Final = "result.json"
STATE: Final = "trainer_state.json"  # transformers writes it last, so a checkpoint with a readable one is whole


def train_loop(config: dict[str, Any]) -> None:
    """Train. `config`: settings, folder, files, columns, start (a path or Hub id), revision, steps, checkpoint_every, micro_batch,
    accumulate, threads.

    Raises:
        TrainingError: the loss is no number, memory ran out, or the disk is full.
    """
    from factory.engines.logs import redirect_output

    folder = Path(config["folder"])
    redirect_output(str(folder / "logs"), "worker")
    with (folder / "worker.lock").open("w") as lock:
        if int(os.environ.get("RANK", "0")) == 0:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a killed training's worker may need some seconds to notice
        try:
            _train(config, folder)
        except TrainingError:
            raise
        except Exception as error:
            raise explained(error, Training.model_validate(config["settings"])) or error from None


def explained(error: BaseException, settings: Training) -> TrainingError | None:
    """What a user can do about an error of the libraries; None where nothing is known."""
    text = f"{type(error).__name__}: {error}"
    if "OutOfMemory" in text or isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text:
        now = settings.micro_batch or settings.batch
        advice = (
            f"set micro_batch to {max(1, now // 2)} (the batch stays {settings.batch})"
            if now > 1
            else "lower max_pixels"
        )
        return TrainingError(f"out of memory: {advice}, train with `lora`, or lower max_pixels. It said: {text[:300]}")
    if "No space left" in text or "Disk quota" in text or "PytorchStreamWriter failed" in text:
        return TrainingError(
            f"no space left on the disk for a checkpoint; make room and run again, it goes on from the last one. It said: {text[:200]}"
        )
    return None


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; what was being written when the process died is removed."""
    whole: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        try:
            step = int(path.name.removeprefix("checkpoint-"))
            json.loads((path / STATE).read_text())
            whole.append((step, path))
        except (ValueError, OSError):
            shutil.rmtree(path, ignore_errors=True)
    return max(whole)[1] if whole else None


def _train(config: dict[str, Any], folder: Path) -> None:
    import numpy as np
    import torch
    from transformers import AutoProcessor
    from trl import DPOTrainer, SFTTrainer

    from factory.rounds.training_rows import as_dataset

    settings = Training.model_validate(config["settings"])
    torch.set_num_threads(config["threads"])
    main = int(os.environ.get("RANK", "0")) == 0
    processor = AutoProcessor.from_pretrained(config["start"], revision=config["revision"])
    model = _model(config, settings)
    rows = np.load(folder / "rows.npz")
    cache = str(folder / "cache")
    learned = as_dataset(config["files"], config["columns"], rows["order"], cache)
    validation = (
        as_dataset(config["files"], config["columns"], rows["validation"], cache) if len(rows["validation"]) else None
    )
    before = last_checkpoint(folder) if main else None
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        shared = [str(before) if before else None]
        torch.distributed.broadcast_object_list(shared)
        before = Path(shared[0]) if shared[0] else None
    resumed = int(before.name.removeprefix("checkpoint-")) if before else 0
    if main:
        with (folder / ATTEMPTS).open("a") as attempts:
            attempts.write(f"{resumed}\n")
    arguments = _arguments(config, settings, folder, validates=validation is not None)
    trainer = {"sft": SFTTrainer, "dpo": DPOTrainer}[settings.method](
        model=model,
        args=arguments,
        train_dataset=learned,
        eval_dataset=validation,
        processing_class=processor,
        data_collator=_collator(processor, settings, mixture="kind" in config["columns"]),
        peft_config=_adapters(model, settings) if settings.lora else None,
        callbacks=[_curve(folder, config["steps"], resumed, main)],
    )
    trainer.train(resume_from_checkpoint=str(before) if before else None)
    if main:
        _write_model(trainer, folder, config, settings)


def _model(config: dict[str, Any], settings: Training) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    name, revision = config["start"], config["revision"]
    if settings.init == "scratch":
        torch.manual_seed(settings.seed)
        model = AutoModelForImageTextToText.from_config(
            AutoConfig.from_pretrained(name, revision=revision), dtype=torch.float32
        )
    else:
        model = AutoModelForImageTextToText.from_pretrained(name, revision=revision, dtype=torch.float32)
    if settings.attention != "auto" or not torch.cuda.is_available():
        how = "eager" if settings.attention == "auto" else settings.attention
        model.set_attn_implementation(
            {part: how for part in ("text_config", "vision_config") if hasattr(model.config, part)} or how
        )
    if settings.lora is None:
        freeze_others(model, settings.train)
    return model


def _adapters(model: Any, settings: Training) -> Any:
    from peft import LoraConfig

    assert settings.lora is not None
    layers = adapted_layers(model, settings.train)
    if not layers:
        raise TrainingError(f"lora: no linear layer in {', '.join(settings.train)} of this {type(model).__name__}")
    return LoraConfig(
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules=layers,
        task_type="CAUSAL_LM",
    )


def _arguments(config: dict[str, Any], settings: Training, folder: Path, validates: bool) -> Any:
    import torch
    from trl import DPOConfig, SFTConfig

    on_gpu = torch.cuda.is_available()
    warmup = settings.warmup if settings.warmup >= 1 else settings.warmup * config["steps"]
    values: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": config["steps"],
        "per_device_train_batch_size": config["micro_batch"],
        "per_device_eval_batch_size": config["micro_batch"],
        "gradient_accumulation_steps": config["accumulate"],
        "learning_rate": settings.lr,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": round(warmup),
        "weight_decay": settings.weight_decay,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "train_sampling_strategy": "sequential",  # the rows are already in their order
        "max_length": None,  # truncation can cut image tokens
        "bf16": config["bfloat16"],
        "use_cpu": not on_gpu,
        "gradient_checkpointing": False,
        "dataloader_num_workers": settings.readers,
        "dataloader_drop_last": False,
        "dataloader_pin_memory": on_gpu,
        "logging_steps": max(1, min(10, config["steps"] // 20)),
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": list(settings.report_to),
        "save_strategy": "steps",
        "save_steps": config["checkpoint_every"],
        "save_total_limit": 2,
        "eval_strategy": "steps" if validates else "no",
        "load_best_model_at_end": validates,
        **({"eval_steps": config["checkpoint_every"], "metric_for_best_model": "eval_loss"} if validates else {}),
        "optim": "adamw_torch",
        # TRL knows the columns of its own formats alone.
        **({"remove_unused_columns": False} if "kind" in config["columns"] else {}),
    }
    values |= {"beta": settings.beta} if settings.method == "dpo" else {"completion_only_loss": True, "packing": False}
    try:
        return {"sft": SFTConfig, "dpo": DPOConfig}[settings.method](**{**values, **settings.arguments})
    except (TypeError, ValueError) as error:
        if not settings.arguments:
            raise
        raise TrainingError(f"arguments: {error}; they are those of TRL's {settings.method.upper()}Config") from None


def _collator(processor: Any, settings: Training, mixture: bool) -> Any:
    from PIL import Image
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from factory.images.prepare import Rejection, prepare_image

    wanted = ImageSettings(max_pixels=settings.max_pixels)
    inner: Any = DataCollatorForVisionPreference(processor)
    if settings.method == "sft":
        inner = DataCollatorForVisionLanguageModeling(processor, max_length=None, completion_only_loss=True)
    if mixture:
        inner = mixture_batches(processor, inner)

    def picture(image: dict[str, Any]) -> Image.Image:
        prepared = prepare_image(image["bytes"] or b"", wanted)
        if isinstance(prepared, Rejection):
            raise TrainingError(
                f"the image {image['path']} of the release cannot be used: {prepared.reason}, {prepared.detail}"
            )
        return Image.frombytes("RGB", (prepared.width, prepared.height), prepared.rgb)

    def collate(rows: list[dict[str, Any]]) -> Any:
        return inner([{**row, "images": [picture(image) for image in row["images"]]} for row in rows])

    return collate


def _curve(folder: Path, steps: int, resumed: int, main: bool) -> Any:
    """A callback that writes what the trainer logs, and stops at a loss that is no number."""
    from transformers import TrainerCallback

    file = folder / CURVE
    past = [point for point in read_curve(file) if point["step"] <= resumed]
    tokens_before = max((point.get("tokens", 0) for point in past), default=0)
    seconds_before = max((point["seconds"] for point in past), default=0.0)
    if main:
        file.write_text("".join(json.dumps(point) + "\n" for point in past))

    class Curve(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.monotonic()

        def on_log(self, _: Any, state: Any, __: Any, logs: dict[str, Any] | None = None, **___: Any) -> None:
            logs = logs or {}
            point: dict[str, Any] = {"step": state.global_step, "steps": steps}
            point["seconds"] = round(seconds_before + time.monotonic() - self.started, 2)
            names = {"loss": "loss", "learning_rate": "lr", "grad_norm": "grad_norm", "eval_loss": "validation_loss"}
            point |= {ours: float(logs[theirs]) for theirs, ours in names.items() if theirs in logs}
            if "loss" in logs:
                point["tokens"] = tokens_before + int(logs.get("num_tokens", 0))
            loss = point.get("loss", point.get("validation_loss", 0.0))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at step {state.global_step}: lower lr (or raise warmup), set dtype: float32, "
                    f"and look at {file} for where it began"
                )
            if main and ("loss" in point or "validation_loss" in point):
                with file.open("a") as handle:
                    handle.write(json.dumps(point) + "\n")

    return Curve()


def read_curve(file: Path) -> list[dict[str, Any]]:
    """The points of a curve; a last line that was cut off is left out."""
    points: list[dict[str, Any]] = []
    if file.exists():
        for line in file.read_text().splitlines():
            try:
                points.append(json.loads(line))
            except ValueError:
                break
    return points


def _write_model(trainer: Any, folder: Path, config: dict[str, Any], settings: Training) -> None:
    import torch
    from transformers import AutoProcessor

    building, to = folder / "model.building", folder / MODEL
    shutil.rmtree(building, ignore_errors=True)
    shutil.rmtree(to, ignore_errors=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    whole = settings.lora is None or settings.lora.merge
    if settings.lora is not None and whole:
        model = model.merge_and_unload()
    dtype = getattr(torch, config["stored"])
    model = model.to(dtype)
    if whole:
        model.config.dtype = dtype
    model.save_pretrained(building)
    # Anew from the start: the trainer changed padding and truncation of the one that it used.
    AutoProcessor.from_pretrained(config["start"], revision=config["revision"]).save_pretrained(building)
    for file in building.iterdir():
        file.chmod(0o644)
    best = trainer.state.best_global_step if trainer.args.load_best_model_at_end else trainer.state.global_step
    (folder / RESULT).write_text(json.dumps({"best_step": best, "validation_loss": trainer.state.best_metric}))
    building.rename(to)
