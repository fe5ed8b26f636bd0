"""What a changed field of a recipe redoes, found by changing each on a run: `python -m tests.work.redone docs/redone.md`.

The runs have no engine (tests/fake_captions.py). A change is tried as `factory plan` does, and by the ladder's and the selection's
own word on what is left to do.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from exports.storage import Storage
from factory import recipe as models
from factory.captioning.roll_call import compare_changed
from factory.engines.room import EngineRoom
from factory.errors import RunError
from factory.experts.rapidocr import RapidOcr
from factory.progress import Progress
from factory.recipe import Recipe
from factory.recipe.recipe import FilterUse
from factory.repair.faithful import Judgement
from factory.repair.repair import to_try_again
from factory.runs.run import Run
from factory.selection.select import SELECTION_STATE, decided_from
from factory.work.fingerprint import cut_fingerprint
from factory.work.plan import Plan, make_plan
from tests import pictures
from tests.fake_captions import run_fake

IMAGES: Final = 12
NOTHING: Final = "nothing"
REFUSED: Final = "refused: another run (`--out`, or `--fresh`)"

HEAD: Final = """\
# What a change redoes

Made by a test that changes every field on a run and looks at what is left to do (`tests/work/redone.py`, `make docs`); do not
edit. `factory plan` says the same of your recipe before anything starts.

What follows from a change is not repeated in each row: new captions are scored, whatever is new is selected again, and a release
that would hold something else gets another version. What was made before stays in the run's tables; go back, and it counts again.

- **captions**: of a view, all of them, or those of the images that the change touches.
- **texts**: the rows of the view `original` are read from the source again.
- **compared**: rows are read again, without an engine, to see whether their bytes or texts are other ones.
- **tries**: the captions of the ladder (`repair.regenerate`); **cuts**: captions whose unsupported sentences were cut out.
- **scores**: of one filter. **selection**: the verdicts. **release**: written from the selection as it is.
- **nothing**: it changes how fast or how safely something is made, or only what is made from then on.
"""

Change = tuple[str, str, Any]
"""The run that it is tried on, the field as a dotted path of its recipe, its new value."""


def _text(extra: str = "") -> dict[str, Any]:
    return {"text": f"Describe the image.{extra}"}


PROMPTS: Final = [_text() | {"id": "plain"}, {"text": "Say it better: {original|none}", "id": "better"}]
REPAIR: Final = {"by": "token_confidence", "least": 0.9, "regenerate": [{"temperature": 0.5}], "cut": True}
OWN_FILTER: Final = """
from typing import ClassVar
import polars as pl
from filters import Filter

class OwnOfThisTable(Filter):
    \"\"\"Every caption is good.\"\"\"
    name: ClassVar[str] = "own_of_this_table"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("text",)
    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        return captions.select(score=pl.lit(1.0))
