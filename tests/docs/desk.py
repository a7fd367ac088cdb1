"""A folder in which a page's commands run, with programs `ponas` and `python` and a store of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from waits import python_path

from ponas_deploy.machines.machine import this_machine

ROOT = Path(__file__).resolve().parents[2]
SHOWN_MACHINE = "intel-xeon-2c"
"""The machine of the pages: this one takes its place in commands, and is called so in what they print."""

_PROGRAMS = {
    "ponas": f'#!/bin/sh\nexec {sys.executable} {ROOT / "cli.py"} "$@"\n',
    "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    "python3": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    "pytest": f'#!/bin/sh\nexec {sys.executable} -m pytest -q -n 0 -p no:cacheprovider "$@"\n',
}


class Desk:
    """Where a page is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "desk"
        programs, home = folder / "bin", folder / "home"
        for made in (self.folder, programs, home):
            made.mkdir()
        for name, text in _PROGRAMS.items():
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)
        kept = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "XDG_RUNTIME_DIR")}
        self.environment = {
            **kept,
            "HOME": str(home),
            "PONAS_HOME": str(folder / "store"),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": python_path(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def write(self, name: str, text: str) -> None:
        """A file that the page shows."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self, command: str) -> tuple[int, str]:
        """(exit code, what is printed on both streams, as in a terminal) of a command of the shell."""
        return self._run(
            ["bash", "-o", "pipefail", "-c", command.replace(SHOWN_MACHINE, this_machine().name)]
        )

    def python(self, text: str) -> tuple[int, str]:
        """The same of a program."""
        return self._run([sys.executable, "-c", text])

    def _run(self, command: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.replace(this_machine().name, SHOWN_MACHINE)
