"""The network that several devices share: chosen by their latency tables, each within its own budget.

Layers may be listed in another order in another device's table, and a table has a margin of its own: here
they become costs of one search (`shared`). Beside the shared network stands the best of each device alone, so
that the price of sharing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from ponas_deploy.errors import BudgetError, PonasError, TableMismatchError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import LATENCY, cost_column
from ponas_deploy.search.margins import with_margin_said
from ponas_deploy.search.shared import Cells, Limited, SharedBest, best_shared, least_of
from ponas_deploy.search.sides import Side
from ponas_deploy.search.specialize import (
    Specialization,
    cells_of,
    groups_of,
    matched_loss,
    network_at,
    refuse_swamping,
    specialize,
)
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.margin import Margin
from searchspace.depth import LayerGroups


@dataclass(frozen=True, slots=True)
class NamedSide:
    """A latency table of a device by its name, what counts beside it, and its margin, None without one.

    Engines that were built took `measured` times the table's prediction, 1 where none was.
    """

    name: str
    side: Side
    margin: Margin | None = None
    measured: float = 1.0

    @property
    def factor(self) -> float:
        """What predictions are multiplied with before they are held against the budget."""
        return max(self.margin.factor if self.margin else 1.0, self.measured)


@dataclass(frozen=True, slots=True)
class FleetDevice:
    """A device by its name: its tables, one a runtime, precision and resolution, and its budget."""

    name: str
    tables: tuple[NamedSide, ...]
    budget: Budget


@dataclass(frozen=True, slots=True)
class OnDevice:
    """The shared network on a device: by which table it is fastest there, and the best of the device alone.

    `choice` holds the device's budget and the latency that `table` predicts. `place` is that of the table
    among the device's.
    """

    name: str
    table: str
    place: int
    choice: Specialization
    margin: Margin | None
    own: Specialization
    own_table: str

    @property
    def cost_points(self) -> float:
        """What sharing costs here: points of top-1 where they are predicted, else of loss."""
        return self.choice.compared_pp - self.own.compared_pp


@dataclass(frozen=True, slots=True)
class Shared:
    """One network for all devices, and what it is on each; the network is the same in every `choice`."""

    devices: tuple[OnDevice, ...]

    @property
    def choice(self) -> Specialization:
        """The shared network with the budget and the latency of the first device."""
        return self.devices[0].choice


def choose_shared(devices: Sequence[FleetDevice]) -> Shared:
    """The network of least loss that keeps the budget of every device, by the exact search.

    A device keeps its budget where any of its tables says so, with the table's margin; the network runs by
    the table that is fastest for it. Limits on anything but latency are the same for all. Of several
    resolutions, which all devices need tables of, the best one.

    BudgetError names the device that cannot keep its budget and the least it takes: alone, or while the
    others keep theirs. TableMismatchError where devices have no resolution in common, or tables of two
    spaces; PonasError without a device.
    """
    if not devices:
        raise PonasError("no device was named: name one or more.")
    own = [_own_best(device) for device in devices]
    found, refusals = list[Shared](), list[BudgetError]()
    for resolution in _common_resolutions(devices):
        try:
            found.append(_Search.of(devices, resolution).shared(own))
        except BudgetError as error:
            refusals.append(error)
    if not found:
        raise _most_hopeful(refusals)
    return min(found, key=lambda one: one.choice.compared_pp)


def _common_resolutions(devices: Sequence[FleetDevice]) -> tuple[int | None, ...]:
    each = [{one.side.resolution for one in device.tables} for device in devices]
    if common := set.intersection(*each):
        return tuple(sorted(common, key=lambda px: px or 0))
    texts = (
        f"{device.name}: {', '.join(sorted(map(str, found)))}"
        for device, found in zip(devices, each, strict=True)
    )
    raise TableMismatchError(
        f"the devices have no tables of one resolution in pixels ({'; '.join(texts)}), and a network has one:"
        " profile them at the same."
    )


def _most_hopeful(refusals: Sequence[BudgetError]) -> BudgetError:
    return min(refusals, key=lambda error: inf if error.least is None else error.least)


@dataclass(frozen=True, slots=True)
class _Own:
    """The best network of a device alone, and the table it is the best by."""

    choice: Specialization
    table: str


def _own_best(device: FleetDevice) -> _Own:
    """The best network of a device over its tables; BudgetError, the most hopeful one's, where none fits."""
    found, refusals = list[_Own](), list[BudgetError]()
    for one in device.tables:
        side = one.side
        try:
            chosen = specialize(
                side.latency.scaled(one.factor), side.accuracy, device.budget, space=side.space
            )
        except BudgetError as error:
            refusals.append(with_margin_said(error, one.margin))
            continue
        plain_ms = side.latency.predict_ms(chosen.choices)
        found.append(_Own(replace(chosen, predicted_ms=plain_ms), one.name))
    if not found:
        raise _most_hopeful(refusals)
    return min(found, key=lambda own: (own.choice.compared_pp, own.choice.predicted_ms))