"""
COMMIT: Final = "a" * 40

CHANGES: Final[dict[type, dict[str, Change]]] = {
    Recipe: {
        "name": ("folder", "name", "other"),
        "seed": ("folder", "seed", 6),
        "seed` (of greedy views with one prompt) `": ("greedy", "seed", 6),
        "plugins": ("folder", "plugins", ["{folder}/own.py"]),
        "source": ("folder", "source", {"kind": "demo", "scenes": IMAGES}),
        "original": ("tar", "original", True),
        "views": ("folder", "views.1", {"name": "second", "model": "org/model", "revision": COMMIT, "prompts": ["Go."]}),
        "filters": ("folder", "filters.2", "repetition"),
        "experts": ("looked", "experts.ocr", {"kind": "rapidocr", "min_confidence": 0.9}),
        "repair": ("tar", "repair", REPAIR | {"regenerate": []}),
        "select": ("folder", "select.budget", 5),
        "release": ("folder", "release.license", "mit"),
    },
    models.FolderSource: {
        "kind": ("folder", "source", {"kind": "demo", "scenes": IMAGES}),
        "path": ("folder", "source.path", "{folder}/moved"),
        "text": ("folder", "source.text", "other"),
        "fields": ("folder", "source.fields", ["url"]),
        "detect": ("folder", "source.detect", "bytes"),
    },
    models.ParquetSource: {
        "kind": ("parquet", "source", {"kind": "demo", "scenes": IMAGES}),
        "path": ("parquet", "source.path", "{folder}/moved.parquet"),
        "image": ("parquet", "source.image", "second"),
        "text": ("parquet", "source.text", "other"),
        "key": ("parquet", "source.key", "url"),
        "fields": ("parquet", "source.fields", ["url"]),
        "root": ("parquet", "source.root", "{folder}"),
        "detect": ("parquet", "source.detect", "bytes"),
    },
    models.WebDatasetSource: {
        "kind": ("tar", "source", {"kind": "demo", "scenes": IMAGES}),
        "path": ("tar", "source.path", "{folder}/moved.tar"),
        "image": ("tar", "source.image", "png"),
        "text": ("tar", "source.text", "json.other"),
        "key": ("tar", "source.key", "json.url"),
        "fields": ("tar", "source.fields", ["url"]),
        "detect": ("tar", "source.detect", "bytes"),
    },
    models.HuggingFaceSource: {
        "kind": ("dataset", "source", {"kind": "demo", "scenes": IMAGES}),
        "path": ("dataset", "source.path", "{folder}/moved"),
        "revision": ("dataset", "source.revision", COMMIT),
        "config": ("dataset", "source.config", "other"),
        "split": ("dataset", "source.split", "test"),
        "image": ("dataset", "source.image", "second"),
        "text": ("dataset", "source.text", "other"),
        "key": ("dataset", "source.key", "url"),
        "fields": ("dataset", "source.fields", ["url"]),
        "root": ("dataset", "source.root", "{folder}"),
        "detect": ("dataset", "source.detect", "bytes"),
    },
    models.CaptionsSource: {
        "kind": ("captions", "source", {"kind": "demo", "scenes": IMAGES}),
        "path": ("captions", "source.path", "{folder}/moved.jsonl"),
        "text": ("captions", "source.text", "other"),
        "key": ("captions", "source.key", "url"),
        "fields": ("captions", "source.fields", ["url"]),
    },
    models.DemoSource: {
        "kind": ("demo", "source", {"kind": "folder", "path": "{folder}/images"}),
        "scenes": ("demo", "source.scenes", IMAGES + 4),
        "seed": ("demo", "source.seed", 3),
        "text": ("demo", "source.text", "truth"),
        "wrong": ("web", "source.wrong", 0.9),
        "errors": ("web", "source.errors", {"omitted": 1.0}),
    },
    models.View: {
        "name": ("folder", "views.0.name", "another"),
        "from": ("fused", "views.1.from", ["self", "original"]),
        "fallback": ("fused", "views.1.fallback", "original"),
        "where": ("web", "views.0.where", "missing"),
        "model": ("folder", "views.0.model", "org/other"),
        "revision": ("folder", "views.0.revision", "b" * 40),
        "lora": ("folder", "views.0.lora", "org/second"),
        "lora_revision": ("folder", "views.0.lora_revision", "b" * 40),
        "system": ("folder", "views.0.system", "Be brief."),
        "chat_template": ("folder", "views.0.chat_template", {"enable_thinking": False}),
        "reasoning": ("folder", "views.0.reasoning", "none"),
        "prompts": ("folder", "views.0.prompts.2", {"text": "What is there?"}),
        "sampling": ("folder", "views.0.sampling.max_tokens", 99),
        "image": ("folder", "views.0.image.max_pixels", 4096),
        "engine": ("folder", "views.0.engine.max_model_len", 2048),
        "engine` (of speed alone, as `gpu_memory_utilization`) `": ("folder", "views.0.engine.gpu_memory_utilization", 0.5),
        "replicas": ("folder", "views.0.replicas", 2),
        "timeout_s": ("folder", "views.0.timeout_s", 30.0),
        "trust_remote_code": ("folder", "views.0.trust_remote_code", True),
        "canary": ("folder", "views.0.canary", False),
        "without": ("looked", "views.0.without", "skip"),
    },
    RapidOcr: {
        "kind": ("looked", "experts.ocr", {"kind": "tests.experts.own_experts:Widths"}),
        "timeout_s": ("looked", "experts.ocr.timeout_s", 5.0),
        "max_side": ("looked", "experts.ocr.max_side", 800),
        "max_chars": ("looked", "experts.ocr.max_chars", 100),
        "threads": ("looked", "experts.ocr.threads", 2),
        "min_confidence": ("looked", "experts.ocr.min_confidence", 0.9),
        "min_letters": ("looked", "experts.ocr.min_letters", 3),
        "detection": ("looked", "experts.ocr.detection", "{folder}/own.py"),
        "recognition": ("looked", "experts.ocr.recognition", "{folder}/own.py"),
    },
    models.Prompt: {
        "text": ("folder", "views.0.prompts.0.text", "Describe the picture."),
        "weight": ("folder", "views.0.prompts.0.weight", 5.0),
        "id": ("folder", "views.0.prompts.0.id", "renamed"),
    },
    models.Sampling: {
        "temperature": ("folder", "views.0.sampling.temperature", 0.9),
        "top_p": ("folder", "views.0.sampling.top_p", 0.5),
        "top_k": ("folder", "views.0.sampling.top_k", 5),
        "min_p": ("folder", "views.0.sampling.min_p", 0.1),
        "repetition_penalty": ("folder", "views.0.sampling.repetition_penalty", 1.1),
        "max_tokens": ("folder", "views.0.sampling.max_tokens", 99),
        "n": ("folder", "views.0.sampling.n", 2),
        "stop": ("folder", "views.0.sampling.stop", ["###"]),
        "stop_token_ids": ("folder", "views.0.sampling.stop_token_ids", [7]),
        "min_tokens": ("folder", "views.0.sampling.min_tokens", 5),
        "presence_penalty": ("folder", "views.0.sampling.presence_penalty", 0.5),
    },
    models.ImageSettings: {
        "max_pixels": ("folder", "views.0.image.max_pixels", 4096),
        "min_side": ("folder", "views.0.image.min_side", 4),
        "max_aspect": ("folder", "views.0.image.max_aspect", 9.0),
        "max_source_pixels": ("folder", "views.0.image.max_source_pixels", 10_000_000),
        "max_bytes": ("folder", "views.0.image.max_bytes", 10_000_000),
        "background": ("folder", "views.0.image.background", "white"),
    },
    FilterUse: {
        "name": ("folder", "filters.0", "repetition"),
        "params": ("folder", "filters.0.params.min_words", 7),
    },
    models.Repair: {
        "by": ("laddered", "repair", {**REPAIR, "cut": False}),
        "least": ("folder", "repair.least", 0.95),
        "regenerate": ("folder", "repair.regenerate.1", {"temperature": 0.9}),
        "cut": ("folder", "repair.cut", False),
    },
    models.Rung: {
        "prompt": ("folder", "repair.regenerate.0.prompt", "Describe only what you see."),
        "temperature": ("folder", "repair.regenerate.0.temperature", 0.6),
        "top_p": ("folder", "repair.regenerate.0.top_p", 0.5),
        "max_tokens": ("folder", "repair.regenerate.0.max_tokens", 99),
        "n": ("folder", "repair.regenerate.0.n", 2),
    },
    models.Select: {
        "accept": ("folder", "select.accept", ["ok", "truncated"]),
        "reviewed": ("folder", "select.reviewed", "first"),
        "require": ("folder", "select.require", {"length": 0.5}),
        "keep_unscored": ("required", "select.keep_unscored", ["length"]),
        "keep_top": ("folder", "select.keep_top", {"length": 0.5}),
        "best_of": ("folder", "select.best_of", "length"),
        "dedup": ("folder", "select.dedup", ["exact"]),
        "budget": ("folder", "select.budget", 5),
    },
    models.KeepTop: {
        "share": ("topped", "select.keep_top.length.share", 0.25),
        "by": ("topped", "select.keep_top.length.by", ["length"]),
    },
    models.Release: {
        "to": ("folder", "release.to", "{folder}/elsewhere"),
        "version": ("folder", "release.version", "2.0.0"),
        "license": ("folder", "release.license", "mit"),
        "image_license": ("folder", "release.image_license", "mit"),
        "repository": ("folder", "release.repository", "org/set"),
        "languages": ("folder", "release.languages", ["en"]),
        "limits": ("folder", "release.limits", {"length": 0.1}),
        "caption": ("folder", "release.caption", "{original} {self}"),
        "questions": ("folder", "release.questions", {"self": ["What is it?"]}),
        "without": ("folder", "release.without", "leave_out"),
        "rewrite": ("folder", "release.rewrite", ["opener"]),
        "configs": ("folder", "release.configs", ["default"]),
        "dropped": ("folder", "release.dropped", "include"),
        "shard_mb": ("folder", "release.shard_mb", 100),
    },
}  # fmt: skip
PLACES: Final = {
    Recipe: "", FilterUse: "filters[].", models.View: "views[].", models.Prompt: "views[].prompts[].",
    models.Sampling: "views[].sampling.", models.ImageSettings: "views[].image.", models.Repair: "repair.",
    models.Rung: "repair.regenerate[].", models.Select: "select.", models.KeepTop: "select.keep_top.<filter>.",
    models.Release: "release.", RapidOcr: "experts.<name>.",
}  # fmt: skip
TITLES: Final = {
    Recipe: "Recipe", models.FolderSource: "Source: folder", models.ParquetSource: "Source: parquet",
    models.WebDatasetSource: "Source: webdataset", models.HuggingFaceSource: "Source: huggingface",
    models.CaptionsSource: "Source: captions", models.DemoSource: "Source: demo", models.View: "View", models.Prompt: "Prompt",
    models.Sampling: "Sampling", models.ImageSettings: "Image", FilterUse: "Filters", models.Repair: "Repair",
    models.Rung: "Rung of the ladder", models.Select: "Select", models.KeepTop: "Keep top", models.Release: "Release",
    RapidOcr: "Expert: rapidocr",
}  # fmt: skip


@dataclass(frozen=True)
class Redone:
    """What a change of a field redoes. `captions`: how many of IMAGES."""

    refused: bool = False
    captions: int = 0
    added: int = 0  # images that were not there before
    compared: bool = False
    texts: bool = False
    tries: bool = False
    cuts: bool = False
    scores: tuple[str, ...] = ()
    selection: bool = False
    release: bool = False

    def words(self) -> str:
        """For the page."""
        if self.refused:
            return REFUSED
        found = []
        if self.compared:
            found.append("compared")
        if self.captions:
            found.append("captions: all" if self.captions >= IMAGES else "captions: those it touches")
        if self.added:
            found.append("captions of what came")
        found += [name for name in ("texts", "tries", "cuts") if getattr(self, name)]
        if self.scores and not self.captions:
            found.append("scores: of the filter")
        if self.selection and not found:
            found.append("selection")
        if self.release and not found:
            found.append("release")
        return ", ".join(found) or NOTHING


class Runs:
    """The runs that changes are tried on, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, tuple[dict[str, Any], Plan]] = {}
        _put_sources(folder)

    def changed(self, change: Change) -> Redone:
        """What a change redoes."""
        name, field, value = change
        raw, before = self._run(name)
        other = copy.deepcopy(raw)
        _put(other, field, json.loads(json.dumps(value).replace("{folder}", str(self.folder))))
        run = before.work.run
        try:
            plan = make_plan(Recipe.model_validate(other), run, None, run.storage.child("source"))
        except RunError:
            return Redone(refused=True)
        return _redone(before, plan)

    def _run(self, name: str) -> tuple[dict[str, Any], Plan]:
        """The recipe of a finished run, and its plan."""
        if name not in self.made:
            raw, out = _recipe(self.folder, name), str(self.folder / f"run-{name}")
            run_fake(raw, out, say=_said)
            run = Run(Storage(out))
            self.made[name] = raw, make_plan(Recipe.model_validate(raw), run, None, run.storage.child("source"))
        return self.made[name]


