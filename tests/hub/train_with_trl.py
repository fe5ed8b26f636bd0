"""Train the demo VLM two steps on a dataset as TRL's users do; prints one JSON object. Nothing of ours reads the data.

python -m tests.hub.train_with_trl org/birds v1.0.0 streaming OUT
"""

from __future__ import annotations

import json
import sys

import torch
from datasets import load_dataset
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer

from factory.demo.checkpoint import checkpoint_path

IGNORED = -100  # what the loss leaves out


def main(repo: str, revision: str, how: str, out: str) -> None:
    streaming = how == "streaming"
    dataset = load_dataset(repo, "sft", revision=revision, split="train", streaming=streaming)
    checkpoint = checkpoint_path()
    processor = AutoProcessor.from_pretrained(checkpoint)
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    settings = SFTConfig(
        output_dir=out,
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        max_length=None,  # truncation can cut image tokens
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_num_workers=0,
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = SFTTrainer(model=model, args=settings, train_dataset=dataset, processing_class=processor)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.train()
    after = model.state_dict()
    learned = [
        processor.tokenizer.decode(row[row != IGNORED], skip_special_tokens=False) for row in batch["labels"].cpu()
    ]
    print(
        json.dumps(
            {
                "steps": trainer.state.global_step,
                "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
                "learned": learned,
                "inputs": [processor.tokenizer.decode(row) for row in batch["input_ids"].cpu()],
                "pixels": list(batch["pixel_values"].shape),
                "changed": sum(not torch.equal(before[name], after[name]) for name in before),
                "weights": len(before),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
