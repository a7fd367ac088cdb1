"""Python in a fresh process: with this process's import path, and nothing of the user's folder in it.

What measures runs there, because a runtime's speed varies from process to process and because a runtime
that crashes takes its process with it. Start it in an empty folder: `python -c` looks there first.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import IO

_KILLED = -9
# What Python, C++, protobuf (twice), BLAS and CUDA say when they get no memory.
_NO_MEMORY = re.compile(
    r"out of memory|bad_alloc|alloc\w* (still )?failed|(fail\w*|cannot) (to )?alloc"
    r"|failed to serialize proto",
    re.IGNORECASE,
)

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


def advice(said: str) -> str:
    """What may help where a process fell."""
    if lacks_memory(said):
        return "close other programs, or ask for a smaller batch"
    return "more free memory, another version of the runtime or another runtime (--backend) may help"


def words(code: int, errors: Path) -> str:
    """What a process ended with that has this exit code, and the last line of its `errors`."""
    said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{ending(code)}{f' ({said[-1]})' if said else ''}"


def lines_out() -> IO[str]:
    """The standard output of this process, for itself: what a runtime prints goes to stderr from now on."""
    sys.stdout.flush()
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return lines


def _import_path() -> list[str]:
    """This process's import path for a fresh one, where no module of the user's folder hides another.

    The root of this package (a checkout, site-packages) is on it even if it came from the current
    folder; any other entry that is the current folder comes last.
    """
    root, current = Path(__file__).resolve().parent.parent, Path.cwd()
    entries = [os.path.abspath(entry) for entry in sys.path if entry]
    if root not in map(Path.resolve, map(Path, entries)):
        entries.insert(0, str(root))
    return sorted(entries, key=lambda entry: Path(entry).resolve() == current != root)
