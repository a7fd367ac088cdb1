"""A network for a budget by tables alone: nothing is built, and what speaks against the table is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from ponas_deploy.engines.counted_energy import refuse_without_engines
from ponas_deploy.errors import BudgetError, UnknownNameError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.profiling.serving_tables import measured_first
from ponas_deploy.profiling.staleness import refuse_stale
from ponas_deploy.search.budget import Budget, binds_nothing
from ponas_deploy.search.costs import Amount, cost_column, limits_of
from ponas_deploy.search.margins import choose_within
from ponas_deploy.search.notation import Limit
from ponas_deploy.search.sides import Side, budget_from, budget_over, sides_of
from ponas_deploy.search.specialize import METHODS, Specialization, matched_loss
from ponas_deploy.search.specialize import shortlist as within
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_quality import accuracy_warnings, top1_warnings
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.margin import Margin, beyond_the_rows, margin
from ponas_deploy.tables.named import as_stored
from ponas_deploy.tables.quality import doubts, usable_tables
from ponas_deploy.tables.resolutions import at, resolution_warnings
from ponas_deploy.tables.spaces import resolutions, space_of
from ponas_deploy.tables.store import StoredTable
from ponas_deploy.tables.units import budget_doubt
from searchspace.space import Space


@dataclass(frozen=True, slots=True)
class Choice:
    """A network that was chosen and not built, the margin that was left, and warnings of it and the tables.

    `doubts` are those that make the choice worthless. `table` is the latency table's name where there were
    several, `estimated` says that nobody measured it.
    """

    specialization: Specialization
    margin: Margin | None
    warnings: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    table: str = ""
    estimated: str = ""


def choose_over(
    latencies: Sequence[StoredTable],
    sides: Sequence[Side],
    budget: Budget,
    *,
    names: Sequence[str],
    method: str = "exact",
    seed: int = 0,
    confidence: float | None = None,
    on_note: OnNote = no_note,
) -> Choice:
    """The best network within a budget over several latency tables, each with its `Side` and its name.

    Of networks that lose the same the faster one, with a margin where a `confidence` asks for one. Its
    warnings are about all tables and about this network alone; `on_note` is called with each. With a
    `confidence` boards of the device book are asked what they are now. BudgetError, the most hopeful table's,
    where none fits; MeasurementError where a table is too poor or too old to promise.
    """
    refuse_without_engines(budget)
    found, refusals, said = list[Choice](), list[BudgetError](), dict[str, None]()

    def note_once(text: str) -> None:
        if text not in said:
            on_note(text)
        said[text] = None

    kept = measured_first(latencies, note_once)
    rows = [row for row in zip(names, latencies, sides, strict=True) if any(row[1] is one for one in kept)]
    if text := binds_nothing([stored.table.grid for stored in kept], budget.latency_ms):
        note_once(text)
    for name, stored, side in rows:
        for text in _against({name: stored.table}, side.accuracy, budget, confidence):
            note_once(text)
    if confidence:
        for text in refuse_stale([stored for _, stored, _ in rows], on_note):
            note_once(text)
    for name, stored, side in rows:
        try:
            one = _chosen(stored, side, budget, name, method, seed, confidence)
        except BudgetError as error:
            refusals.append(error)
            continue
        against = doubts({name: stored.table}, side.accuracy)
        found.append(replace(one, doubts=against, table=name if len(latencies) > 1 else ""))
    if not found:
        raise _most_hopeful(refusals)
    best = min(found, key=lambda one: (one.specialization.compared_pp, one.specialization.predicted_ms))
    for text in best.warnings:
        note_once(text)
    for side in sides:
        for text in resolution_warnings(side.accuracy, [one.resolution for one in sides if one.resolution]):
            note_once(text)
    return replace(best, warnings=tuple(said))


def _against(
    named: Mapping[str, LatencyTable], accuracy: AccuracyTable, budget: Budget, confidence: float | None
) -> tuple[str, ...]:
    """What speaks against a latency table, by its name, and the accuracy table, whatever is chosen by them.

    MeasurementError for a latency table too poor to promise with `confidence`.
    """
    return (*latency_warnings(named, budget, confidence), *accuracy_warnings(accuracy))


def latency_warnings(
    named: Mapping[str, LatencyTable], budget: Budget, confidence: float | None = None
) -> tuple[str, ...]:
    """What speaks against latency tables, by their names, and against their unit.

    MeasurementError for a table too poor to promise with `confidence`.
    """
    _, against = usable_tables(named, confidence=confidence, promise=confidence is not None)
    units = [budget_doubt(table.grid, budget.latency_ms) for table in named.values() if budget.latency_ms]
    return (*against, *filter(None, units))


def _chosen(
    latency: StoredTable,
    side: Side,
    budget: Budget,
    name: str,
    method: str,
    seed: int,
    confidence: float | None,
) -> Choice:
    """The best network by a table called `name`; its warnings are those about this network."""
    table, accuracy = latency.table, side.accuracy
    left = margin(table, confidence) if confidence else None
    found = choose_within(left, table, accuracy, budget, space=side.space, method=method, seed=seed)
    beyond = beyond_the_rows(table, found.predicted_ms)
    of_table = [f"{name}: {beyond}"] if beyond else []
    of_top1 = top1_warnings(accuracy, [found.predicted_loss_pp], resolutions([table]))
    return Choice(found, left, (*of_table, *of_top1), estimated=table.estimated)


def refuse_impossible(
    each: Sequence[tuple[Space, AccuracyTable]], limits: Mapping[str, Limit], method: str = "exact"
) -> None:
    """Refuse what no latency table can make possible, before one is measured.

    `each` are the spaces of all resolutions, with the losses there. Raises UnknownNameError for a method that
    nobody knows, TableMismatchError for losses of another space, PonasError without a limit, BudgetError for
    limits on counted costs (parameters, MACs, bytes) that nothing meets at any resolution.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    sides = []
    for space, losses in each:
        nothing = Grid.over(space, ([0.0] * len(layer.candidates) for layer in space.layers))
        sides.append(Side(LatencyTable(nothing, SpaceKey.of(space)), losses, space))
        matched_loss(sides[-1].latency, losses)
    counted = {name: limit for name, limit in limits.items() if not cost_column(name).on_device}
    if not counted and limits:
        return
    budget, refusals = budget_over(counted, sides), list[BudgetError]()
    for side in sides:
        try:
            within(side.latency, side.accuracy, budget, 1, space=side.space)
        except BudgetError as error:
            refusals.append(error)
    if len(refusals) == len(sides):
        raise _most_hopeful(refusals)


