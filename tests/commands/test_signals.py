"""Signals: a command that is ended cleans up as after Ctrl-C, and the same command goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from running import Place, until

PROFILE = ("profile", "--device", "cpu", "--backend", "onnxruntime", "--resolution", "32", "--classes", "2")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


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
