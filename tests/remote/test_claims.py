"""Whose a job on a board was: told by a file and its lock, whatever the board calls it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ponas_deploy.files.home import home
from ponas_deploy.remote.claims import claimed, was_ours

JOB = "0123456789abcdef"


def left(job: str) -> Path:
    """The file of a process that was killed."""
    path = home() / "jobs" / f"{job}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_job_is_ours_when_its_process_is_gone_and_not_before() -> None:
    assert not was_ours(JOB)
    with claimed(JOB):
        assert not was_ours(JOB)
    assert not was_ours(JOB), "it ended as it should"
    left(JOB)
    assert was_ours(JOB)
    with claimed(JOB):
        assert not was_ours(JOB)


@pytest.mark.parametrize("job", ["../../lock", "", JOB.upper(), f"{JOB}\n", f"{JOB}\0"])
def test_a_name_that_is_none_of_a_job_leads_nowhere(job: str) -> None:
    left("x").parent.joinpath(".lock").touch()
    assert not was_ours(job)


def test_what_killed_processes_left_is_bounded() -> None:
    paths = [left(f"{number:016x}") for number in range(150)]
    for number, path in enumerate(paths):
        os.utime(path, (number, number))
    with claimed("f" * 16):
        kept = sorted(path.name for path in paths[0].parent.iterdir())
    assert kept == [*(path.name for path in paths[50:]), "f" * 16 + ".lock"]


def test_a_store_that_cannot_be_written_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "file"))
    with claimed(JOB):
        assert not was_ours(JOB)
