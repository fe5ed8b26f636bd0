"""How much memory an engine takes on a processor, as far as can be told without starting it, and how much is free."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from factory.models.resolve import Model
    from factory.work.views import EngineGroup

GIB: Final = 2**30
CPU_KV_CACHE_GIB: Final = "2"
"""What VLLM_CPU_KVCACHE_SPACE is set to unless it is set already."""
PROCESSES: Final = 3 * GIB
"""An engine's two processes with their libraries, before there is a model in them: 2.8 GiB measured, vLLM 0.32."""
WEIGHTS_IN_MEMORY: Final = 2
"""Bytes in memory for one byte of weights in files: 16-bit weights may be computed with as float32."""
WEIGHT_FILES: Final = (".safetensors", ".bin", ".pt", ".gguf")
LIMITS: Final = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""Where Linux tells a container's limit and use of memory, under /sys/fs/cgroup."""


def engine_bytes(group: EngineGroup) -> int | None:
    """Bytes that one engine takes at most, about: weights, cache and processes. None where its weights are not on this disk; 0 behind a server."""
    if group.server is not None:
        return 0
    weights = weight_bytes(group.first.model)
    if weights is None:
        return None
    own = group.first.view.engine.get("kv_cache_memory_bytes")
    cache = int(own) if own else int(float(os.environ.get("VLLM_CPU_KVCACHE_SPACE", CPU_KV_CACHE_GIB)) * GIB)
    return weights * WEIGHTS_IN_MEMORY + cache + PROCESSES


def free_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that can be taken now: of the machine, or of the container where that has less."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, used in LIMITS:
        try:
            free = min(free, int((cgroup / limit).read_text()) - int((cgroup / used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return free


def weight_bytes(model: Model) -> int | None:
    """Bytes of a model's files of weights. None where they are not on this disk."""
    folder = Path(model.path)
    if not model.is_local:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(model.path, revision=model.revision, local_files_only=True))
        except LocalEntryNotFoundError:
            return None
    if folder.is_file():
        return folder.stat().st_size
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in WEIGHT_FILES) or None
