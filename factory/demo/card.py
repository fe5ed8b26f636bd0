"""The model card of a demo checkpoint: what it is, how it was made, and what was measured."""

from __future__ import annotations

from factory.demo.checkpoint import IMAGE_SIDE, IMAGE_TOKENS, Architecture
from factory.demo.measure import Measurement


def card(
    options: dict[str, float],
    architecture: Architecture,
    parameters: int,
    measured: Measurement,
    command: str,
    minutes: float,
) -> str:
    """The card as Markdown with the Hub's YAML header. ``options``: the training's settings by name; ``minutes``: how
    long it took.
    """
    errors = "\n".join(f"| {kind} | {share:.1%} |" for kind, share in measured.errors.items())
    answers = "\n".join(
        f"| {'true statement' if kind == 'true' else f'false: {kind}'} | {share:.1%} |"
        for kind, share in measured.yes_no_by_kind.items()
    )
    listed = ", ".join(f"{name} {value}" for name, value in options.items())
    rates = "\n".join(
        f"| {name} | {rate} |"
        for name, rate in (
            (
                f"wrong sentences in detailed captions, greedy ({measured.detailed_sentences:,} sentences)",
                f"{measured.detailed_wrong:.1%}",
            ),
            ("of all these: outside the language (not parsed)", f"{measured.detailed_unparsed:.1%}"),
            ("detailed captions with a wrong sentence", f"{measured.detailed_captions_wrong:.1%}"),
            ("wrong short captions, greedy", f"{measured.short_wrong:.1%}"),
            (
                f"wrong sentences, sampled at temperature 0.7 ({measured.sampled_sentences:,} sentences)",
                f"{measured.sampled_wrong:.1%}",
            ),
            ("yes/no answers correct (statements of the language, half of them false)", f"{measured.yes_no:.1%}"),
            ("AUROC of P(yes) on the model's own sampled sentences", _number(measured.own_auroc)),
            ("AUROC of these sentences' mean token log-probability", _number(measured.own_logprob_auroc)),
        )
    )
    return f"""---
license: apache-2.0
pipeline_tag: image-text-to-text
library_name: transformers
---

# The demo world's tiny vision-language model

An Idefics3-architecture model with {parameters:,} parameters (hidden size {architecture.hidden},
{architecture.vision_layers} vision and {architecture.text_layers} text layers, {IMAGE_SIDE}x{IMAGE_SIDE} pixels,
{IMAGE_TOKENS} image tokens, bfloat16), trained from nothing on drawn scenes of the demo world. It describes these
scenes in a detailed and a short style, and answers yes/no questions about statements. It knows nothing else: it exists
so that the caption factory can be run, tested and measured without a download.

## Measured on {measured.scenes:,} scenes it was not trained on

No scene of the evaluation has the contents of any training scene.

| | |
|---|---|
{rates}

Errors by type, as a share of all detailed sentences (a sentence can have several):

| error | share |
|---|---|
{errors}

Yes/no answers that are correct, by what is asked about:

| statement | correct |
|---|---|
{answers}

## Made with

```
{command}
```

in {minutes:.0f} minutes; {listed}.
"""


def _number(value: float | None) -> str:
    return "not measurable" if value is None else f"{value:.3f}"
