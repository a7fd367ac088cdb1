"""The costs of a network that a budget can limit, one row each: latency, MACs, parameters, memory, energy ...

A further cost that adds up over layers is one more `CostColumn` in `COSTS`, with a source of its
numbers (`cost_sources.py`). Everything else follows from the row: its budget, its option of `ponas
specialize`, both searches, the manifest of an engine, the rows of reports and the JSON. Loads nothing heavy:
the command line makes its options from these rows when it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from functools import cache
from math import ceil, floor, inf, log10
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.search.cost_sources import (
    CostSource,
    Counted,
    Measured,
    PeakMemory,
    bytes_counter,
    macs_counter,
    params_counter,
)
from ponas_deploy.search.notation import (
    COUNTS,
    ENERGIES,
    LATENCIES,
    RATES,
    SIZES,
    THROUGHPUTS,
    Limit,
    Notation,
)

if TYPE_CHECKING:
    from searchspace.architecture import Architecture

T = TypeVar("T")
Document = TypeVar("Document")
Amount: TypeAlias = float | str | Limit
"""A limit: a number in the unit of its column, or a text such as `60%`, `850us` or `5.1M`."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A row or column of reports: its title, the unit below it, its place among the others, its decimals."""

    title: str
    unit: str
    place: int = 9
    decimals: int = 1


@dataclass(frozen=True, slots=True)
class CostColumn:
    """A cost that adds up over the layers of a network, and how a budget of it is written.

    `name` is its key in budgets, manifests and JSON; numbers are in the unit that the name says. People read
    them divided by `scale`, in `unit`. `option` with `metavar` and `help` asks for a budget on the command
    line, written as `notation` says. The network that costs least is the `superlative` one; `on_device` where
    the cost depends on the device. Reports that list costs have a `row` of it, or none.
    """

    name: str
    unit: str
    source: CostSource
    option: str
    metavar: str
    notation: Notation
    help: str
    scale: float = 1.0
    superlative: str = "smallest"
    on_device: bool = False
    row: ReportRow | None = None

    @property
    def keyword(self) -> str:
        """The option as a name: `latency`, `flops`."""
        return self.option.lstrip("-").replace("-", "_")

    def shown(self, value: float, *, up: bool = False) -> str:
        """A value for people, four digits; `up` rounds so that the shown value can be asked for."""
        value = value / self.scale
        digits = max(0, 3 - floor(log10(abs(value)))) if value else 0
        if up:
            value = ceil(value * 10**digits - 1e-9) / 10**digits
        number = f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
        return f"{number} {self.unit}"


LATENCY = CostColumn(
    "latency_ms",
    "ms",
    Measured(),
    "--latency",
    "TIME",
    LATENCIES,
    "The latency budget: 20ms, 850us, 1.2s, or 60% of the most that helps.",
    superlative="fastest",
    on_device=True,
)
MACS = CostColumn(
    "macs",
    "M MACs",
    Counted(macs_counter),
    "--flops",
    "COUNT",
    COUNTS,
    "At most so many MACs: 330M, 1.2G.",
    scale=1e6,
    superlative="cheapest",
    row=ReportRow("MACs", "M", 2),
)
PARAMS = CostColumn(
    "params",
    "M parameters",
    Counted(params_counter),
    "--params",
    "COUNT",
    COUNTS,
    "At most so many parameters: 5.1M.",
    scale=1e6,
    row=ReportRow("parameters", "M", 1),
)
# No row in reports: four bytes a parameter say nothing that the parameters do not.
BYTES = CostColumn(
    "bytes",
    "MB",
    Counted(bytes_counter),
    "--size",
    "SIZE",
    SIZES,
    "The files of the engine take at most so many bytes: 12MB, 11.5MiB. Before it is built that is four bytes"
    " a parameter.",
    scale=1e6,
)
# No row in reports, and no key in the JSON of a network: it is known of an engine alone.
MEMORY = CostColumn(
    "memory_bytes",
    "MB",
    PeakMemory(),
    "--memory",
    "SIZE",
    SIZES,
    "A process with the engine takes at most so much memory beyond the runtime: 100MB, 64MiB.",
    scale=1e6,
    on_device=True,
)
# The same; and nothing predicts it before the power of an engine is known (`engines.checked`).
ENERGY = CostColumn(
    "energy_mj",
    "mJ",
    Measured(),
    "--energy",
    "ENERGY",
    ENERGIES,
    "An inference takes at most so much energy, where the machine counts it: 50mJ, 1.2J.",
    on_device=True,
)
OF_ENGINES = MEMORY, ENERGY
"""Known of an engine alone, and of the device that it was measured on."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Another way to limit a column: at least so many a second, by `keyword` in Python, else by `option`."""

    keyword: str
    option: str
    column: CostColumn
    metavar: str
    notation: Notation
    help: str


