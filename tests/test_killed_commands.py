"""Commands that are killed and ended at random moments: nothing half-written, nobody left, and it goes on.

The moments are drawn with a fixed seed; what runs then depends on the machine. Training has such tests of its
own (`train/test_kills.py`).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from ponas_deploy.files.scratch import remove_abandoned
from ponas_deploy.tables.files import load_table
from running import Place, until

pytest.importorskip("onnxruntime")
SMALL = ("--space", "ponas", "--resolution", "32", "--classes", "2")
MEASURED = ("--device", "cpu", "--backend", "onnxruntime", *SMALL)
COMMANDS = {
    "profile": (("profile", *MEASURED, "--time", "5", "--out", "tables"), 8.0),
    "specialize": (
        ("specialize", *MEASURED, "--time", "5", "--latency", "1s", "--out", "engine"),
        12.0,
    ),
    "table fit": (("table", "fit", "rows.csv", "--out", "fitted.json"), 2.0),
}
"""Each with the seconds in which it is struck."""
STRIKES = ("all", "command", "child", "SIGTERM", "SIGHUP", "SIGINT")
NOT_TOLD = 3


def strike(place: Place, process: subprocess.Popen[bytes], how: str, rng: random.Random) -> None:
    """Kill the command, one of its processes or all, or send it a signal."""
    running = place.processes()
    children = [one for one in running if one.pid != process.pid]
    victims = {"all": running, "command": [one for one in running if one.pid == process.pid]}
    if how in victims or (how == "child" and children):
        for one in victims.get(how) or [rng.choice(children)]:
            try:
                one.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
    elif process.poll() is None:
        process.send_signal(signal.SIGKILL if how == "child" else signal.Signals[how])


def whole(place: Place) -> None:
    """Every table and document that lies there can be read, and nothing temporary lies beside it."""
    for path in place.out.rglob("*.json"):
        if "ponas-scratch" not in str(path) and "table" in path.read_text(encoding="utf-8")[:60]:
            load_table(path)
    assert not [path for path in place.out.rglob("*.tmp") if "ponas-scratch" not in str(path)]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_struck_goes_on_and_ends_whole(name: str, tmp_path: Path) -> None:
    place, rng = Place(tmp_path), random.Random(name)
    labels = ["".join(rng.choice("abcd") for _ in range(12)) for _ in range(4000)]
    rows = [",".join((*choices, str(rng.uniform(1, 2)))) for choices in labels]
    header = ",".join((*(f"L{layer}" for layer in range(12)), "latency_ms"))
    (place.out / "rows.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    command, seconds = COMMANDS[name]
    for how in rng.sample(STRIKES, 2):
        with place.running(*command) as process:
            try:
                process.wait(rng.uniform(0.3, seconds))
            except subprocess.TimeoutExpired:
                strike(place, process, how, rng)
            output = process.communicate(timeout=180)[0].decode()
            assert "Traceback" not in output, output[-2000:]
            until(lambda: not place.processes(), 15)
        whole(place)
    with place.running(*command, *(("--force",) if name == "specialize" else ())) as process:
        output = process.communicate(timeout=300)[0].decode()
        assert process.returncode in (0, NOT_TOLD) or "exists already" in output, output[-2000:]
    for parent in (place.temporary, place.out):
        for folder in parent.glob("*ponas-scratch-*"):
            os.utime(folder, (1e9, 1e9))
        remove_abandoned(parent)
    assert place.left() == []
    whole(place)
