"""Whether a checkpoint can be the next captioner: it loads, speaks the tokens of its start, and sees images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exports.release_row import QUESTION
from factory.errors import TrainingError

LEAST_DIFFERENCE: Final = 1e-4
"""Nats per token. A model that does not look has exactly the same loss on a caption whatever the picture; rounding of
repeated bfloat16 runs is 0 on one machine."""


@dataclass(frozen=True)
class Canary:
    """Mean loss per token, in nats, of one released caption: after its image, and after a blank one of the same size."""

    image: float
    blank: float


def check_checkpoint(
    checkpoint: Path, start: str, revision: str | None, row: dict[str, Any], max_pixels: int
) -> Canary:
    """Load a checkpoint as transformers does and try it on a row.

    Args:
        checkpoint: a directory: whole weights, or an adapter on `start`.
        start: path or Hub id that the training began from.
        row: of the config `sft`, with image bytes.
        max_pixels: the pixel budget it was trained with.

    Raises:
        TrainingError: nothing there, it does not load, has another tokenizer, or does not see images.
    """
    files = {path.name for path in checkpoint.iterdir()} if checkpoint.is_dir() else set()
    if not files & {"config.json", "adapter_config.json"} or not any(
        name.endswith((".safetensors", ".bin")) for name in files
    ):
        held = ", ".join(sorted(files)[:8]) or "nothing"
        raise TrainingError(
            f"{checkpoint}: the trainer left no checkpoint there (config.json and weights are missing; it holds {held}). "
            "Its command has to write to {to}, in Hugging Face form"
        )
    processor, model = _load(checkpoint, start, revision)
    _same_tokenizer(checkpoint, start, revision)
    canary = _try(processor, model, row, max_pixels)
    if abs(canary.image - canary.blank) < LEAST_DIFFERENCE:
        raise TrainingError(
            f"{checkpoint}: this checkpoint does not see images: the loss on a caption is {canary.image:.4f} after its image "
            f"and {canary.blank:.4f} after a blank one. Was the vision tower, or its connector, left out when it was written?"
        )
    return canary


def _load(checkpoint: Path, start: str, revision: str | None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    adapter = (checkpoint / "adapter_config.json").exists() and not (checkpoint / "config.json").exists()
    try:
        if adapter:
            from peft import PeftModel

            processor = AutoProcessor.from_pretrained(start, revision=revision)
            base = AutoModelForImageTextToText.from_pretrained(start, revision=revision, dtype="auto")
            return processor, PeftModel.from_pretrained(base, checkpoint).eval()
        processor = AutoProcessor.from_pretrained(checkpoint)
        model, told = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype="auto", output_loading_info=True)
    except Exception as error:  # whatever the libraries raise at a file they cannot read
        raise TrainingError(f"{checkpoint}: the checkpoint does not load: {str(error)[:400]}") from None
    wrong = [*told["missing_keys"], *told["mismatched_keys"]]
    if wrong:
        raise TrainingError(
            f"{checkpoint}: the checkpoint does not load: {len(wrong)} weights are missing or of another shape, such as {wrong[0]}"
        )
    broken = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if broken:
        raise TrainingError(
            f"{checkpoint}: {len(broken)} weights hold NaN or infinity, such as {broken[0]}: the training broke; lower its lr"
        )
    return processor, model.eval()


def _same_tokenizer(checkpoint: Path, start: str, revision: str | None) -> None:
    from transformers import AutoTokenizer

    if not (checkpoint / "config.json").exists():
        return
    theirs = AutoTokenizer.from_pretrained(checkpoint).get_vocab()
    ours = AutoTokenizer.from_pretrained(start, revision=revision).get_vocab()
    if theirs != ours:
        differ = len(set(theirs.items()) ^ set(ours.items()))
        raise TrainingError(
            f"{checkpoint}: its tokenizer is not that of {start} ({differ:,} entries differ): captions and judges of the next "
            "round would read other tokens. Let the trainer save the tokenizer it began with"
        )


def _try(processor: Any, model: Any, row: dict[str, Any], max_pixels: int) -> Canary:
    import torch
    from PIL import Image
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from factory.images.prepare import PreparedImage, prepare_image
    from factory.recipe import ImageSettings

    if row["images"]:
        prepared = prepare_image(row["images"][0]["bytes"], ImageSettings(max_pixels=max_pixels))
        assert isinstance(prepared, PreparedImage), prepared  # it was trained on
        picture = Image.frombytes("RGB", (prepared.width, prepared.height), prepared.rgb)
    else:  # nothing that was learned has one
        picture = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
    blank = Image.new("RGB", picture.size, (128, 128, 128))
    collate = DataCollatorForVisionLanguageModeling(processor, max_length=None, completion_only_loss=True)
    losses = []
    for image in (picture, blank):
        batch = collate([{**row, "images": [image]}])
        with torch.inference_mode():
            losses.append(float(model(**batch.to(model.device)).loss))
    return Canary(*(round(loss, 6) for loss in losses))


def stored_dtype(start: str, revision: str | None) -> str:
    """The type in which a model's weights are stored ('bfloat16', 'float16' or 'float32'), by its config."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(start, revision=revision)
    text = getattr(config, "text_config", None)
    dtype = str(getattr(config, "dtype", None) or getattr(text, "dtype", None) or "bfloat16").removeprefix("torch.")
    return dtype if dtype in ("bfloat16", "float16", "float32") else "bfloat16"


def loads_as_vlm(start: str, revision: str | None) -> None:
    """Raises TrainingError where a training cannot begin from this model."""
    from transformers import AutoConfig, AutoProcessor

    try:
        AutoConfig.from_pretrained(start, revision=revision)
        processor = AutoProcessor.from_pretrained(start, revision=revision)
    except Exception as error:
        raise TrainingError(f"start: {start} does not load: {str(error)[:300]}") from None
    if not hasattr(processor, "image_processor"):
        raise TrainingError(f"start: {start} has no image processor, so it is no vision-language model")
    if not getattr(processor, "chat_template", None):
        raise TrainingError(
            f"start: {start} has no chat template, so nobody knows how it is asked; add chat_template.jinja"
        )


def first_row(files: tuple[str, ...], columns: tuple[str, ...]) -> dict[str, Any]:
    """The first row of the files with image bytes, prompt and completion (of a pair: the chosen one). Of a mixture without
    captions: a row without images, of one sentence.
    """
    import pyarrow.parquet as pq

    for file in files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(1, columns=list(columns)):
                row = dict(batch.to_pylist()[0])
                if "kind" in row:  # of a mixture
                    if row["kind"] == "captions" and row["images"]:
                        *prompt, completion = row["messages"]
                        return {"images": row["images"], "prompt": prompt, "completion": [completion]}
                    continue
                answer = row["completion"] if "completion" in row else row["chosen"]
                return {"images": row["images"], "prompt": row["prompt"], "completion": answer}
    if "kind" in columns:  # documents and texts alone
        ask, answer = ("user", QUESTION), ("assistant", "There is a picture.")
        prompt, completion = ([{"role": role, "content": text}] for role, text in (ask, answer))
        return {"images": [], "prompt": prompt, "completion": completion}
    raise TrainingError("no rows to learn from")


def read_json(file: Path) -> Any:
    """The content of a JSON file; None where it is missing or not whole."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None
