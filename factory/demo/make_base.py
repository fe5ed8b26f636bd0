"""Make the base checkpoint of the demo world: a tower that sees, a language model that was never trained.

    python -m factory.demo.make_base --out DIR

The vision tower is demo:small's, bit for bit; connector and language model are drawn anew from the seed. Loops begin
from it, as they do elsewhere from a pretrained vision encoder: what they learn is to say what is seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from factory.demo.checkpoint import Architecture, checkpoint_path, load_checkpoint, new_model, save_checkpoint

SEEING = "demo:small"


def make_base(out: Path, seed: int = 0) -> int:
    """Write the base checkpoint to a folder. Returns its number of parameters."""
    import torch

    seeing, processor = load_checkpoint(checkpoint_path(SEEING.removeprefix("demo:")))
    torch.manual_seed(seed)
    text, vision = seeing.config.text_config, seeing.config.vision_config
    architecture = Architecture(
        text.hidden_size, text.intermediate_size, vision.num_hidden_layers, text.num_hidden_layers
    )
    model = new_model(architecture, processor.tokenizer)
    model.model.vision_model.load_state_dict(seeing.model.vision_model.state_dict())
    save_checkpoint(model, processor, out)
    (out / "README.md").write_text(_card(model.num_parameters(), seed), encoding="utf-8")
    return int(model.num_parameters())


def _card(parameters: int, seed: int) -> str:
    return f"""---
license: apache-2.0
pipeline_tag: image-text-to-text
library_name: transformers
---

# The demo world's base: a tower that sees, a language model that was never trained

The vision tower of {SEEING}, with a connector and a language model whose weights are random: {parameters:,} parameters in
all, stored in bfloat16, with {SEEING}'s tokenizer, chat template and image processor. As it stands it writes noise. It is
where rounds of captioning and training begin on the demo world:

```
factory train RELEASE --to DIR --set start=demo:base
```

## Made with

```
python -m factory.demo.make_base --out base --seed {seed}
```

The same command gives the same weights.
"""


def main() -> None:
    """Write the checkpoint and its card."""
    parser = argparse.ArgumentParser(description="Make the demo world's base checkpoint.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--seed", type=int, default=0, help="of the untrained weights")
    asked = parser.parse_args()
    print(f"{asked.out}: {make_base(asked.out, asked.seed):,} parameters")


if __name__ == "__main__":
    main()
