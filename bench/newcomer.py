"""What somebody new waits for: the light installation in an empty environment, its size, and the first report.

The wheel is built from this checkout and installed into a new virtual environment by pip, from the package index that pip is set up with; then
the commands that need no engine are run there, one after the other, each of which must succeed. Keys of `--json`: `install_light_s`;
`install_light_mb` (10^6 bytes of files that the installation added); `first_report_s` (from the begin of the installation to the first HTML report);
`commands` (command -> s); `heavy` (packages among torch, vllm, ray that came with it: none). With `--engine`, `first_run_report_s`: `factory init` and
`factory run` on the samples with the demo model, by this interpreter, which has an engine.

    python -m bench.newcomer --json
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, whose folder would hide the package `filters`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.answer import print_answer
from bench.commands import ROOT, environment, factory_command

HEAVY = ("torch", "vllm", "ray", "transformers")
CAPTIONS = """\
{"id": "a", "caption": "A red ball lies on green grass beside a wooden fence."}
{"id": "b", "caption": "I'm sorry, but I can't help with identifying people in images."}
{"id": "c", "caption": "a dog a dog a dog a dog a dog a dog a dog a dog a dog a dog"}
{"id": "d", "caption": "Two cyclists wait at a crossing while a tram goes by."}
"""
COMMANDS = (
    "filter captions.jsonl --out runs/theirs --id id --quiet",
    "--version",
    "filters repetition",
    "init captions.jsonl",
    "plan captions.yaml",
    "select runs/theirs --set select.require.repetition=0.9",
    "report runs/theirs",
    "export runs/theirs --to datasets/theirs --license cc-by-4.0",
    "export datasets/theirs --format text --to plain",
    "verify datasets/theirs/1.0.0",
    "init recipes/samples --out photos.yaml",
    "plan photos.yaml",
    "ls",
)
"""What README and guides tell somebody without an engine to type; the first leaves a report."""


def measure(wheel: Path | None, engine: bool) -> dict[str, Any]:
    """Everything, in folders that are removed. Raises SystemExit with the output of a command that failed."""
    with tempfile.TemporaryDirectory(prefix="newcomer-") as scratch:
        folder = Path(scratch)
        wheel = wheel or build(folder / "dist")
        work = folder / "work"
        work.mkdir()
        (work / "captions.jsonl").write_text(CAPTIONS)
        (work / "recipes").symlink_to(ROOT / "recipes")
        place = folder / "venv"
        venv.create(place, with_pip=True)
        before = size(place)
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        clean |= {"PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
        started = time.monotonic()
        run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", str(wheel)], work, clean)
        answer: dict[str, Any] = {"install_light_s": round(time.monotonic() - started, 1)}
        answer["install_light_mb"] = round((size(place) - before) / 1e6, 1)
        commands: dict[str, float] = {}
        for command in COMMANDS:
            begun = time.monotonic()
            run([str(place / "bin" / "factory"), *command.split()], work, clean)
            commands[command] = round(time.monotonic() - begun, 2)
            if "first_report_s" not in answer:
                assert (work / "runs" / "theirs" / "report.html").is_file()
                answer["first_report_s"] = round(time.monotonic() - started, 1)
        found = [name for name in HEAVY if any(place.glob(f"lib/python*/site-packages/{name}"))]
        answer |= {"commands": commands, "heavy": found}
        if engine:
            answer["first_run_report_s"] = first_run(folder / "engine")
        return answer


def first_run(folder: Path) -> float:
    """Seconds from `factory init` to the report of a run over the samples."""
    folder.mkdir()
    shutil.copytree(ROOT / "recipes" / "samples", folder / "photos")
    begun = time.monotonic()
    run(factory_command("init", "photos"), folder, environment(HF_HUB_OFFLINE="1"))
    run(factory_command("run", "photos.yaml", "--quiet"), folder, environment(HF_HUB_OFFLINE="1"))
    assert (folder / "runs" / "photos" / "report.html").is_file()
    return round(time.monotonic() - begun, 1)


def build(to: Path) -> Path:
    """The wheel of this checkout, built as `python -m build` does."""
    run([sys.executable, "-m", "build", "--wheel", "--outdir", str(to), str(ROOT)], ROOT, dict(os.environ))
    return next(to.glob("*.whl"))


def size(folder: Path) -> int:
    """Bytes of all files below a folder; links count nothing."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="install this wheel instead of building one")
    parser.add_argument("--engine", action="store_true", help="measure the first run with an engine, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    print_answer(measure(arguments.wheel and arguments.wheel.resolve(), arguments.engine), arguments.json)


if __name__ == "__main__":
    main()
