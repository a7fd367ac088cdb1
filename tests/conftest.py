"""What many tests share: a tiny space, and a store of its own for every test."""

from __future__ import annotations

import os
import sys
from collections import Counter

# Small matrices on busy cores: BLAS threads that wait for each other take ten times as long as one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from hypothesis import settings

from at_once import AT_ONCE, python_path
from ponas_deploy.backends.tensorrt import TensorRtBackend
from ponas_deploy.boards.book import Board, Entry, add_board
from searchspace import SPACES, Architecture
from searchspace.blocks import mbconv
from searchspace.graph import network_model
from searchspace.ops import Conv, GlobalPool, Linear
from searchspace.space import Candidate, Layer, Space
from searchspace.weights import random_weights

if TYPE_CHECKING:
    from tensorrt_standin import Machine


# No test judges time, and a run says of a commit what the last one said; `--hypothesis-profile=many`
# looks for new cases.
settings.register_profile("same cases", deadline=None, derandomize=True)
settings.register_profile("many", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile("same cases")


def pytest_configure(config: pytest.Config) -> None:
    """Processes that tests start do not wait until it is quiet; those that pytest runs tests in are none."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        os.environ["PYTHONPATH"] = python_path(*map(Path, given))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first, then those with many: the last ones keep no process waiting."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in long, -sizes[item.path]))


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    # Reports are as wide as in a pipe: a worker of pytest-xdist has the 80 columns of no terminal.
    monkeypatch.delenv("COLUMNS", raising=False)


def tiny_space(resolution: int = 32, classes: int = 10) -> Space:
    """Three layers of four candidates, small enough to build and run in milliseconds."""
    stem = (Conv("conv", 3, 8, kernel=3, stride=2, activation="relu6"),)
    head = (Conv("conv", 16, 32, activation="relu6"), GlobalPool(), Linear("classifier", 32, classes))
    layers = []
    for index, (wide, out, stride) in enumerate(((8, 16, 2), (16, 16, 1), (16, 16, 1)), start=1):
        candidates = tuple(
            Candidate(
                f"k{kernel}e{expansion}{'se' if squeeze else ''}",
                mbconv(wide, out, stride, kernel, expansion, squeeze),
            )
            for kernel, expansion, squeeze in ((3, 3, False), (5, 3, True), (3, 6, False), (5, 6, True))
        )
        layers.append(Layer(str(index), candidates))
    return Space("tiny", stem, tuple(layers), head, resolution, classes)


@pytest.fixture(autouse=True)
def _busy_cores_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for place, value in AT_ONCE.items():
        monkeypatch.setattr(place, value)


@pytest.fixture
def planted_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny space is known, and engines take what a test plants; `test_loop` has real processes."""
    from planted_clocks import spread

    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    for user in ("engines.search", "checks.engine"):
        monkeypatch.setattr(f"ponas_deploy.{user}.time_engine", spread([1.0]))


@pytest.fixture
def tiny() -> Space:
    return tiny_space()


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A board of the device book that is a process of this machine, with a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "board"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return add_board("box", Board(command=(), python=sys.executable))


@pytest.fixture
def model(tiny: Space) -> bytes:
    """A tiny network that takes two images of 32 px."""
    architecture = Architecture.from_indices(tiny, (3, 0, 1))
    made = network_model(architecture, random_weights(architecture), batch=2)
    return bytes(made.SerializeToString())


@pytest.fixture
def images() -> np.ndarray:
    """Of the shape that `model` takes."""
    return np.random.default_rng(7).standard_normal((2, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with TensorRT and a GPU, both stand-ins (`backends/tensorrt_standin.py`)."""
    import tensorrt_standin

    return tensorrt_standin.install(monkeypatch)


@pytest.fixture
def tensorrt(machine: Machine) -> TensorRtBackend:
    """The backend on that machine."""
    return TensorRtBackend()


def children() -> list[psutil.Process]:
    """The processes that this one started, but for multiprocessing's tracker, which torch.compile leaves."""
    return [child for child in psutil.Process().children() if "resource_tracker" not in command_of(child)]


def command_of(process: psutil.Process) -> str:
    """The command line of a process; empty where it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
