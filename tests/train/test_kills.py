"""Runs that are killed with SIGKILL at any moment end with the table of an unbroken one, byte for byte."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra (torch)")
if not hasattr(os, "fork"):
    pytest.skip("needs fork, which this system has not", allow_module_level=True)
from forked import script

from ponas_deploy.files.weights import read_weights

LEFT = {"accuracy.json", "log.csv", "meta.safetensors", "run.json", "weights.safetensors"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]]]:
    folder = tmp_path_factory.mktemp("killed")
    return folder, script("killed.py", folder)


@pytest.mark.parametrize(
    ("case", "like", "kills"),
    [
        ("in the middle of epochs and layers", "unbroken", 4),
        ("before every third file", "unbroken", 5),
        ("before the table", "unbroken", 1),
        ("before the end", "unbroken", 1),
        ("while images are made", "fractals unbroken", 1),
    ],
)
def test_a_killed_run_ends_like_an_unbroken_one(
    outcomes: tuple[Path, dict[str, list[int]]], case: str, like: str, kills: int
) -> None:
    folder, lives = outcomes
    assert lives[like] == [0]
    *died, last = lives[case]
    assert last == 0
    assert died == [-signal.SIGKILL] * len(died)
    assert len(died) >= kills
    assert {path.name for path in (folder / case).iterdir()} - {"tensorboard"} == LEFT
    for name in ("meta.safetensors", "weights.safetensors"):
        same_weights(folder / case / name, folder / like / name)
    assert (folder / case / "run.json").read_bytes() == (folder / like / "run.json").read_bytes()
    assert without_date(folder / case) == without_date(folder / like)


def without_date(folder: Path) -> str:
    text = (folder / "accuracy.json").read_text()
    assert text.count('"created"') == 1
    return re.sub(r'"created": "[^"]*"', "", text)


def same_weights(mine: Path, other: Path) -> None:
    a, b = read_weights(mine), read_weights(other)
    assert a.metadata == b.metadata
    assert a.tensors.keys() == b.tensors.keys()
    assert all(np.array_equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
