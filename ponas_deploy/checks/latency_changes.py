"""What changed between a latency table and a part of it that was measured again. Pure.

A cell has moved where its two intervals do not overlap. The front with the moved cells says whether anything
would be chosen differently. Where everything moved by one factor the machine is another (load, clocks,
power mode), and the order of networks still is what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal, TypeAlias

from ponas_deploy.files.findings import Finding
from ponas_deploy.machines.advice import doctor_command
from ponas_deploy.search.frontier import Front, best_within
from ponas_deploy.search.pareto import front
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.quality import NOISY_PCT
from ponas_deploy.tables.rounds import InterferenceSummary
from ponas_deploy.tables.statistics import repeatability
from searchspace.space import HEAD, STEM

_LEAST_ALLOWED_PCT = 2.0

Choices: TypeAlias = tuple[str, ...]
RecheckVerdict: TypeAlias = Literal["holds", "shifted", "moved", "unknown"]


@dataclass(frozen=True, slots=True)
class RecheckedCell:
    """A cell before and now, in milliseconds with its interval; `moved` where the intervals do not overlap.

    `layers` share the cell. `own` where it moved otherwise than all cells together did.
    """

    key: str
    layers: tuple[str, ...]
    candidate: str
    before_ms: float
    now_ms: float
    change_pct: float
    moved: bool
    own: bool


@dataclass(frozen=True, slots=True)
class RecheckedNetwork:
    """A network of the front: what the table predicts, and what it takes now."""

    choices: Choices
    predicted_ms: float
    measured_ms: float
    error_pct: float


@dataclass(frozen=True, slots=True)
class RecheckedChoice:
    """What the table chooses for a budget, and what it would choose with the cells that moved.

    `takes_ms` is what its choice takes with them. `reordered` where it would choose differently even without
    what all cells moved by together.
    """

    budget_ms: float
    before: Choices
    after: Choices
    takes_ms: float
    loss_before_pp: float
    loss_after_pp: float | None
    reordered: bool

    @property
    def changed(self) -> bool:
        """Whether another network would be chosen."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Recheck:
    """What measuring again found out about a table.

    `differences` are what the table was made with that is another thing here, one phrase each. `common_pct`
    is what all measured cells moved by together. `error_pct` is the mean error of the table on
    the networks now, `rest_pct` what is left of it without a common factor, `allowed_pct` twice what its
    certificate and the noise (`noise_pct`, of now) explain. `interference` is of the rounds: (name, value).
    `device` is the one that the table is of.
    """

    name: str
    cells: tuple[RecheckedCell, ...]
    networks: tuple[RecheckedNetwork, ...]
    choices: tuple[RecheckedChoice, ...]
    common_pct: float
    error_pct: float
    rest_pct: float
    allowed_pct: float
    noise_pct: float
    interference: InterferenceSummary | None = None
    differences: tuple[str, ...] = ()
    device: str = ""

    @property
    def moved(self) -> tuple[RecheckedCell, ...]:
        """The cells that moved by more than noise, the largest move first."""
        return tuple(sorted((c for c in self.cells if c.moved), key=lambda cell: -abs(cell.change_pct)))

    @property
    def changed(self) -> int:
        """At how many budgets another network would be chosen."""
        return sum(choice.changed for choice in self.choices)

    @property
    def reordered(self) -> int:
        """At how many budgets it would be another one even without what all cells moved by together."""
        return sum(choice.reordered for choice in self.choices)

    @property
    def verdict(self) -> RecheckVerdict:
        """Whether it holds, all moved by one factor, single cells moved, or it is too noisy here to say."""
        if self.noise_pct > NOISY_PCT:
            return "unknown"
        if self.error_pct <= self.allowed_pct:
            return "holds"
        return "shifted" if self.rest_pct <= self.allowed_pct else "moved"

    @property
    def finding(self) -> Finding:
        """The verdict as a finding about the table, with what to do."""
        error = f"networks of the front are predicted to {self.error_pct:.1f} % on average"
        figures = f"{error} ({self.allowed_pct:.1f} % allowed by certificate and noise)"
        if self.verdict == "holds":
            return Finding("ok", self.name, f"holds: {figures}.")
        if self.verdict == "unknown":
            repeated = f"measuring the same networks twice differs by {self.noise_pct:.1f} %"
            advice = f"{doctor_command(self.device)} says what disturbs; try again when that is over."
            return Finding("warning", self.name, f"cannot be checked now: {repeated}.", advice)
        if self.verdict == "shifted":
            message = f"is off by one factor: {figures}, {self.rest_pct:.1f} % without it."
            advice = (
                "The order of networks holds, and `ponas specialize --device` corrects the rest by measuring;"
                f" see {doctor_command(self.device)} for what is different, or profile again."
            )
            return Finding("warning", self.name, message, advice)
        return Finding("error", self.name, f"no longer holds: {figures}.", "Profile again.")

    @property
    def text(self) -> str:
        """The finding in words, with the table's name first."""
        return f"{self.name} {self.finding.text}"


@dataclass(frozen=True, slots=True)
class RecheckPlan:
    """What is measured again: keys of cells, networks of the front, and the budgets they are best for."""

    keys: tuple[str, ...]
    networks: tuple[Choices, ...]
    budgets_ms: tuple[float, ...]


