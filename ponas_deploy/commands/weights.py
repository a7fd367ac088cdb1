"""The weights an engine shall carry: random ones, or a file's, inherited and recalibrated by `train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ponas_deploy.commands.architectures import DEFAULT_SPACE
from ponas_deploy.errors import PonasError

if TYPE_CHECKING:
    from ponas_deploy.deploy import WeightsSource
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
    """Random weights without a file, else the file's; MissingExtraError where `train` is needed and missing."""
    from ponas_deploy.deploy import random_source

    if path is None:
        if finetune:
            raise PonasError("--finetune needs --weights: random weights cannot be fine-tuned.")
        return Carried(random_source(seed))
    raise PonasError("not yet")


def _agreed(what: str, asked: Found | None, given: Found | None) -> Found | None:
    if asked is not None and given is not None and asked != given:
        raise PonasError(f"--{what} {asked} was asked for, but the weights are for {given}.")
    return asked if given is None else given
