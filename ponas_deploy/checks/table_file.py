"""What is wrong, odd or worth knowing about a table, as values.

Public tables hold non-positive, missing and repeated entries, and the same block with times 1.6 to 2.9
apart; so every table that comes in can be checked, and all that is found is named at once. An error
makes the table useless or false, a warning asks for care, a note explains.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from pathlib import Path

import numpy as np

from ponas_deploy.checks.blocks import equal_blocks, odd_orders
from ponas_deploy.checks.odd_cells import odd_cells
from ponas_deploy.errors import FileFormatError, TableMismatchError
from ponas_deploy.files.findings import Finding, Severity
from ponas_deploy.files.records import Faults
from ponas_deploy.search.columns import swamping_cell
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_quality import HELD_OUT, accuracy_findings
from ponas_deploy.tables.files import AnyTable, sift_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.quality import quality_findings
from ponas_deploy.tables.spaces import is_sound, name_of, space_of, values_of
from searchspace.space import HEAD, STEM, Space
from searchspace.spaces import build_space, fingerprint_of, is_known

EXPECTED_SHARE = 0.8
"""A candidate that so many of the layers have is missed in the others (where the space is not known)."""

WRONG_SPREAD, WIDE_SPREAD = 1.5, 1.1
"""Largest over smallest time of one block: above the first one of them is wrong, above the second noisy."""

_BESIDE_CELLS = (STEM, HEAD)
"""Keys of what is measured besides the cells."""


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A file that was checked. `table` is what could be read, None when nothing could."""

    path: Path
    table: AnyTable | None
    findings: tuple[Finding, ...]

    @property
    def kind(self) -> str:
        """What the file holds, for people."""
        return "unreadable" if self.table is None else kind_of(self.table)


def kind_of(table: AnyTable) -> str:
    """`latency` or `accuracy`."""
    return "latency" if isinstance(table, LatencyTable) else "accuracy"


def check_file(path: Path) -> CheckedTable:
    """Check one file, JSON or CSV, of either kind; every fault that reading meets is among the findings."""
    faults = Faults()
    try:
        table = sift_table(path, faults)
    except FileFormatError as fault:
        return CheckedTable(path, None, (_of_fault(fault),))
    in_order = sorted(faults.found, key=lambda fault: [int(n) for n in re.findall(r"[0-9]+", fault.where)])
    return CheckedTable(path, table, (*map(_of_fault, in_order), *faults.notes, *check_table(table)))


def _of_fault(fault: FileFormatError) -> Finding:
    return Finding("error", fault.where, fault.reason)


def check_table(table: AnyTable) -> tuple[Finding, ...]:
    """Everything about a table that was read."""
    grid = values_of(table)
    own = _latency_findings(table) if isinstance(table, LatencyTable) else _accuracy_findings(table, grid)
    summed = table.grid if isinstance(table, LatencyTable) else table.loss
    return (*_space_findings(table.space, grid, _fitted(table)), *_swamped(summed), *own)


def _fitted(table: AnyTable) -> bool:
    """Whether whole networks are all that a table is made from, so that it has the candidates they had."""
    if isinstance(table, LatencyTable):
        return table.protocol.fit is not None
    return table.certificate is not None and table.certificate.method == HELD_OUT


def check_pair(first: AnyTable, second: AnyTable) -> tuple[Finding, ...]:
    """Whether two tables belong together: one space, the same layers and candidates, one resolution."""
    names = f"the first ({kind_of(first)}) table", f"the second ({kind_of(second)}) table"
    if first.space and second.space and first.space.fingerprint != second.space.fingerprint:
        texts = " and ".join(f"'{key.name}' ({key.fingerprint})" for key in (first.space, second.space))
        return (Finding("error", "both tables", f"are of two spaces, {texts}.", "Take two of one space."),)
    try:
        values_of(second).aligned_to(values_of(first), names[1], names[0])
    except TableMismatchError as error:
        return (Finding("error", "both tables", str(error)),)
    return tuple(_made_elsewhere(first, second))


def _made_elsewhere(first: AnyTable, second: AnyTable) -> Iterator[Finding]:
    if first.space and second.space:
        for field in ("resolution", "classes"):
            values = getattr(first.space, field), getattr(second.space, field)
            if values[0] != values[1]:
                message = f"{field} is {values[0]} in the first table and {values[1]} in the second."
                advice = "They can be used together, but the loss was not measured on this network."
                yield Finding("warning", "both tables", message, advice)


