"""What the documents of a training run hold: typed values and their formats. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ponas_deploy.files.bounds import Count, Seed
from ponas_deploy.files.documents import Format
from ponas_deploy.tables.grid import SpaceKey
from train.progress import Evaluation
from train.settings import SpecializedSettings

Plain: TypeAlias = bool | int | float | str | None
Setting: TypeAlias = Plain | list[Plain]


@dataclass(frozen=True, slots=True)
class RunDocument:
    """`run.json`: everything that decides what comes out of a run, by dotted name (`meta.epochs`)."""

    settings: dict[str, Setting]


RUN = Format("ponas.training-run", 1, RunDocument)
"""A run of `ponas train`."""
SPECIALIZED_RUN = Format("ponas.specialized-run", 1, RunDocument)
"""A run of `ponas train specialized`."""
TRANSFER_RUN = Format("ponas.transfer-run", 1, RunDocument)
"""A run of `ponas train transfer`."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A weights file that a network inherited from or learned from."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SpecializedDocument:
    """`result.json`: what a specialized network is worth, in float32, and where it comes from.

    `images` counts those of each part. `created` is a time in UTC.
    """

    validation: Evaluation
    test: Evaluation
    weights: str
    weights_sha256: str
    space: SpaceKey
    choices: tuple[str, ...]
    data: str
    split_seed: Seed
    images: dict[str, Count]
    seed: Seed
    training: SpecializedSettings
    inherited: SourceFile | None
    teacher: SourceFile | None
    created: str
    device: str
    torch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecializedPrinted(SpecializedDocument):
    """What `ponas train specialized --json` prints: the document with its format, and where it lies.

    `weights` is the path of the weights, `result` that of the document.
    """

    format: str
    result: str


SPECIALIZED = Format("ponas.specialized", 1, SpecializedDocument)
