"""Python in a fresh process: with this process's import path, and nothing of the user's folder in it.

What measures runs there, because a runtime's speed varies from process to process and because a runtime
that crashes takes its process with it. Start it in an empty folder: `python -c` looks there first.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_KILLED = -9

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
