"""One engine: vLLM's AsyncLLM in this process, its core in a child. Two verbs: generate a text about an image, and answer a
filter's question about it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from factory.engines.contract import Answer, Completion, EngineDied, RequestRefused, RequestTimeout
from factory.engines.logprobs import logprob_fields
from factory.engines.memory import CPU_KV_CACHE_GIB, engine_bytes, free_bytes
from factory.engines.reasoning import Parted, ReasoningParser
from factory.engines.request_window import RequestWindow
from factory.engines.use import EngineUse, Kind
from factory.errors import EngineError
from factory.models.adapter_weights import beside_the_language_model
from factory.models.files import model_config
from factory.recipe import Sampling
from factory.work.engine_arguments import engine_version
from factory.work.engine_checks import unknown_template_arguments
from factory.work.prompts import neutralise

if TYPE_CHECKING:
    from PIL import Image

    from factory.recipe import View
    from factory.work.views import EngineGroup, ReadyView
    from filters.asking.questions import Question

WAITING_ROUNDS = 3
WAITING_BYTES = 2_000_000_000
RENDERED_BYTES_PER_PIXEL = 12  # three channels of float32
MODALITIES = {"image": 1, "video": 0, "audio": 0}
# Nothing is asked twice about an image: its caches would only cost time (docs/decisions/0006).
SEEN_ONCE = {"enable_prefix_caching": False, "mm_processor_cache_gb": 0}
FEW_CORES = 2
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Processor flags of units that compute with bfloat16: on x86 the first two, on ARM the last."""
IN_PROCESS_WORKER = "vllm.v1.executor.uniproc_executor.UniProcExecutor"


