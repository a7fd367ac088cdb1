"""A board for tests: an OpenSSH server on loopback with a user, keys and a home of its own.

It needs root, to make the user and to become it; where it cannot run, tests skip in words.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""
_CONFIG = """ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers {user}
{more}
"""
_CLIENT = """Host board
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/id
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
"""


@dataclass
class SshBoard:
    """`ssh -F config board` reaches it; `home` is its user's. `inside` are words before every program."""

    folder: Path
    user: str
    port: int
    server: subprocess.Popen[bytes]
    inside: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        return Path("/home") / self.user

    @property
    def config(self) -> Path:
        return self.folder / "config"

    def cut(self) -> None:
        """End every connection, and only those."""
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split()
        for child in map(int, children):
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)

    def is_down(self, seconds: float) -> None:
        """Kill the server with all connections; another one takes its place after so long."""
        self.cut()
        self.server.kill()
        self.server.wait()
        sleep(seconds)
        self.server = start_server(self.folder, self.inside)

    def processes(self) -> list[str]:
        """What its user runs now."""
        listed = subprocess.run(["ps", "-u", self.user, "-o", "stat=,args="], capture_output=True, text=True)
        return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """A file in the user's home."""
        path = self.home / name
        path.write_text(text)
        path.chmod(mode)
        shutil.chown(path, self.user, self.user)


def refuse_without_server() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a board over ssh needs Linux and root, to make a user of its own")
    if not SSHD:
        pytest.skip("there is no sshd: apt-get install openssh-server")


@contextmanager
def ssh_board(more: str = "", shell: str = "/bin/bash", inside: tuple[str, ...] = ()) -> Iterator[SshBoard]:
    """A server with its user, gone at the end with all the user ran. `more` are lines of its settings."""
    refuse_without_server()
    folder = Path(tempfile.mkdtemp(prefix="ponas-ssh-"))
    folder.chmod(0o755)
    user = f"ponas-{secrets.token_hex(4)}"
    _run("useradd", "--create-home", "--shell", shell, user)
    home = Path("/home") / user
    try:
        _run("usermod", "-p", "*", user)
        for key in ("host", "id"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
        (home / ".ssh").mkdir(mode=0o700)
        shutil.copy(folder / "id.pub", home / ".ssh" / "authorized_keys")
        for path in (home / ".ssh", home / ".ssh" / "authorized_keys"):
            shutil.chown(path, user, user)
        port = _free_port()
        settings = _CONFIG.format(port=port, folder=folder, user=user, more=more)
        (folder / "sshd_config").write_text(settings)
        host_key = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
        (folder / "config").write_text(_CLIENT.format(port=port, user=user, folder=folder))
        board = SshBoard(folder, user, port, start_server(folder, inside), inside)
        try:
            yield board
        finally:
            board.server.kill()
            board.server.wait()
    finally:
        _run("pkill", "-KILL", "-u", user, check=False)
        _run("userdel", "-rf", user, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def start_server(folder: Path, inside: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """A server with the settings of a folder, which listens."""
    log = folder / "log"
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with log.open("wb") as file:
        words = [*inside, SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
        server = subprocess.Popen(words, stderr=file)
    deadline = monotonic() + 20
    while b"Server listening" not in log.read_bytes():
        if server.poll() is not None or monotonic() > deadline:
            server.kill()
            raise AssertionError(log.read_text())
        sleep(0.05)
    return server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=True)
