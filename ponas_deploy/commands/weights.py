"""The weights an engine shall carry: random ones, or a file's, made fit for each network by `train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ponas_deploy.commands.architectures import DEFAULT_SPACE
from ponas_deploy.errors import MissingExtraError, PonasError

if TYPE_CHECKING:
    from ponas_deploy.deploy import WeightsSource
    from ponas_deploy.weights import WeightsFile
    from searchspace.space import Space

Found = TypeVar("Found")

_RESOLUTION, _CLASSES = 224, 1000


@dataclass(frozen=True, slots=True)
class Carried:
    """Weights and what they are for; None is what they do not fix."""

    source: WeightsSource
    space_name: str | None = None
    resolution: int | None = None
    classes: int | None = None

    def space(self, name: str | None, resolution: int | None, classes: int | None) -> Space:
        """The space they are used in; PonasError when the command line asks for another."""
        from searchspace import build_space

        return build_space(
            _agreed("space", name, self.space_name) or DEFAULT_SPACE,
            _agreed("resolution", resolution, self.resolution) or _RESOLUTION,
            _agreed("classes", classes, self.classes) or _CLASSES,
        )


def open_weights(path: Path | None, data: str | None, finetune: int, seed: int) -> Carried:
    """Random weights without a file, else the file's.

    A supernet's weights are inherited and their batch norm is measured anew on the training images of
    `data` (the data set the file names, where it is None), which needs the extra `train`. A network's
    own weights are carried as they are, and without that extra their accuracy is not measured.
    """
    from ponas_deploy.deploy import random_source

    if path is None:
        if finetune:
            raise PonasError("--finetune needs --weights: random weights are not worth fine-tuning.")
        return Carried(random_source(seed))
    from ponas_deploy.weights import read_weights

    file = read_weights(path)
    data = data or file.metadata.get("data")
    source = _source(file, data, finetune, seed)
    return Carried(source, file.metadata.get("space"), file.number("resolution"), file.number("classes"))


def _source(file: WeightsFile, data: str | None, finetune: int, seed: int) -> WeightsSource:
    from ponas_deploy.deploy import WeightsSource
    from searchspace.weights import inherit

    as_they_are = not file.supernet and not finetune
    if as_they_are and (data is None or not _trains()):
        return WeightsSource(f"{file.path.name}, as they are", lambda a: inherit(file.tensors, a))
    if data is None:
        raise PonasError(f"{file.path} does not name its data set: name it with --data.")
    if not _trains():
        raise MissingExtraError("torch, which inheriting weights needs,", "train")
    from ponas_deploy.commands.inherited import inherited

    return inherited(file, data, finetune, seed, as_they_are)


def _trains() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None


def _agreed(what: str, asked: Found | None, given: Found | None) -> Found | None:
    if asked is not None and given is not None and asked != given:
        raise PonasError(f"--{what} {asked} was asked for, but the weights are for {given}.")
    return asked if given is None else given
