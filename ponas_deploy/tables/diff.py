"""What moved between two tables of one kind and one space, and whether it is more than noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import fsum
from statistics import median
from typing import TypeAlias

from ponas_deploy.errors import TableMismatchError
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.changes import FITTED, THRESHOLD_PCT, THRESHOLD_PP, Change, changes_of_fits
from ponas_deploy.tables.files import AnyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable

COMMON_PCT = 0.5
"""From here on all cells moved together, and those are marked that moved otherwise."""

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class TableDiff:
    """Two tables, cell by cell.

    `column` names the values (`latency_ms`, `top1_pct`, `loss_pp`), `unit` the unit of a change (`%` or
    `pp`). `judged_by` says in words what makes a change significant. `conditions` are the fields that
    differ, and whether the tables were measured where one was not: (field, before, after). `factor` is what
    all cells moved by together where that is known better than by the median of changes.
    """

    column: str
    unit: str
    judged_by: str
    changes: tuple[Change, ...]
    fixed_before: float
    fixed_after: float
    conditions: tuple[tuple[str, str, str], ...]
    factor: float | None = None

    @property
    def mean_change(self) -> float:
        """The mean over all cells, with its sign: a shift of the whole table."""
        return fsum(change.change for change in self.changes) / max(len(self.changes), 1)

    @property
    def common_change(self) -> float:
        """The median over all cells, with its sign: what all moved by together, a few aside.

        Cells that cost nothing in one of the tables have no factor.
        """
        if self.factor is not None:
            return 100 * (self.factor - 1)
        timed = [one.change for one in self.changes if self.unit != "%" or (one.before and one.after)]
        return median(timed) if timed else 0.0

    @property
    def mean_size(self) -> float:
        """The mean over all cells without sign."""
        return fsum(abs(change.change) for change in self.changes) / max(len(self.changes), 1)

    @property
    def significant(self) -> tuple[Change, ...]:
        """The changes that are more than noise, the largest first."""
        return tuple(change for change in self.largest() if change.significant)

    @property
    def own(self) -> tuple[Change, ...]:
        """The changes that are more than noise without what all moved by together, the largest first."""
        common = self.common_change
        own = (change for change in self.changes if change.own)
        return tuple(sorted(own, key=lambda change: -abs(change.change - common)))

    @property
    def moved_together(self) -> bool:
        """Whether all cells moved by one factor, a few aside."""
        return self.unit == "%" and abs(self.common_change) >= COMMON_PCT

    @property
    def marked(self) -> tuple[Change, ...]:
        """The changes to look at: of their own where all moved together, else all beyond noise."""
        return self.own if self.moved_together else self.significant

    def largest(self) -> tuple[Change, ...]:
        """All changes, the largest first."""
        return tuple(sorted(self.changes, key=lambda change: -abs(change.change)))


def diff_tables(before: AnyTable, after: AnyTable) -> TableDiff:
    """Compare two tables.

    TableMismatchError when one is of latency and the other of accuracy, or their spaces, layers or
    candidates differ.
    """
    if isinstance(before, LatencyTable) and isinstance(after, LatencyTable):
        _refuse_two_spaces(before, after)
        return _diff_latency(before, after)
    if isinstance(before, AccuracyTable) and isinstance(after, AccuracyTable):
        _refuse_two_spaces(before, after)
        return _diff_accuracy(before, after)
    raise TableMismatchError("one table holds latencies and the other accuracies: give two of one kind.")


def _refuse_two_spaces(before: AnyTable, after: AnyTable) -> None:
    if before.space and after.space and before.space.fingerprint != after.space.fingerprint:
        raise TableMismatchError(
            f"the first table is of space '{before.space.name}' ({before.space.fingerprint}), the second"
            f" of '{after.space.name}' ({after.space.fingerprint}): only tables of one space can be compared."
        )


def _diff_latency(before: LatencyTable, after: LatencyTable) -> TableDiff:
    new, factor = _aligned(after.grid, before.grid), None
    if before.protocol.fit or after.protocol.fit:
        (changes, factor), judged_by = changes_of_fits(before, replace(after, grid=new)), FITTED
    else:
        changes, judged_by = _changes(before, after, new)
    fixed, conditions = (before.grid.fixed, after.grid.fixed), _latency_conditions(before, after)
    return TableDiff("latency_ms", "%", judged_by, changes, *fixed, conditions, factor)


def _changes(before: LatencyTable, after: LatencyTable, new: Grid) -> tuple[tuple[Change, ...], str]:
    """The changes of cells, and what they were judged by."""
    old_intervals, new_intervals = _intervals(before), _intervals(after)
    by_interval = bool(old_intervals and new_intervals)

    def moved(layer: str, label: str, old_ms: float, new_ms: float, factor: float = 1.0) -> bool:
        """By more than noise, from `factor` times what it was."""
        if not old_ms or not new_ms:
            return True
        if not by_interval:
            return abs(100 * (new_ms / (factor * old_ms) - 1)) >= THRESHOLD_PCT
        low, high = old_intervals[layer, label]
        return _apart((factor * low, factor * high), new_intervals[layer, label])

    # A block without operations takes no time, and cannot change.
    cells = [cell for cell in _cells(before.grid, new) if any(cell[2:])]
    ratios = [new_ms / old_ms for _, _, old_ms, new_ms in cells if old_ms and new_ms]
    common = median(ratios) if ratios else 1.0
    changes = tuple(
        Change(*cell, _change_pct(*cell[2:]), moved(*cell), moved(*cell, common)) for cell in cells
    )
    return changes, "intervals that do not overlap" if by_interval else f"{THRESHOLD_PCT:g} % or more"


def _change_pct(old_ms: float, new_ms: float) -> float:
    """In percent of the latency before; of that after where there was none."""
    return 100 * (new_ms / old_ms - 1) if old_ms else 100.0


def _diff_accuracy(before: AccuracyTable, after: AccuracyTable) -> TableDiff:
    if before.top1 and after.top1:
        column, old, new = "top1_pct", before.top1, after.top1
    else:
        column, old, new = "loss_pp", before.loss, after.loss
    changes = tuple(
        Change(layer, label, first, second, second - first, abs(second - first) >= THRESHOLD_PP)
        for layer, label, first, second in _cells(old, _aligned(new, old))
    )
    judged_by = f"{THRESHOLD_PP:g} pp or more"
    conditions = tuple(_differing(_accuracy_facts(before), _accuracy_facts(after)))
    return TableDiff(column, "pp", judged_by, changes, old.fixed, new.fixed, conditions)


def _aligned(new: Grid, old: Grid) -> Grid:
    return new.aligned_to(old, "the second table", "the first table")


def _cells(old: Grid, new: Grid) -> Iterator[tuple[str, str, float, float]]:
    """Layer, candidate and both values of every cell; `new` is in the order of `old`."""
    for layer, labels, *rows in zip(old.layers, old.candidates, old.values, new.values, strict=True):
        for label, first, second in zip(labels, *rows, strict=True):
            yield layer, label, first, second


def _intervals(table: LatencyTable) -> dict[tuple[str, str], Interval]:
    """The interval of each cell; empty for a table without intervals."""
    rows = zip(table.grid.layers, table.grid.candidates, table.intervals_ms, strict=False)
    return {
        (layer, label): interval
        for layer, labels, intervals in rows
        for label, interval in zip(labels, intervals, strict=True)
    }


def _apart(first: Interval, second: Interval) -> bool:
    return first[1] < second[0] or second[1] < first[0]


def _latency_conditions(before: LatencyTable, after: LatencyTable) -> tuple[tuple[str, str, str], ...]:
    """What differs; and of tables that nobody measured that they are such, though both are."""
    differ = tuple(_differing(_latency_facts(before), _latency_facts(after)))
    if not (before.estimated or after.estimated):
        return differ
    return (("measured", before.estimated or "yes", after.estimated or "yes"), *differ)


def _latency_facts(table: LatencyTable) -> dict[str, str]:
    stated = table.conditions.document() if table.conditions else {}
    facts = {key: str(value) for key, value in stated.items()}
    facts |= {"statistic": table.statistic, "made": table.created}
    if table.space:
        facts |= {"resolution": f"{table.space.resolution} px", "classes": str(table.space.classes)}
    return facts | dict(table.environment)


def _accuracy_facts(table: AccuracyTable) -> dict[str, str]:
    facts = {"made": table.created}
    if table.origin:
        origin = table.origin
        facts |= {"data": origin.data, "method": origin.method, "resolution": f"{origin.resolution} px"}
        facts |= {"classes": str(origin.classes), "images": str(origin.images), "seed": str(origin.seed)}
        facts |= {f"epochs of {stage}": str(count) for stage, count in origin.epochs}
        facts |= {"weights": origin.weights, **dict(origin.details)}
    if scale := table.top1_scale:
        facts |= {"top-1 at no loss": f"{scale.top1_at_no_loss_pct:.6g} %", "scale": scale.curve}
        facts |= {"error floor": f"{scale.error_floor_pct:g} %"}
    if terms := table.resolution_terms:
        facts |= {"other resolutions": terms.text(one.resolution for one in terms.terms)}
    return facts


def _differing(before: dict[str, str], after: dict[str, str]) -> Sequence[tuple[str, str, str]]:
    fields = dict.fromkeys([*before, *after])
    rows = [(field, before.get(field, ""), after.get(field, "")) for field in fields]
    return [row for row in rows if row[1] != row[2]]


@dataclass(frozen=True, slots=True)
class ConditionChange:
    """A field of the conditions that differs."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class DiffDocument:
    """What `ponas table diff --json` prints; see `TableDiff`. `significant` and `own` are counts."""

    column: str
    unit: str
    judged_by: str
    mean_change: float
    mean_size: float
    common_change: float
    cells: int
    significant: int
    own: int
    fixed_before: float
    fixed_after: float
    conditions: tuple[ConditionChange, ...]
    changes: tuple[Change, ...]


def diff_document(diff: TableDiff) -> DiffDocument:
    """A difference as `ponas table diff --json` prints it, the largest change first."""
    return DiffDocument(
        diff.column,
        diff.unit,
        diff.judged_by,
        diff.mean_change,
        diff.mean_size,
        diff.common_change,
        len(diff.changes),
        len(diff.significant),
        len(diff.own),
        diff.fixed_before,
        diff.fixed_after,
        tuple(ConditionChange(*row) for row in diff.conditions),
        diff.largest(),
    )
