"""A training run that is killed again and again; prints what became of it as JSON. See `test_kills.py`.

Each life of a run is a process of its own. It goes on with the same folder, and kills itself at the
moment that its name says, until a life comes to the end.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import child, die, ended
from tiny_training import changed, known

from train.progress import TrainingProgress, silent
from train.runs import train_run
from train.settings import FineTuneSettings, MetaSettings, TrainSettings

SETTINGS = changed(
    meta=MetaSettings(epochs=2, batch=16, lr=0.1), fine_tune=FineTuneSettings(epochs=1, batch=16, lr=0.05)
)
FRACTALS = changed(
    data="fractal:classes=3,images=16,validation=8,test=6",
    resolution=16,
    workers=1,
    meta=MetaSettings(epochs=1, batch=16, lr=0.1),
    fine_tune=FineTuneSettings(epochs=1, batch=16, lr=0.05),
)
MOST_LIVES = 12

Killer = Callable[[TrainingProgress], None]


def at_report(number: int) -> Killer:
    """Dies at a report of a step, or of an epoch's or layer's end, counted from 1 in each life."""
    seen = 0

    def kill_at(progress: TrainingProgress) -> None:
        nonlocal seen
        seen += bool(progress.images) or progress.milestone
        if seen == number:
            die()

    return kill_at


def at_event(name: str, number: int, below: Path) -> Killer:
    """Dies at the system call behind an audit event on files below a folder, just before it is made.

    os.chmod: a file is written, but still has the name of a temporary one. os.remove and shutil.rmtree: a
    file that is no longer needed is still there.
    """
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == name and str(arguments[0]).startswith(str(below)):
            seen += 1
            if seen == number:
                die()

    sys.addaudithook(hook)
    return silent


def at_data(number: int) -> Killer:
    """Dies at a report of the images' own."""
    seen = 0

    def kill_at(progress: TrainingProgress) -> None:
        nonlocal seen
        seen += progress.stage == "data"
        if seen == number:
            die()

    return kill_at


def lives(settings: TrainSettings, folder: Path, kill_at: Callable[[], Killer]) -> Iterator[int]:
    """How each life ended, to the first that was not killed."""

    def life() -> None:
        torch.set_num_threads(1)
        train_run(settings, folder, kill_at())

    for _ in range(MOST_LIVES):
        code = ended(child(life))
        yield code
        if code == 0:
            return


def main(folder: Path) -> None:
    known(pytest.MonkeyPatch())
    cases: dict[str, tuple[TrainSettings, Callable[[Path], Callable[[], Killer]]]] = {
        "unbroken": (SETTINGS, lambda path: lambda: silent),
        "in the middle of epochs and layers": (SETTINGS, lambda path: lambda: at_report(7)),
        "before every third file": (SETTINGS, lambda path: lambda: at_event("os.chmod", 3, path)),
        "before the table": (SETTINGS, lambda path: once(path, lambda: at_event("os.chmod", 11, path))),
        "before the end": (SETTINGS, lambda path: once(path, lambda: at_event("shutil.rmtree", 1, path))),
        "fractals unbroken": (FRACTALS, lambda path: lambda: silent),
        "while images are made": (FRACTALS, lambda path: once(path, lambda: at_data(2))),
    }
    outcomes = {}
    for name, (settings, kill_at) in cases.items():
        run = folder / name
        os.environ["PONAS_CACHE"] = str(folder / "cache" / name)
        outcomes[name] = list(lives(settings, run, kill_at(run)))
    print(json.dumps(outcomes))


def once(path: Path, kill_at: Callable[[], Killer]) -> Callable[[], Killer]:
    """Only in the first life."""
    mark = path.with_suffix(".mark")

    def chosen() -> Killer:
        if mark.exists():
            return silent
        mark.write_text("")
        return kill_at()

    return chosen


if __name__ == "__main__":
    main(Path(sys.argv[1]))
