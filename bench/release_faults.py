"""Publishing under faults: every endpoint of the Hub fails in every way, and the publisher is killed at every stage.

A local Hub (tests/hub) holds version 1.0.0; `factory publish` sends 1.1.0 (for faults of the repository's creation: 1.0.0 to
an empty Hub; for those of a staged release: 1.1.0 with 101 shards). One request fails, or kills the publisher before or
after it takes effect. The same command is run again until it succeeds, at most three times. Survived means: exactly one
release commit on main, a tag whose every file is what the manifest says, and no commit on main with part of a release.

Keys: faults_tried, faults_fired (the request was made, and failed), faults_survived, needed_another_run.
"""

from __future__ import annotations

import copy
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.commands import environment, factory_command
from exports.local_release import LocalRelease, find_release
from exports.publish import STAGED_ABOVE
from tests.hub.repository import Repository, git_blob_oid
from tests.hub.server import LocalHub
from tests.releases import build, rows

REPO = "org/birds"
RUNS = 3
ALWAYS = ("503", "503 after", "429", "drop", "drop after")
KILLS = ("kill", "kill after")
ENDPOINTS = {
    "both": ("info", "refs", "tree", "resolve", "preupload", "validate_yaml", "commit", "tag"),
    "lfs": ("lfs_batch", "lfs_put", "lfs_verify", "lfs_part", "lfs_complete"),
    "xet": ("xet_token",),
}
STAGED = ("branch", "commit", "tag", "paths_info", "branch_delete")
CONFLICTS = {"commit": ("409", "412"), "tag": ("409",), "create": ("409",), "branch": ("409",)}
SKIPPED = {"staged commit": 3}  # the first commits of a staged release are groups; the fault hits the last of them


@dataclass(frozen=True)
class Case:
    """One fault of one request. `scene`: first (an empty Hub), second (1.0.0 is there), staged (1.1.0 has many shards)."""

    mode: str
    scene: str
    endpoint: str
    kind: str


@dataclass
class Outcome:
    """What became of it."""

    case: Case
    is_fired: bool
    problem: str  # '' where it survived
    runs: int
    seconds: float
    said: str  # the last error


def fault_matrix(modes: list[str], only: list[str] | None, jobs: int) -> dict[str, Any]:
    """Every case in temporary folders, several at a time. Returns the numbers."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scenes = {(mode, scene): prepare(Path(folder), mode, scene) for mode in modes for scene in SCENES}
        wanted = [case for mode in modes for case in cases(mode) if not only or case.endpoint in only]
        with ThreadPoolExecutor(jobs) as pool:
            outcomes = list(pool.map(lambda case: try_case(Path(folder), case, scenes[case.mode, case.scene]), wanted))
    bad = [one for one in outcomes if one.problem or not one.is_fired]
    for one in bad:
        print(f"{one.case}: {'fired' if one.is_fired else 'not fired'}; {one.problem}", file=sys.stderr)
    for one in outcomes:
        if one.runs > 1 and not one.case.kind.startswith("kill"):
            print(f"{one.case} took {one.runs} runs: {one.said}", file=sys.stderr)
    return {
        "faults_tried": len(outcomes),
        "faults_fired": sum(one.is_fired for one in outcomes),
        "faults_survived": sum(not one.problem for one in outcomes),
        "needed_another_run": sum(one.runs > 1 for one in outcomes),
        "faults_modes": modes,
        "faults_seconds": round(time.monotonic() - started, 1),
    }


def cases(mode: str) -> list[Case]:
    """All of one transfer mode."""
    found = []
    places = [("second", endpoint) for endpoint in (*ENDPOINTS["both"], *ENDPOINTS[mode])]
    places += [("first", "create"), *(("staged", endpoint) for endpoint in STAGED)]
    for scene, endpoint in places:
        found += [Case(mode, scene, endpoint, kind) for kind in (*ALWAYS, *CONFLICTS.get(endpoint, ()), *KILLS)]
    return found


# --- one case ----------------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """A state of the Hub to start from, and the release to publish."""

    root: Path
    repositories: dict[str, Repository]
    release: LocalRelease


def build_first(home: Path) -> LocalRelease:
    """Version 1.0.0, one shard."""
    return build(home, "1.0.0", rows(20))


def build_second(home: Path) -> LocalRelease:
    """Version 1.1.0: other captions in two shards."""
    return build(home, "1.1.0", rows(20, "Another caption"), shard_bytes=20_000)


def build_many(home: Path) -> LocalRelease:
    """Version 1.1.0 in so many shards that it is staged: the one of 1.0.0, and one for each new image."""
    return build(home, "1.1.0", rows(20 + STAGED_ABOVE, "Another caption"), shard_bytes=1)


SCENES: dict[str, Callable[[Path], LocalRelease]] = {
    "first": build_first,
    "second": build_second,
    "staged": build_many,
}


def prepare(folder: Path, mode: str, scene: str) -> Scene:
    """Build the release of a scene; publish 1.0.0 before it where the scene has it."""
    import exports.release

    root = folder / f"{mode}-{scene}"
    exports.release.ROW_GROUP_BYTES = 1 if scene == "staged" else 20_000
    with LocalHub(root / "hub") as hub:
        if scene != "first":
            first = build_first(root / "birds")
            subprocess.run(command(first), env=publishing(hub, root, mode), check=True, stdout=subprocess.DEVNULL)
        repositories = copy.deepcopy(hub.repositories)
    down = root / "hub" / "xet-store-down"
    down.rename(root / "hub" / "xet-store")
    return Scene(root, repositories, SCENES[scene](root / "birds"))


def command(release: LocalRelease) -> list[str]:
    """The same command every time."""
    return factory_command("publish", release.folder, "--to", f"hub:{REPO}", "--json")


def publishing(hub: LocalHub, root: Path, mode: str) -> dict[str, str]:
    """The publisher's environment."""
    return environment(**hub.environment(root / "home", mode == "xet"))


