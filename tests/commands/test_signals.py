"""Signals: a command that is ended cleans up as after Ctrl-C, and the same command goes on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import product
from pathlib import Path

import psutil
import pytest
from PIL import Image

from ponas_deploy.machines.machine import this_machine
from running import Place, until
from searchspace import build_space
from stored_tables import stored

SMALL = ("--space", "ponas", "--resolution", "32", "--classes", "2")
PROFILE = ("profile", "--device", "cpu", "--backend", "onnxruntime", *SMALL)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def many_rows(place: Place) -> None:
    """So many networks that fitting them takes seconds."""
    rng = random.Random(0)
    rows = [",".join((*rng.choices("abcdefgh", k=20), str(rng.uniform(1, 2)))) for _ in range(16_000)]
    header = ",".join((*(f"L{layer}" for layer in range(20)), "latency_ms"))
    (place.out / "rows.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def pictures(place: Place) -> None:
    for part, label, number in product(("train", "val"), ("dark", "light"), range(12)):
        folder = place.out / "images" / part / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (200 * (label == "light") + number,) * 3).save(folder / f"{number}.png")


def a_table(place: Place) -> None:
    """In the store of the commands: specialize has nothing to measure but its engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PONAS_HOME", str(place.store))
        stored(build_space("ponas", 32, 2), this_machine().name)


TO_AN_ENGINE = ("--latency", "50ms", "--tries", "1", "--out", "engine")
TO_A_RUN = ("--out", "run", "--set", "meta.batch=4", "--set", "meta.epochs=50")
ENDED = {
    "table fit": (many_rows, ("table", "fit", "rows.csv", "--out", "fitted.json"), "fitted.json"),
    "networks": (
        lambda place: None,
        ("networks", "--count", "2", *SMALL, "--backend", "onnxruntime", "--out", "measured.csv"),
        "measured.csv",
    ),
    "specialize": (
        a_table,
        ("specialize", "--device", "cpu", "--backend", "onnxruntime", *SMALL, *TO_AN_ENGINE),
        "engine",
    ),
    "train": (
        pictures,
        ("train", "--data", "images", "--preset", "quick", "--resolution", "32", *TO_A_RUN),
        "run/accuracy.json",
    ),
}
"""What each needs, the command, and what there is only when it is done."""


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


def begun(name: str, place: Place, process: subprocess.Popen[bytes]) -> bool:
    """Whether a command is in the middle of its work."""
    if name == "specialize":
        return bool(place.left()) and len(place.processes()) > 1
    if name == "networks":
        return any(path.stat().st_size for path in place.store.glob("*lock*"))
    if name == "train":
        return (place.out / "run" / "run.json").exists()
    return psutil.Process(process.pid).cpu_times().user > 0.6


@pytest.mark.parametrize(
    ("name", "signal_name"),
    [("table fit", "SIGHUP"), ("networks", "SIGTERM"), ("specialize", "SIGHUP"), ("train", "SIGTERM")],
)
def test_whatever_is_ended_leaves_nothing_half_written_and_goes_on(
    place: Place, name: str, signal_name: str
) -> None:
    if name == "train":
        pytest.importorskip("torch", reason="needs the train extra (torch)")
    prepare, command, made = ENDED[name]
    prepare(place)
    number = signal.Signals[signal_name]
    with place.running(*command) as process:
        until(partial(begun, name, place, process))
        process.send_signal(number)
        code, output = ends(process)
        assert code == 128 + number, output
        assert "Traceback" not in output
        assert f"ended by {signal_name}" in output
        until(lambda: not place.processes(), 10)
    assert [left for left in place.left() if not left.startswith("torchinductor")] == []
    assert not (place.out / made).exists()
    assert not (place.out / "run" / "run.lock").exists()
    if name in ("table fit", "networks"):  # the others: `test_killed_commands.py`, `train/test_kills.py`
        with place.running(*command) as process:
            code, output = ends(process)
            assert code == 0, output
        assert (place.out / made).stat().st_size


SWALLOWING = """
import os, signal, sys, time
from ponas_deploy.commands.signals import Ended, raise_when_ended

raise_when_ended()

class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.Signals[sys.argv[1]])
        time.sleep(0)

try:
    Swallows()
    time.sleep(30)
except KeyboardInterrupt as ended:
    print(type(ended).__name__, ended)
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [("SIGTERM", "Ended SIGTERM"), ("SIGHUP", "Ended SIGHUP"), ("SIGINT", "KeyboardInterrupt ")],
)
def test_a_signal_that_python_swallows_comes_again(name: str, said: str) -> None:
    command = [sys.executable, "-c", SWALLOWING, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == (f"{said}\n", "")


PARSING = """
import os, signal, sys
import typer
from ponas_deploy.commands.boundary import ErrorBoundary, run

def strike(value: str) -> str:
    os.kill(os.getpid(), signal.Signals[value])
    return value

app = typer.Typer(cls=ErrorBoundary)

@app.callback()
def main(name: str = typer.Option(..., callback=strike)) -> None:
    pass

@app.command()
def idle() -> None:
    pass

run(app)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_while_arguments_are_parsed_has_its_own_exit_code(name: str) -> None:
    command = [sys.executable, "-c", PARSING, "--name", name, "idle"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, "Traceback" in done.stderr) == (128 + signal.Signals[name], False)


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
