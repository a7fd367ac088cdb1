"""What a latency table says about one block: the same in several layers, larger ones that are cheaper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import nan

from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable
from searchspace.ops import Op, inner_rows
from searchspace.space import Space

CLEARLY_CHEAPER = 0.9
"""A larger block is oddly cheap when it takes less than this share of the smaller one's time."""


@dataclass(frozen=True, slots=True)
class EqualBlock:
    """One block that several layers hold: `values_ms` are its times, (layer, value)."""

    name: str
    values_ms: tuple[tuple[str, float], ...]

    @property
    def spread(self) -> float:
        """The largest time over the smallest."""
        values = [value for _, value in self.values_ms]
        return max(values) / min(values)

    @property
    def text(self) -> str:
        """The extremes: `0.12 ms in layer 4 and 0.2 ms in layer 6`."""
        ends = [pick(self.values_ms, key=lambda pair: pair[1]) for pick in (min, max)]
        return " and ".join(f"{value:.4g} ms in layer {layer}" for layer, value in ends)


def equal_blocks(table: LatencyTable, space: Space | None) -> Iterator[EqualBlock]:
    """The blocks that stand in more than one layer, by the table's own keys or the space's.

    Their isolated times where the table has them: a correction may know better in one position.
    """
    grid, keys = table.isolated or table.grid, _keys(table, space)
    found: dict[str, list[tuple[str, float]]] = {}
    for layer, labels, row in zip(grid.layers, grid.candidates, grid.values, strict=True):
        for label, value in zip(labels, row, strict=True):
            if (layer, label) in keys and value > 0:
                found.setdefault(keys[layer, label], []).append((layer, value))
    for key, values in found.items():
        if len(values) > 1:
            yield EqualBlock(key, tuple(values))


def _keys(table: LatencyTable, space: Space | None) -> dict[tuple[str, str], str]:
    """The key of each cell by layer and candidate."""
    grid = table.grid
    if table.cell_keys:
        rows = zip(grid.layers, grid.candidates, table.cell_keys, strict=True)
        return {(layer, label): key for layer, *row in rows for label, key in zip(*row, strict=True)}
    if space is None:
        return {}
    return {
        (layer.name, candidate.label): cell.key
        for layer, row in zip(space.layers, space.cells(), strict=True)
        for candidate, cell in zip(layer.candidates, row, strict=True)
    }


def odd_orders(grid: Grid, space: Space) -> Iterator[tuple[str, str]]:
    """Candidates that clearly undercut one they contain, as (layer, what is odd about it).

    Of layers with the same blocks only the first, of several undercut candidates only the slowest.
    """
    seen = set()
    for layer, cells in zip(space.layers, space.cells(), strict=True):
        if layer.name not in grid.layers or cells in seen:
            continue
        seen.add(cells)
        row = grid.layers.index(layer.name)
        times = dict(zip(grid.candidates[row], grid.values[row], strict=True))
        for larger in layer.candidates:
            inside = [small.label for small in layer.candidates if _contains(larger.ops, small.ops)]
            slowest = max(inside, key=lambda label: times.get(label, 0.0))
            small_ms, large_ms = times.get(slowest, 0.0), times.get(larger.label, nan)
            if large_ms < CLEARLY_CHEAPER * small_ms:
                less = f"takes {100 * (1 - large_ms / small_ms):.0f} % less than '{slowest}'"
                yield layer.name, f"candidate '{larger.label}' {less}, which it contains ({large_ms:.4g} ms)."


def _contains(larger: tuple[Op, ...], smaller: tuple[Op, ...]) -> bool:
    """Whether the same operations are all at least as wide and as large."""
    return len(larger) == len(smaller) and all(map(_is_at_least, larger, smaller))


def _is_at_least(one: Op, other: Op) -> bool:
    if type(one) is not type(other):
        return False
    if rows := inner_rows(one):
        others = inner_rows(other)
        return len(rows) == len(others) and all(map(_contains, rows, others))
    values = ((getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return all(
        first >= second if isinstance(first, (int, float)) else first == second for first, second in values
    )
