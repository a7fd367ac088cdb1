"""Training by several processes: the single process's result, one sentence where it fails, and no hang."""
# ruff: noqa: E402

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
if not torch.distributed.is_available() or not hasattr(os, "fork"):
    pytest.skip("needs torch.distributed and fork", allow_module_level=True)
from forked import PATH, ROOT, script
from tiny_elastic import known
from tiny_paths import known as known_paths
from tiny_training import splits

from ponas_deploy.files.weights import read_weights
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.files import load_accuracy_table
from train.compute import WHOLE, Share, distributed

TOLERANCE = 1e-4
"""Largest difference of a weight, after 48 steps of meta training and 8 of each candidate; 4e-6 was seen."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[object]]]:
    """A run by one process, and runs by two that fail."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, script("together.py", folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by two processes that torchrun starts."""
    folder = tmp_path_factory.mktemp("two")
    command = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "tests/train/together.py")
    environment = {**os.environ, "PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", *command, str(folder)], cwd=ROOT, env=environment, check=True, timeout=300
    )
    return folder


def difference(one: Path, other: Path) -> float:
    a, b = read_weights(one).tensors, read_weights(other).tensors
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


def table(folder: Path) -> AccuracyTable:
    return load_accuracy_table(folder / "run" / "accuracy.json")


def test_two_processes_come_to_the_table_and_the_weights_of_one(
    alone: tuple[Path, dict[str, list[object]]], two: Path
) -> None:
    one, outcomes = alone
    assert outcomes["whole"] == 0
    mine, other = table(two).top1, table(one).top1
    assert mine is not None
    assert len({value for row in mine.values for value in row}) > 1  # there is something to agree on
    assert mine == other
    for name in ("meta.safetensors", "weights.safetensors"):
        assert difference(two / "run" / name, one / "run" / name) < TOLERANCE
    for stage in ("meta", "path"):
        own = one / f"{stage}-0-of-1.safetensors"
        assert difference(two / f"{stage}-0-of-2.safetensors", own) < TOLERANCE


@pytest.mark.parametrize(
    ("run", "files"),
    [("shrunk", ["meta.safetensors", "weights.safetensors"]), ("paths", ["weights.safetensors"])],
)
def test_two_processes_come_to_the_supernet_of_one(
    alone: tuple[Path, dict[str, list[object]]],
    two: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: str,
    files: list[str],
) -> None:
    known(monkeypatch)
    known_paths(monkeypatch)
    one, _ = alone
    for name in files:
        assert difference(two / run / name, one / run / name) < TOLERANCE
    mine, other = ((folder / run / "subnets-fit-1.csv").read_text().splitlines() for folder in (one, two))
    assert len(mine) == len(other) == 21
    assert [line.rpartition(",")[0] for line in mine] == [line.rpartition(",")[0] for line in other]


def test_all_processes_have_the_very_same_weights(two: Path) -> None:
    for stage in ("meta", "path"):
        assert difference(two / f"{stage}-0-of-2.safetensors", two / f"{stage}-1-of-2.safetensors") == 0


def test_the_table_says_how_many_processes_made_it(two: Path) -> None:
    origin = table(two).origin
    assert origin is not None
    assert dict(origin.details)["device"] == "cpu, float32, 2 processes"


@pytest.mark.parametrize(
    ("failure", "ends", "said"),
    [
        ("nan", [1, 1], "error: the loss of the meta network is not a finite number at step "),
        ("error", [1, 1], "error: the second process has a reason of its own."),
        ("kill", [1, -signal.SIGKILL], "error: another process of this run ended without an error message ("),
        ("refused", [1, 1], "accuracy.json exists already"),
        ("uneven", [1, 1], "a batch of 15 for the meta network cannot be shared equally by 2 processes"),
    ],
)
def test_what_ends_one_process_ends_all_with_one_sentence(
    alone: tuple[Path, dict[str, list[object]]], failure: str, ends: list[int], said: str
) -> None:
    _, outcomes = alone
    found, text = outcomes[failure]
    assert found == ends
    assert said in str(text)
    assert str(text).count("error: ") == 1
    assert str(text).count("\n") == 1


def test_alone_nothing_is_shared() -> None:
    assert not distributed.launched()
    assert distributed.leads()
    assert (distributed.size(), distributed.rank(), distributed.share()) == (1, 0, WHOLE)
    assert distributed.own_images(7) is None
    assert distributed.first(lambda: 3) == distributed.in_turn(lambda: 3) == 3


def test_shares_of_a_batch_are_its_rows_augmented_as_a_whole() -> None:
    images, order = splits().train, torch.arange(60)
    whole = list(images.batches(20, order, 5))
    parts = [list(images.batches(20, order, 5, Share(rank, 4))) for rank in range(4)]
    for index, (batch, labels) in enumerate(whole):
        assert torch.equal(torch.cat([part[index][0] for part in parts]), batch)
        assert torch.equal(torch.cat([part[index][1] for part in parts]), labels)
