"""Mistakes of users at the command line: each is told as what it is, with what to do, and never as a bug."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from exports.patience import Patience, Transient, Unreachable
from factory.cli.app import COMMANDS, cli
from factory.errors import RecipeError
from factory.filtering import filter_recipe
from factory.outcome import _reasons
from factory.recipe import as_recipe, load_recipe
from factory.recipe.yaml_text import read_yaml
from factory.rounds.training_settings import load_training

QUICKSTART = "recipes/quickstart.yaml"


def params(name: str, *overrides: str) -> dict[str, object]:
    return next(use.params for use in load_recipe(QUICKSTART, overrides).filters if use.name == name)


@pytest.mark.parametrize(
    ("override", "name", "expected"),
    [
        ("filters.length.min_words=7", "length", {"min_words": 7, "max_words": 120}),
        ("filters.length.params.min_words=7", "length", {"min_words": 7, "max_words": 120}),
        ("filters.0.min_words=7", "length", {"min_words": 7, "max_words": 120}),
        ("filters.length={min_words: 7}", "length", {"min_words": 7}),
        ("filters.repetition.max_duplicate_4grams=0.1", "repetition", {"max_duplicate_4grams": 0.1}),
    ],
)
def test_set_reaches_a_filter_by_its_name(override: str, name: str, expected: dict[str, object]) -> None:
    assert params(name, override) == expected


def test_set_reaches_the_filters_that_a_source_gets_by_itself(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a red ball on grass\n")
    recipe = filter_recipe(str(tmp_path / "captions.txt"), "mine", None, ("filters.length.min_words=7",))
    assert recipe.filters[0].params == {"min_words": 7}
    assert recipe.select.require["length"] == 1.0  # it still has its rule


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("filters.length.min_wrds=7",), "--set filters.length.min_wrds=7: filters.0: length has no parameter 'min_wrds'. Did you mean 'min_words'"),
        (("filters.lngth.min_words=7",), "--set filters.lngth.min_words=7: no item 'lngth' in this list; did you mean 'length'?"),
        (("filters.0=nosuch",), "--set filters.0=nosuch: filters.0: There is no filter 'nosuch'"),
        (("seed=3", "select.require.lenght=0.3"), "--set select.require.lenght=0.3: select: 'lenght' is not among the filters"),
        (("views.detailed.sampling.n=two",), "--set views.detailed.sampling.n=two: views.0.sampling.n: "),
        (("release.version=1.2",), "--set release.version=1.2: release.version: '1.2' is no version; write three numbers"),
    ],
)  # fmt: skip
def test_a_wrong_set_is_blamed_and_not_a_line_of_the_file(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(QUICKSTART, overrides)
    assert str(caught.value).startswith(message)


def test_what_is_wrong_in_the_file_is_not_blamed_on_an_override(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(Path(QUICKSTART).read_text().replace("n: 2", "n: many"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, ("seed=3", "source.scenes=0"))
    told = caught.value.problems
    assert any(one.startswith(f"{file}:") and "sampling.n" in one for one in told)
    assert any(one.startswith("--set source.scenes=0: ") for one in told)


def test_overrides_of_trainings_are_blamed_too() -> None:
    with pytest.raises(RecipeError, match=r"^--set epoch=3: epoch: unknown key; did you mean 'epochs'"):
        load_training(None, ("epoch=3",))


def test_a_misspelt_filter_is_the_fault_and_not_the_rule_that_names_it_rightly(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(Path(QUICKSTART).read_text().replace("- length:", "- lenght:"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "lenght" in text)
    assert str(caught.value).startswith(f"{file}:{line}: filters.0: There is no filter 'lenght'. Did you mean 'length'")


def test_a_rule_about_no_filter_is_told_with_its_own_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(Path(QUICKSTART).read_text().replace("require: {length", "require: {lenght"))
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "lenght" in text)
    with pytest.raises(RecipeError, match=rf"{file}:{line}: select: 'lenght' is not among"):
        load_recipe(file)


def test_the_v_of_a_tag_is_no_mistake_in_a_version() -> None:
    release = as_recipe(QUICKSTART, ("release.version=v1.2.0",)).release
    assert release is not None
    assert release.version == "1.2.0"


def examples() -> list[tuple[str, str]]:
    context = cli.make_context("factory", ["filters"])
    found = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        lines = [line.strip() for line in (command.help or "").splitlines()]
        found += [(name, line.partition("  #")[0]) for line in lines if line.startswith("factory ")]
    return found


@pytest.mark.parametrize(("name", "line"), examples())
def test_the_examples_of_help_are_read_as_they_stand(name: str, line: str) -> None:
    """Every option is there, and every --set goes into the recipe that is named."""
    words = shlex.split(line.partition(" >")[0])[1:]
    parent = cli.make_context("factory", ["filters"])
    command = cli.get_command(parent, words[0])
    assert command is not None
    context = command.make_context(words[0], list(words[1:]), parent=parent)
    recipe = context.params.get("recipe")
    if recipe and Path(str(recipe)).exists() and words[0] in ("run", "plan", "preview"):
        read_yaml(str(recipe))
        load_recipe(str(recipe), tuple(context.params["overrides"]))


def test_help_is_whole_and_in_the_order_of_work() -> None:
    done = CliRunner().invoke(cli, ["--help"])
    assert "..." not in done.output.replace("[ARGS]...", "")
    places = [done.output.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)


def test_a_misspelt_command_is_told_with_the_nearest() -> None:
    done = CliRunner().invoke(cli, ["runn"])
    assert done.exit_code == 2
    assert "No such command 'runn'. Did you mean 'run'?" in done.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "nosuch.yaml", "--json"], 2, "nosuch.yaml: no such file"),
        (["status", "nosuch", "--json"], 1, "no run here"),
        (["run", "--limit", "x", "a.yaml", "--json"], 2, "Invalid value for '--limit'"),
        (["runn", "--json"], 2, "No such command 'runn'"),
        (["run", "--json"], 2, "Missing argument"),
        (["run", "--josn", "--json"], 2, "No such option"),
    ],
)
def test_with_json_an_error_is_json_too(words: list[str], code: int, said: str) -> None:
    done = CliRunner().invoke(cli, words)
    told = json.loads(done.stdout)
    assert done.exit_code == told["exit_code"] == code
    assert said in told["error"]
    assert said in done.stderr  # in words, for people


def test_reasons_of_dropped_captions_add_up() -> None:
    dropped = {f"require:{name}": number for number, name in enumerate("abcdefg", 1)}
    assert _reasons(dropped) == "7 require:g, 6 require:f, 5 require:e, 4 require:d, and 6 for 3 other reasons"
    assert _reasons({"require:a": 1, "require:b": 2}) == "2 require:b, 1 require:a"


def test_a_hub_that_never_answers_is_given_up_in_seconds() -> None:
    waits: list[float] = []

    def nobody() -> None:
        raise Transient("the Hub did not answer (Name or service not known)", connected=False)

    with pytest.raises(Unreachable, match="Name or service not known"):
        Patience(sleep=waits.append).call(nobody)
    assert sum(waits) < 5


def test_a_hub_that_answered_before_is_waited_for() -> None:
    waits: list[float] = []
    patience = Patience(sleep=waits.append)
    patience.call(lambda: None)
    lost = Transient("the Hub did not answer", connected=False)
    for _ in range(patience.tries - 1):
        patience.wait(lost)
    with pytest.raises(Unreachable):
        patience.wait(lost)
    assert len(waits) == patience.tries - 1


@pytest.mark.parametrize("after", [0.05, 0.15, 0.3, 0.6])
def test_an_early_ctrl_c_ends_without_a_traceback(after: float) -> None:
    code = "import sys; sys.argv = ['factory', 'filters']; from factory.cli import main; print('begun', flush=True); main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert process.returncode in (0, 1, 130)
