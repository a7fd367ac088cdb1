"""Processes forked from one that has imported torch and computed nothing: real, and there at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PATH = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "train")])


def script(name: str, *arguments: object) -> Any:
    """Run a script of this folder in a new interpreter; the JSON document it prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "train" / name), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout)


def child(work: Callable[[], object], stderr: Path | None = None) -> int:
    """Fork; the child does `work` and ends: with 0, or with 1 and its error on stderr. The child's pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if stderr:
            os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        work()
        code = 0
    except BaseException as error:
        text = "".join(traceback.format_exception_only(error))
        os.write(2, text.encode())
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for a child: its exit code, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die() -> None:
    """SIGKILL to oneself: nothing is flushed, nothing cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
