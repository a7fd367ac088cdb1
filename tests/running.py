"""Commands as processes of their own, in folders of their own: what runs of them, and what they leave."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import psutil
from waits import python_path

ROOT = Path(__file__).resolve().parents[1]
MARK = "PONAS_TEST_SIGNALS"
"""A variable that every process of a command inherits, by which they are found."""


class Place:
    """Folders of one test: the store, temporary files, and where commands write."""

    def __init__(self, folder: Path) -> None:
        self.out, self.temporary, self.store = folder / "out", folder / "tmp", folder / "store"
        for made in (self.out, self.temporary):
            made.mkdir()

    @contextmanager
    def running(
        self, *arguments: str, ignoring: bool = False, limits: Mapping[int, int] = MappingProxyType({})
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A command; `limits` are its resources and those of its processes (`resource.RLIMIT_...`)."""

        def prepare() -> None:
            if ignoring:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for what, most in limits.items():
                resource.setrlimit(what, (most, most))

        environment = {
            **os.environ,
            "PYTHONPATH": python_path(ROOT),
            "PONAS_HOME": str(self.store),
            "TMPDIR": str(self.temporary),
            MARK: str(self.out),
        }
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), *arguments],
            cwd=self.out,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare if ignoring or limits else None,
        )
        try:
            yield process
        finally:
            for one in self.processes():
                one.kill()
            process.communicate()

    def processes(self) -> list[psutil.Process]:
        """What runs of the commands started here."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.out) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
                continue
        return found

    def left(self) -> list[str]:
        """Temporary files and half-written ones, by name."""
        beside = [path for path in self.out.iterdir() if path.name.startswith(".") or path.suffix == ".tmp"]
        return [path.name for path in (*self.temporary.iterdir(), *beside)]


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