FRAMES = Rate(
    "fps",
    "--fps",
    LATENCY,
    "COUNT",
    RATES,
    "At least so many frames per second instead of --latency: a batch of B may take 1000 B / COUNT ms.",
)
THROUGHPUT = Rate(
    "throughput",
    "--throughput",
    LATENCY,
    "COUNT",
    THROUGHPUTS,
    "At least so many images per second, measured of inferences one right after another at --batch.",
)
LATENCY_RATES = FRAMES, THROUGHPUT
"""What may be asked for instead of a latency."""

COSTS: tuple[CostColumn, ...] = (LATENCY, MACS, PARAMS, BYTES, MEMORY, ENERGY)
"""All of them; of networks that lose the same, the one is chosen that has least of the first limited cost."""


def cost_column(name: str) -> CostColumn:
    """The column of a name; UnknownNameError otherwise."""
    for column in COSTS:
        if column.name == name:
            return column
    raise UnknownNameError("cost", name, [column.name for column in COSTS])


def by_column(given: Mapping[str, T | None]) -> tuple[tuple[str, T], ...]:
    """Values by the names of columns in the order of the columns, without those that are None.

    UnknownNameError for a name of no column.
    """
    for name in given:
        cost_column(name)
    known = ((column.name, given.get(column.name)) for column in COSTS)
    return tuple((name, value) for name, value in known if value is not None)


def network_costs(architecture: Architecture) -> dict[str, float]:
    """What a network costs in everything that takes no measurement, by name."""
    return dict(by_column({column.name: column.source.network(architecture) for column in COSTS}))


def costs_document(costs: Mapping[str, float]) -> dict[str, float | None]:
    """What a network costs besides latency, as JSON: by name, None for what is not known."""
    return {column.name: costs.get(column.name) for column in _of_networks()}


def _of_networks() -> tuple[CostColumn, ...]:
    """The columns that are known of a network without an engine of it."""
    return tuple(column for column in COSTS if column not in (LATENCY, *OF_ENGINES))


def with_costs(document: type[Document]) -> type[Document]:
    """The type of a document with a field more for each cost besides latency: the keys of `costs_document`.

    A cost that is one more row of `COSTS` is so in the JSON and in its schema.
    """
    names = tuple(column.name for column in _of_networks())
    plain: Any = document
    made: type[Document] = _with_fields(plain, names)
    return made


@cache
def _with_fields(document: Any, names: tuple[str, ...]) -> Any:
    fields: list[tuple[str, Any]] = [(name, float | None) for name in names]
    return make_dataclass(document.__name__, fields, bases=(document,), frozen=True, slots=True)


def limit_options() -> str:
    """The options that ask for limits: `--latency, --fps, --throughput, ..., --memory or --energy`."""
    first, *others, last = (column.option for column in COSTS)
    others = [first, *(rate.option for rate in LATENCY_RATES), *others]
    return f"{', '.join(others)} or {last}"


def limits_of(*given: Mapping[str, Amount] | None) -> dict[str, Limit]:
    """Limits by column; a number is in the unit of its column, a text is read as the command line reads it.

    A limit is named by its column (`latency_ms`, `params`) or as its option is (`latency`, `fps`, `size`).
    UnknownNameError for a name that is neither, PonasError for a text that is no quantity and for two limits
    on one column.
    """
    keywords = {column.keyword: column for column in COSTS}
    rates = {rate.keyword: rate for rate in LATENCY_RATES}
    found: dict[str, Limit] = {}
    for name, amount in (pair for limits in given if limits for pair in limits.items()):
        rate = rates.get(name)
        column = rate.column if rate else keywords.get(name) or cost_column(name)
        if column.name in found:
            raise PonasError(f"{column.name} is limited twice: give one limit.")
        found[column.name] = _limit((rate or column).notation, amount)
    return found


def _limit(notation: Notation, amount: Amount) -> Limit:
    if isinstance(amount, Limit):
        return amount
    if isinstance(amount, str):
        return notation.parse(amount)
    if notation in (RATES, THROUGHPUTS) and not 0 < amount < inf:
        what = "frames" if notation is RATES else "images"
        raise PonasError(f"{amount:g} {what} per second: ask for a number above zero.")
    return Limit(amount, notation.unit)


def reported() -> tuple[CostColumn, ...]:
    """The columns that reports list, in their order there."""
    listed = [(column.row.place, column) for column in COSTS if column.row]
    return tuple(column for _, column in sorted(listed, key=lambda pair: pair[0]))


def report_rows(costs: Mapping[str, float]) -> list[tuple[str, str]]:
    """What reports list of the costs of a network (by name): titles and values."""
    return [
        (column.row.title, f"{costs[column.name] / column.scale:.{column.row.decimals}f} {column.row.unit}")
        for column in reported()
        if column.row and column.name in costs
    ]
