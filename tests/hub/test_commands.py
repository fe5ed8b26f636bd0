"""`factory publish` and `factory verify` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import factory, fail, succeed
from tests.hub.repository import Repository
from tests.hub.server import LocalHub
from tests.recipes import write_recipe
from tests.releases import build, rows


@pytest.fixture
def environment(hub: LocalHub, tmp_path: Path, mode: str) -> dict[str, str]:
    return hub.environment(tmp_path / "home", mode == "xet")


@pytest.mark.parametrize("mode", ["xet"])
def test_a_release_is_published_and_verified(
    hub: LocalHub, tmp_path: Path, environment: dict[str, str], mode: str
) -> None:
    build(tmp_path / "birds")
    to = ("--to", "hub:org/birds")
    planned = json.loads(succeed("publish", tmp_path / "birds", *to, "--dry-run", "--json", **environment))
    assert (planned["commit"], len(planned["added"])) == (None, 3)
    done = factory("publish", tmp_path / "birds", *to, "--version", "1.0.0", **environment)
    assert done.returncode == 0, done.stderr
    assert "tagging v1.0.0" in done.stderr
    assert f"pinned   hub:org/birds@{hub.repositories['org/birds'].tags['v1.0.0']}" in done.stdout
    verified = json.loads(succeed("verify", "hub:org/birds@v1.0.0", "--json", **environment))
    assert verified["ok"] is True


@pytest.mark.parametrize("mode", ["lfs"])
def test_what_is_wrong_is_one_message(hub: LocalHub, tmp_path: Path, environment: dict[str, str], mode: str) -> None:
    release = build(tmp_path / "birds")
    assert "write hub:org/name" in fail("publish", release.folder, "--to", "org/birds", **environment)
    secret = "hf_" + "w" * 34
    message = fail("publish", release.folder, "--to", "hub:org/birds", **{**environment, "HF_TOKEN": secret})
    assert message.splitlines()[-1].startswith("error: the Hub does not accept this token")
    assert secret not in message
    (release.folder / "README.md").write_text("x")
    done = factory("verify", release.folder)
    assert (done.returncode, "README.md: 1 bytes" in done.stdout, "Traceback" in done.stderr) == (1, True, False)


@pytest.mark.parametrize("mode", ["lfs"])
def test_a_run_is_published_by_its_directory(
    hub: LocalHub, tmp_path: Path, environment: dict[str, str], mode: str
) -> None:
    build(tmp_path / "birds", "1.0.0")
    build(tmp_path / "birds", "1.1.0", rows(20, "Another"))
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.lock.json").write_text("{}")
    assert "has no release" in fail("publish", run, "--to", "hub:org/birds", **environment)
    released = {"url": str(tmp_path / "birds" / "1.0.0"), "version": "1.0.0", "rows": 20}
    (run / "metrics.json").write_text(json.dumps({"release": released}))
    done = json.loads(succeed("publish", run, "--to", "hub:org/birds", "--json", **environment))
    assert done["version"] == "1.0.0"


@pytest.mark.parametrize(
    ("mode", "endpoint"),
    [("lfs", "commit after"), ("xet", "preupload"), ("xet", "tag")],
)
def test_a_publisher_killed_at_any_stage_is_finished_by_the_next(
    hub: LocalHub, tmp_path: Path, environment: dict[str, str], mode: str, endpoint: str
) -> None:
    """All stages and modes: bench/release.py."""
    release = build(tmp_path / "birds")
    command = [sys.executable, "-m", "factory", "publish", str(release.folder), "--to", "hub:org/birds"]
    name, _, when = endpoint.partition(" ")
    killed: list[int] = []

    def kill() -> None:
        killed.append(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()

    hub.fail(name, f"call {when}".strip(), action=kill)
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    assert process.wait(60) == -signal.SIGKILL
    assert killed
    succeed("publish", release.folder, "--to", "hub:org/birds", **environment)
    repository: Repository = hub.repositories["org/birds"]
    titles = [one.title for one in repository.history(repository.commits[repository.branches["main"]])]
    assert titles == ["Release v1.0.0", "initial commit"]
    assert repository.tags == {"v1.0.0": repository.branches["main"]}


@pytest.mark.parametrize("mode", ["lfs"])
def test_what_the_client_logs_holds_no_token_and_no_signed_url(
    hub: LocalHub, tmp_path: Path, environment: dict[str, str], mode: str
) -> None:
    hub.signature = "X-Amz-Signature=secret123"
    release = build(tmp_path / "birds")
    for endpoint in ("preupload", "lfs_put", "lfs_verify", "refs"):
        hub.fail(endpoint, "503")
    done = factory("publish", release.folder, "--to", "hub:org/birds", **environment)
    assert done.returncode == 0, done.stderr
    assert "503" in done.stderr
    assert "secret123" not in done.stdout + done.stderr
    assert hub.token not in done.stdout + done.stderr


@pytest.mark.parametrize("mode", ["lfs"])
def test_a_published_release_is_run_again_and_exported_by_its_address(
    hub: LocalHub, tmp_path: Path, environment: dict[str, str], mode: str
) -> None:
    captions = [f"A photo of bird number {number} on a branch" for number in range(12)]
    (tmp_path / "captions.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in captions))
    recipe = {
        "name": "birds",
        "source": {"kind": "captions", "path": str(tmp_path / "captions.jsonl")},
        "original": True,
        "filters": [{"length": {"min_words": 3}}],
        "release": {"to": "set", "version": "1.2.0", "license": "cc0-1.0", "image_license": "cc0-1.0"},
    }
    first = json.loads(succeed("run", write_recipe(tmp_path, recipe), "--out", "run", "--json", cwd=tmp_path))
    succeed("publish", "run", "--to", "hub:org/birds", cwd=tmp_path, **environment)
    address = "hub:org/birds@v1.2.0"
    again = ("run", address, "--out", "run2", "--set", "release.to=set2", "--json")
    second = json.loads(succeed(*again, cwd=tmp_path, **environment))
    assert second["release"]["rows"] == first["release"]["rows"] == 12
    manifests = [json.loads((tmp_path / name / "1.2.0" / "manifest.json").read_text()) for name in ("set", "set2")]
    assert manifests[0]["created_from"] == manifests[1]["created_from"]
    assert manifests[0]["id_sequence_sha256"] == manifests[1]["id_sequence_sha256"]
    succeed("export", address, "--format", "text", "--to", "corpus", cwd=tmp_path, **environment)
    assert sorted((tmp_path / "corpus" / "train-00000.txt").read_text().splitlines()) == sorted(captions)
    message = fail("run", "hub:org/birds@main", cwd=tmp_path, **environment)
    assert "is not pinned; name a version (hub:org/birds@v1.2.0)" in message