def _redone(before: Plan, plan: Plan) -> Redone:
    run = plan.work.run
    compared = bool(plan.to_compare)
    texts = any(not listed.complete for listed in plan.original_shards)
    shards = run.storage.full("shards")
    kept = set(Path(shards).glob("*")) if Path(shards).exists() else set()
    with Progress(None, True) as progress, EngineRoom((), None) as room:
        plan = compare_changed(plan, progress, room)
    for file in set(Path(shards).glob("*")) - kept:
        file.unlink()
    wanted = [view.to_caption or 0 for view in plan.counts]
    added = (plan.source_rows or 0) - (before.source_rows or 0)
    captions = sum(wanted) - added if sum(wanted) else 0
    work, old = plan.work, before.work
    judged = Judgement.of(work) if work.recipe.repair is not None else None
    same = {scorer.name: scorer.fingerprint for scorer in old.scorers}
    tries = not captions and _tries(plan, judged, same)
    cuts = {one for one in work.caption_fingerprints if one in _cuts(plan)} - set(old.caption_fingerprints)
    state, known = decided_from(work), run.read_json(SELECTION_STATE)
    settings = [one.recipe.release.model_dump() if one.recipe.release else None for one in (old, work)]
    return Redone(
        captions=captions,
        added=added if sum(wanted) else 0,
        compared=compared,
        texts=texts,
        tries=tries,
        cuts=bool(cuts) and not captions,
        scores=tuple(one.name for one in plan.filter_counts if one.to_score),
        selection=state != {name: (known or {}).get(name) for name in state},
        release=settings[0] != settings[1],
    )


