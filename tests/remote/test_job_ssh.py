"""A job on a board over a real OpenSSH server: connections are cut, hosts and workers are killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from local_board import Place, archive_with_steps, becomes, host

from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.remote import job as jobs
from ponas_deploy.remote.job import BoardBusyError, WorkerEnded, job_on
from ssh_board import SshBoard, ssh_board

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
            cut = Timer(moments.uniform(0, 2), board.cut)
            cut.start()
            done.append(job.do("count", lines.append, lines=200, pause_s=0.01))
            cut.join()
    assert done == [0, 1, 2]
    assert [line["number"] for line in lines] == [*range(200)] * 3
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
    with (
        pytest.raises(WorkerEnded, match="nobody looked after it"),
        job_on(ENTRY, title="t", resume=other.job),
    ):
        pass


def test_a_second_job_is_told_who_has_the_board() -> None:
    with job_on(ENTRY, title="profile") as job:
        with pytest.raises(BoardBusyError, match="has been measuring there"), job_on(ENTRY, title="another"):
            pass
        assert job.do("echo") == {}
