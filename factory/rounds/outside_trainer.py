"""Another trainer: a command of the user's, whose words name the release and where the checkpoint goes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from factory.errors import TrainingError
from factory.rounds.training_settings import Training
from factory.rounds.trl_loop import MODEL

DONE: Final = "command.done"
TAIL_BYTES: Final = 4000
TAIL_LINES: Final = 12


def run_command(settings: Training, release: str, start: str, work: Path, say: Callable[[str], None]) -> None:
    """Run the command until it ends; its checkpoint is below `work` then.

    No shell reads the words: {release} and the like are filled in as they are. Its output goes to `logs/command.log`. Where
    it had ended well before, it is not run again. A trainer that was killed finds in {to} what it left there.

    Raises:
        TrainingError: no such command, or it failed; with the last lines of its log.
    """
    assert settings.command is not None
    to, log, ended = work / MODEL, work / "logs" / "command.log", work / DONE
    if ended.exists():
        return
    values = {"release": release, "sft": str(work / "sft"), "start": start, "to": str(to), "seed": str(settings.seed)}
    to.mkdir(exist_ok=True)
    run_words(settings.command, values, log, "trainer", say)
    if not any(to.iterdir()):
        raise TrainingError(
            f"the trainer ended with exit code 0 and left nothing in {to}; it has to write the checkpoint to {{to}}. "
            f"The last lines of {log}:\n{last_lines(log)}"
        )
    ended.touch()


def run_words(
    command: Sequence[str], values: Mapping[str, str], log: Path, what: str, say: Callable[[str], None]
) -> None:
    """Run a command of the user's whose {words} are filled in; its output is appended to `log`.

    Raises TrainingError: no such program, or it failed; with the last lines of its log. `what` names it there.
    """
    words = [_filled(word, values) for word in command]
    if shutil.which(words[0]) is None:
        raise TrainingError(f"command: there is no program '{words[0]}' here; install it, or give its path")
    log.parent.mkdir(parents=True, exist_ok=True)
    say(f"running {words[0]} (its output: {log})")
    with log.open("ab") as output:
        code = subprocess.run(words, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode
    if code:
        raise TrainingError(
            f"the {what} ended with exit code {code}{_meaning(code)}; the last lines of {log}:\n{last_lines(log)}"
        )


def _filled(word: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(" + "|".join(values) + r")\}", lambda match: values[match.group(1)], word)


def _meaning(code: int) -> str:
    return " (killed, most often because memory ran out)" if code in (-9, 137) else ""


def last_lines(log: Path) -> str:
    """The end of a log, printable."""
    with log.open("rb") as handle:
        handle.seek(0, 2)
        handle.seek(max(0, handle.tell() - TAIL_BYTES))
        text = handle.read().decode("utf-8", errors="replace")
    lines = [
        "".join(sign if sign.isprintable() else " " for sign in line) for line in text.splitlines() if line.strip()
    ]
    return "\n".join(f"  {line[:300]}" for line in lines[-TAIL_LINES:]) or "  (it wrote nothing)"