@dataclass(frozen=True, slots=True)
class _Search:
    """The search at one resolution: `devices` with the tables of it, and for each the `places` of those.

    Layers and candidates are in the order of `grid`, that of the first device's first table.
    """

    devices: tuple[FleetDevice, ...]
    places: tuple[tuple[int, ...], ...]
    side: Side
    groups: LayerGroups

    @classmethod
    def of(cls, devices: Sequence[FleetDevice], resolution: int | None) -> _Search:
        """With the tables of that resolution."""
        places = tuple(
            tuple(at for at, one in enumerate(device.tables) if one.side.resolution == resolution)
            for device in devices
        )
        there = tuple(
            replace(device, tables=tuple(device.tables[at] for at in own))
            for device, own in zip(devices, places, strict=True)
        )
        first = there[0].tables[0].side
        return cls(there, places, first, groups_of(first.latency, first.accuracy))

    @property
    def grid(self) -> Grid:
        """What all tables are brought into the order of."""
        return self.side.latency.grid

    def shared(self, own: Sequence[_Own]) -> Shared:
        """The best network; BudgetError where not all budgets can be kept."""
        loss = matched_loss(self.side.latency, self.side.accuracy)
        refuse_swamping(loss, "accuracy table")
        limits = self._limits()
        best = best_shared(self.groups.joined(loss.arrays()), limits)
        if best is None:
            raise self._refusal(limits)
        return Shared(
            tuple(self._on(place, best, alone) for place, alone in enumerate(own)),
        )

    def _limits(self) -> list[Limited]:
        """The latency on each device, then what is counted, which is the same on all."""
        found = []
        for device in self.devices:
            most = device.budget.latency_ms
            scaled = [(one.side.latency.grid.scaled(one.factor), one.name) for one in device.tables]
            tables = [self._cells(*one) for one in scaled]
            found.append(Limited(tables, inf if most is None else most))
        for name, most in self.devices[0].budget.items():
            if name != LATENCY.name:
                counted = cells_of(cost_column(name), self.side.latency, self.side.space)
                found.append(Limited([self._cells(counted, name)], most))
        return found

    def _cells(self, grid: Grid, name: str) -> Cells:
        aligned = grid.aligned_to(self.grid, f"table {name}", f"table {self.devices[0].tables[0].name}")
        return Cells(self.groups.joined(aligned.arrays()), aligned.fixed)

    def _on(self, place: int, best: SharedBest, own: _Own) -> OnDevice:
        """The best network on the device at `place`, by the table that is fastest for it."""
        device, table = self.devices[place], best.tables[place]
        one, row = device.tables[table], self.groups.choices(best.choices)
        loss = matched_loss(self.side.latency, self.side.accuracy)
        plain = network_at(self.side.latency, self.side.accuracy, loss, device.budget, row)
        by_layer, latency = dict(zip(self.grid.layers, plain.choices, strict=True)), one.side.latency
        choice = replace(
            plain,
            predicted_ms=latency.predict_ms([by_layer[layer] for layer in latency.grid.layers]),
            gap_pp=best.gap,
            optimal=best.gap == 0.0,
        )
        table_place = self.places[place][table]
        return OnDevice(device.name, one.name, table_place, choice, one.margin, own.choice, own.table)

    def _refusal(self, limits: Sequence[Limited]) -> BudgetError:
        """That the budgets cannot be kept together, by the device that would have to be given least more."""
        short = []
        for place, device in enumerate(self.devices):
            least = least_of(place, limits) if device.budget.latency_ms is not None else None
            if least is not None:
                short.append((least / limits[place].limit, least, device))
        if not short:
            name, limit = self.devices[0].budget.limits[0]
            texts = "; ".join(f"{one.name}: {' and '.join(one.budget.texts)}" for one in self.devices)
            text = (
                f"no architecture keeps the budgets of all devices ({texts}): loosen more than one of them."
            )
            return BudgetError(text, name, limit, None)
        _, least, device = min(short, key=lambda one: one[0])
        asked, possible = device.budget.latency_ms or 0.0, LATENCY.shown(least, up=True)
        text = (
            f"no architecture meets {LATENCY.shown(asked)} on {device.name} while the others keep their"
            f" budgets: the fastest of those that do takes {possible} there. Ask for {possible} or more on"
            f" {device.name}, or loosen another budget."
        )
        if any(one.factor > 1 for one in device.tables):
            text += " That is with the margin of its tables."
        return BudgetError(text, LATENCY.name, asked, least)
