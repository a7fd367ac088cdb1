"""A job on a board over a real OpenSSH server: connections are cut, hosts and workers are killed."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from local_board import Place, archive_with_steps, becomes, host

from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.remote import job as jobs
from ponas_deploy.remote.answers import BoardBusyError, WorkerEnded
from ponas_deploy.remote.job import job_on
from ssh_board import SshBoard, refuse_without_server, ssh_board

pytestmark = pytest.mark.ssh
SSH = shutil.which("ssh") or "ssh"
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else "python3"
ENTRY = Entry("board", Board(host="board", python=PYTHON))
ARCHIVE = archive_with_steps()


@pytest.fixture(scope="module")
def board() -> Iterator[SshBoard]:
    with ssh_board() as board:
        board.write(".bashrc", "echo Welcome; printf 'bell\\a'\n")
        yield board


@pytest.fixture(autouse=True)
def place(board: SshBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The board's folder; at the end its user runs nothing."""
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nexec {SSH} -F {board.config} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(jobs, "pack", lambda: ARCHIVE)
    yield Place(board.home / ".cache" / "ponas")
    assert becomes(lambda: not board.processes()), board.processes()


def test_connections_that_are_cut_lose_no_line_and_double_none(board: SshBoard, place: Place) -> None:
    lines, moments = list[Mapping[str, Any]](), random.Random(0)
    with job_on(ENTRY, title="test") as job:
        done = []
        for _ in range(3):
            cut = Timer(moments.uniform(0, 1), board.cut)
            cut.start()
            done.append(job.do("count", lines.append, lines=100, pause_s=0.01))
            cut.join()
    assert done == [0, 1, 2]
    assert [line["number"] for line in lines] == [*range(100)] * 3
    assert place.jobs() == []


def test_files_go_there_once_and_come_back(board: SshBoard) -> None:
    large = random.Random(1).randbytes(5_000_000)
    with job_on(ENTRY, title="test") as job:
        (sha,) = job.put([large])
        assert job.fetch(sha) == large
    with job_on(ENTRY, title="test") as job:
        cut = Timer(0.2, board.cut)
        cut.start()
        job.put([large, b"new"])
        cut.join()
        assert job.do("size_of", sha=sha) == len(large)
        assert job.sent_bytes < 50_000


def test_a_killed_worker_is_told_with_what_it_was_doing(place: Place) -> None:
    with pytest.raises(WorkerEnded, match="killed by signal 9, SIGKILL while building block X"):  # noqa: SIM117
        with job_on(ENTRY, title="test") as job:
            job.do("build", lambda line: os.kill(place.worker, signal.SIGKILL), seconds=1000)
    assert place.jobs() == []


def test_a_worker_outlives_its_host_for_a_while(place: Place) -> None:
    with host("count", PYTHON, "board") as other:
        other.kill()
    assert not place.is_free()
    assert becomes(place.is_free)
    assert "nobody looked after it" in (place.folder / "jobs" / other.job / "errors").read_text()


def test_a_second_job_is_told_who_has_the_board() -> None:
    with job_on(ENTRY, title="profile") as job:
        with pytest.raises(BoardBusyError, match="has been measuring there"), job_on(ENTRY, title="another"):
            pass
        assert job.do("echo") == {}


def test_a_server_that_ends_and_begins_again_loses_no_line_and_doubles_none(
    board: SshBoard, place: Place
) -> None:
    lines, notes = list[Mapping[str, Any]](), list[str]()
    with job_on(ENTRY, title="test", on_note=notes.append) as job:
        ends = Timer(0.3, board.is_down, (2.5,))
        ends.start()
        assert job.do("count", lines.append, lines=200, pause_s=0.03) == 0
        ends.join()
    assert [line["number"] for line in lines] == [*range(200)]
    assert sum("Connecting again" in note for note in notes) >= 2, "nobody answered at first"
    assert job.id not in place.jobs()


@contextmanager
def network() -> Iterator[str]:
    """A network of its own by name, with nothing but its loopback."""
    if not shutil.which("ip"):
        pytest.skip("there is no ip: apt-get install iproute2")
    name = f"ponas-{secrets.token_hex(4)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no network can be made here: {made.stderr.strip()}")
    try:
        link(name, "up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def link(name: str, state: str) -> None:
    """Take the only link of a network up or down."""
    subprocess.run(["ip", "-n", name, "link", "set", "lo", state], check=True)


@pytest.mark.parametrize(
    ("down_s", "seen"), [(1.0, 100), (8.0, 400)], ids=["for a moment", "until ssh gives up"]
)
def test_a_link_that_goes_down_and_up_loses_no_line_and_doubles_none(
    tmp_path: Path, down_s: float, seen: int
) -> None:
    refuse_without_server()
    with network() as name, ssh_board(inside=("ip", "netns", "exec", name)) as board:
        program = tmp_path / "ssh"
        quick = "-o ServerAliveInterval=1 -o ServerAliveCountMax=2 -o ConnectTimeout=2"  # first ones count
        inside = f"ip netns exec {name} {SSH} -F {board.config} {quick}"
        program.write_text(f'#!/bin/sh\nexec {inside} "$@"\n')
        lines, notes = list[Mapping[str, Any]](), list[str]()
        with job_on(ENTRY, title="test", on_note=notes.append) as job:
            down = Timer(0.3, link, (name, "down"))
            up = Timer(0.3 + down_s, link, (name, "up"))
            down.start()
            up.start()
            assert job.do("count", lines.append, lines=seen, pause_s=0.03) == 0
            up.join()
        assert [line["number"] for line in lines] == [*range(seen)]
        assert any("Connecting again" in note for note in notes) == (down_s > 5)
        assert becomes(lambda: not board.processes()), board.processes()
