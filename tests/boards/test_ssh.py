"""A board over a real OpenSSH server: what ssh says is said, and what a shell prints does not matter."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.boards.link import BoardError, connected
from ssh_board import SshBoard, ssh_board

pytestmark = pytest.mark.ssh
SSH = shutil.which("ssh") or "ssh"


PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else "python3"
ENTRY = Entry("board", Board(host="board", python=PYTHON))


@pytest.fixture(scope="module")
def board() -> Iterator[SshBoard]:
    with ssh_board() as board:
        yield board


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a program `ssh` that is found first; ssh reads no other home than the user's own."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def answers(path: Path, board: SshBoard, *options: str) -> bool:
    """Whether the board answers through ssh with the board's configuration."""
    program = path / "ssh"
    program.write_text(f'#!/bin/sh\nexec {SSH} -F {board.config} {" ".join(options)} "$@"\n')
    program.chmod(0o755)
    with connected(ENTRY) as link:
        return link.round_trip_ms(1) > 0


def test_a_noisy_shell_does_not_matter(path: Path, board: SshBoard) -> None:
    board.write(".bashrc", "echo Welcome to the board; printf 'bell\\a'\n")
    assert answers(path, board)
    board.write(".bashrc", "")


@pytest.mark.parametrize("shell", ["bash", "sh", "dash", "busybox", "zsh", "fish", "tcsh", "rbash"])
def test_every_login_shell(path: Path, board: SshBoard, shell: str) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"there is no {shell} here")
    if shell == "busybox":  # what it is depends on the name that it is called by
        link = board.folder / "ash"
        link.symlink_to(found)
        found = str(link)
    subprocess.run(["usermod", "-s", found, board.user], check=True)
    if shell == "rbash":  # it takes no path of a program
        with pytest.raises(BoardError, match="restricted"):
            answers(path, board)
    else:
        assert answers(path, board)


def test_a_dropped_connection_is_said_and_leaves_nothing_running(path: Path, board: SshBoard) -> None:
    subprocess.run(["usermod", "-s", "/bin/bash", board.user], check=True)
    assert answers(path, board)
    with connected(ENTRY) as link:
        link.ask("echo", dict)
        board.cut()
        with pytest.raises(BoardError, match="the connection ended"):
            link.round_trip_ms(100)
    subprocess.run(["sleep", "1"], check=True)
    assert [line for line in board.processes() if "python" in line] == []


def test_host_keys_and_keys_are_checked(path: Path, board: SshBoard) -> None:
    known = (board.folder / "known_hosts").read_text()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(board.folder / "other")], check=True
    )
    other = " ".join((board.folder / "other.pub").read_text().split()[:2])
    try:
        for written in ("", f"[127.0.0.1]:{board.port} {other}\n"):
            (board.folder / "known_hosts").write_text(written)
            with pytest.raises(BoardError, match="Host key verification failed"):
                answers(path, board)
    finally:
        (board.folder / "known_hosts").write_text(known)
    (board.folder / "config").write_text((board.folder / "config").read_text().replace("/id\n", "/other\n"))
    with pytest.raises(BoardError, match="Permission denied"):
        answers(path, board)


def test_a_forced_command_is_no_runner(path: Path) -> None:
    with ssh_board("ForceCommand echo only this") as board, pytest.raises(BoardError, match="ended"):
        answers(path, board)


def test_a_forced_command_that_runs_what_was_asked_for_is_one(path: Path) -> None:
    with ssh_board('ForceCommand echo forced; sh -c "$SSH_ORIGINAL_COMMAND"') as board:
        assert answers(path, board)
