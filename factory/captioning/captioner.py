"""The captioner: prepared images in, caption rows out, from one engine. Runs in a Ray actor (see pipeline.py)."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from factory.engines.contract import Captions, Completion, RequestRefused, RequestTimeout
from factory.errors import EngineError
from factory.images.item import ImageItem
from factory.judging.asker import Asker
from factory.recipe import Sampling
from factory.runs.clock import now_ms
from factory.runs.tables import Failure, Status
from factory.sources.shard_keys import text_hash
from factory.work.prompts import fill_prompt, filled_prompt, request_seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from factory.judging.answer_fields import AskedRow
    from factory.work.views import EngineGroup, ReadyView
    from filters.asking.questions import VlmFilter

CANARY_IMAGES = 3
CANARY_TOKENS = 32


class Captioner:
    """Captions images with the views of an engine group."""

    def __init__(
        self, group: EngineGroup, engine: Captions, filters: dict[str, tuple[VlmFilter, ...]] | None = None
    ) -> None:
        """`filters`: view -> those whose questions are asked right after its captions, while the engine has the image."""
        self.group = group
        self.engine = engine
        self.filters = filters or {}
        self.askers = self._askers()

    def _askers(self) -> dict[str, Asker]:
        """What asks about the captions of each view: one for those whose captioner is talked to in one way."""
        alike: dict[str, Asker] = {}
        for ready in self.group.views:
            talk = repr([ready.view.chat_template, ready.view.reasoning])
            alike.setdefault(talk, Asker(self.engine, ready.view.model_name, ready))
        return {ready.name: alike[repr([ready.view.chat_template, ready.view.reasoning])] for ready in self.group.views}

    async def caption(self, item: ImageItem, view: int) -> list[dict[str, Any]]:
        """The caption rows (tables.CAPTIONS) of one image and view: n of them, or one that failed.

        Raises:
            EngineDied: the engine is gone; nothing is known about this image.
        """
        ready = self.group.views[view]
        place = ready.choices([item.key])[0]
        filled = self._filled(ready, place, item)
        row = self._row(ready, place, item)
        if filled is None:
            return [failed_row(row, Failure.no_original, "the prompt asks for {original} and this image has no text")]
        failed = [name for name in ready.asked_experts[place] if item.context.get(name) is None]
        if failed and ready.view.without == "skip":
            words = f"{', '.join(failed)} failed on this image; experts/{failed[0]}/ says why"
            return [failed_row(row, Failure.no_context, words)]
        prompt, inputs = filled
        row["prompt"], row["inputs"] = prompt, "\n".join(inputs) or None
        sampling = ready.view.sampling
        seed = request_seed(ready.seed, item.key, ready.name)
        try:
            completions = await self.engine.generate(
                ready, prompt, *self._shown(ready, item), sampling, seed if sampling.temperature else None
            )
        except RequestTimeout as error:
            return [failed_row(row, Failure.timeout, str(error))]
        except RequestRefused as error:
            return [failed_row(row, Failure.refused, str(error))]
        return [
            _finished({**row, "candidate": ready.first_candidate + number, "seed": seed + number}, completion)
            for number, completion in enumerate(completions)
        ]

    def _filled(self, ready: ReadyView, place: int, item: ImageItem) -> tuple[str, tuple[str, ...]] | None:
        """What is asked, and the texts that were put into it; None where the prompt needs what is not there."""
        return filled_prompt(ready.view.prompts[place].text, item.text, self.engine.special, item.context)

    def _shown(self, ready: ReadyView, item: ImageItem) -> tuple[Callable[[], Image.Image] | None, str]:
        """What gives the image, and its id, as `Captions.generate` takes them."""
        return item.image, f"{item.sha256}-{ready.image_fingerprint}"

    async def ask(self, item: ImageItem, view: int, captions: list[dict[str, Any]]) -> list[AskedRow]:
        """What the filters want to know about an image's captions: rows of tables.ANSWERS.

        Raises:
            EngineDied, EngineError: as `Asker.ask`.
        """
        ready = self.group.views[view]
        texts = [row["text"] for row in captions if row["text"]]
        about = [
            (filter_, text, [*texts[:place], *texts[place + 1 :]])
            for filter_ in self.filters.get(ready.name, ())
            for place, text in enumerate(texts)
        ]
        return await self.askers[ready.name].ask_about(item, f"{item.sha256}-{ready.image_fingerprint}", about)

    def failed(self, item: ImageItem, view: int, reason: Failure, detail: str) -> dict[str, Any]:
        """The row of an image and view that the engine was not, or no longer, asked about."""
        ready = self.group.views[view]
        return failed_row(self._row(ready, ready.choices([item.key])[0], item), reason, detail)

    def _row(self, ready: ReadyView, place: int, item: ImageItem) -> dict[str, Any]:
        return {
            "image_key": item.key,
            "shard": item.shard,
            "view": ready.name,
            "candidate": ready.first_candidate,
            "rung": ready.rung or None,
            "fingerprint": ready.fingerprints[place],
            "prompt_id": ready.view.prompt_ids()[place],
            "prompt": None,
            "inputs": None,
            "original_hash": text_hash(item.text) if ready.asks_original(place) else None,
            "max_tokens": ready.view.sampling.max_tokens,
            "model": ready.view.model_name,
            "model_revision": ready.model.revision,
            "lora": ready.view.lora,
            "template_sha256": self.engine.template_sha256,
            "width": item.width,
            "height": item.height,
            "source_width": item.source_width,
            "source_height": item.source_height,
            "source_format": item.source_format,
            "image_sha256": item.sha256,
            "engine": self.engine.label,
            "created_ms": now_ms(),
        }

    async def canary(self, items: list[ImageItem]) -> None:
        """Check that captions come from the images: real ones against blank ones, and no echo of the prompt.

        Of up to CANARY_IMAGES images that are not themselves one colour, one must get another caption than a blank
        image of its size. Says nothing where there is no such image.

        Raises:
            EngineError: the captions ignore the image, or repeat the prompt: a wrong chat template or a broken model.
            EngineDied: the engine died on it.
        """
        for place, ready in enumerate(self.group.views):
            if not ready.view.canary:
                continue
            tried = [item for item in items if place in item.views and len(set(item.rgb[::7])) > 1][:CANARY_IMAGES]
            answers = await asyncio.gather(*(self._canary(ready, item) for item in tried))
            outcomes = [outcome for outcome in answers if outcome]
            if outcomes and all(real == blank for real, blank, _ in outcomes):
                raise EngineError(
                    f"view '{ready.name}': the canary failed: {ready.view.model_name} gives a blank image the same caption as a "
                    f"real one ({outcomes[0][0][:100]!r}), so it does not see the images. The chat template or the model is "
                    "wrong for this engine; set canary: false in the view to run all the same"
                )
            if outcomes and all(_echoes(prompt, real) for real, _, prompt in outcomes):
                raise EngineError(
                    f"view '{ready.name}': the canary failed: {ready.view.model_name} repeats the prompt ({outcomes[0][0][:100]!r}). "
                    "The chat template or the model is wrong for this engine; set canary: false in the view to run all the same"
                )

    async def _canary(self, ready: ReadyView, item: ImageItem) -> tuple[str, str, str] | None:
        """(caption of the image, caption of a blank one, prompt); None where the image cannot be asked about."""
        from PIL import Image

        asked = ready.view.prompts[ready.choices([item.key])[0]].text
        prompt = fill_prompt(asked, item.text, self.engine.special, item.context)
        if prompt is None:
            return None
        sampling = Sampling(max_tokens=min(CANARY_TOKENS, ready.view.sampling.max_tokens))
        blank = Image.new("RGB", (item.width, item.height), (128, 128, 128))
        try:
            real, empty = await asyncio.gather(
                self.engine.generate(
                    ready, prompt, item.image, f"{item.sha256}-{ready.image_fingerprint}", sampling, None, ahead=True
                ),
                self.engine.generate(
                    ready, prompt, blank.copy, f"blank-{item.width}x{item.height}", sampling, None, ahead=True
                ),
            )
        except (RequestRefused, RequestTimeout):
            return None
        return _said(real[0]), _said(empty[0]), prompt


def _said(completion: Completion) -> str:
    """All that it wrote: a thinking model has thought so far."""
    return f"{completion.reasoning or ''}{completion.text}"


def _finished(row: dict[str, Any], completion: Completion) -> dict[str, Any]:
    row = {
        **row,
        "text": completion.text,
        "reasoning": completion.reasoning,
        "reasoning_tokens": completion.reasoning_tokens or None,
        "finish_reason": completion.finish_reason,
        "stop_reason": completion.stop_reason,
        "prompt_tokens": completion.prompt_tokens,
        "output_tokens": completion.output_tokens,
        "cost": completion.cost,
        "mean_logprob": completion.mean_logprob,
        "min_logprob": completion.min_logprob,
        "sentence_logprobs": completion.sentence_logprobs,
        "status": Status.truncated if completion.finish_reason == "length" else Status.ok,
    }
    if not completion.text and completion.reasoning:
        words = (
            "wrote nothing after its reasoning"
            if completion.finish_reason != "length"
            else "still thought at max_tokens"
        )
        detail = f"{completion.output_tokens} tokens: the model {words}; raise max_tokens, or set chat_template: {{enable_thinking: false}}"
        return failed_row(row, Failure.only_reasoning, detail)
    if not completion.text:
        return failed_row(row, Failure.empty, f"{completion.output_tokens} tokens of nothing but white space")
    return row


def failed_row(row: dict[str, Any], reason: Failure, detail: str) -> dict[str, Any]:
    """The row of a caption that was not made."""
    return {**row, "text": None, "status": Status.failed, "reason": reason, "detail": detail[:500]}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _echoes(prompt: str, caption: str) -> bool:
    """Whether a caption starts by repeating a prompt of four words or more."""
    asked, said = _words(prompt), _words(caption)
    length = min(len(asked), len(said))
    return length >= 4 and asked[:length] == said[:length]
