"""The runtimes of a board: each is asked in a process of its own, all of them at once.

So none brings down another one, nor is loaded where models are timed. Runs on the board.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any

from ponas_deploy.backends import get_backend, registry
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.machines import processes

MODULE = "ponas_deploy.remote.runtimes"
_AT_ONCE = 4
_TIMEOUT_S = 300.0
"""A board reads a runtime of a gigabyte from a memory card."""


def ask_runtimes(names: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """What runtimes have there, in the order of `names`; `problem` says why one cannot be used."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda name: _ask(name, folder), names))


def _ask(name: str, folder: Path) -> dict[str, Any]:
    try:
        with TemporaryDirectory(dir=folder) as empty:
            found = _answer(name, Path(empty))
    except BackendError as error:
        found = {"problem": error.reason}
    except (PonasError, OSError) as error:
        found = {"problem": str(error)}
    return {"backend": name, **found}


def _answer(name: str, empty: Path) -> dict[str, Any]:
    with processes.started(MODULE, name, folder=empty) as process:
        watchdog = Timer(_TIMEOUT_S, processes.end, [process])
        watchdog.daemon = True
        watchdog.start()
        try:
            for line in process.stdout or ():
                message = json.loads(line)
                if "done" in message:
                    found: dict[str, Any] = message["done"]
                    return found
                processes.raise_reported(message, name)
                raise BackendError(name, f"its process {processes.failure_of(message)}.")
            raise BackendError(name, f"its process {processes.exit_reason(process, empty)}.")
        finally:
            watchdog.cancel()


def main(arguments: Sequence[str]) -> None:
    """The process: the name of a runtime."""

    def answer(send: processes.Send) -> dict[str, Any]:
        backend = get_backend(arguments[0])
        return {
            "environment": list(backend.environment()),
            "precisions": list(backend.precisions()),
            "on_gpu": registry.runs_on_gpu(backend),
        }

    processes.serve(answer)
