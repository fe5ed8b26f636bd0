"""`factory mix`: from a file to a mixture, and what it says of a mistake."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from factory.cli.app import cli

FILE = """
name: texts
parts:
  real: {text: %s, share: 1}
  more: {text: %s, share: 3, epochs: 9}
"""


def mixture_file(tmp_path: Path) -> Path:
    (tmp_path / "real.txt").write_text("one two three four\n" * 50)
    file = tmp_path / "mixture.yaml"
    file.write_text(FILE % ((tmp_path / "real.txt",) * 2))
    return file


def test_mix_writes_a_mixture_and_says_the_shares(tmp_path: Path) -> None:
    command = ["mix", str(mixture_file(tmp_path)), "--to", str(tmp_path / "one"), "--set", "tokens=400", "--json"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told["tokens"] == 400
    assert (told["parts"]["real"]["got"], told["parts"]["more"]["got"]) == (0.25, 0.75)
    assert "more: 75.00% of the tokens (75.00% asked)" in (
        CliRunner().invoke(cli, ["mix", command[1], "--to", str(tmp_path / "two"), "--set", "tokens=400"]).output
    )


def test_a_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    file = mixture_file(tmp_path)
    result = CliRunner().invoke(cli, ["mix", str(file), "--to", str(tmp_path / "one"), "--set", "parts.real.epoch=2"])
    assert result.exit_code == 2
    assert "--set parts.real.epoch=2: parts.real.epoch: unknown key; did you mean 'epochs'?" in result.output
    file.write_text(file.read_text().replace("share: 1", "share: no"))
    result = CliRunner().invoke(cli, ["mix", str(file), "--to", str(tmp_path / "one")])
    assert f"{file}:4: parts.real.share:" in result.output


def test_shares_that_cannot_be_met_leave_nothing(tmp_path: Path) -> None:
    command = ["mix", str(mixture_file(tmp_path)), "--to", str(tmp_path / "one"), "--set", "tokens=9999"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 1
    assert "the part 'more' ends after" in result.output or "the part 'real' ends after" in result.output
    assert not (tmp_path / "one").exists()
