"""A recipe's views made concrete: models resolved, prompts fingerprinted, views that share an engine grouped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter

import polars as pl

from factory.models.resolve import Model, resolve_model, served_model
from factory.recipe import Prompt, Recipe, ServedModel, View
from factory.runs.tables import RUNG_CANDIDATES
from factory.sources.shard_keys import text_hash
from factory.work.experts import ReadyExpert, ready_experts
from factory.work.fingerprint import caption_fingerprint, engine_content, fingerprint, image_fingerprint
from factory.work.prompts import asks_original, choose_prompt, places


@dataclass(frozen=True)
class ReadyView:
    """A view with everything that identifies its captions."""

    view: View
    model: Model
    lora: Model | None
    fingerprints: tuple[str, ...]  # caption fingerprint per prompt of the pool
    image_fingerprint: str
    seed: int
    experts: tuple[ReadyExpert, ...] = ()  # all that the recipe's prompts ask for
    rung: int = 0  # which try on the ladder of `repair` it is; 0 for the first

    @property
    def name(self) -> str:
        """The view's name."""
        return self.view.name

    @property
    def identity(self) -> str:
        """What the model's weights are, with its adapter's."""
        return served_identity(self.model, self.lora)

    @property
    def fills_gaps(self) -> bool:
        """Whether it is for images without a text of their own alone."""
        return self.view.where == "missing"

    def asks_original(self, place: int) -> bool:
        """Whether captions of its prompt at this place go by the image's own text: by what it is, or by that there is none."""
        return self.fills_gaps or asks_original(self.view.prompts[place].text)

    @property
    def first_candidate(self) -> int:
        """The number of its first candidate."""
        return self.rung * RUNG_CANDIDATES

    @cached_property
    def asked_experts(self) -> tuple[tuple[str, ...], ...]:
        """Of each prompt of the pool, the experts that it asks for."""
        return tuple(tuple(asked_of(prompt, self.experts)) for prompt in self.view.prompts)

    def choices(self, keys: list[str]) -> list[int]:
        """The prompt of each image, as an index into the pool."""
        ids = self.view.prompt_ids()
        weights = [prompt.weight for prompt in self.view.prompts]
        return [choose_prompt(self.seed, key, self.name, ids, weights) for key in keys]

    def work_frame(self, keys: list[str], contents: pl.Series, texts: list[str | None]) -> pl.DataFrame:
        """(image_key, view, fingerprint, content, text) of each image: what the done set is asked.

        `contents` are the hashes of the images' bytes, `texts` their own texts.
        """
        choices = self.choices(keys)
        asks = [self.asks_original(place) for place in range(len(self.view.prompts))]
        own = [text_hash(text) if asks[choice] else 0 for choice, text in zip(choices, texts, strict=True)]
        schema = {"image_key": pl.String, "view": pl.String, "fingerprint": pl.String, "text": pl.UInt64}
        columns = {
            "image_key": keys,
            "view": [self.name] * len(keys),
            "fingerprint": [self.fingerprints[choice] for choice in choices],
            "text": own,
        }
        return pl.DataFrame(columns, schema=schema).with_columns(content=contents)


@dataclass(frozen=True)
class EngineGroup:
    """Views served by one engine: same model, adapter, engine arguments, replicas and trust.

    An adapter has its engine to itself: vLLM 0.32's CPU build gives every request of a batch the adapter of one of them.
    A judge is a view here, too: that with which it looks at images.
    """

    views: tuple[ReadyView, ...]
    questioned: bool = False  # whether filters ask about the images too

    @property
    def server(self) -> ServedModel | None:
        """The server that is asked; None where an engine is started."""
        return self.first.view.server

    @property
    def experts(self) -> tuple[ReadyExpert, ...]:
        """Those that prompts of its views ask for."""
        asked = {name for view in self.views for names in view.asked_experts for name in names}
        return tuple(expert for expert in self.first.experts if expert.name in asked)

    @property
    def first(self) -> ReadyView:
        """Any of its views; they agree on everything about the engine."""
        return self.views[0]

    @cached_property
    def key(self) -> str:
        """Identifies the engine among those of a recipe: 16 hex digits of what it is started with."""
        return engine_key(self.first)

    @cached_property
    def images(self) -> list[ReadyView]:
        """One view per distinct image preparation, in order."""
        return list({view.image_fingerprint: view for view in reversed(self.views)}.values())[::-1]