def compare(
    name: str,
    table: LatencyTable,
    accuracy: AccuracyTable,
    plan: RecheckPlan,
    now: Mapping[str, Measurement],
) -> Recheck:
    """Compare what was measured `now` (by cell key, or a network's text) with the table. Pure."""
    cells = _cells(table, plan.keys, now)
    networks = tuple(_network(table, choices, now[",".join(choices)]) for choices in plan.networks)
    shift = median(network.measured_ms / network.predicted_ms for network in networks)
    rest = [abs(100 * (network.predicted_ms * shift / network.measured_ms - 1)) for network in networks]
    noise_pct = repeatability([now[",".join(c)] for c in plan.networks], _statistic(table)).difference_pct
    known = table.certificate
    explained = (noise_pct, *((known.mean_error_pct, known.noise_floor_pct) if known else ()))
    return Recheck(
        name,
        cells,
        networks,
        _choices(
            table,
            _with_changes(table, cells, now),
            _with_own_changes(table, cells),
            accuracy,
            plan.budgets_ms,
        ),
        100 * (median(cell.now_ms / cell.before_ms for cell in cells) - 1),
        fmean(abs(network.error_pct) for network in networks),
        fmean(rest),
        2 * max(_LEAST_ALLOWED_PCT / 2, *explained),
        noise_pct,
        device=table.conditions.device if table.conditions else "",
    )


def _statistic(table: LatencyTable) -> str:
    return table.statistic or "median"


def _cells(
    table: LatencyTable, keys: Sequence[str], now: Mapping[str, Measurement]
) -> tuple[RecheckedCell, ...]:
    before, statistic = dict(table.measurements), _statistic(table)
    common = median(now[key].value_ms(statistic) / before[key].value_ms(statistic) for key in keys)
    found = []
    for key in keys:
        places = _places(table, key)
        old, new = before[key].value_ms(statistic), now[key].value_ms(statistic)
        found.append(
            RecheckedCell(
                key,
                tuple(layer for layer, _ in places),
                places[0][1],
                old,
                new,
                100 * (new / old - 1),
                _apart(before[key], now[key], statistic),
                _apart(before[key], now[key], statistic, common),
            )
        )
    return tuple(found)


def _places(table: LatencyTable, key: str) -> list[tuple[str, str]]:
    """The layers and candidates that share a cell."""
    rows = zip(table.grid.layers, table.grid.candidates, table.cell_keys, strict=True)
    return [
        (layer, label)
        for layer, labels, row in rows
        for label, own in zip(labels, row, strict=True)
        if own == key
    ]


def _apart(before: Measurement, now: Measurement, statistic: str, factor: float = 1.0) -> bool:
    """Whether the intervals do not overlap, after the older one is multiplied."""
    old, new = before.interval_ms(statistic), now.interval_ms(statistic)
    return factor * old[1] < new[0] or new[1] < factor * old[0]


def _network(table: LatencyTable, choices: Choices, now: Measurement) -> RecheckedNetwork:
    predicted, measured = table.predict_ms(choices), now.value_ms(_statistic(table))
    return RecheckedNetwork(choices, predicted, measured, 100 * (predicted / measured - 1))


def _with_changes(
    table: LatencyTable, cells: Sequence[RecheckedCell], now: Mapping[str, Measurement]
) -> LatencyTable:
    """The table with what moved; cells that were not measured again move as the median of those that were."""
    factors = {cell.key: cell.now_ms / cell.before_ms if cell.moved else 1.0 for cell in cells}
    usual, before, statistic = median(factors.values()), dict(table.measurements), _statistic(table)
    ends = [name for name in (STEM, HEAD) if name in now and name in before]
    fixed = [now[name].value_ms(statistic) / before[name].value_ms(statistic) for name in ends]
    moved = any(_apart(before[name], now[name], statistic) for name in ends)
    values = tuple(
        tuple(value * factors.get(key, usual) for value, key in zip(row, keys, strict=True))
        for row, keys in zip(table.grid.values, table.cell_keys, strict=True)
    )
    constant = table.grid.fixed * (fmean(fixed) if moved else 1.0)
    return replace(table, grid=replace(table.grid, values=values, fixed=constant))


def _with_own_changes(table: LatencyTable, cells: Sequence[RecheckedCell]) -> LatencyTable:
    """The table with what moved otherwise than all cells together did."""
    common = median(cell.now_ms / cell.before_ms for cell in cells)
    own = {cell.key: cell.now_ms / cell.before_ms / common for cell in cells if cell.own}
    values = tuple(
        tuple(value * own.get(key, 1.0) for value, key in zip(row, keys, strict=True))
        for row, keys in zip(table.grid.values, table.cell_keys, strict=True)
    )
    return replace(table, grid=replace(table.grid, values=values))


def _choices(
    table: LatencyTable,
    moved: LatencyTable,
    reordered: LatencyTable,
    accuracy: AccuracyTable,
    budgets_ms: Sequence[float],
) -> tuple[RecheckedChoice, ...]:
    then, now, apart = front(table, accuracy), front(moved, accuracy), front(reordered, accuracy)
    found = []
    for budget in budgets_ms:
        before, index = best_choice(table, then, budget), best_within(now, budget)
        found.append(
            RecheckedChoice(
                budget,
                before,
                () if index is None else moved.grid.labels(now.choices[index].tolist()),
                moved.predict_ms(before),
                float(then.loss[best_within(then, budget) or 0]),
                None if index is None else float(now.loss[index]),
                before != best_choice(reordered, apart, budget),
            )
        )
    return tuple(found)


def best_choice(table: LatencyTable, found: Front, budget_ms: float) -> Choices:
    """The choice of a budget within the front's range."""
    index = best_within(found, budget_ms)
    return table.grid.labels(found.choices[index or 0].tolist())