def _tries(plan: Plan, judged: Judgement | None, same: dict[str, str]) -> bool:
    """Whether the ladder has something to do, as far as scores are there that tell."""
    scored = all(
        same.get(one.name) == one.fingerprint for one in plan.work.scorers if judged and one.name in judged.reads
    )
    return scored and any(
        frame.height for rung in plan.work.rungs for frame in to_try_again(plan.work, plan.pictures, rung, judged)[0]
    )


def _cuts(plan: Plan) -> set[str]:
    by = plan.work.cut_by
    made = {*plan.work.first_fingerprints, *(one for r in plan.work.rungs for v in r.views for one in v.fingerprints)}
    return {cut_fingerprint(one, by) for one in made} if by is not None else set()


def _put(raw: Any, field: str, value: Any) -> None:
    first, _, rest = field.partition(".")
    if isinstance(raw, list):
        place = int(first)
        if not rest:
            raw[place : place + 1] = [value]
            return
        _put(raw[place], rest, value)
    elif rest:
        _put(raw.setdefault(first, {}), rest, value)
    else:
        raw[first] = value


# --- the runs ----------------------------------------------------------------------------------------------------------


def _said(ready: Any, key: str, candidate: int) -> str:
    return f"The image {key} shows four colours. It is number {candidate} of {ready.name}."