def try_case(folder: Path, case: Case, scene: Scene) -> Outcome:
    """Publish with one fault, again until it succeeds, then look at the Hub."""
    started = time.monotonic()
    root = Path(tempfile.mkdtemp(dir=folder))
    shutil.copytree(scene.root, root, dirs_exist_ok=True)
    release = find_release(root / "birds" / scene.release.version)
    # Parts of 20 kB for the endpoints that only large files meet.
    parts = 20_000 if case.endpoint in ("lfs_part", "lfs_complete") else 1 << 40
    with LocalHub(root / "hub", multipart_bytes=parts) as hub:
        hub.repositories = copy.deepcopy(scene.repositories)
        process: list[subprocess.Popen[bytes]] = []

        def kill() -> None:
            process[0].send_signal(signal.SIGKILL)
            process[0].wait()

        what, _, when = case.kind.partition(" ")
        skip = SKIPPED.get(f"{case.scene} {case.endpoint}", 0)
        is_kill = what == "kill"
        kind = f"call {when}".strip() if is_kill else case.kind
        fault = hub.fail(case.endpoint, kind, skip=skip, action=kill if is_kill else None)
        runs, code, said = 0, None, ""
        while code != 0 and runs < RUNS:
            runs += 1
            process[:] = [
                subprocess.Popen(
                    command(release),
                    env=publishing(hub, root, case.mode),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
            ]
            error = process[0].communicate(timeout=240)[1].decode()
            code = process[0].returncode
            said = error if code else said
        problem = f"exit code {code} after {runs} runs" if code else state_problem(hub, release)
    shutil.rmtree(root, ignore_errors=True)
    return Outcome(case, bool(fault.fired), problem, runs, time.monotonic() - started, said)


def state_problem(hub: LocalHub, release: LocalRelease) -> str:
    """What is wrong with what is published; '' where nothing is."""
    repository = hub.repositories.get(REPO)
    if repository is None:
        return "no repository"
    main = repository.history(repository.commits[repository.branches["main"]])
    title = f"Release v{release.version}"
    if [one.title for one in main].count(title) != 1:
        return f"commits on main: {[one.title for one in main]}"
    if main[0].title != title:
        return f"main ends with {main[0].title}"
    for commit in main:
        if "manifest.json" in commit.tree:
            content = commit.tree["manifest.json"].content or b"{}"
            listed = {file["path"]: (file["bytes"], file["sha256"]) for file in json.loads(content)["files"]}
            shards = {path for path in commit.tree if path.startswith("data/")}
            if any(path not in commit.tree or commit.tree[path].size != size for path, (size, _) in listed.items()):
                return f"{commit.title} lacks files of its manifest"
            if shards - listed.keys():
                return f"{commit.title} has shards of another release"
    if list(repository.branches) != ["main"]:
        return f"branches left: {list(repository.branches)}"
    tagged = repository.tags.get(f"v{release.version}")
    if tagged is None:
        return "no tag"
    for file in release.files:
        entry = repository.commits[tagged].tree.get(file.path)
        if entry is None:
            return f"the tag lacks {file.path}"
        oid = file.sha256 if entry.sha256 else git_blob_oid(release.local(file).read_bytes())
        if (entry.sha256 or entry.oid) != oid:
            return f"the tag has another {file.path}"
    return ""
