"""What `ponas specialize --json` prints for several devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from functools import cache
from typing import Any

from ponas_deploy.engines.documents import engine_document, engine_document_type
from ponas_deploy.engines.fleet import Fleet
from ponas_deploy.search.fleet import OnDevice, Shared


@dataclass(frozen=True, slots=True)
class SharedOnDevice:
    """The shared network on a device and the best of the device alone, both as the tables predict them.

    `runtime` and `own_runtime` (with its precision) are those that they are fastest in; `margin` is the
    factor that `predicted_ms` was multiplied with, None for none. `cost_points` is what sharing costs: of
    top-1 where it is predicted, else of loss.
    """

    device: str
    budget: Mapping[str, float]
    runtime: str
    margin: float | None
    predicted_ms: float
    shared_loss_pp: float
    shared_top1_pct: float | None
    own_runtime: str
    own_choices: tuple[str, ...]
    own_resolution: int | None
    own_predicted_ms: float
    own_loss_pp: float
    own_top1_pct: float | None
    cost_points: float


@dataclass(frozen=True, slots=True)
class SharedDocument:
    """The one network for all devices; no other that keeps all budgets loses `gap_pp` less."""

    choices: tuple[str, ...]
    resolution: int | None
    optimal: bool
    gap_pp: float | None
    devices: tuple[SharedOnDevice, ...]


@cache
def fleet_document_type() -> type[Any]:
    """An engine document for each device in `engines`, and `shared` where one network serves all."""
    engines: Any = tuple[engine_document_type(), ...]  # type: ignore[misc]
    fields = [("shared", SharedDocument | None), ("engines", engines)]
    return make_dataclass("FleetDocument", fields, frozen=True, slots=True)


def fleet_document(fleet: Fleet) -> Any:
    """Engines of several devices as `ponas specialize --json` prints them."""
    engines = tuple(engine_document(one.manifest, one.folder) for one in fleet.engines)
    return fleet_document_type()(_shared(fleet.shared) if fleet.shared else None, engines)


def _shared(shared: Shared) -> SharedDocument:
    choice = shared.choice
    devices = tuple(map(_on_device, shared.devices))
    return SharedDocument(choice.choices, choice.resolution, choice.optimal, choice.gap_pp, devices)


def _on_device(one: OnDevice) -> SharedOnDevice:
    choice, own = one.choice, one.own
    return SharedOnDevice(
        one.name,
        dict(choice.budget),
        one.table,
        one.margin.factor if one.margin else None,
        choice.predicted_ms,
        choice.predicted_loss_pp,
        choice.predicted_top1.pct if choice.predicted_top1 else None,
        one.own_table,
        own.choices,
        own.resolution,
        own.predicted_ms,
        own.predicted_loss_pp,
        own.predicted_top1.pct if own.predicted_top1 else None,
        one.cost_points,
    )
