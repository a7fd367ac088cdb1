"""Python in a fresh process: with this process's import path, and nothing of the user's folder in it.

What measures and builds runs there, because a runtime's speed varies from process to process and because a
runtime that crashes takes its process with it. Start it in an empty folder: `python -c` looks there first.
What such a process ended with is put in words here, with what may help.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

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
    root, current = Path(__file__).resolve().parent.parent, Path.cwd()
    entries = [os.path.abspath(entry) for entry in sys.path if entry]
    if root not in map(Path.resolve, map(Path, entries)):
        entries.insert(0, str(root))
    return sorted(entries, key=lambda entry: Path(entry).resolve() == current != root)
