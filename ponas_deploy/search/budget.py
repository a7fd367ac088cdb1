"""What a network may cost: any number of limits, each by the name of its cost column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from ponas_deploy.errors import PonasError
from ponas_deploy.search.costs import LATENCY, by_column, cost_column
from ponas_deploy.tables.grid import Grid


@dataclass(frozen=True, slots=True, init=False)
class Budget(Mapping[str, float]):
    """Limits by the names of the cost columns, in their order: `Budget(latency_ms=3.0, params=5e6)`.

    A mapping of what is limited, each number in its column's unit (ms, MACs, parameters, bytes). None is no
    limit. UnknownNameError for a column that nobody knows, PonasError for a limit that is not a number.
    """

    limits: tuple[tuple[str, float], ...]

    def __init__(self, **limits: float | None) -> None:
        rows = by_column(limits)
        for name, limit in rows:
            if isnan(limit):
                raise PonasError(f"the limit on {name} is {limit}: give a number.")
        object.__setattr__(self, "limits", rows)

    def __getitem__(self, name: str) -> float:
        return dict(self.limits)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.limits)

    def __len__(self) -> int:
        return len(self.limits)

    @property
    def latency_ms(self) -> float | None:
        """The limit that engines are measured against; None where latency does not matter."""
        return self.get(LATENCY.name)

    def with_limits(self, **limits: float | None) -> Budget:
        """The same budget with other limits in these columns."""
        return Budget(**{**self, **limits})

    @property
    def texts(self) -> tuple[str, ...]:
        """The limits for people: `3 ms`, `5 M parameters`."""
        return tuple(cost_column(name).shown(limit) for name, limit in self.limits)


def binds_nothing(grids: Sequence[Grid], budget_ms: float | None, throughput: float | None = None) -> str:
    """A sentence for a latency budget that every network of all the tables meets; empty for another one.

    Where it follows from a `throughput`, in images a second, the sentence is about that.
    """
    slowest_ms = max(grid.extremes[1] for grid in grids)
    if budget_ms is None or slowest_ms > budget_ms:
        return ""
    if throughput:
        return (
            f"every network keeps {throughput:.4g} images/s by the tables; the slowest keeps"
            f" {throughput * budget_ms / slowest_ms:.4g}: ask for more, or for a larger resolution"
        )
    return (
        f"every network meets {budget_ms:.4g} ms; the slowest takes {slowest_ms:.3g} ms: ask for less, or"
        " for a larger resolution"
    )
