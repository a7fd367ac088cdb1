"""Completion in the shells themselves: set up by `ponas --install-completion`, and asked with the Tab key."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from test_commands import ROOT

from ponas_deploy.boards.book import Board, add_board
from ponas_deploy.files.home import home
from ponas_deploy.tables.latency_file import write_latency_table
from sample_tables import latency_table

pty = pytest.importorskip("pty")

ASKED = (
    ("ponas speci", "ponas specialize"),
    ("ponas specialize --classe", "ponas specialize --classes"),
    ("ponas specialize --device jets", "ponas specialize --device jetson"),
    ("ponas table show lab/mi", "ponas table show lab/mine"),
)
"""What is typed, and what stands there after the Tab key: a command, an option, a device, a table."""
_LIMIT_S = 60.0


@pytest.fixture
def _ponas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ponas` as the shell finds it, a home for what is installed, and names that are known."""
    program = tmp_path / "bin" / "ponas"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "cli.py"}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ZDOTDIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    add_board("jetson", Board(host="nvidia@jetson"))
    write_latency_table(latency_table(), home() / "latency" / "lab" / "mine.json")


def completed_by_bash(lines: tuple[str, ...]) -> Iterator[str]:
    for line in lines:
        *before, last = line.split()
        asked = (
            f'. ~/.bashrc; COMP_WORDS=({line}); COMP_CWORD={len(before)}; _ponas_completion ponas "{last}"'
        )
        yield f"{' '.join(before)} {output_of('bash', f'{asked}; echo ${{COMPREPLY[*]}}')}"


def completed_by_fish(lines: tuple[str, ...]) -> Iterator[str]:
    for line in lines:
        found = output_of("fish", f"complete -C '{line}'").partition("\t")[0]
        yield f"{line.rpartition(' ')[0]} {found}"


def completed_by_zsh(lines: tuple[str, ...]) -> Iterator[str]:
    """By keys, for zsh completes nowhere but on a terminal."""
    with terminal("zsh", "-i") as typed:
        typed("", "> ")
        typed("ponas \t", "\a")  # the first time the script is but loaded
        for line in lines:
            yield re.findall(r"ponas [\w/ -]+", typed(f"\x15{line}\t", rf"{line}\S* "))[-1]


@contextmanager
def terminal(*command: str) -> Iterator[Callable[[str, str], str]]:
    """A program on a terminal: keys, and what it has written when that matches a pattern."""
    process, descriptor = pty.fork()
    if process == 0:
        os.execvpe(command[0], command, {**os.environ, "TERM": "dumb", "PS1": "> "})

    def typed(keys: str, until: str) -> str:
        os.write(descriptor, keys.encode())
        written, end = "", time.monotonic() + _LIMIT_S
        while not re.search(until, written):
            assert time.monotonic() < end, written
            if select.select([descriptor], [], [], 0.1)[0]:
                written += os.read(descriptor, 65536).decode(errors="replace")
        return written

    with closing(os.fdopen(descriptor, "rb", buffering=0)):
        yield typed
    os.waitpid(process, 0)


def output_of(shell: str, script: str) -> str:
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


SHELLS = {"bash": completed_by_bash, "zsh": completed_by_zsh, "fish": completed_by_fish}


@pytest.mark.usefixtures("_ponas")
@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_completes_what_is_typed(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    # The shell that calls it is the one whose completion is installed.
    assert f"{shell} completion installed" in output_of(shell, "ponas --install-completion; true")
    found = [line.strip() for line in SHELLS[shell](tuple(typed for typed, _ in ASKED))]
    assert found == [wanted for _, wanted in ASKED]
