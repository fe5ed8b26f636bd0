"""Who answers the questions of VLM filters: the captioner of each view, another model, or a server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from factory.errors import RecipeError
from factory.models.resolve import Model, resolve_model
from factory.recipe import ORIGINAL, Recipe, View
from factory.work.fingerprint import engine_content, fingerprint, image_fingerprint, talking_content
from factory.work.views import ReadyView, by_sources
from filters.asking.questions import SELF, Endpoint, JudgeModel, VlmFilter

if TYPE_CHECKING:
    from factory.runs.run import Run


NAMED: Final = "judge.json"


@dataclass(frozen=True)
class Judge:
    """A model that answers questions about images.

    `print` identifies its answers: the model, how images are prepared for it, the server. `ready` is the view that serves
    it; None where a server does.
    """

    name: str
    fingerprint: str
    ready: ReadyView
    endpoint: Endpoint | None = None


def judges_of(filter_: VlmFilter, recipe: Recipe, views: Sequence[ReadyView]) -> dict[str, Judge]:
    """The judge of each view's captions.

    Raises:
        RecipeError: the captions are others' and have no captioner; no such model.
    """
    names = [ready.name for ready in views] + ([ORIGINAL] if recipe.original else [])
    if filter_.judge == SELF:
        own = {ready.name: _own(ready) for ready in views if not ready.view.made_from}
        if not own:
            raise RecipeError(
                [
                    f"filters.{filter_.name}: judge: self is the captioner, and these captions come from elsewhere; name a "
                    "judge: a model as in a view, or {endpoint: http://.../v1, model: NAME}"
                ]
            )
        for ready in by_sources(views):
            if ready.view.made_from:  # by who saw the image for the captions that it is made from
                seen = next((own[name] for name in ready.view.made_from if name in own), next(iter(own.values())))
                own[ready.name] = seen
        return {name: own.get(name, next(iter(own.values()))) for name in names}
    judge = _served(filter_.judge) if isinstance(filter_.judge, Endpoint) else _model(filter_.judge, filter_.name)
    return dict.fromkeys(names, judge)


def judge_names(run: Run) -> dict[str, str]:
    """The judges of a run's answers, of this recipe and of those before it: print -> name."""
    found = {}
    for own_fingerprint in run.storage.directories("answers"):
        known = run.read_json(f"answers/{own_fingerprint}/{NAMED}")
        found[own_fingerprint] = known["name"] if known else own_fingerprint
    return found


def write_judge_names(run: Run, judges: Iterable[Judge]) -> None:
    """Write down whose answers lie in which directory: of a recipe's judges, before they are asked."""
    for judge in {judge.fingerprint: judge for judge in judges}.values():
        path = f"answers/{judge.fingerprint}/{NAMED}"
        if not run.storage.exists(path):
            run.storage.child(f"answers/{judge.fingerprint}").make()
            run.write_json(path, {"name": judge.name, "revision": judge.ready.model.revision})


def _own(ready: ReadyView) -> Judge:
    talks = talking_content(ready.view)
    content = [ready.identity, ready.image_fingerprint, engine_content(ready.view), *([talks] if talks else [])]
    return Judge(ready.view.model_name, fingerprint("judge", content), ready)


def _model(judge: str | JudgeModel, filter_name: str) -> Judge:
    settings = JudgeModel.model_validate({"model": judge}) if isinstance(judge, str) else judge
    try:
        model = resolve_model(settings.model, settings.revision)
    except RecipeError as error:
        raise RecipeError([f"filters.{filter_name}.judge: {problem}" for problem in error.problems]) from None
    view = View(
        **{
            "name": "judge",
            "model": settings.model,
            "revision": settings.revision,
            "prompts": [{"text": "Describe the image."}],
            "engine": settings.engine,
            "chat_template": settings.chat_template,
            "reasoning": settings.reasoning,
            "canary": False,
            "trust_remote_code": settings.trust_remote_code,
        }
        | ({"image": {"max_pixels": settings.max_pixels}} if settings.max_pixels else {})
    )
    return _own(ReadyView(view, model, None, ("",), image_fingerprint(view), 0))


def _served(endpoint: Endpoint) -> Judge:
    view = View.model_validate(
        {
            "name": "judge",
            "model": endpoint.model,
            "prompts": [{"text": "-"}],
            "canary": False,
            "timeout_s": endpoint.timeout_s,
            "chat_template": endpoint.chat_template,
        }
    )
    model = Model(endpoint.model, endpoint.model, endpoint.endpoint, is_local=False, is_served=True)
    ready = ReadyView(view, model, None, ("",), image_fingerprint(view), 0)
    talks = talking_content(view)
    content = [endpoint.endpoint, endpoint.model, ready.image_fingerprint, *([talks] if talks else [])]
    own_fingerprint = fingerprint("judge", content)
    return Judge(f"{endpoint.model} at {endpoint.endpoint}", own_fingerprint, ready, endpoint)
