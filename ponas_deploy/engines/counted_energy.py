"""Whether a limit on energy can be kept to: it takes engines, and a machine that counts what they take."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ponas_deploy.errors import MeasurementError, PonasError
from ponas_deploy.machines.energy import energy_counter, no_counter
from ponas_deploy.machines.system_files import ROOT
from ponas_deploy.measuring.place import Place
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.costs import ENERGY


def refuse_without_engines(limits: Collection[str]) -> None:
    """PonasError for a limit on energy, by its column, where no engine will be built."""
    if ENERGY.name in limits:
        raise PonasError(
            f"{ENERGY.option} is checked on an engine, and nothing predicts energy before one was built: name"
            " a --device that is reached and counts energy, or limit the latency."
        )


def refuse_without_counter(
    limits: Collection[str], target: Target, place: Place | None, root: Path = ROOT
) -> None:
    """The same before anything is measured: MeasurementError where this machine has no counter.

    What a board counts, its first engine says.
    """
    if place is None:
        refuse_without_engines(limits)
    elif ENERGY.name in limits and target.local and not energy_counter(on_gpu=target.on_gpu, root=root):
        why = no_counter(on_gpu=target.on_gpu, root=root)
        raise MeasurementError(
            f"{ENERGY.option} cannot be checked: {why} Search without {ENERGY.option}, or on a machine that"
            " counts energy."
        )