def _recipe(folder: Path, name: str) -> dict[str, Any]:
    view = {
        "name": "self", "model": "org/model", "revision": COMMIT, "lora": "org/adapter", "lora_revision": COMMIT,
        "prompts": PROMPTS, "sampling": {"temperature": 0.5},
    }  # fmt: skip
    raw: dict[str, Any] = {
        "name": "redone",
        "seed": 5,
        "source": _source(folder, name),
        "original": name not in ("tar",),
        "views": [] if name == "captions" else [view],
        "filters": [{"name": "length", "params": {}}, {"name": "token_confidence", "params": {}}],
        "select": {"best_of": "token_confidence"},
    }
    if name == "folder":
        raw["filters"].append("hedging")
        raw["repair"] = copy.deepcopy(REPAIR)
        raw["release"] = {"to": str(folder / "release")}
    if name == "looked":
        raw["experts"] = {"ocr": {"kind": "rapidocr"}}
        raw["views"] = [
            view | {"prompts": [_text(" It has these printed words: {ocr}.") | {"id": "looks"}, PROMPTS[0]]}
        ]
    if name == "fused":
        fused = {"name": "fused", "from": ["original", "self"], "prompts": ["Merge {original} and {self}."]}
        raw["views"].append(fused | {"model": "org/language-model", "revision": COMMIT})
    if name == "laddered":
        raw["repair"] = {"by": "length", "least": 0.01, "regenerate": [{"temperature": 0.6}]}
    if name == "greedy":
        raw["views"] = [view | {"sampling": {}, "prompts": PROMPTS[:1]}]
    if name == "required":
        raw["select"]["require"] = {"length": 0.5}
    if name == "topped":
        raw["select"]["keep_top"] = {"length": {"share": 0.5}}
    return raw


