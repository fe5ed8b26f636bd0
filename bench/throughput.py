"""Images per second of plain vLLM, Ray Data LLM and the factory: same images, model, prompt and sampling, in turn.

Every arm is a process of its own. Engine start-up is left out in each and given beside:

- vllm: `LLM.generate` over decoded images that are in memory already.
- ray_data_llm: `ray.data.llm` from the same Parquet file, images decoded in its preprocess function, engine stage only
  (its own image stage does not run beside this vLLM, see docs/decisions); results consumed, nothing written.
- factory: `factory run` from the Parquet source to written caption and score tables.

In the last two, reading waits until the engine is up, so nothing is prepared during the start-up that is left out; the
clock runs from there until everything is consumed, or written and Ray shut down.

    python -m bench.throughput [--images 12288] [--repeats 3] [--json]
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.answer import print_answer
from bench.commands import environment, python_module

ARMS = ("vllm", "ray_data_llm", "factory")
PROMPT = "Describe the image in details."
MAX_TOKENS = 32
ENGINE = {"max_model_len": 512, "enforce_eager": True, "max_num_seqs": 256}
SAMPLING: dict[str, Any] = {"temperature": 0.0, "max_tokens": MAX_TOKENS, "logprobs": 0, "ignore_eos": False}


def main() -> None:
    """Run all arms in turn, or one arm when asked by itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12_288)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print("RESULT " + json.dumps(globals()[f"arm_{options.arm}"](options.data)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.parquet"
        write_images(data, options.images)
        results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
        for repeat in range(options.repeats):
            for arm in ARMS[repeat % 3 :] + ARMS[: repeat % 3]:
                outcome = run_arm(arm, data)
                results[arm].append(outcome)
                print(
                    f"repeat {repeat + 1} {arm:13} {outcome['images_per_s']:8.1f} images/s  start {outcome['start_s']:5.1f} s",
                    flush=True,
                )
    report(results, options)


def report(results: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    """Print medians and ratios; the last line is JSON with --json."""
    rate = {arm: statistics.median(one["images_per_s"] for one in runs) for arm, runs in results.items()}
    start = {arm: statistics.median(one["start_s"] for one in runs) for arm, runs in results.items()}
    answer = {
        "factory_over_vllm": round(rate["factory"] / rate["vllm"], 3),
        "factory_over_ray_data_llm": round(rate["factory"] / rate["ray_data_llm"], 3),
        "images_per_s": {arm: round(value, 1) for arm, value in rate.items()},
        "all": {arm: [round(one["images_per_s"], 1) for one in runs] for arm, runs in results.items()},
        "start_s": {arm: round(value, 1) for arm, value in start.items()},
        "images": options.images,
        "repeats": options.repeats,
    }
    print_answer(answer, options.json)


def run_arm(arm: str, data: Path) -> dict[str, float]:
    """One arm in a fresh process."""
    command = python_module("bench.throughput", "--arm", arm, "--data", data)
    done = subprocess.run(command, capture_output=True, text=True, env=environment(VLLM_CPU_KVCACHE_SPACE="1"))
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"arm {arm} failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    result: dict[str, float] = json.loads(lines[-1].removeprefix("RESULT "))
    return result


def write_images(file: Path, count: int) -> None:
    """Demo scenes as a Parquet source: id and the encoded image, one row group per 256 images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from factory.demo.source_row import source_rows

    rows = [{"id": row.key, "image": row.image} for row in source_rows(1, count)]
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=256)


def decoded(data: Path) -> list[Any]:
    """The images as PIL pictures."""
    import pyarrow.parquet as pq
    from PIL import Image

    return [Image.open(io.BytesIO(one)).convert("RGB") for one in pq.read_table(data)["image"].to_pylist()]


def template(model: str) -> str:
    """The prompt as the chat template writes it."""
    from transformers import AutoProcessor

    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}]
    return str(
        AutoProcessor.from_pretrained(model).apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    )


def demo_model() -> str:
    """The directory of the demo model."""
    from factory.demo.checkpoint import checkpoint_path

    return str(checkpoint_path("small"))


def arm_vllm(data: Path) -> dict[str, float]:
    """Plain `LLM.generate`."""
    from vllm import LLM, SamplingParams

    started = time.perf_counter()
    llm = LLM(model=demo_model(), limit_mm_per_prompt={"image": 1}, seed=0, generation_config="vllm", **ENGINE)
    params = SamplingParams(**SAMPLING)
    prompt = template(demo_model())
    images = decoded(data)
    llm.generate([{"prompt": prompt, "multi_modal_data": {"image": images[0].rotate(90)}}], params, use_tqdm=False)
    ready = time.perf_counter()
    requests = [{"prompt": prompt, "multi_modal_data": {"image": image}} for image in images]
    outputs = llm.generate(requests, params, use_tqdm=False)
    seconds = time.perf_counter() - ready
    assert len(outputs) == len(images)
    return {"images_per_s": len(images) / seconds, "start_s": ready - started}


def arm_ray_data_llm(data: Path) -> dict[str, float]:
    """`ray.data.llm` with its engine stage; the other stages do not run on this build (facts in docs/decisions)."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    flag = Path(tempfile.mkdtemp(dir=data.parent)) / "ready"
    started = time.time()
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    prompt = template(demo_model())
    config = vLLMEngineProcessorConfig(
        model_source=demo_model(),
        engine_kwargs={"limit_mm_per_prompt": {"image": 1}, "generation_config": "vllm", "seed": 0, **ENGINE},
        batch_size=64,
        max_concurrent_batches=8,
        concurrency=1,
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
        prepare_multimodal_stage=False,
        log_engine_metrics=False,
        placement_group_config={"bundles": [{"CPU": 1}]},
    )

    def before(row: dict[str, Any]) -> dict[str, Any]:
        from PIL import Image

        while not flag.exists():
            time.sleep(0.05)
        image = Image.open(io.BytesIO(row["image"])).convert("RGB")
        return {
            "prompt": prompt,
            "multimodal_data": {"image": image},
            "sampling_params": dict(SAMPLING),
            "id": row["id"],
        }

    def after(row: dict[str, Any]) -> dict[str, Any]:
        return {"id": row["id"], "text": row["generated_text"]}

    processor = build_processor(config, preprocess=before, postprocess=after)
    stage = next(iter(processor.stages.values()))

    class Ready(stage.fn):  # type: ignore[misc,name-defined]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            flag.touch()

    stage.__dict__["fn"] = Ready  # an assignment would validate the stage again and ask for a GPU
    source = ray.data.read_parquet(str(data), override_num_blocks=64)
    count = sum(len(batch["id"]) for batch in processor(source).iter_batches(batch_size=None))
    ready = flag.stat().st_mtime
    return {"images_per_s": count / (time.time() - ready), "start_s": ready - started}


def arm_factory(data: Path) -> dict[str, float]:
    """The factory, with reading held back until its engine is up."""
    import factory.captioning.stages
    import factory.engines.pool
    from factory.pipeline import run_recipe
    from factory.recipe import Recipe, recipe_yaml

    out = tempfile.mkdtemp(dir=data.parent)
    flag = Path(out) / "ready"

    class Ready(factory.engines.pool.EngineActor):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            flag.touch()

    class Held(factory.captioning.stages.ReadShards):
        def __call__(self, batch: Any) -> Any:
            while not flag.exists():
                time.sleep(0.05)
            return super().__call__(batch)

    factory.engines.pool.EngineActor = Ready  # type: ignore[misc]
    factory.captioning.stages.ReadShards = Held  # type: ignore[misc]
    recipe = Recipe.model_validate(
        {
            "name": "bench",
            "source": {"kind": "parquet", "path": str(data), "key": "id"},
            "views": [
                {
                    "name": "detailed",
                    "model": "demo:small",
                    "prompts": [{"text": PROMPT}],
                    "sampling": {"max_tokens": MAX_TOKENS},
                    "engine": ENGINE,
                }
            ],
            "filters": ["length", "repetition", "truncation", "prompt_leak", "refusal"],
        }
    )
    started = time.time()
    outcome = run_recipe(recipe, recipe_yaml(recipe), f"{out}/run", quiet=True)
    ready = flag.stat().st_mtime
    captioned = max(file.stat().st_mtime for file in Path(out, "run", "scores").rglob("*.parquet"))
    done = outcome.accounts["ok"] + outcome.accounts["truncated"]
    assert done == outcome.accounts["source_rows"]
    shutil.rmtree(out)
    return {"images_per_s": done / (captioned - ready), "start_s": ready - started}


if __name__ == "__main__":
    main()
