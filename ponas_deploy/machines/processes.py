"""A process of ours that does one piece of work and reports: start it, follow it, end it, say why it failed.

It writes one JSON message a line on its standard output and waits until each was acknowledged. What happens
in it ends in it: its errors are raised again where it was started (`raise_reported`), and for one that
reports nothing any more there is an exit reason. It and whatever it started end when either side does.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Semaphore, Thread
from typing import Any, Callable, Mapping

from ponas_deploy.errors import BackendError, PonasError

Message = Mapping[str, Any]
Send = Callable[[Message], None]

_ERRORS = "errors"
"""The file in its folder that a process's standard error goes to."""


# --- in the process that was started


def serve(work: Callable[[Send], object]) -> None:
    """Do the work of this process and report how it ended: "done" holds what `work` returns."""
    send = _channel()
    try:
        result = work(send)
    except BackendError as error:
        send({"refused": error.reason})
    except PonasError as error:
        send({"error": str(error)})
    except MemoryError:
        send({"failed": "ran out of memory"})
    except Exception:
        send({"bug": traceback.format_exc()})
    else:
        send({"done": result})


def _channel() -> Send:
    """What sends a message, from any thread, and waits until it was acknowledged.

    What a runtime prints goes to stderr from now on. When nobody acknowledges any more, the process ends.
    """
    sys.stdout.flush()
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    one_at_a_time, acknowledged = Lock(), Semaphore(0)

    def listen() -> None:
        for _ in sys.stdin:
            acknowledged.release()
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    def send(message: Message) -> None:
        with one_at_a_time:
            with suppress(BrokenPipeError):
                print(json.dumps(message), file=lines, flush=True)
            acknowledged.acquire()

    Thread(target=listen, daemon=True).start()
    return send


# --- in the process that started it


@contextmanager
def started(module: str, *arguments: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start `main(arguments)` of a module in an empty folder; OSError where that cannot be.

    The process leads a session of its own, so that Ctrl-C comes to this process alone, which ends it.
    """
    with (folder / _ERRORS).open("wb") as errors:
        process = subprocess.Popen(
            command(module, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env=environment(),
            start_new_session=True,
        )
    with process:
        try:
            yield process
        finally:
            end(process)


def acknowledge(process: subprocess.Popen[bytes]) -> None:
    """Let a process go on that sent a message."""
    if process.stdin is not None:
        with suppress(OSError):  # it ended meanwhile
            os.write(process.stdin.fileno(), b"\n")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process at once, with whatever it started."""
    if process.poll() is None:
        with suppress(AttributeError, ProcessLookupError):  # Windows has no groups
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()


def raise_reported(message: Message, backend: str) -> None:
    """Raise the error that a process reported; a bug with its traceback."""
    if "refused" in message:
        raise BackendError(backend, message["refused"])
    if "error" in message:
        raise PonasError(message["error"])
    if "bug" in message:
        raise RuntimeError(f"in a process of its own:\n{message['bug']}")


# --- the command that starts one


_OURS = "PONAS_"
"""What the names of our own variables begin with; each may hold a path from the current folder."""
# The path is set before anything that is not built in is imported.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import main; main(sys.argv[1:])"


def command(module: str, *arguments: str) -> list[str]:
    """The command line that calls `main(arguments)` of a module."""
    return [sys.executable, "-c", _PROGRAM.format(path=_import_path(), module=module), *arguments]


def environment() -> dict[str, str]:
    """This process's environment for one in another folder: our own paths in it are absolute."""
    ours = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
    here = {name: os.path.abspath(value) for name, value in ours.items() if os.sep in value}
    return {**os.environ, **here}


def _import_path() -> list[str]:
    """This process's import path for another one, where no module of the user's folder hides another.

    The root of this package (a checkout, site-packages) is on it even if it came from the current
    folder; any other entry that is the current folder comes last.
    """
    root, current = Path(__file__).resolve().parents[2], Path.cwd()
    entries = [os.path.abspath(entry) for entry in sys.path if entry]
    if root not in map(Path.resolve, map(Path, entries)):
        entries.insert(0, str(root))
    return sorted(entries, key=lambda entry: Path(entry).resolve() == current != root)


# --- why one failed


_KILLED = -9
# What Python, NumPy, C++, protobuf (twice), BLAS, torch, CUDA, the loader and we say when there is no memory.
_NO_MEMORY = re.compile(
    r"out.of.memory|MemoryError|bad.alloc|alloc\w*( of \S+)? (still )?failed"
    r"|(fail\w*|cannot|can't|unable) (to )?alloc|failed to serialize proto"
    r"|failed to map segment|memory is full",
    re.IGNORECASE,
)


def failure_of(message: Message) -> str:
    """What brought a process down, by its own message; empty where it was nothing of that kind."""
    trouble = message.get("refused") or message.get("bug", "")
    if lacks_memory(trouble):
        return f"got no memory ({trouble.strip().splitlines()[-1]})"
    return str(message.get("failed", ""))


def exit_reason(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Why a process ended that reported nothing of it: how, and the last line of its errors."""
    code = process.wait()
    printed = (folder / _ERRORS).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{ending(code)}{f' ({printed[-1]})' if printed else ''}"


def ending(code: int) -> str:
    """How a process ended that has this exit code."""
    if code == _KILLED:
        return "was killed (SIGKILL), as the system does when it is out of memory"
    return f"ended with {signal.Signals(-code).name if code < 0 else f'code {code}'}"


def lacks_memory(text: str) -> bool:
    """Whether an error or an exit reason is that a process got no memory."""
    return bool(_NO_MEMORY.search(text))


def advice(failure: str) -> str:
    """What may help where a process failed, by what is known of that."""
    if lacks_memory(failure):
        return "close other programs, or ask for a smaller batch"
    return "more free memory, another version of the runtime or another runtime (--backend) may help"
