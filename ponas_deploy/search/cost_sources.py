"""Where the numbers of the cost columns come from: the clock, a count over operations, a bound on memory.

Loads nothing heavy: `costs` names these when the command line starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from ponas_deploy.errors import TableMismatchError

if TYPE_CHECKING:
    from ponas_deploy.tables.grid import Grid
    from ponas_deploy.tables.latency import LatencyTable
    from searchspace.architecture import Architecture
    from searchspace.cost import Count
    from searchspace.space import Space


class CostSource(Protocol):
    """Where the numbers of a cost come from."""

    def cells(self, latency: LatencyTable, space: Space | None) -> Grid | None:
        """The cost of every candidate and of what all networks share, in the order of the latency table.

        None where it takes a space and none is known; TableMismatchError for a space of other layers.
        """
        ...

    def counted(self, space: Space) -> Grid | None:
        """The cost of every candidate of a space and of what its networks share; None where it is
        measured."""
        ...

    def network(self, architecture: Architecture) -> float | None:
        """The cost of a whole network; None where only a measurement tells."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """A cost that is measured on a device: the latency table's own cells, for energy those at one watt.

    At one watt an inference takes a millijoule in each millisecond. The power is that of engines that were
    built (`engines.checked`).
    """

    def cells(self, latency: LatencyTable, space: Space | None) -> Grid | None:
        """The latency table as it is."""
        return latency.grid

    def counted(self, space: Space) -> Grid | None:
        """Nothing: it is measured."""
        return None

    def network(self, architecture: Architecture) -> float | None:
        """Nothing: a predicted latency is the table's, a measured one the clock's."""
        return None


@dataclass(frozen=True, slots=True)
class Counted:
    """A cost that a function tells from the operations of a block and the shape of its input.

    `counter` loads that function.
    """

    counter: Callable[[], Count]

    def cells(self, latency: LatencyTable, space: Space | None) -> Grid | None:
        """Counted over the space."""
        from ponas_deploy.tables.grid import SpaceKey

        if space is None:
            return None
        if latency.space and latency.space.fingerprint != SpaceKey.of(space).fingerprint:
            raise TableMismatchError(
                f"the latency table is of space '{latency.space.name}', not '{space.name}'."
            )
        return self.counted(space).aligned_to(latency.grid, f"space '{space.name}'", "the latency table")

    def counted(self, space: Space) -> Grid:
        """Counted over the space, in its order."""
        from ponas_deploy.tables.grid import Grid
        from searchspace.cost import cost_table

        fixed, rows = cost_table(self.counter(), space)
        return Grid.over(space, rows, fixed)

    def network(self, architecture: Architecture) -> float | None:
        """Counted over the network."""
        from searchspace.cost import network_cost

        return network_cost(self.counter(), architecture)


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """What the weights and the activations of a network take, as a bound that adds up over layers.

    The weights are counted in the precision of the latency table, four bytes each where it is not known. The
    largest activations that any network of the space holds at once, at the batch of the table, count for all
    of them: the largest does not add up, and its bound keeps the limit. What a runtime takes besides, and how
    often it holds the weights, is measured on engines.
    """

    def cells(self, latency: LatencyTable, space: Space | None) -> Grid | None:
        """The weights of every candidate; the activations with what all networks share."""
        from ponas_deploy.tables.spaces import space_of

        known = space or space_of(latency)
        weights = Counted(bytes_counter).cells(latency, known)
        if weights is None or known is None:
            return None
        from searchspace.activations import most_of_space
        from searchspace.mixed import is_int8

        conditions = latency.conditions
        share = _SHARE_OF_FLOAT32.get(conditions.precision, 1.0) if conditions else 1.0
        batch = conditions.batch if conditions else 1
        fixed = share * weights.fixed + _FLOAT32_BYTES * batch * most_of_space(known)
        int8 = _SHARE_OF_FLOAT32["int8"]
        values = tuple(
            tuple((int8 if is_int8(label) else share) * value for label, value in zip(*row, strict=True))
            for row in zip(weights.candidates, weights.values, strict=True)
        )
        return replace(weights, values=values, fixed=fixed)

    def counted(self, space: Space) -> Grid | None:
        """Nothing: it takes a batch and a precision."""
        return None

    def network(self, architecture: Architecture) -> float | None:
        """Nothing: the same."""
        return None


_FLOAT32_BYTES = 4
_SHARE_OF_FLOAT32 = {"fp16": 0.5, "bf16": 0.5, "int8": 0.25}


def macs_counter() -> Count:
    """The counter of MACs."""
    from searchspace.cost import count_macs

    return count_macs


def params_counter() -> Count:
    """The counter of parameters."""
    from searchspace.ops import count_params

    return count_params


def bytes_counter() -> Count:
    """The counter of bytes in float32."""
    from searchspace.cost import count_bytes

    return count_bytes
