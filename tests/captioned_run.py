"""A captioned run of the demo world without an engine: captions drawn from its language, some of them wrong."""

from __future__ import annotations

import hashlib
import math
import random
from pathlib import Path
from typing import Any

import polars as pl

from exports.storage import Storage
from factory.demo.language import falsified, scene_claims, sentence
from factory.demo.scenes import draw_scene, scene_image, scene_index
from factory.demo.truth import judge_captions
from factory.pipeline import Outcome, run_recipe
from factory.recipe import Recipe, recipe_yaml
from factory.runs import tables
from factory.runs.run import Run
from factory.sources.shard_keys import ShardKeys
from factory.work.plan import Plan, make_plan
from factory.work.views import ReadyView
from tests.recipes import demo_recipe

WRONG = 0.25
"""Share of the captions with one wrong sentence."""


def captioned(folder: Path, **changes: Any) -> tuple[Run, dict[str, Any]]:
    """A finished run directory, and its recipe. Wrong captions have lower log-probabilities, but not always."""
    raw = demo_recipe(source={"kind": "demo", "scenes": 300, "seed": 3}) | changes
    run = Run(Storage(str(folder / "run")))
    write_captions(make_plan(Recipe.model_validate(raw), run))
    select_again(run, raw)
    return run, raw


def select_again(run: Run, raw: dict[str, Any]) -> Outcome:
    """`factory run` in this process; nothing is left to caption, so no engine starts."""
    recipe = Recipe.model_validate(raw)
    assert not make_plan(recipe, run).open_shards
    return run_recipe(recipe, recipe_yaml(recipe), run.url, quiet=True)


def write_captions(plan: Plan) -> None:
    """What captioning every image of the plan would have written."""
    for listed in plan.shards:
        keys = ShardKeys()
        rows, _ = keys.add(list(plan.source.read(listed.shard, 10**9)))
        made = [
            _caption(plan, ready, row.key, candidate, listed.shard.name)
            for row in rows
            for ready in plan.work.views
            for candidate in range(ready.view.sampling.n)
        ]
        plan.work.run.append("captions", pl.DataFrame(made, schema=tables.CAPTIONS))
        plan.work.run.append("shards", keys.frame(listed.shard, reading=plan.work.reading))


def _caption(plan: Plan, ready: ReadyView, key: str, candidate: int, shard: str) -> dict[str, Any]:
    seed = plan.work.recipe.source.seed  # type: ignore[union-attr]
    scene = draw_scene(seed, scene_index(key))
    rng = random.Random(f"{key}/{ready.name}/{candidate}")
    claims = scene_claims(scene)
    true = {sentence(claim) for claim in claims}
    is_wrong = rng.random() < WRONG
    if is_wrong:
        changed = falsified(claims, scene, rng)
        claims, is_wrong = (changed[0], True) if changed else (claims, False)
    said = [sentence(claim) for claim in claims]
    text = " ".join(said)
    confidence = rng.betavariate(4, 6) if is_wrong else rng.betavariate(12, 4)
    image = scene_image(scene)
    words = len(text.split())
    return dict.fromkeys(tables.CAPTIONS) | {
        "image_key": key,
        "shard": shard,
        "view": ready.name,
        "candidate": candidate,
        "fingerprint": ready.fingerprints[ready.choices([key])[0]],
        "status": "ok",
        "text": text,
        "finish_reason": "stop",
        "prompt_id": "p1",
        "prompt": ready.view.prompts[0].text,
        "prompt_tokens": 40,
        "output_tokens": words,
        "max_tokens": ready.view.sampling.max_tokens,
        "mean_logprob": math.log(confidence),
        "min_logprob": math.log(confidence) * 2,
        "sentence_logprobs": _sentence_logprobs(said, true, confidence),
        "seed": 1,
        "model": ready.view.model,
        "model_revision": ready.model.revision,
        "template_sha256": "0" * 64,
        "width": 64,
        "height": 64,
        "source_width": 64,
        "source_height": 64,
        "source_format": "PNG",
        "image_sha256": hashlib.sha256(image).hexdigest(),
        "engine": "none",
        "created_ms": 1,
    }


def _sentence_logprobs(said: list[str], true: set[str], confidence: float) -> list[dict[str, Any]]:
    """The false sentence has the caption's confidence, the others more."""
    found, start = [], 0
    for one in said:
        mean = math.log(confidence) / (2 if one in true else 1)
        found.append({"start": start, "end": start + len(one), "tokens": 8, "mean": mean, "min": 2 * mean})
        start += len(one) + 1
    return found


def truth(run: Run, seed: int = 3) -> pl.DataFrame:
    """Every caption with its true label: a labels table of the whole run."""
    rows = run.scan("captions", tables.CAPTIONS).select("image_key", "view", "candidate", "text").collect()
    verdicts = judge_captions(rows["text"].to_list(), rows["image_key"].to_list(), seed)
    return rows.drop("text").with_columns(label=pl.Series([verdict.correct for verdict in verdicts]))
