"""The command that a command on a board is put behind: the user's own OpenSSH, or what the book says.

With ssh itself, `ssh jetson` means here what it means to the user: his configuration, agents, jump hosts and
prompts. What the options below switch off would mix something else into the stream of a connection.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ponas_deploy.boards.book import Board
from ponas_deploy.errors import PonasError

_NO_EXTRAS = (
    *("-T", "-x", "-a"),
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "RemoteCommand=none"),
    *("-o", "RequestTTY=no"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "ServerAliveInterval=15"),
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "ConnectTimeout=10"),
)
_WINDOWS = ("-o", "ControlMaster=no", "-o", "ControlPath=none")
"""Its ssh has no shared connections, and fails where the configuration asks for one."""
_RESOLVED = ("hostname", "user", "port", "identityfile", "proxyjump", "proxycommand", "stricthostkeychecking")
_TIMEOUT_S = 10
_MOST_SAID = 200
"""Characters of the line that says why a connection ended."""
_REFUSALS = {
    "Host key verification failed": "run `ssh HOST` once yourself",
    "Permission denied (": "another user, or --key",
}


def words_before(board: Board, *, asks: bool | None = None) -> list[str]:
    """The words that a command line for the board begins with.

    ssh may ask for a password or about a host key (`asks`; None: where there is a terminal) on the terminal
    itself, which is never seen here.
    """
    if board.host is None:
        return list(board.command or ())
    may_ask = sys.stderr.isatty() if asks is None else asks
    batch = () if may_ask else ("-o", "BatchMode=yes")
    return [*_ssh(board), *_NO_EXTRAS, *batch, "--", board.host]


def why_ended(said: Sequence[str]) -> str:
    """Why a connection ended, by the lines that were written meanwhile; empty where none says anything.

    A refusal of ssh is told by its own line, with what to do about it; else the first line that says
    something counts: what follows comes of it.
    """
    lines = [line.strip()[:_MOST_SAID] for line in said if line.strip() and not line.startswith("Warning: ")]
    for line in lines:
        for refusal, advice in _REFUSALS.items():
            if refusal in line:
                return f"{line.rstrip('.')}: {advice}"
    return lines[0] if lines else ""


def resolved(board: Board) -> Mapping[str, str]:
    """What ssh makes of a host with the user's configuration (`ssh -G`), empty for a board without one."""
    if board.host is None:
        return {}
    command = [*_ssh(board), "-G", "--", board.host]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise PonasError("there is no ssh here: install OpenSSH's client.") from error
    except subprocess.TimeoutExpired as error:
        raise PonasError(f"ssh -G gave no answer for {_TIMEOUT_S} s.") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise PonasError(f"ssh does not take the address {board.host}: {said[-1] if said else 'no reason'}.")
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    found: dict[str, str] = {}
    for key, _, value in pairs:
        if key in _RESOLVED:
            found.setdefault(key, value)
    return {key: found[key] for key in _RESOLVED if key in found}


def _ssh(board: Board) -> list[str]:
    words = ["ssh", *(_WINDOWS if os.name == "nt" else ())]
    if board.port is not None:
        words += ["-p", str(board.port)]
    if board.key is not None:
        words += ["-i", str(Path(board.key).expanduser())]
    return words
