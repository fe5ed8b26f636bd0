"""What can be known to be wrong with an engine before it starts, from the recipe and the small files of its model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from factory.errors import RecipeError
from factory.models.files import chat_template, model_config
from factory.recipe import AS_IT_IS, AUTO, did_you_mean
from factory.work.argument_kinds import NOT_HERE
from factory.work.engine_arguments import reads_images, reasoning_parsers, unknown_engine_arguments

if TYPE_CHECKING:
    from factory.work.views import ReadyView

_LENGTHS: Final = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length")
_LANGUAGE: Final = ("text_config", "llm_config", "language_config", "thinker_config")
"""Where the config of a vision-language model keeps that of its language model."""
_LONG_ANYWAY: Final = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"


def check_engines(places: Sequence[tuple[str, ReadyView]], sees: bool = True) -> None:
    """That engines can be started for these views, as far as it can be told now.

    Args:
        places: where the recipe names each, such as "views.0", and the view.
        sees: whether they are shown images.

    Raises:
        RecipeError: all problems, each with what to do.
    """
    problems = [f"{place}.{problem}" for place, ready in places for problem in _problems(ready, sees)]
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))


def _problems(ready: ReadyView, sees: bool) -> Iterator[str]:
    view = ready.view
    for name, hint in unknown_engine_arguments(list(view.engine)).items():
        yield f"engine.{name}: vLLM has no such argument{hint}"
    for name in NOT_HERE.keys() & view.engine.keys():
        yield f"engine.{name}: {NOT_HERE[name]}"
    config = model_config(ready.model) or {}
    if sees and not _names_images(config) and reads_images(config.get("architectures") or ()) is False:
        yield (
            f"model: {view.model_name} is a language model ({', '.join(config['architectures'])}) and takes no images; choose a "
            "vision-language model"
        )
    length, most = view.engine.get("max_model_len"), longest(config)
    if isinstance(length, int) and most is not None and length > most and not _longer_anyway(view.engine):
        yield f"engine.max_model_len: {length} is more than the {most} tokens that {view.model_name} was made for; set {most} or less"
    unknown = unknown_template_arguments(chat_template(ready.model), view.chat_template) if view.chat_template else {}
    for name, hint in unknown.items():
        yield f"chat_template.{name}: the chat template of {view.model_name} has no such argument{hint}"
    parsers = reasoning_parsers() if view.reasoning not in (AUTO, AS_IT_IS) else ()
    if parsers and view.reasoning not in parsers:
        near = did_you_mean(view.reasoning, [AUTO, AS_IT_IS, *parsers], every=True)
        yield f"reasoning: vLLM has no reasoning parser '{view.reasoning}'{near}"


def _names_images(config: dict[str, Any]) -> bool:
    """Whether a config speaks of images: then vLLM's list of models, which takes a second to read, need not be asked."""
    return any(re.search(r"vision|visual|image|mm_", name) for name in config)


def longest(config: dict[str, Any]) -> int | None:
    """Tokens that a model's positions reach to; None where its config does not say, or stretches them."""
    language = next((config[name] for name in _LANGUAGE if isinstance(config.get(name), dict)), config)
    stretched = language.get("rope_scaling") or config.get("rope_scaling") or language.get("rope_parameters") or {}
    if isinstance(stretched, dict) and re.search(r"'factor'|\"factor\"", repr(stretched)):
        return None
    told = [value for name in _LENGTHS if isinstance(value := language.get(name), int) and value > 0]
    return min(told) if told else None


def _longer_anyway(engine: dict[str, Any]) -> bool:
    return bool(engine.get("hf_overrides")) or os.environ.get(_LONG_ANYWAY, "0") not in ("", "0")


def unknown_template_arguments(template: str | None, given: dict[str, Any]) -> dict[str, str]:
    """The arguments that a chat template does not read, each with a hint; {} where the template is not known."""
    if template is None:
        return {}
    known = template_arguments(template)
    if known is None:
        return {}
    return {name: did_you_mean(name, sorted(known), every=True) for name in given if name not in known}


_GIVEN: Final = frozenset(
    {
        "messages",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
        "raise_exception",
        "strftime_now",
        "range",
        "namespace",
    }
)
"""What a template reads that transformers gives it."""


@cache
def template_arguments(template: str) -> frozenset[str] | None:
    """The names that a chat template reads and nobody but the user gives; None where it is no Jinja."""
    from jinja2 import TemplateSyntaxError, meta
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %}, by which transformers marks what an assistant says."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja has it

        def parse(self, parser: Any) -> Any:
            parser.stream.expect("name:generation")
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(extensions=[Generation, loopcontrols])
    try:
        return frozenset(meta.find_undeclared_variables(environment.parse(template)) - _GIVEN)
    except TemplateSyntaxError:
        return None