def _space_findings(key: SpaceKey | None, grid: Grid, fitted: bool) -> Iterator[Finding]:
    if key is None:
        yield from _missing_by_majority(grid, fitted)
    elif key.resolution < 1 or key.classes < 1:
        yield Finding("error", "space", f"{key.resolution} px and {key.classes} classes must be above zero.")
    elif not is_known(key.name) and (known_as := name_of(key.fingerprint)):
        message = f"is '{key.name}', but its fingerprint {key.fingerprint} is that of '{known_as}'."
        yield Finding("error", "space", message)
    elif not is_known(key.name):
        yield Finding("note", "space", f"'{key.name}' is not known here: only its labels can be checked.")
        yield from _missing_by_majority(grid, fitted)
    elif not is_sound(key):
        known = fingerprint_of(key.name)
        message = f"is '{key.name}' with fingerprint {key.fingerprint}, but that space has {known}:"
        yield Finding("error", "space", f"{message} the table was made for other layers or candidates.")
    else:
        yield from _differences_to(build_space(key.name, key.resolution, key.classes), grid)


def _differences_to(space: Space, grid: Grid) -> Iterator[Finding]:
    known = {layer.name: layer.labels for layer in space.layers}
    found = dict(zip(grid.layers, grid.candidates, strict=True))
    for name, labels in known.items():
        if name not in found:
            yield Finding("error", f"layer '{name}'", f"is missing: space '{space.name}' has it.")
            continue
        for label in _first_only(labels, found[name]):
            yield Finding("error", f"layer '{name}'", f"candidate '{label}' is missing.")
        for label in _first_only(found[name], labels):
            message = f"candidate '{label}' does not exist in space '{space.name}'."
            yield Finding("error", f"layer '{name}'", message)
    for name in _first_only(grid.layers, tuple(known)):
        yield Finding("error", f"layer '{name}'", f"does not exist in space '{space.name}'.")


def _missing_by_majority(grid: Grid, fitted: bool) -> Iterator[Finding]:
    """Candidates that most layers have and one lacks, unless it is a layer of another kind.

    A layer of another kind has labels of its own in place of most of them. A table that was fitted has the
    candidates of its rows: what none of them had is a note.
    """
    severity: Severity = "note" if fitted else "error"
    counts = Counter(label for labels in grid.candidates for label in labels)
    layers = len(grid.layers)
    expected = tuple(label for label, count in counts.items() if count >= EXPECTED_SHARE * layers)
    for layer, labels in zip(grid.layers, grid.candidates, strict=True):
        missing, own = _first_only(expected, labels), _first_only(labels, expected)
        if own and 2 * len(missing) > len(expected):
            continue
        for label in missing:
            message = f"candidate '{label}' is missing: {counts[label]} of {layers} layers have it."
            yield Finding(severity, f"layer '{layer}'", message)
    numbers = sorted(int(layer) for layer in grid.layers if layer.isdecimal())
    if len(numbers) == layers and layers > 1:
        for number in sorted(set(range(numbers[0], numbers[-1])) - set(numbers)):
            message = f"is missing between layers {numbers[0]} and {numbers[-1]}."
            yield Finding("warning", f"layer '{number}'", message)


def _swamped(grid: Grid) -> Iterator[Finding]:
    """A cell so large that the sums lose what the others say: no search takes such a table whole."""
    readable = [[value if isfinite(value) else 0.0 for value in row] for row in grid.values]
    place = swamping_cell(list(map(np.array, readable)), grid.fixed) if readable else None
    if place is not None:
        layer, candidate = place
        label, value = grid.candidates[layer][candidate], readable[layer][candidate]
        message = f"candidate '{label}' is {value:g}, too large to be added up exactly with the others."
        yield Finding("error", f"layer '{grid.layers[layer]}'", message, "Leave such a candidate out.")


