"""A training as TRL's users write it, on the files of a release; prints the seconds of a step. Nothing of ours runs in it.

python -m bench.plain_trl STEPS FILE.parquet ...
"""

from __future__ import annotations

import sys
import time
from typing import Any


def main(steps: int, files: list[str]) -> None:
    """Train the demo base model, with the settings that the built-in trainer has on processors."""
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from factory.models.resolve import resolve_model

    start = resolve_model("demo:base", None).path
    model = AutoModelForImageTextToText.from_pretrained(start, dtype=torch.float32)
    model.set_attn_implementation({"text_config": "eager", "vision_config": "eager"})
    for name, weight in model.named_parameters():
        weight.requires_grad_("vision_model" not in name)
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    words = open("/proc/cpuinfo").read().split() if sys.platform == "linux" else []  # noqa: SIM115
    settings = SFTConfig(
        output_dir="unused",
        max_steps=steps,
        per_device_train_batch_size=32,
        learning_rate=1e-3,
        max_length=None,
        logging_steps=10,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16="avx512_bf16" in words or "amx_bf16" in words,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=load_dataset("parquet", data_files=files, split="train"),
        processing_class=AutoProcessor.from_pretrained(start),
        callbacks=[Clock()],
    )
    trainer.train()
    half = len(times) // 2
    print((times[-1] - times[half]) / (len(times) - 1 - half))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
