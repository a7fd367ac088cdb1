"""Images to train on, by name: a source a file, each returning `Splits`.

A new source is one more file with a `load(resolution, seed, workers)` and one more line in SOURCES.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ponas_deploy.errors import UnknownNameError
from train.data.splits import Batch, Images, Splits, TensorImages

__all__ = ["SOURCES", "Batch", "Images", "Splits", "TensorImages", "load"]

Source = Callable[[int | None, int, int], Splits]


def _lazily(module: str) -> Source:
    def source(resolution: int | None, seed: int, workers: int) -> Splits:
        load: Source = import_module(module).load
        return load(resolution, seed, workers)

    return source


SOURCES: dict[str, Source] = {"digits": _lazily("train.data.digits")}


def load(name: str, *, resolution: int | None = None, seed: int = 0, workers: int = 0) -> Splits:
    """The data set called `name` at `resolution` pixels (None: its own), split by `seed`.

    UnknownNameError lists the data sets that exist.
    """
    if name not in SOURCES:
        raise UnknownNameError("data set", name, SOURCES)
    return SOURCES[name](resolution, seed, workers)
