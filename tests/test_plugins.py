"""A plugin from a file: what it brings is known, what is wrong with it is said, and a stranger's is not run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import yaml

import factory
from exports.formats import known_formats
from exports.storage import Storage
from factory.plugins import PluginError, load_plugin
from factory.recipe import as_recipe, recipe_yaml
from factory.sources import open_source
from filters import FilterError, registered
from tests.docs.pages import blocks
from tests.recipes import demo_recipe

SHOUTING = next(block.code for block in blocks("docs/own-filter.md") if block.mark == "file")


pytestmark = pytest.mark.usefixtures("plugins_forgotten")


def write(folder: Path, code: str, name: str = "mine.py") -> str:
    file = folder / name
    file.write_text(code)
    return str(file)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_of_the_kind", "it fails when imported: ModuleNotFoundError"),
        ("raise SystemError('no')", "it fails when imported: SystemError: no"),
        ("x = 1", "it defines no filter"),
        (SHOUTING.replace('"shouting"', '"length"'), "as another filter does"),
        (SHOUTING.replace("    version = 1\n", ""), "leaves its class variables version unset"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_said_with_its_file(code: str, message: str, tmp_path: Path) -> None:
    file = write(tmp_path, code)
    with pytest.raises(PluginError, match=message) as caught:
        load_plugin(file)
    assert file in str(caught.value)


@pytest.mark.parametrize("name", ["missing.py", "https://example.org/x.py", "."])
def test_only_a_python_file_of_this_machine_is_loaded(name: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"give the path of a \.py file"):
        load_plugin(tmp_path / name if "://" not in name else name)


def test_a_recipe_names_its_plugin_and_keeps_it_in_what_is_written(tmp_path: Path) -> None:
    file = write(tmp_path, SHOUTING.replace('"shouting"', '"shouting_kept"'))
    raw = demo_recipe(filters=["shouting_kept"], select={}, plugins=[file])
    recipe = as_recipe(raw)
    assert as_recipe(yaml.safe_load(recipe_yaml(recipe))) == recipe
    with pytest.raises(factory.RecipeError, match="plugins"):
        as_recipe(raw | {"plugins": [str(tmp_path / "missing.py")]})


def test_the_plugins_of_a_release_are_not_run_unless_they_are_named_again(tmp_path: Path) -> None:
    evil = write(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')", "evil.py")
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(demo_recipe(filters=["shouting_again"], select={}, plugins=[evil])))
    with pytest.raises(factory.RecipeError, match="code of others is not run"):
        as_recipe(file, released=True)
    own = write(tmp_path, SHOUTING.replace('"shouting"', '"shouting_again"'))
    assert as_recipe(file, plugins=[own], released=True).plugins == (own,)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_was_changed_replaces_what_it_brought(tmp_path: Path) -> None:
    first = load_plugin(write(tmp_path, SHOUTING))
    assert load_plugin(write(tmp_path, SHOUTING)) == first
    again = load_plugin(write(tmp_path, SHOUTING.replace("version = 1", "version = 2")))
    assert (first.filters, again.filters) == (("shouting",), ("shouting",))
    assert registered()["shouting"].version == 2
    load_plugin(write(tmp_path, SHOUTING))
    assert registered()["shouting"].version == 1


def test_two_files_cannot_bring_one_name(tmp_path: Path) -> None:
    load_plugin(write(tmp_path, SHOUTING))
    with pytest.raises(PluginError, match="it must have a name of its own"):
        load_plugin(write(tmp_path, SHOUTING + "\n# another\n", "other.py"))


def test_a_package_brings_a_source_and_a_format_by_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page, name in (("docs/own-source.md", "zipped_package.py"), ("docs/own-format.md", "sheet_package.py")):
        write(tmp_path, next(block.code for block in blocks(page) if block.detail.endswith(".py")), name)
    information = tmp_path / "mine-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[caption_factory.sources]\nzipped = zipped_package:ZippedImages\n"
        "[caption_factory.formats]\nsheet = sheet_package:SHEET\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert known_formats()["sheet"].images is False
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.png", b"no image")
    raw = demo_recipe(source={"kind": "zipped", "path": str(tmp_path / "images.zip")})
    assert factory.plan(raw, tmp_path / "run").source_rows == 1
    with pytest.raises(factory.RecipeError, match=r"of the kind zipped: pth: unknown key; did you mean 'path'"):
        factory.plan(raw | {"source": {"kind": "zipped", "pth": "x"}}, tmp_path / "run")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ('pl.DataFrame({"score": captions["text"].str.len_chars() * 1.0})', "scores outside \\[0, 1\\], such as 12"),
        ('pl.DataFrame({"scores": [0.5]})', "the columns {'scores': Float64}, but promises {'score': Float64}"),
        ('pl.DataFrame({"score": [0.5, 0.5]})', "2 rows for 1 captions"),
        ('pl.DataFrame({"score": [float("nan")]})', "scores outside"),
        ("[0.5]", "a list, not a polars DataFrame"),
        ('{}["x"]', "failed: KeyError: 'x'. The fault is in its code"),
    ],
)
def test_what_a_filter_of_a_plugin_does_wrong_is_told_as_its_fault(returned: str, said: str, tmp_path: Path) -> None:
    before, _, _ = SHOUTING.partition("        text = self.inputs")
    file = write(tmp_path, f"{before}        return {returned}\n")
    (tmp_path / "captions.txt").write_text("a red sphere\n")
    with pytest.raises((FilterError, factory.FactoryError), match=f"plugin's filter 'shouting'.*{said}"):
        factory.filter(tmp_path / "captions.txt", tmp_path / "run", filters=["shouting"], plugins=[file], quiet=True)


@pytest.mark.parametrize(
    ("shards", "read", "said"),
    [
        ("raise RuntimeError('no')", "yield 1", r"failed in shards\(\): RuntimeError: no"),
        ("yield 3", "yield 1", r"failed in shards\(\): TypeError: it gave a int instead of a Shard"),
        ("yield Shard('a', 1, '')", "yield 1", r"failed in read\(\): TypeError: it gave a int instead of a SourceRow"),
    ],
)
def test_what_a_source_of_a_plugin_does_wrong_is_told_as_its_fault(
    shards: str, read: str, said: str, tmp_path: Path
) -> None:
    code = (
        "from typing import Literal\nfrom factory.recipe import Part\nfrom factory.sources.source import Shard\n\n\n"
        "class Boom:\n    class Settings(Part):\n        kind: Literal['boom'] = 'boom'\n\n"
        "    def __init__(self, settings, scratch=None):\n        pass\n\n"
        f"    def shards(self):\n        {shards}\n\n    def read(self, shard, max_bytes):\n        {read}\n"
    )
    recipe = as_recipe({"source": {"kind": "boom"}, "original": True}, (), [write(tmp_path, code)])
    source = open_source(recipe, Storage(str(tmp_path)))
    with pytest.raises(factory.SourceError, match=f"kind 'boom', {said}. The fault is in its code"):
        [row for shard in source.shards() for row in source.read(shard, 100)]
