"""A process of ours that says what it does, one JSON message a line, and waits until each was heard.

What happens in it ends in it: its errors are raised again where it was started (`raise_reported`), and what
brings it down is known by its last words. It and whatever it started are gone when either side is.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Semaphore, Thread
from typing import Any

from ponas_deploy.errors import BackendError, PonasError

Message = Mapping[str, Any]
Send = Callable[[Message], None]
_ERRORS = "errors"


def serve(work: Callable[[Send], object]) -> None:
    """Do the work of this process, which is a child, and say how it ended: "done" holds what it returns."""
    say = _channel()
    try:
        result = work(say)
    except BackendError as error:
        say({"refused": error.reason})
    except PonasError as error:
        say({"error": str(error)})
    except MemoryError:
        say({"fallen": "ran out of memory"})
    except Exception:
        say({"bug": traceback.format_exc()})
    else:
        say({"done": result})


def _channel() -> Send:
    """Says a message, from any thread, and waits until it was heard.

    What a runtime prints goes to stderr from now on. When nobody listens any more, the process ends.
    """
    sys.stdout.flush()
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    one_at_a_time, heard = Lock(), Semaphore(0)

    def listen() -> None:
        for _ in sys.stdin:
            heard.release()
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    def say(message: Message) -> None:
        with one_at_a_time:
            with suppress(BrokenPipeError):
                print(json.dumps(message), file=lines, flush=True)
            heard.acquire()

    Thread(target=listen, daemon=True).start()
    return say


@contextmanager
def started(module: str, *arguments: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start `main(arguments)` of a module in an empty folder; OSError where that cannot be.

    The child leads a session of its own, so that Ctrl-C comes to this process alone, which ends it.
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


def end(process: subprocess.Popen[bytes]) -> None:
    """End a child at once, with whatever it started."""
    if process.poll() is None:
        with suppress(AttributeError, ProcessLookupError):  # Windows has no groups
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()


def answer(process: subprocess.Popen[bytes]) -> None:
    """Let a child go on that said something."""
    if process.stdin is not None:
        with suppress(OSError):  # it has fallen meanwhile
            os.write(process.stdin.fileno(), b"\n")


def failure_of(message: Message) -> str:
    """What brought the child down, by its own words; empty where it was nothing of that kind."""
    trouble = message.get("refused") or message.get("bug", "")
    if lacks_memory(trouble):
        return f"got no memory ({trouble.strip().splitlines()[-1]})"
    return str(message.get("fallen", ""))


def raise_reported(message: Message, backend: str) -> None:
    """Raise the error that a child told; a bug with its traceback."""
    if "refused" in message:
        raise BackendError(backend, message["refused"])
    if "error" in message:
        raise PonasError(message["error"])
    if "bug" in message:
        raise RuntimeError(f"in a process of its own:\n{message['bug']}")


def exit_reason(process: subprocess.Popen[bytes], folder: Path) -> str:
    """What a child ended with that said nothing of it: how, and the last line of its errors."""
    code = process.wait()
    said = (folder / _ERRORS).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{ending(code)}{f' ({said[-1]})' if said else ''}"


_KILLED = -9


# What Python, NumPy, C++, protobuf (twice), BLAS and CUDA say when they get no memory.
_NO_MEMORY = re.compile(
    r"out.of.memory|MemoryError|bad.alloc|alloc\w*( of \S+)? (still )?failed"
    r"|(fail\w*|cannot|unable) (to )?alloc|failed to serialize proto",
    re.IGNORECASE,
)


_PATHS = ("PONAS_HOME", "PONAS_TRTEXEC")


# The path is set before anything that is not built in is imported.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import main; main(sys.argv[1:])"


def command(module: str, *arguments: str) -> list[str]:
    """The command line that calls `main(arguments)` of a module."""
    return [sys.executable, "-c", _PROGRAM.format(path=_import_path(), module=module), *arguments]


def ending(code: int) -> str:
    """What a process ended with that has this exit code."""
    if code == _KILLED:
        return "was killed (SIGKILL), as the system does when it is out of memory"
    return f"ended with {signal.Signals(-code).name if code < 0 else f'code {code}'}"


def lacks_memory(said: str) -> bool:
    """Whether what a process said or ended with is that it got no memory."""
    return bool(_NO_MEMORY.search(said))


def advice(fall: str) -> str:
    """What may help where a process fell, by what is known of that."""
    if lacks_memory(fall):
        return "close other programs, or ask for a smaller batch"
    return "more free memory, another version of the runtime or another runtime (--backend) may help"


def environment() -> dict[str, str]:
    """This process's environment for one in another folder: our own paths in it are absolute."""
    here = {name: os.path.abspath(os.environ[name]) for name in _PATHS if os.sep in os.environ.get(name, "")}
    return {**os.environ, **here}


def _import_path() -> list[str]:
    """This process's import path for a fresh one, where no module of the user's folder hides another.

    The root of this package (a checkout, site-packages) is on it even if it came from the current
    folder; any other entry that is the current folder comes last.
    """
    root, current = Path(__file__).resolve().parents[2], Path.cwd()
    entries = [os.path.abspath(entry) for entry in sys.path if entry]
    if root not in map(Path.resolve, map(Path, entries)):
        entries.insert(0, str(root))
    return sorted(entries, key=lambda entry: Path(entry).resolve() == current != root)
