"""Ray: join the cluster that RAY_ADDRESS names, or start a small one on this machine that ends with the process."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from factory.engines.logs import quiet_stderr
from factory.errors import EngineError, FactoryError
from factory.recipe import View

OBJECT_STORE_BYTES = 1_000_000_000
# Without GPUs, a laptop: rows between two stages wait in the object store; this much of it may be used before reading
# pauses. With them, Ray Data's own limit, half of the store.
WAITING_BYTES = 256_000_000
BLOCK_BYTES = 16_000_000


@contextmanager
def ray_cluster(log_directory: str | None, engines: int = 1) -> Iterator[Any]:
    """Ray, started or joined; gives the module. Its own messages go to files.

    On this machine it is told of a CPU for each of `engines` and one more: if engines took all, nobody would read images.

    Raises:
        FactoryError: RAY_ADDRESS names a cluster that does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with quiet_stderr(log_directory, "ray"):
        import ray

        started = not ray.is_initialized()
        if started:
            _start(ray, engines)
        _configure_data(ray, log_directory)
        try:
            yield ray
        finally:
            if started:
                ray.shutdown()


def _start(ray: Any, engines: int) -> None:
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        options["address"] = address
    else:
        cpus = max(engines + 1, os.cpu_count() or 1)
        options.update(address="local", num_cpus=cpus, include_dashboard=False)  # not one that happens to run here
        if not shutil.which("nvidia-smi"):  # beside GPUs, Ray's own choice: images wait there by the thousand
            options["object_store_memory"] = _object_store_bytes()
    ends = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
        if threading.current_thread() is threading.main_thread() and ends is not None:
            signal.signal(signal.SIGTERM, ends)  # Ray's own ends the process without a word
    except Exception as error:  # Ray raises plain Exception where its own processes do not start
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise FactoryError(f"{where} cannot be used: {str(error).splitlines()[0]}") from None


def _configure_data(ray: Any, log_directory: str | None) -> None:
    from ray.data import DataContext, ExecutionResources

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    context.verbose_stats_logs = False
    context.memory_usage_poll_interval_s = None
    # A node may die while an engine starts on it; a wrong recipe on a single machine should fail at once.
    context.max_consecutive_actor_init_deaths = 2 if len(ray.nodes()) > 1 else 0
    context.log_internal_stack_trace_to_stdout = False
    context.target_max_block_size = BLOCK_BYTES
    context.execution_options.preserve_order = False
    if not ray.cluster_resources().get("GPU"):
        context.execution_options.resource_limits = ExecutionResources(object_store_memory=WAITING_BYTES)
    if log_directory:
        _log_to_file(Path(log_directory) / "ray-data.log")


def _log_to_file(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("ray.data")
    logger.handlers = [logging.FileHandler(file)]
    logger.propagate = False
    logger.setLevel(logging.INFO)


def _object_store_bytes() -> int:
    try:
        free = os.statvfs("/dev/shm")
    except OSError:
        return OBJECT_STORE_BYTES
    return max(100_000_000, min(OBJECT_STORE_BYTES, int(free.f_bavail * free.f_frsize * 0.8)))


def actor_resources(view: View, ray: Any) -> dict[str, float]:
    """CPUs and GPUs of one engine. Without GPUs in the cluster an engine takes one CPU.

    Raises:
        EngineError: the view needs more GPUs than the cluster has.
    """
    degree = int(view.engine.get("tensor_parallel_size", 1)) * int(view.engine.get("pipeline_parallel_size", 1))
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if not gpus:
        return {"num_cpus": 1}
    if degree > gpus:
        raise EngineError(
            f"view '{view.name}': tensor and pipeline parallelism need {degree} GPUs, this cluster has {gpus}"
        )
    return {"num_cpus": 1, "num_gpus": degree}


def most_engines(view: View) -> int:
    """Engines that the recipe may ask for; 1 where their number is that of the GPUs."""
    if isinstance(view.replicas, tuple):
        return view.replicas[1]
    return view.replicas if isinstance(view.replicas, int) else 1


def engine_count(view: View, ray: Any) -> tuple[int, int]:
    """Least and most engines for a view."""
    if isinstance(view.replicas, tuple):
        return view.replicas
    if isinstance(view.replicas, int):
        return view.replicas, view.replicas
    per_engine = actor_resources(view, ray).get("num_gpus", 0)
    count = int(ray.cluster_resources().get("GPU", 0) // per_engine) if per_engine else 1
    return count, count