def served_identity(model: Model, lora: Model | None) -> str:
    """Identifies a model with the adapter it is served with."""
    return model.identity if lora is None else f"{model.identity}+{lora.identity}"


def ready_views(recipe: Recipe) -> list[ReadyView]:
    """Resolve every view's model and fingerprint its prompts. Raises RecipeError for models that are not there."""
    ready = []
    experts = ready_experts(recipe)
    for view in recipe.views:
        model = _model(view)
        lora = resolve_model(view.lora, view.lora_revision) if view.lora else None
        identity = served_identity(model, lora)
        fingerprints = tuple(
            caption_fingerprint(view, prompt, recipe.seed, identity, asked_of(prompt, experts))
            for prompt in view.prompts
        )
        ready.append(ReadyView(view, model, lora, fingerprints, image_fingerprint(view), recipe.seed, experts))
    return ready


def asked_of(prompt: Prompt, experts: Sequence[ReadyExpert]) -> dict[str, str]:
    """The fingerprints of the experts that a prompt asks for, by name."""
    asked = places(prompt.text)
    return {expert.name: expert.fingerprint for expert in experts if expert.name in asked}


def by_sources(views: Sequence[ReadyView]) -> list[ReadyView]:
    """The views, each after those that it is made from."""
    by_name = {ready.name: ready for ready in views}
    order = TopologicalSorter({name: ready.view.made_from for name, ready in by_name.items()}).static_order()
    return [by_name[name] for name in order if name in by_name]


def _model(view: View) -> Model:
    if isinstance(view.model, str):
        return resolve_model(view.model, view.revision)
    return served_model(view.model.name, view.revision or view.model.endpoint)


def engine_groups(views: Sequence[ReadyView]) -> list[EngineGroup]:
    """Views grouped by the engine they need, in recipe order."""
    groups: dict[str, list[ReadyView]] = {}
    for ready in views:
        groups.setdefault(engine_key(ready), []).append(ready)
    return [EngineGroup(tuple(group)) for group in groups.values()]


def engine_key(ready: ReadyView) -> str:
    """Identifies the engine that a view asks for: 16 hex digits."""
    view = ready.view
    adapter = ready.lora.identity if ready.lora else None
    engine = [ready.model.identity, adapter, view.engine, view.replicas, view.trust_remote_code]
    if view.server is not None:
        engine.append(view.server.model_dump(mode="json"))
    return fingerprint("engine", engine)


def with_judges(groups: Sequence[EngineGroup], judges: Sequence[ReadyView]) -> list[EngineGroup]:
    """The engines of captioners and those of judges, each once.

    A judge is served by a captioner's engine where both have one model, adapter and trust, and their engine arguments differ
    in nothing but speed: the answers are the same.
    """
    found = list(groups)
    for judge in judges:
        place = next((place for place, group in enumerate(found) if _serves(group, judge)), None)
        if place is None:
            found.append(EngineGroup((judge,), questioned=True))
        else:
            views = found[place].views
            found[place] = EngineGroup(views if judge in views else (*views, judge), questioned=True)
    return found


def _serves(group: EngineGroup, judge: ReadyView) -> bool:
    return judge in group.views or _answers_by(group.first) == _answers_by(judge)


def _answers_by(ready: ReadyView) -> str:
    """What an engine's answers depend on."""
    return fingerprint("answers", [ready.identity, engine_content(ready.view), ready.view.trust_remote_code])
