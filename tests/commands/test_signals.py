"""Signals: a command that is ended cleans up as after Ctrl-C, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
MARK = "PONAS_TEST_SIGNALS"
"""A variable that every process of a command inherits, by which they are found."""
PROFILE = ("profile", "--device", "cpu", "--backend", "onnxruntime", "--resolution", "32", "--classes", "2")


class Place:
    """Folders of one test: the store, temporary files, and where commands write."""

    def __init__(self, folder: Path) -> None:
        self.out, self.temporary, self.store = folder / "out", folder / "tmp", folder / "store"
        for made in (self.out, self.temporary):
            made.mkdir()

    @contextmanager
    def running(self, *arguments: str, ignoring: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PONAS_HOME": str(self.store),
            "TMPDIR": str(self.temporary),
            MARK: str(self.out),
        }
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), *arguments],
            cwd=self.out,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if ignoring else None,
        )
        try:
            yield process
        finally:
            for one in self.processes():
                one.kill()
            process.communicate()

    def processes(self) -> list[psutil.Process]:
        """What runs of the commands started here."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.out) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
                continue
        return found

    def left(self) -> list[str]:
        """Temporary files and half-written ones, by name."""
        beside = [path for path in self.out.iterdir() if path.name.startswith(".") or path.suffix == ".tmp"]
        return [path.name for path in (*self.temporary.iterdir(), *beside)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def until(true: object, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ends(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output.decode()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_profile_that_is_ended_leaves_its_journal_and_nothing_else(place: Place, name: str) -> None:
    number = signal.Signals[name]
    with place.running(*PROFILE, "--time", "60", "--out", "tables") as process:
        until(lambda: any((place.out / "tables").glob("*.journal")) and len(place.processes()) > 1)
        process.send_signal(number)
        code, output = ends(process)
        assert code == 128 + number, output
        assert "Traceback" not in output
        assert ("interrupted" if name == "SIGINT" else f"ended by {name}") in output
        until(lambda: not place.processes(), 10)
    assert place.left() == []
    assert [path.suffix for path in (place.out / "tables").iterdir()] == [".journal"]


def test_a_signal_that_is_ignored_stays_so(place: Place) -> None:
    """`nohup ponas profile &` outlives the terminal."""
    with place.running(*PROFILE, "--time", "60", "--out", "tables", ignoring=True) as process:
        until(lambda: any((place.out / "tables").glob("*.journal")) and len(place.processes()) > 1)
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert process.poll() is None


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_an_export_that_is_ended_leaves_no_half_built_engine(place: Place, name: str) -> None:
    with place.running("export", "PONAS-A", "--backend", "onnxruntime", "--out", "engine") as process:
        until(lambda: place.left())
        process.send_signal(signal.Signals[name])
        code, output = ends(process)
        assert code == 128 + signal.Signals[name], output
        until(lambda: not place.processes(), 10)
    assert place.left() == []
    assert not (place.out / "engine").exists()
