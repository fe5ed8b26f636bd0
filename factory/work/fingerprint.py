"""What identifies a piece of work, so that done work is reused and changed work is redone.

Contract: equal content gives an equal fingerprint in any process, on any machine, in any year; the scheme has a
version (`VERSION`) that is part of the hash. A fingerprint is 16 hex digits (64 bits) of SHA-256 over canonical JSON.

| part | identifies | what a change does |
| --- | --- | --- |
| image | preparation settings of a view | images are prepared again, also those in quarantine |
| caption | model, adapter, system prompt, sampling, seed (not if greedy), image part, the *one* prompt it drew, its experts | those that drew it are redone |
| caption of a fusion | the same but for the image part, and its `from`; what these say is in `inputs_hash` | those that drew it are redone |
| expert | its kind, version, parameters, models, and of a user's own the file of its code | images and captions that ask for it are done again |
| cut | the caption it was cut from, who judged its sentences, and the least score of one that stands | what is unfaithful is cut again |
| original | the source's text and image columns, and how images are looked at | the source's texts are read again |
| filter | a filter's name, version, parameters and model files | its scores are made again, captions stay |
| selection | the rules and the filters they use | decisions are made again, scores stay |

Left out, with the reason:

| field | why it is left out |
| --- | --- |
| view.without | decides about images on which an expert failed, from then on |
| view.replicas, view.timeout_s, view.canary | change how fast or how safely, not what is written |
| engine arguments in `SPEED_ONLY` (`argument_kinds.py`) | scheduling and memory; the same text up to floating-point order |
| prompt weights, ids, other prompts of the pool | decide which prompt is drawn; a caption of one no longer drawn does not count |
| vLLM, torch and driver versions | recorded per row; an upgrade must not redo a billion captions |
| recipe.name, release | name things, do not make captions |

The image itself is not in: an image is known by its key, and a caption counts for the bytes, and under {original} the text,
that it was made of (`factory/work/present.py`). Limitation: that its bytes changed is noticed when its shard is read again,
which happens when the shard's size, time or tag has changed; `source.detect: bytes` reads all shards every time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from factory.recipe import AUTO
from factory.work.argument_kinds import SPEED_ONLY

if TYPE_CHECKING:
    from factory.recipe import FolderSource, Prompt, Recipe, View
    from filters import Filter

VERSION = 1
NO_EXPERTS: Final[Mapping[str, str]] = MappingProxyType({})
FUSION_CHECKS = 1
"""Version of what tells whether a fused caption stands (`factory/captioning/unfused.py`)."""


_LATER_SAMPLING: Final = {"presence_penalty": 0.0, "min_tokens": 0, "stop_token_ids": []}
"""Settings that came after the first captions were fingerprinted, as they were before they could be set: left out where so."""


def fingerprint(part: str, content: Any) -> str:
    """16 hex digits of canonical JSON. `content` is JSON data; other types raise TypeError rather than hash by chance."""
    text = json.dumps(
        [VERSION, part, content], sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def image_fingerprint(view: View) -> str:
    """Identifies how a view's images are prepared."""
    from factory.images.prepare import VERSION as PREPARE_VERSION

    return fingerprint("image", [PREPARE_VERSION, view.image.model_dump(mode="json")])


def caption_fingerprint(
    view: View, prompt: Prompt, seed: int, model_identity: str, experts: Mapping[str, str] = NO_EXPERTS
) -> str:
    """Identifies a caption row: everything that shapes its text. `model_identity` comes from `factory.models.resolve`; `experts`
    are the fingerprints of those that the prompt asks for, by name.
    """
    content: dict[str, Any] = {
        "view": view.name,
        "model": model_identity,
        "system": view.system,
        "prompt": prompt.text,
        "sampling": sampling_content(view),
        "seed": seed if view.sampling.temperature else None,
        "image": image_fingerprint(view),
        "engine": engine_content(view),
    }
    if view.made_from:
        del content["image"]
        content |= {"from": list(view.made_from), "fallback": view.unfused, "checks": FUSION_CHECKS}
    if view.where != "all":
        content["where"] = view.where
    if experts:
        content["experts"] = dict(experts)
    return fingerprint("caption", content | talking_content(view))


def sampling_content(view: View) -> dict[str, Any]:
    """What of a view's sampling is fingerprinted."""
    settings = view.sampling.model_dump(mode="json")
    return {name: value for name, value in settings.items() if _LATER_SAMPLING.get(name) != value}


def engine_content(view: View) -> dict[str, Any]:
    """What of a view's engine arguments is fingerprinted: those that shape the text."""
    return {name: value for name, value in view.engine.items() if name not in SPEED_ONLY}


def talking_content(view: View) -> dict[str, Any]:
    """What is fingerprinted of how a view talks with its model: template arguments and parser, where the recipe sets them."""
    template = {"chat_template": view.chat_template} if view.chat_template else {}
    return template | ({"reasoning": view.reasoning} if view.reasoning != AUTO else {})


def rung_fingerprint(caption: str, rung: int) -> str:
    """Identifies a caption row of a later try; `caption` is the fingerprint of its settings as `caption_fingerprint` has it."""
    return fingerprint("rung", [caption, rung])


def cut_fingerprint(caption: str, by: str) -> str:
    """Identifies a caption row that was cut out of one with the fingerprint `caption`; `by` identifies what judged its
    sentences, and the least score that let them stand.
    """
    return fingerprint("cut", [caption, by])


def filter_fingerprint(scorer: Filter) -> str:
    """Identifies a filter's scores: its name, code version, parameters and the content of its model files."""
    models = scorer.models()  # by their content, wherever the files lie
    parameters = {
        name: value
        for name, value in scorer.model_dump(mode="json", exclude=scorer.scores_regardless_of).items()
        if name not in models
    }
    content = [scorer.name, scorer.version, parameters]
    return fingerprint("filter", [*content, models] if models else content)


def original_fingerprint(recipe: Recipe) -> str:
    """Identifies the rows of the view `original`: which text of the source it is, of which image, and how that is looked at."""
    from factory.images.prepare import VERSION as PREPARE_VERSION

    other = recipe.source.model_dump(mode="json", include={"image", "root"}, exclude_defaults=True)
    content = [getattr(recipe.source, "text", None), PREPARE_VERSION, *([other] if other else [])]
    return fingerprint("original", content)


def selection_fingerprint(recipe: Recipe, captions: list[str], scorers: list[str]) -> str:
    """Identifies a selection: the rules, the seed, and the fingerprints of the captions and scores it may use."""
    return fingerprint(
        "selection", [recipe.select.model_dump(mode="json"), recipe.seed, sorted(captions), sorted(scorers)]
    )


def reading_fingerprint(recipe: Recipe, reads_texts: bool) -> str:
    """Identifies how the rows of a source are read: settings that make another image, or another text, of the same files.

    `reads_texts`: whether a prompt asks for {original}.
    """
    names = ("image", "root", *(("text", "wrong", "errors") if reads_texts else ()))
    settings = recipe.source.model_dump(mode="json")
    return fingerprint("reading", {name: settings[name] for name in names if name in settings})


def source_identity(recipe: Recipe) -> dict[str, Any]:
    """What makes a source the same source: where it is and how keys are made, not how much of it there is."""
    growing = {"scenes", "text", "image", "root", "fields", "detect"}
    source: FolderSource | Any = recipe.source
    return {key: value for key, value in source.model_dump(mode="json").items() if key not in growing}
