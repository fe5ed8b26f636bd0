"""The documentation is built without a broken link, and its generated pages are those of the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from factory.cli import command_reference, recipe_reference, table_reference
from tests.docs.pages import ROOT


@pytest.mark.parametrize(
    ("page", "made"),
    [
        ("commands.md", command_reference.reference),
        ("tables.md", table_reference.reference),
        ("recipe.md", recipe_reference.reference),
    ],
)
def test_a_generated_page_is_that_of_the_code(page: str, made: object) -> None:
    assert callable(made)
    assert (ROOT / "docs" / page).read_text() == made(), "run: make docs"


def test_the_picture_is_what_its_script_draws(tmp_path: Path) -> None:
    script = ROOT / "docs" / "pictures" / "draw.py"
    (tmp_path / "draw.py").write_bytes(script.read_bytes())
    subprocess.run([sys.executable, str(tmp_path / "draw.py")], check=True)
    assert (tmp_path / "way.svg").read_text() == script.with_name("way.svg").read_text(), "run: make docs"


def test_no_two_pages_hold_the_same_paragraph() -> None:
    met: dict[str, str] = {}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if page.name in ("recipe.md", "commands.md", "tables.md"):
            continue
        for paragraph in page.read_text().split("\n\n"):
            text = " ".join(paragraph.split())
            if len(text) > 160 and not text.startswith(("|", "```", "<!--")):
                assert met.setdefault(text, page.name) == page.name, text
    assert met


@pytest.mark.slow
def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()


def test_the_cluster_examples_are_whole() -> None:
    job = yaml.safe_load((ROOT / "docs" / "cluster" / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert job["spec"]["entrypoint"].startswith("factory run ")
    script = ROOT / "docs" / "cluster" / "slurm.sh"
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).returncode == 0


def test_the_dockerfile_copies_what_is_there_and_knows_both_builds() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    known = {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    assert {step[0] for step in steps} <= known
    for step in steps:
        if step[0] == "COPY":
            assert all((ROOT / name).exists() for name in step[1].split()[:-1]), step[1]
    text = (ROOT / "Dockerfile").read_text()
    assert "ARG BUILD=cpu" in text
    assert "cpu)" in text
    assert "gpu)" in text
