"""What experts say of images, between reading and captioning: known from the run's tables, or found out now and written there."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa

from factory.engines.ray_errors import seals_errors
from factory.engines.stage import Actors
from factory.experts.child_process import ExpertProcess, Looked
from factory.experts.contract import ExpertError
from factory.runs import tables
from factory.runs.clock import now_ms
from factory.runs.known_context import ContextReader, KnownContext
from factory.runs.run import Run
from factory.runs.tables import ExpertState

if TYPE_CHECKING:
    from factory.work.experts import ReadyExpert

LATELY: Final = 4096
"""Images whose context a worker remembers: the same picture comes again where views see it in two sizes, or a source has it twice."""
FEW_CPUS: Final = 4
"""With fewer, a worker of experts is told to need none: the engines and one that reads have them all."""


def prove(experts: Sequence[ReadyExpert]) -> None:
    """Load each expert and show it a plain grey picture, before anything expensive starts.

    Raises ExpertError: it cannot be loaded, or fails on that.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (96, 64), (128, 128, 128)).save(file, "PNG")
    for expert in experts:
        with ExpertProcess(expert.name, expert.order) as process:
            looked = process.look(file.getvalue())
        if looked.text is None:
            raise ExpertError(
                f"experts.{expert.name}: it fails on a plain grey picture ({looked.reason}: {looked.detail}); where there is nothing "
                "to find it should find nothing"
            )


def context_workers(ray: Any, run: Run, experts: Sequence[ReadyExpert], engines: int, since_ms: int) -> Actors:
    """The workers of experts beside this many engines: as many as there are CPUs left, but one for reading.

    `since_ms`: what failed before this is tried again.
    """
    known = {
        expert.name: ray.put(KnownContext.of(run, expert.name, expert.fingerprint, since_ms)) for expert in experts
    }
    cpus = int(ray.cluster_resources().get("CPU", 1))
    resources = {"num_cpus": 0.0 if cpus < FEW_CPUS else 1.0}
    arguments = {"run": run, "experts": tuple(experts), "known": known}
    return Actors(AddContext, arguments, 1, max(1, cpus - engines - 1), resources, rows=None)


class AddContext:
    """Gives rows of WORK their context. A Ray actor."""

    def __init__(self, run: Run, experts: Sequence[ReadyExpert], known: dict[str, Any]) -> None:
        """`known`: of each expert its KnownContext, or the reference of one."""
        self.lookers = [Looker(run, expert, _fetched(known[expert.name])) for expert in experts]

    @seals_errors
    def __call__(self, batch: pa.Table) -> pa.Table:
        """A table of WORK -> the same with `context`, and without `data`.

        Raises ExpertError: an expert cannot be loaded.
        """
        asks = batch.column("asks").to_pylist()
        images = batch.select(["image_key", "shard", "sha256", "data"])
        contexts: list[dict[str, str | None]] = [{} for _ in asks]
        for looker in self.lookers:
            rows = [place for place, names in enumerate(asks) if looker.name in (names or ())]
            if rows:
                texts = looker.texts(images.take(rows))
                for place, text in zip(rows, texts, strict=True):
                    contexts[place][looker.name] = text
        fields = batch.schema
        filled = pa.array([list(one.items()) or None for one in contexts], fields.field("context").type)
        empty = pa.nulls(batch.num_rows, fields.field("data").type)
        batch = batch.set_column(fields.get_field_index("context"), fields.field("context"), filled)
        return batch.set_column(fields.get_field_index("data"), fields.field("data"), empty)


class Looker:
    """One expert of a worker: what it knows, and its process, which starts with the first image that is not known."""

    def __init__(self, run: Run, expert: ReadyExpert, known: KnownContext) -> None:
        self.name = expert.name
        self.run = run
        self.expert = expert
        self.known = ContextReader(known)
        self.process = ExpertProcess(expert.name, expert.order)
        self.lately: OrderedDict[str, str | None] = OrderedDict()

    def texts(self, images: pa.Table) -> list[str | None]:
        """The text of each image with `sha256`, `data`, `image_key` and `shard`. What is found out is written first."""
        wanted: list[str] = images.column("sha256").to_pylist()
        texts = {image: self.lately[image] for image in wanted if image in self.lately}
        texts |= self.known.texts([image for image in dict.fromkeys(wanted) if image not in texts])
        made = []
        for place, image in enumerate(wanted):
            if image not in texts:
                row = images.slice(place, 1)
                looked = self.process.look(row.column("data")[0].as_buffer().to_pybytes())
                texts[image] = looked.text
                made.append(self._row(row.select(["image_key", "shard", "sha256"]).to_pylist()[0], looked))
        self.run.append(f"experts/{self.name}", pl.DataFrame(made, schema=tables.EXPERTS, orient="row"))
        for image in wanted:
            self.lately[image] = texts[image]
            self.lately.move_to_end(image)
        while len(self.lately) > LATELY:
            self.lately.popitem(last=False)
        return [texts[image] for image in wanted]

    def _row(self, row: dict[str, Any], looked: Looked) -> dict[str, Any]:
        state = ExpertState.failed if looked.text is None else ExpertState.found if looked.text else ExpertState.nothing
        return {
            "image_key": row["image_key"],
            "shard": row["shard"],
            "image_sha256": row["sha256"],
            "fingerprint": self.expert.fingerprint,
            "state": state,
            "reason": looked.reason,
            "detail": looked.detail or None,
            "text": looked.text,
            "findings": [
                {"text": text, "confidence": sure, "box": None if box is None else list(box)}
                for text, sure, box in looked.findings
            ],
            "seconds": round(looked.seconds, 4),
            "created_ms": now_ms(),
        }


def _fetched(known: Any) -> KnownContext:
    if isinstance(known, KnownContext):
        return known
    import ray

    fetched = ray.get(known)
    assert isinstance(fetched, KnownContext)
    return fetched
