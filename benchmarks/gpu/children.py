"""Processes that may crash or hang without harm to who started them, and documents written whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ponas_deploy.files.records import write_bytes

ROOT = Path(__file__).resolve().parents[2]
_GONE_S = 5.0


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, None where it was stopped because its time was over."""

    code: int | None
    seconds: float

    @property
    def fault(self) -> str:
        """What is wrong, in words; empty where it ended well."""
        if self.code is None:
            return f"stopped after {self.seconds:.0f} s"
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        return f"ended with {self.code}" if self.code else ""


def run_child(command: Sequence[str], seconds: float, *, saving_s: float = 0.0, **streams: Any) -> Ended:
    """Run a command in the checkout for so many seconds at most; nothing that it started outlives it.

    With `saving_s` it is interrupted as by Ctrl-C first and gets so long to save. `streams` are arguments of
    `subprocess.Popen`.
    """
    start = time.monotonic()
    child = subprocess.Popen(command, cwd=ROOT, **{"start_new_session": True, **streams})
    try:
        code: int | None = child.wait(timeout=max(0.0, seconds))
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as stopped:
        code = None
        if saving_s:
            child.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=saving_s)
        if isinstance(stopped, KeyboardInterrupt):
            raise
    finally:
        _end(child)
    return Ended(code, time.monotonic() - start)


def _end(child: subprocess.Popen[Any]) -> None:
    """Kill a child with all it started; what left its process group is found by its parents."""
    started = list[psutil.Process]()
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(child.pid).children(recursive=True)
    for process in _of_session(child.pid, started):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    if child.poll() is None:
        child.kill()
    child.wait()
    psutil.wait_procs(started, timeout=_GONE_S)


def _of_session(session: int, known: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those known, and what is left of the session of a child that ended."""
    found = list(known)
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if process.pid != session and os.getsid(process.pid) == session:
                found.append(process)
    return found


def last_line(text: str) -> str:
    """The last line that says something, cut to what fits a table."""
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "")


def write_document(path: Path, document: Any) -> None:
    """Write JSON for people and programs, whole or not at all."""
    write_bytes(path, f"{json.dumps(document, indent=1)}\n".encode(), overwrite=True)
