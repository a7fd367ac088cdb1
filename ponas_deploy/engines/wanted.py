"""What is to be deployed and how, before a device and its tables are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ponas_deploy.backends import OnBuildProgress
from ponas_deploy.engines.losses import Losses, stored_losses
from ponas_deploy.engines.search import OnAttempt
from ponas_deploy.engines.task import WeightsSource
from ponas_deploy.engines.weights import Carried, open_weights
from ponas_deploy.errors import UnknownNameError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.profiling.progress import OnProgress
from ponas_deploy.search.costs import Amount, limits_of
from ponas_deploy.search.notation import Limit
from ponas_deploy.tables import store
from ponas_deploy.tables.margin import CONFIDENCE
from ponas_deploy.tables.measurement import PERCENTILES
from ponas_deploy.tables.store import StoredAccuracy, StoredTable
from searchspace.space import Space

SECONDS = 60.0
"""Seconds that missing profiles of a device may take, all together."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is asked for, of one device or of several: the arguments of `ponas.deploy`, which explains them.

    `budget` holds all limits. UnknownNameError for a percentile that is not measured.
    """

    space: Space
    out: Path | str
    losses: Losses | Sequence[Losses] | None = None
    budget: Mapping[str, Amount] = field(default_factory=dict)
    resolutions: Sequence[int] | str | None = None
    percentile: int = 50
    confidence: float = CONFIDENCE
    weights: WeightsSource | Carried | Path | str | None = None
    data: str | None = None
    finetune: int = 0
    calibration: Path | str | None = None
    latency_table: str | Sequence[str] | None = None
    shortlist: int = 0
    method: str = "exact"
    seed: int = 0
    tries: int = 8
    seconds: float = SECONDS
    overwrite: bool = False
    on_note: OnNote = no_note
    on_progress: OnProgress | None = None
    on_build: OnBuildProgress | None = None
    on_attempt: OnAttempt | None = None

    def __post_init__(self) -> None:
        if self.percentile not in PERCENTILES:
            raise UnknownNameError("percentile", str(self.percentile), map(str, PERCENTILES))

    @property
    def folder(self) -> Path:
        """Where it goes."""
        return Path(self.out)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, with the files that it names.

    `named` are the only latency tables to choose by; none for all that serve the device.
    """

    asked: Deployment
    losses: tuple[StoredAccuracy, ...]
    limits: Mapping[str, Limit]
    carried: Carried
    named: tuple[StoredTable, ...]


def wanted_of(asked: Deployment) -> Wanted:
    """Read the files that a deployment names; raises as `deploy` where one cannot be used."""
    carried = carried_by(
        asked.weights, asked.data, asked.finetune, asked.seed, asked.calibration, asked.on_note
    )
    return Wanted(
        asked,
        stored_losses(asked.space, asked.losses, carried.file),
        limits_of(asked.budget),
        carried,
        tuple(store.latency_table(name, asked.on_note) for name in _names_of(asked.latency_table)),
    )


def carried_by(
    weights: WeightsSource | Carried | Path | str | None,
    data: str | None,
    finetune: int,
    seed: int,
    calibration: Path | str | None,
    on_note: OnNote,
) -> Carried:
    """What was given, or the weights of a file, or random ones."""
    if isinstance(weights, Carried):
        return weights
    if isinstance(weights, WeightsSource):
        given = weights
        return Carried(lambda resolution: given, file=given.file)
    path, images = weights and Path(weights), calibration and Path(calibration)
    return open_weights(path or None, data, finetune, seed, images or None, on_note)


def _names_of(latency_table: str | Sequence[str] | None) -> tuple[str, ...]:
    """One name, several or none as a tuple."""
    return (latency_table,) if isinstance(latency_table, str) else tuple(latency_table or ())