class Engine:
    """A running vLLM engine for a group of views. Start-up takes 15 s and more; make one per process."""

    def __init__(self, group: EngineGroup) -> None:
        """Load the processor and start the engine.

        Raises:
            EngineError: the model cannot be loaded, has no chat template, or the engine refuses its arguments.
        """
        ready = group.first
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_KV_CACHE_GIB)
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        try:
            from transformers import AutoProcessor
            from vllm import AsyncEngineArgs
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.async_llm import AsyncLLM

            revision = None if ready.model.is_local else ready.model.revision
            trust = ready.view.trust_remote_code
            self.processor: Any = AutoProcessor.from_pretrained(
                ready.model.path, revision=revision, trust_remote_code=trust
            )
            self.template = _template(self.processor)
            self.is_text_only = hasattr(self.processor, "convert_ids_to_tokens")  # it is a tokenizer
            arguments: dict[str, Any] = {
                "enable_log_requests": False,
                "disable_log_stats": True,
                "generation_config": "vllm",  # the recipe decides on sampling, not a file beside the model
                **(SEEN_ONCE if _sees_images_once(group) else {}),
                **_cpu_arguments(group),
                **ready.view.engine,
            }
            if not self.is_text_only:  # memory is reserved for as many of each kind as are not ruled out
                arguments["limit_mm_per_prompt"] = MODALITIES | (ready.view.engine.get("limit_mm_per_prompt") or {})
            self.special = special_tokens(self.processor)
            self._parsers: dict[str, ReasoningParser] = {}
            for one in group.views:
                self._check_template(one.view)
                self._parser(one)
            self._check_room(group)
            self.adapter, needed = _adapter(ready)
            arguments.update(needed)
            self.llm = AsyncLLM.from_engine_args(
                AsyncEngineArgs(
                    model=ready.model.path, revision=revision, trust_remote_code=trust, seed=0, **arguments
                ),
                usage_context=UsageContext.LLM_CLASS,  # bulk work: vLLM's defaults for throughput, not for latency
            )
        except EngineError:
            raise
        except Exception as error:
            # Any library below may raise anything while a model loads; the caller reports it as the engine's message.
            raise EngineError(
                f"{ready.view.model_name}: the engine cannot start: {type(error).__name__}: {error}"
            ) from error
        dtype = str(self.llm.vllm_config.model_config.dtype).removeprefix("torch.")
        self.label = f"vllm {engine_version()} {dtype}"
        print(f"computes in {dtype}", flush=True)  # to the engine's log
        self._requests = 0
        self._answered = 0
        self._probe: asyncio.Task[None] | None = None
        self._together = self.llm.vllm_config.scheduler_config.max_num_seqs
        self._window = RequestWindow(self._together)
        self.use = EngineUse(self._together)
        self._image_bytes = 0.0
        self._rendered = lru_cache(maxsize=4096)(self._render)
        self._answer_tokens = cache(self._find_answer_tokens)

    @property
    def template_sha256(self) -> str:
        """SHA-256 of the chat template, hex."""
        return hashlib.sha256(self.template.encode()).hexdigest()

    def _parser(self, ready: ReadyView) -> ReasoningParser:
        """What tells a view's reasoning from its captions."""
        key = json.dumps([ready.view.reasoning, ready.view.chat_template], sort_keys=True)
        if key not in self._parsers:
            tokenizer = getattr(self.processor, "tokenizer", self.processor)
            self._parsers[key] = ReasoningParser(ready, tokenizer, self.special)
        return self._parsers[key]

    def _check_template(self, view: View) -> None:
        """Raises EngineError for an argument that the chat template does not read."""
        unknown = unknown_template_arguments(self.template, view.chat_template)
        if unknown:
            said = "; ".join(f"{name}{hint}" for name, hint in unknown.items())
            raise EngineError(
                f"view '{view.name}': chat_template: the template of {view.model_name} has no argument {said}"
            )

    def _check_room(self, group: EngineGroup) -> None:
        """Raises EngineError where not even the smallest image that a view takes fits into `max_model_len`."""
        for ready in group.views:
            length = ready.view.engine.get("max_model_len")
            tokens = image_tokens(self.processor, ready.view.image.min_side)
            if isinstance(length, int) and tokens is not None and 0 < length <= tokens:
                raise EngineError(
                    f"view '{ready.name}': engine.max_model_len: {length} does not hold one image: the smallest takes {tokens} "
                    f"tokens of {ready.view.model_name}, and the prompt and the caption come on top; set {2 * tokens} or more"
                )

    def _render(self, prompt: str, system: str | None, sees: bool = True, arguments: str = "{}") -> str:
        """`arguments`: of the chat template, as JSON."""
        return str(
            self.processor.apply_chat_template(
                self._messages(prompt, system, sees),
                add_generation_prompt=True,
                tokenize=False,
                **json.loads(arguments),
            )
        )

    def _rendered_reply(self, prompt: str, reply: str, sees: bool, arguments: str) -> str:
        """The conversation up to the end of a reply."""
        messages = self._messages(prompt, None, sees)
        messages.append({"role": "assistant", "content": self._content(reply)})
        return str(
            self.processor.apply_chat_template(
                messages, continue_final_message=True, tokenize=False, **json.loads(arguments)
            )
        )

    def _messages(self, prompt: str, system: str | None, sees: bool) -> list[dict[str, Any]]:
        before = [{"role": "system", "content": self._content(system)}] if system else []
        return [*before, {"role": "user", "content": self._content(prompt, sees)}]

    def _content(self, text: str, sees: bool = False) -> str | list[dict[str, Any]]:
        """What a message holds. The templates of language models take a text, those of others a list of parts."""
        if self.is_text_only:
            return text
        return [*([{"type": "image"}] if sees else []), {"type": "text", "text": text}]

    async def generate(
        self,
        ready: ReadyView,
        prompt: str,
        image: Callable[[], Image.Image] | None,
        image_id: str,
        sampling: Sampling,
        seed: int | None,
        ahead: bool = False,
    ) -> list[Completion]:
        """The candidates for one image, in order.

        Args:
            ready: the view; gives the system prompt, the arguments of the chat template, and the time-out.
            prompt: the user text.
            image: gives the image when its turn has come; RGB, already at the view's pixel budget. None: nothing is shown.
            image_id: unique for these pixels; the engine's caches go by it.
            sampling: how to sample; n candidates.
            seed: of candidate 0; None when greedy.
            ahead: go before all who wait for their turn.

        Raises:
            RequestRefused, RequestTimeout: this request; EngineDied: all of them.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parser = self._parser(ready)
        params = SamplingParams(
            **sampling.model_dump(exclude={"stop", "stop_token_ids"}),
            stop=list(sampling.stop) or None,
            stop_token_ids=list(sampling.stop_token_ids) or None,
            skip_special_tokens=not parser.keeps_special,
            seed=seed,
            logprobs=0,
            flat_logprobs=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        text = self._rendered(prompt, ready.view.system, image is not None, _arguments(ready.view))
        output = await self._request(text, params, image, image_id, ready.view.timeout_s, ahead, "captions")
        return [
            _completion(one, len(output.prompt_token_ids or ()), parser.parted(one.text, text))
            for one in sorted(output.outputs, key=lambda one: one.index)
        ]

    async def generate_exactly(
        self, ready: ReadyView, prompt: str, image: Callable[[], Image.Image], image_id: str, tokens: int
    ) -> int:
        """Candidates of this many tokens each, wherever the model would have ended; for measuring. Returns their tokens.

        Raises:
            RequestRefused, RequestTimeout: this request; EngineDied: all of them.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = ready.view.sampling
        params = SamplingParams(
            **sampling.model_dump(exclude={"stop", "stop_token_ids", "max_tokens", "min_tokens"}),
            max_tokens=tokens,
            min_tokens=tokens,
            ignore_eos=True,
            seed=1 if sampling.temperature else None,
            logprobs=0,
            flat_logprobs=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        text = self._rendered(neutralise(prompt, self.special), ready.view.system, True, _arguments(ready.view))
        output = await self._request(text, params, image, image_id, ready.view.timeout_s, kind="captions")
        return sum(len(one.token_ids) for one in output.outputs)

    def render_image(self, ready: ReadyView, prompt: str, image: Image.Image) -> int:
        """Have the model's processor render a prompt with an image, as the engine does. Returns the prompt's tokens."""
        text = self._rendered(neutralise(prompt, self.special), ready.view.system, True, _arguments(ready.view))
        return len(self.processor(text=[text], images=[image], return_tensors="np")["input_ids"][0])

    async def answer(
        self, question: Question, image: Callable[[], Image.Image], image_id: str, ready: ReadyView
    ) -> Answer:
        """What the model answers to a question about an image; see `filters.asking.questions.Question`.

        Raises:
            RequestRefused, RequestTimeout: this question; EngineDied: all of them.
            EngineError: one token does not tell the allowed answers apart.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sees = question.sees == "image"
        timeout_s, arguments = ready.view.timeout_s, _arguments(ready.view)
        common: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "output_kind": RequestOutputKind.FINAL_ONLY}
        if question.kind == "choice":
            tokens = self._answer_tokens(question.allowed)
            ids = [token for some in tokens for token in some]
            params = SamplingParams(**common, logprobs=len(ids), logprob_token_ids=ids)
            text = self._rendered(neutralise(question.text, self.special), None, sees, arguments)
            output = await self._request(text, params, image if sees else None, image_id, timeout_s)
            found = output.outputs[0].logprobs[0]
            values = [sum(math.exp(found[token].logprob) for token in some if token in found) for some in tokens]
            said = output.outputs[0].text
            return Answer(values, [], max(0.0, 1.0 - sum(values)), said)
        if question.kind == "open":
            parser = self._parser(ready)
            skips = {"skip_special_tokens": not parser.keeps_special}
            params = SamplingParams(**common | {"max_tokens": question.max_tokens} | skips)
            text = self._rendered(neutralise(question.text, self.special), None, sees, arguments)
            output = await self._request(text, params, image if sees else None, image_id, timeout_s)
            return Answer([], [], None, parser.parted(output.outputs[0].text, text).answer)
        params = SamplingParams(**common, prompt_logprobs=0)
        reply = neutralise(question.text, self.special)
        text = self._rendered_reply(neutralise(question.prompt, self.special), reply, sees, arguments)
        output = await self._request(text, params, image if sees else None, image_id, timeout_s)
        values, ends = _reply_logprobs(output, reply)
        return Answer(values, ends, None, "")

    async def _request(
        self,
        text: str,
        params: Any,
        image: Callable[[], Image.Image] | None,
        image_id: str,
        timeout_s: float,
        ahead: bool = False,
        kind: Kind = "questions",
    ) -> Any:
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            async with self._window.request(timeout_s, ahead), asyncio.timeout(timeout_s):
                request: dict[str, Any] = {"prompt": text}
                if image is not None:
                    picture = image()
                    self._make_room(picture)
                    request |= {"multi_modal_data": {"image": picture}, "multi_modal_uuids": {"image": image_id}}
                with self.use.request(kind):
                    return await self._ask(request, params)
        except TimeoutError:
            if not await self._is_alive(timeout_s):
                raise EngineDied(f"the engine answered nothing for {timeout_s:g} s") from None
            raise RequestTimeout(f"no answer within {timeout_s:g} s") from None
        except EngineDeadError as error:
            raise EngineDied(str(error)) from None
        except EngineGenerateError as error:
            if self.llm.errored:
                raise EngineDied(str(error)) from None
            raise RequestRefused(_message(error.__cause__ or error)) from None
        except (VLLMClientError, ValueError, TypeError) as error:
            raise RequestRefused(_message(error)) from None

    def _find_answer_tokens(self, allowed: tuple[str, ...]) -> list[list[int]]:
        """For each answer the tokens that it can begin with, however it is cased and spaced."""
        tokenizer = getattr(self.processor, "tokenizer", self.processor)
        found: list[list[int]] = []
        for answer in allowed:
            spellings = {
                before + cased for cased in {answer, answer.capitalize(), answer.upper()} for before in ("", " ")
            }
            ids = (tokenizer(spelling, add_special_tokens=False)["input_ids"] for spelling in sorted(spellings))
            found.append(sorted({one[0] for one in ids if len(one) == 1}))
        if not all(found) or len({token for some in found for token in some}) < sum(map(len, found)):
            raise EngineError(
                f"this judge's tokenizer has no token of its own for each of {', '.join(allowed)}; choose another judge or "
                "another question"
            )
        return found

    def _make_room(self, picture: Image.Image) -> None:
        """Let in what the engine runs at once, and as many again as WAITING_ROUNDS and WAITING_BYTES allow.

        Those are rendered while they wait, so that a round that ends together is followed by a full one.
        """
        rendered = picture.width * picture.height * RENDERED_BYTES_PER_PIXEL
        self._image_bytes += (rendered - self._image_bytes) * (0.01 if self._image_bytes else 1)
        waiting = min(WAITING_ROUNDS * self._together, WAITING_BYTES / max(1.0, self._image_bytes))
        self._window.most = self._together + int(waiting)

    async def _ask(self, request: Any, params: Any) -> Any:
        self._requests += 1
        answers = self.llm.generate(request, params, str(self._requests), lora_request=self.adapter)
        output = [answer async for answer in answers][-1]  # FINAL_ONLY: there is one
        self._answered += 1
        return output

    async def _is_alive(self, timeout_s: float) -> bool:
        """Whether the engine answers anything, a request for one token included, within another time-out."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        async def probe() -> None:
            with suppress(Exception):  # an answer is counted; whatever else happens is no sign of life
                await self._ask("a", SamplingParams(max_tokens=1, output_kind=RequestOutputKind.FINAL_ONLY))

        loop = asyncio.get_running_loop()
        until, answered = loop.time() + timeout_s, self._answered
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(probe())
        while self._answered == answered and loop.time() < until:
            await asyncio.sleep(min(0.1, timeout_s / 10))
        return self._answered > answered

    def stop(self) -> None:
        """Stop the engine core."""
        self.llm.shutdown()


def _sees_images_once(group: EngineGroup) -> bool:
    """Whether every image comes in one request of one candidate, with no system prompt before it to share. A fusion's prompts
    share their instruction.
    """
    view = group.first.view
    alone = not group.questioned and len(group.views) == 1 and not view.made_from
    return alone and view.sampling.n == 1 and not view.system


def _cpu_arguments(group: EngineGroup) -> dict[str, Any]:
    """What vLLM's CPU build needs to be told; {} on other platforms."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return {}
    arguments: dict[str, Any] = {}
    if cpu_dtype() == "float32" and _can_be_float32(group):
        arguments["dtype"] = "float32"
    if any(ready.view.sampling.temperature > 0 for ready in group.views):
        # vLLM's CPU runner rewinds the generator of a seeded request after a partial prefill, which CPU
        # generators cannot do ("CPU Generator does not use offset"): it dies. Whole prefills avoid it.
        arguments["enable_chunked_prefill"] = False
    if len(os.sched_getaffinity(0)) <= FEW_CORES and not _is_parallel(group):
        # A worker process of its own and the engine's core spin for each other's messages; on two cores that takes
        # the time in which images would be prepared. With one thread left to compute with, nothing is lost.
        arguments["distributed_executor_backend"] = IN_PROCESS_WORKER
    return arguments


def cpu_dtype(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What vLLM computes with on this processor: `auto`, as the weights are stored, or `float32`.

    Without units for bfloat16 a processor converts every number there and back: the demo model captions 512 images in 18 s in
    float32 and in 35 s in its stored bfloat16 (measured on AVX2). `cpuinfo`: where Linux names a processor's flags; `auto` where
    there is no such file.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return "auto"
    flags = {
        flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split(":")[1].split()
    }
    return "auto" if flags & BFLOAT16_FLAGS or not flags else "float32"


def _can_be_float32(group: EngineGroup) -> bool:
    """Whether the weights are plain numbers and fit into memory as float32."""
    from transformers import AutoConfig

    model = group.first.model
    config = AutoConfig.from_pretrained(
        model.path,
        revision=None if model.is_local else model.revision,
        trust_remote_code=group.first.view.trust_remote_code,
    )
    size = engine_bytes(group)
    return getattr(config, "quantization_config", None) is None and size is not None and size <= free_bytes()


def _is_parallel(group: EngineGroup) -> bool:
    engine = group.first.view.engine
    return any(int(engine.get(name, 1)) > 1 for name in ("tensor_parallel_size", "pipeline_parallel_size"))


def image_tokens(processor: Any, side: int) -> int | None:
    """Tokens that an image of so many pixels squared takes; None where the processor does not tell."""
    count = getattr(processor, "_get_num_multimodal_tokens", None)
    if count is None:
        return None
    try:
        return int(count(image_sizes=[(side, side)])["num_image_tokens"][0])
    except Exception:  # processors that do not count, or not images of that size
        return None


def _arguments(view: View) -> str:
    return json.dumps(view.chat_template, sort_keys=True)


def _completion(output: Any, prompt_tokens: int, parted: Parted) -> Completion:
    """What vLLM gives as a completion. Its log-probabilities are those of the answer, without the reasoning before it."""
    logprobs = output.logprobs.logprobs if output.logprobs is not None else []
    tokens = output.logprobs.decoded_tokens if output.logprobs is not None else []
    thought = 0
    if parted.reasoning is not None:
        ends = accumulate(len(token or "") for token in tokens)
        thought = sum(end <= parted.start for end in ends) if parted.answer else len(output.token_ids)
    return Completion(
        text=parted.answer,
        reasoning=parted.reasoning,
        reasoning_tokens=thought,
        finish_reason=output.finish_reason,
        stop_reason=None if output.stop_reason is None else str(output.stop_reason),
        prompt_tokens=prompt_tokens,
        output_tokens=len(output.token_ids),
        **logprob_fields(parted.answer, parted.start, tokens, logprobs, thought),
    )


def _reply_logprobs(output: Any, reply: str) -> tuple[list[float], list[int]]:
    """The log-probability of each token of the reply that ends a prompt, and where each ends in the reply."""
    logprobs: list[float] = []
    ends: list[int] = []
    left = len(reply)
    for token, found in zip(reversed(output.prompt_token_ids), reversed(output.prompt_logprobs), strict=True):
        if left <= 0 or found is None:
            break
        logprobs.append(found[token].logprob)
        ends.append(left)
        left -= len(found[token].decoded_token)
    return logprobs[::-1], ends[::-1]


def _message(error: BaseException) -> str:
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:500]


def _template(processor: Any) -> str:
    template = getattr(processor, "chat_template", None) or getattr(
        getattr(processor, "tokenizer", None), "chat_template", None
    )
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise EngineError(
            "this model has no chat template, so it is probably not instruction-tuned; choose its -Instruct sibling"
        )
    return str(template)


def special_tokens(processor: Any) -> tuple[str, ...]:
    """Every string that the model's tokenizer reads as one special token."""
    tokenizer = getattr(processor, "tokenizer", processor)
    added = {str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values()}
    return tuple(sorted(added | set(getattr(tokenizer, "all_special_tokens", []))))


def _adapter(ready: ReadyView) -> tuple[Any, dict[str, Any]]:
    """The request's adapter and the engine arguments it needs; (None, {}) without one. Fetches a Hub adapter.

    Raises:
        EngineError: it changes the vision tower, and vLLM would leave that out for this model.
    """
    lora = ready.lora
    if lora is None:
        return None, {}
    from huggingface_hub import snapshot_download
    from vllm.config.lora import MaxLoRARanks
    from vllm.lora.request import LoRARequest

    path = lora.path if lora.is_local else snapshot_download(lora.path, revision=lora.revision)
    rank = int(json.loads((Path(path) / "adapter_config.json").read_text())["r"])
    served = min(
        (least for least in get_args(MaxLoRARanks) if least >= rank), default=rank
    )  # vLLM takes only some ranks
    needed = {"enable_lora": True, "max_loras": 1, "max_lora_rank": served}
    if outside := beside_the_language_model(Path(path)):
        architectures = (model_config(ready.model) or {}).get("architectures") or ()
        if not any(map(_takes_tower_adapters, architectures)):
            raise EngineError(
                f"the adapter {ready.view.lora} changes {len(outside)} weights of the vision tower or its connector ({outside[0]}), "
                f"which vLLM leaves out for {', '.join(architectures) or 'this model'}: merge it into its base and name the merged "
                "model (`factory train` does so), or train the language model alone"
            )
        needed["enable_tower_connector_lora"] = True
    return LoRARequest(lora.identity, 1, path), needed


def _takes_tower_adapters(architecture: str) -> bool:
    """Whether vLLM serves adapters of this model's vision tower."""
    from vllm.model_executor.models import ModelRegistry

    known = ModelRegistry.models.get(architecture)
    return known is not None and bool(getattr(known.load_model_cls(), "supports_tower_connector_lora", False))