def _unknown_keys(table: LatencyTable) -> Iterator[Finding]:
    """Measurements of nothing the table holds, and unsettled cells that were never measured."""
    measured = [key for key, _ in table.measurements]
    cells = {key for row in table.cell_keys for key in row}
    for key in dict.fromkeys(measured if cells else ()):
        if key not in cells and key not in _BESIDE_CELLS:
            yield Finding("error", "measurements", f"'{key}' is the key of no cell of this table.")
    for key in table.unsettled if measured or cells else ():
        if key not in {*measured, *cells}:
            yield Finding("error", "unsettled", f"'{key}' is the key of nothing in this table.")


def _latency_findings(table: LatencyTable) -> Iterator[Finding]:
    yield from _block_findings(table, space_of(table))
    yield from _wrong_intervals(table)
    yield from _unknown_keys(table)
    if table.unsettled:
        yield _unsettled_cells(table.unsettled)
    if table.certificate is not None and not table.certificate.networks:
        message = "names no network: nothing shows how its figures were come by."
        yield Finding("error", "certificate", message, "Certify the table again.")
    yield from quality_findings(table)


def _block_findings(table: LatencyTable, space: Space | None) -> Iterator[Finding]:
    """Equal blocks whose times are far apart, and blocks that undercut one they contain.

    Where nobody knows which blocks are equal, cells and layers that do not go with the others.
    """
    if space is None and not table.cell_keys and table.protocol.fit is None:
        yield from odd_cells(table.grid)
    for block in equal_blocks(table, space):
        if block.spread > WIDE_SPREAD:
            severity: Severity = "error" if block.spread > WRONG_SPREAD else "warning"
            message = f"is one block, but takes {block.text}: {block.spread:.1f} times apart."
            yield Finding(severity, block.name, message, "Measure it again.")
    if space is not None:
        for layer, message in odd_orders(table.grid, space):
            yield Finding("note", f"layer '{layer}'", message)


def _wrong_intervals(table: LatencyTable) -> Iterator[Finding]:
    grid = table.grid
    for layer, *row in zip(grid.layers, grid.candidates, grid.values, table.intervals_ms, strict=False):
        for label, value, (low, high) in zip(*row, strict=True):
            if not 0 < low <= high and (low, high, value) != (0, 0, 0):
                message = f"candidate '{label}': the interval {low:g} to {high:g} ms is not one."
                yield Finding("error", f"layer '{layer}'", message)


def _unsettled_cells(unsettled: Sequence[str]) -> Finding:
    first = ", ".join(unsettled[:3]) + (", ..." if len(unsettled) > 3 else "")
    cells = "1 cell" if len(unsettled) == 1 else f"{len(unsettled)} cells"
    message = f"{cells} never settled ({first})."
    return Finding("warning", "unsettled", message, "Profile again on a quiet machine, or for longer.")


def _accuracy_findings(table: AccuracyTable, grid: Grid) -> Iterator[Finding]:
    yield from accuracy_findings(table)
    yield from _equal_candidates(grid)


def _equal_candidates(grid: Grid) -> Iterator[Finding]:
    flat = [
        layer
        for layer, row in zip(grid.layers, grid.values, strict=True)
        if len(row) > 1 and len({value for value in row if not isnan(value)}) == 1
    ]
    if len(flat) == len(grid.layers) and flat:
        message = "every layer's candidates are equal: this table cannot tell networks apart."
        yield Finding("warning", "all layers", message)
        return
    for layer in flat:
        yield Finding("note", f"layer '{layer}'", "all its candidates are equal: the cheapest is taken.")


def _first_only(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    there = set(second)
    return tuple(label for label in first if label not in there)


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file that was checked: `kind` is "latency", "accuracy" or "unreadable"."""

    file: str
    kind: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class FindingsDocument:
    """What `ponas table check --json` prints; `together` are the findings about two tables as a pair."""

    errors: int
    warnings: int
    notes: int
    files: tuple[CheckedFile, ...]
    together: tuple[Finding, ...]


def findings_document(checked: Sequence[CheckedTable], pair: Sequence[Finding]) -> FindingsDocument:
    """The findings as `ponas table check --json` prints them."""
    everything = [*pair, *(finding for one in checked for finding in one.findings)]
    counts = Counter(finding.severity for finding in everything)
    files = tuple(CheckedFile(str(one.path), one.kind, one.findings) for one in checked)
    return FindingsDocument(counts["error"], counts["warning"], counts["note"], files, tuple(pair))
