"""One writer per run directory."""

from __future__ import annotations

import time
import uuid
from typing import Any

from factory.errors import RunError
from factory.runs.run import LOCK, Run

LOCK_STALE_S = 300.0


class RunLock:
    """One writer per run directory.

    On a local disk it is an flock, which the system drops when the process dies in whatever way. Elsewhere it is an
    object with a heartbeat, taken over when it has been silent for LOCK_STALE_S.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.token = uuid.uuid4().hex
        self._file: Any = None
        self._stop: Any = None

    def __enter__(self) -> RunLock:
        if self.run.storage.is_local:
            self._take_local()
            self._remove_leftovers()
        else:
            self._take_remote()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            return
        self._stop.set()
        self.run.storage.remove(LOCK)

    def _take_local(self) -> None:
        import fcntl
        import os

        try:
            self.run.storage.make()
            self._file = open(self.run.storage.full(LOCK), "a+")  # noqa: SIM115 - held for as long as the lock
        except OSError as error:
            raise RunError(f"{self.run.url}: cannot be written: {error.strerror}; choose another --out") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            raise RunError(
                f"{self.run.url}: another run is writing here ({self._file.read().strip() or 'unknown process'}); "
                "wait for it, stop it, or choose another --out"
            ) from None
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"process {os.getpid()} on {os.uname().nodename}")
        self._file.flush()

    def _remove_leftovers(self) -> None:
        """What a killed run left: whoever holds the lock is the only one that works here."""
        for name in self.run.storage.directories():
            if name.startswith(".scratch-"):
                self.run.storage.remove_tree(name)

    def _take_remote(self) -> None:
        import threading

        holder = self.run.read_json(LOCK)
        if holder and time.time() - holder["beat"] < LOCK_STALE_S:
            raise RunError(
                f"{self.run.url}: another run is writing here ({holder['host']}); wait for it, or up to "
                f"{LOCK_STALE_S / 60:.0f} minutes if it was killed, or choose another --out"
            )
        self._stop = threading.Event()
        self._beat()
        if (self.run.read_json(LOCK) or {}).get("token") != self.token:
            raise RunError(f"{self.run.url}: another run started here in the same moment; choose another --out")
        threading.Thread(target=self._beat_until_stopped, daemon=True).start()

    def _beat_until_stopped(self) -> None:
        while not self._stop.wait(LOCK_STALE_S / 10):
            self._beat()

    def _beat(self) -> None:
        import os

        host = f"process {os.getpid()} on {os.uname().nodename}"
        self.run.storage.make()
        self.run.write_json(LOCK, {"token": self.token, "beat": time.time(), "host": host})


def is_locked(run: Run) -> bool:
    """Whether a run is being written now."""
    if not run.storage.is_local:
        holder = run.read_json(LOCK)
        return bool(holder) and time.time() - holder["beat"] < LOCK_STALE_S
    import fcntl

    try:
        with open(run.storage.full(LOCK)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
