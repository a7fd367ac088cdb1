"""A specialized run in processes of their own: killed at every moment asked for, or one of several.

specialized_child.py killed FOLDER          one process a moment, each in a folder of its own
torchrun ... specialized_child.py together FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from forked import child, die, ended
from tiny_training import CPU, LABELS, one_thread, space, splits

from searchspace import Architecture
from train.progress import TrainingProgress
from train.runs import SpecializedResult, TrainingJob, specialized_run
from train.settings import SpecializedSettings

SETTINGS = SpecializedSettings(epochs=3, batch=16, lr=0.05)
STEPS = 4  # an epoch of 70 images
FILES = ("run.json", *3 * ["state.safetensors"], "weights.safetensors", "result.json")

# After a step; before a file, complete already, has got its name; right after.
MOMENTS = (
    ("step", 2),
    ("step", 6),
    *(("before", n) for n in (1, 3, 5, 6)),
    *(("after", n) for n in (1, 4, 5)),
)


def job(**more: Any) -> TrainingJob:
    return TrainingJob(
        **{
            "architecture": Architecture(space(), LABELS[:3]),
            "splits": splits(),
            "settings": SETTINGS,
            "seed": 1,
            **more,
        }
    )


def trained(folder: Path, **more: Any) -> SpecializedResult:
    return specialized_run(job(), folder, device=CPU.device.type, **more)


def killed(folder: Path, where: str, number: int) -> None:
    """Train until the moment comes."""
    files, replace = 0, os.replace

    def counted(*paths: Any) -> None:
        nonlocal files
        files += 1
        if (where, number) == ("before", files):
            die()
        replace(*paths)
        if (where, number) == ("after", files):
            die()

    def kill_at(progress: TrainingProgress) -> None:
        if where == "step" and progress.done == number:
            die()

    os.replace = counted
    trained(folder, on_progress=kill_at)


def main(what: str, folder: Path) -> None:
    with one_thread():
        if what == "together":
            trained(folder)
            return
        pids = [child(lambda m=moment: killed(folder / named(*m), *m)) for moment in MOMENTS]
        print(json.dumps([ended(pid) for pid in pids]))


def named(where: str, number: int) -> str:
    """The folder of a moment."""
    return f"{where}-{number}"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
