"""Processes that train together, tiny; what they come to is checked in `test_distributed.py`.

torchrun --nproc-per-node 2 together.py FOLDER      a whole run, and the weights of every process
together.py FOLDER                                  two forked processes at a time, of which one fails
"""

from __future__ import annotations

import copy
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked import child, ended
from tiny_elastic import fit, known
from tiny_paths import SETTINGS as PATHS
from tiny_paths import known as known_paths
from tiny_training import CPU, FINE_TUNE, META, changed, splits

from ponas_deploy.errors import PonasError
from ponas_deploy.files.weights import write_weights
from searchspace import build_space
from train.compute import distributed
from train.data import TensorImages
from train.errors import OtherProcessError
from train.networks import to_arrays
from train.progress import OnProgress, TrainingProgress, silent
from train.runs import fitted_run, train_run
from train.settings import ElasticSettings, ShrinkSettings
from train.stages import fine_tune, train_meta

LEARNING = changed(meta=replace(META, epochs=12))
"""Long enough for the candidates to differ."""
STEP = ElasticSettings(epochs=1, lr=0.05, epochs_between=0, subnets=2)
SHRINKING = changed(
    space="elastic",
    shrink=ShrinkSettings(epochs=8, lr=0.1, batch=16, kernel=STEP, depth=STEP, width=STEP, networks=20),
)


def whole(folder: Path) -> None:
    """A run; then the meta network and a layer with the whole path alone, so that all can show weights."""
    train_run(LEARNING, folder / "run")
    fitted_run(SHRINKING, folder / "shrunk", fit)
    fitted_run(PATHS, folder / "paths", fit)
    space = build_space("tiny", 16, 3)
    with distributed.joined(CPU.device):
        network, _ = train_meta(space, splits(), LEARNING.meta, seed=1, compute=CPU)
        path = replace(FINE_TUNE, scope="path", lr=0.01)
        tuned = copy.deepcopy(network)
        next(fine_tune(space, tuned, splits(), path, seed=1, compute=CPU))
        for name, shown in (("meta", network), ("path", tuned)):
            file = folder / f"{name}-{distributed.rank()}-of-{distributed.size()}.safetensors"
            write_weights(file, to_arrays(shown.state_dict()), {})


def nan(folder: Path) -> None:
    """One image spoils the loss of one process."""
    data = splits()
    assert isinstance(data.train, TensorImages)
    data.train.images[11] = float("nan")
    _train(data.train)


def error(folder: Path) -> None:
    """The second process fails in the middle of an epoch."""

    def fail(progress: TrainingProgress) -> None:
        if distributed.rank() == 1 and progress.done == 5:
            raise PonasError("the second process has a reason of its own.")

    _train(on_progress=fail)


def kill(folder: Path) -> None:
    """The second process is killed in the middle of an epoch."""

    def die(progress: TrainingProgress) -> None:
        if distributed.rank() == 1 and progress.done == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    _train(on_progress=die)


def refused(folder: Path) -> None:
    """The first process finds that the folder is someone else's."""
    folder.mkdir(exist_ok=True)
    (folder / "accuracy.json").write_text("precious")
    train_run(LEARNING, folder)


def uneven(folder: Path) -> None:
    """A batch that two processes cannot share."""
    train_run(changed(meta=replace(META, batch=15)), folder)


def _train(images: TensorImages | None = None, on_progress: OnProgress = silent) -> None:
    data = splits() if images is None else replace(splits(), train=images)
    with distributed.joined(CPU.device):
        train_meta(build_space("tiny", 16, 3), data, META, seed=1, compute=CPU, on_progress=on_progress)


def ending(work: Callable[[Path], None], folder: Path) -> None:
    """As the command line ends: an error is one line, a process that only helps says nothing."""
    torch.set_num_threads(1)
    try:
        work(folder)
    except OtherProcessError:
        os._exit(1)
    except PonasError as failure:
        os.write(2, f"error: {failure}\n".encode())
        os._exit(1)


def two(work: Callable[[Path], None], folder: Path) -> tuple[list[int], str]:
    """How two processes ended, and all they said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = folder.with_suffix(".txt")
    said.write_text("")
    os.environ.update(WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    children = []
    for rank in ("0", "1"):
        os.environ.update(RANK=rank, LOCAL_RANK=rank)
        children.append(child(lambda: ending(work, folder), said))
    return [ended(pid) for pid in children], said.read_text()


if __name__ == "__main__":
    known(pytest.MonkeyPatch())
    known_paths(pytest.MonkeyPatch())
    place = Path(sys.argv[1])
    if distributed.launched():
        ending(whole, place)
    else:
        alone = ended(child(lambda: ending(whole, place)))
        failures = {
            work.__name__: two(work, place / work.__name__) for work in (nan, error, kill, refused, uneven)
        }
        print(json.dumps({"whole": alone, **failures}))
