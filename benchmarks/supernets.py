"""A supernet of single paths for benchmarks: a finished run's, or one of the digits, hastily trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ponas_deploy.files.weights import read_weights, write_weights
from ponas_deploy.search.costs import MACS
from ponas_deploy.tables.grid import Grid
from searchspace import Space, build_space
from train.compute import Compute
from train.data import load
from train.files import finished
from train.networks import describe, to_arrays
from train.progress import silent
from train.runs import Run, open_run
from train.settings import preset
from train.stages import path_supernet, train_single_path

SEED = 0


def opened(folder: Path, run: Path | None, space: str, epochs: int) -> Run:
    """The supernet of `run`, else one of so many epochs; a copy of its weights lies in `folder`."""
    weights = folder / "weights.safetensors"
    if run is not None:
        weights.write_bytes(finished(run).read_bytes())
    else:
        _train(weights, space, epochs)
    return open_run(read_weights(weights), None, silent)


def _train(weights: Path, name: str, epochs: int) -> None:
    splits, settings = load("digits", seed=SEED), preset("quick").single_path
    space = build_space(name, splits.resolution, splits.classes)
    compute = Compute.on("cpu")
    supernet = path_supernet(space, settings, seed=SEED, compute=compute)
    train_single_path(supernet, splits, replace(settings, epochs=epochs), seed=SEED, compute=compute)
    write_weights(weights, to_arrays(supernet.state_dict()), describe("supernet", space, splits, SEED))


def macs_of(space: Space) -> Grid:
    """The MACs of every candidate, and of what all networks share."""
    grid = MACS.source.counted(space)
    assert grid is not None
    return grid


def ceiling(space: Space, share: float) -> float:
    """A ceiling on MACs, at a `share` of the way from the least to the most."""
    least, most = macs_of(space).extremes
    return least + share * (most - least)