def _most_hopeful(refusals: Sequence[BudgetError]) -> BudgetError:
    return min(refusals, key=lambda error: inf if error.least is None else error.least)


def specialize(
    table: LatencyTable | Sequence[LatencyTable],
    losses: AccuracyTable | Sequence[AccuracyTable],
    budget: Mapping[str, Amount] | None = None,
    *,
    confidence: float | None = None,
    space: Space | None = None,
    method: str = "exact",
    seed: int = 0,
    on_note: OnNote = no_note,
    **limits: float | str,
) -> Specialization:
    """Choose the network of least loss within a budget, by two tables; nothing is built or measured.

    Args:
        table: latencies of a space's cells, in milliseconds; or several tables, of several runtimes or
            resolutions: the best network of all.
        losses: losses of the same cells, in percentage points of top-1; of several resolutions a table of
            each, or one that says what other resolutions lose.
        budget: the limits as a value (`Budget`); or name them below.
        confidence: keep this share of networks (0.5 to 0.999) under the budget, by a margin from the
            table's certificate; None leaves no margin. A board of the device book is asked over its link
            whether its table still holds; one that cannot be reached is a note.
        space: for limits on anything but latency, where the table does not know its space.
        method: "exact" (the optimum) or "ga" (the paper's genetic algorithm, with its gap to the optimum).
        seed: of the genetic algorithm.
        on_note: called with each warning about the tables.
        **limits: at most so much of a column, in its unit: `latency_ms`, `macs`, `params`, `bytes`; or as a
            text such as `latency="60%"` (of the latency above which nothing is won) or `params="5.1M"`.
            `fps=50` is at least so many frames per second, at the batch of the tables, in place of a latency.

    Returns: the choice, its predicted milliseconds and percentage points, its resolution in pixels, and its
    gap to the optimum of its table.

    Raises: BudgetError when nothing fits (it names the least that is possible), PonasError without a
    limit, UnknownNameError for a column or method that nobody knows, TableMismatchError for tables of two
    spaces or where nothing says what a resolution loses, MeasurementError for a table too poor or too old to
    promise with `confidence`.
    """
    tables = [table] if isinstance(table, LatencyTable) else list(table)
    spaces = [space or space_of(one) for one in tables]
    if space and len(tables) > 1:
        spaces = [at(space, one.space.resolution) if one.space else space for one in tables]
    sides = sides_of(tables, [losses] if isinstance(losses, AccuracyTable) else list(losses), spaces)
    stored = [as_stored(one) for one in tables]
    found = choose_over(
        stored,
        sides,
        budget_over(limits_of(budget, limits), sides),
        names=[one.name for one in stored],
        method=method,
        seed=seed,
        confidence=confidence,
        on_note=on_note,
    )
    return found.specialization


def shortlist(
    table: LatencyTable,
    losses: AccuracyTable,
    count: int,
    budget: Mapping[str, Amount] | None = None,
    *,
    space: Space | None = None,
    **limits: float | str,
) -> tuple[Specialization, ...]:
    """Choose the `count` best networks within a budget, exactly, the one of least loss first.

    Args: as of `specialize`: `table` in milliseconds, `losses` in percentage points, `budget` or
    `**limits`, `space` where the table does not know its own. Fewer are returned where fewer
    exist.

    Raises: BudgetError when nothing fits, PonasError without a limit or for a `count` below 1,
    UnknownNameError for a column that nobody knows, TableMismatchError for tables of two spaces.
    """
    built = space or space_of(table)
    known = losses.brought_to(table.space.resolution) if table.space else losses
    asked = budget_from(limits_of(budget, limits), [table], known, built)
    refuse_without_engines(asked)
    return within(table, known, asked, count, space=built)