def _source(folder: Path, name: str) -> dict[str, Any]:
    return {
        "parquet": {"kind": "parquet", "path": str(folder / "images.parquet"), "text": "text", "key": "id"},
        "tar": {"kind": "webdataset", "path": str(folder / "images.tar"), "text": "json.text"},
        "dataset": {"kind": "huggingface", "path": str(folder / "dataset"), "text": "text", "key": "id"},
        "captions": {"kind": "captions", "path": str(folder / "captions.jsonl"), "text": "text", "key": "id"},
        "demo": {"kind": "demo", "scenes": IMAGES},
        "web": {"kind": "demo", "scenes": IMAGES, "text": "web"},
    }.get(name, {"kind": "folder", "path": str(folder / "images"), "text": "text"})


def _put_sources(folder: Path) -> None:
    import io
    import tarfile

    import datasets

    (folder / "images").mkdir(parents=True)
    (folder / "own.py").write_text(OWN_FILTER)
    rows = []
    with tarfile.open(folder / "images.tar", "w") as tar:
        for number in range(IMAGES):
            data = pictures.encoded(pictures.picture(40 + number, 30), "PNG")
            second = pictures.encoded(pictures.picture(41 + number, 31), "PNG")
            texts = {"text": f"text {number}", "other": f"other {number}", "url": f"https://example.org/{number}"}
            (folder / "images" / f"{number:02d}.png").write_bytes(data)
            rows.append({"id": f"{number:02d}", "image": data, "second": second} | texts)
            for ending, content in (("png", data), ("json", json.dumps(texts).encode())):
                info = tarfile.TarInfo(f"{number:02d}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    plain = [{name: row[name] for name in ("id", "text", "other", "url")} for row in rows]
    lines = [json.dumps(row | {"file_name": f"{row['id']}.png"}) for row in plain]
    (folder / "images" / "metadata.jsonl").write_text("\n".join(lines))
    (folder / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in plain))
    pl.DataFrame(rows).write_parquet(folder / "images.parquet")
    datasets.Dataset.from_list(rows).save_to_disk(str(folder / "dataset"))
    shutil.copytree(folder / "images", folder / "moved")


# --- the page ----------------------------------------------------------------------------------------------------------


def missing_fields() -> list[str]:
    """Fields of a recipe that no change tries."""
    return [
        f"{model.__name__}.{name}"
        for model, changes in CHANGES.items()
        for name, field in model.model_fields.items()  # type: ignore[attr-defined]
        if (field.alias or name) not in changes
    ]


def page(folder: Path) -> str:
    """docs/redone.md, by trying every change on runs in `folder`."""
    (folder / "own.py").write_text(OWN_FILTER)
    runs = Runs(folder / "runs")
    lines = [HEAD]
    for model, changes in CHANGES.items():
        lines += [f"## {TITLES[model]}", "", "| field | redone |", "| --- | --- |"]
        place = PLACES.get(model, "source.")
        lines += [f"| {_label(place, name)} | {runs.changed(change).words()} |" for name, change in changes.items()]
        lines.append("")
    return "\n".join(lines)


def _label(place: str, name: str) -> str:
    field, _, where = name.partition("` ")
    return f"`{place}{field}`" + (f" {where.removesuffix(' `')}" if where else "")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made_in:
        Path(sys.argv[1]).write_text(page(Path(made_in)))
