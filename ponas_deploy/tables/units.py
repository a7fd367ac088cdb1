"""Whether a latency table may be in another unit than milliseconds: by a budget, or by itself."""

from __future__ import annotations

from ponas_deploy.tables.grid import Grid

FAR = 100.0
"""A budget so many times outside what the networks of a table take is of another unit, or the table is."""
LEAST_MS, MOST_MS = 0.02, 20_000.0
"""No network that is searched for takes less than the one, or more than the other on any device."""


def budget_doubt(grid: Grid, budget_ms: float) -> str:
    """A sentence for a budget far outside a table's range that names the likely unit; else empty."""
    fastest, slowest = grid.extremes
    if slowest > 0 and budget_ms >= FAR * slowest:
        times = budget_ms / slowest
        return (
            f"the budget of {budget_ms:.4g} ms is {times:.0f} times what the slowest network takes"
            f" ({slowest:.4g} ms): is the table in seconds?"
        )
    if 0 < budget_ms <= fastest / FAR:
        times, unit = fastest / budget_ms, "microseconds"
        if times >= FAR * 1000:
            unit = "nanoseconds"
        return (
            f"the fastest network takes {times:.0f} times the budget of {budget_ms:.4g} ms"
            f" ({fastest:.4g} ms): is the table in {unit}?"
        )
    return ""


def table_doubt(grid: Grid) -> str:
    """A sentence for a table that no device can have in milliseconds; else empty."""
    fastest, slowest = grid.extremes
    if 0 < slowest < LEAST_MS:
        return f"the slowest network takes {slowest:.4g} ms by this table: is the table in seconds?"
    if fastest > MOST_MS:
        unit = "nanoseconds" if fastest > MOST_MS * 100 else "microseconds"
        return f"the fastest network takes {fastest:.4g} ms by this table: is the table in {unit}?"
    return ""
