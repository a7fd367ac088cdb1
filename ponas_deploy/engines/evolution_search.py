"""Evolution search over a trained supernet: real accuracy as the score (SPOS, arXiv 1904.00420, section 3.4).

Every network inherits its weights, its batch norm is measured again on training images, and its score is
top-1 on the validation images, the same for all; the test images are never seen. What was evaluated lies in a
journal beside the weights, so that a killed search goes on where it was. Needs the extra `train`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ponas_deploy.engines.choice import latency_warnings
from ponas_deploy.engines.counted_energy import refuse_without_engines
from ponas_deploy.errors import PonasError, TableMismatchError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.machines.names import slug
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.columns import Floats, Indices
from ponas_deploy.search.constrained import solve_constrained
from ponas_deploy.search.costs import LATENCY, CostColumn, network_costs
from ponas_deploy.search.evolution import EvolutionSettings, Scored, evolve, front_of
from ponas_deploy.search.limited import LimitedSpace
from ponas_deploy.search.limits import limited_costs, refuse_impossible, together_impossible
from ponas_deploy.search.notation import Limit
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.networks_csv import Networks, write_networks
from searchspace.architecture import Architecture
from searchspace.space import Space

if TYPE_CHECKING:
    from train.progress import OnProgress
    from train.runs import Run, SubnetEvaluator

_DIGITS = 8
"""Hexadecimal ones, that tell latency tables apart in the names of files."""


@dataclass(frozen=True, slots=True)
class Found:
    """A network that was evaluated: top-1 in percent, what it costs by column, and its generation (from 0).

    Its latency is predicted.
    """

    architecture: Architecture
    top1_pct: float
    costs: dict[str, float]
    generation: int


@dataclass(frozen=True, slots=True)
class Searched:
    """All networks that were evaluated, in order; `front` are those that no other beats, by the first limit.

    `path` is the file of all of them, for `ponas table fit`.
    """

    evaluated: tuple[Found, ...]
    front: tuple[Found, ...]
    path: Path

    @property
    def best(self) -> Found:
        """The one of the highest top-1; of equals the cheapest."""
        return self.front[-1]


def evolution_search(
    run: Run,
    budget: Budget,
    latency: LatencyTable | None = None,
    settings: EvolutionSettings | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    on_progress: OnProgress | None = None,
    on_note: OnNote = no_note,
) -> Searched:
    """Search a run's supernet for networks of high accuracy within the budget.

    BudgetError, before anything is evaluated, for a budget that nothing meets; PonasError for a latency limit
    without a latency table, TableMismatchError for a table of other networks.
    """
    from train.progress import silent
    from train.runs import SubnetEvaluator

    refuse_without_engines(budget)
    settings, space = settings or EvolutionSettings(), run.space
    groups, grid = space.groups, _latency_grid(latency, space)
    limits = limited_costs(budget, lambda column: _cells(column, space, grid), groups)
    refuse_impossible(limits, latency)
    for text in latency_warnings({"the latency table": latency}, budget) if latency else ():
        on_note(text)
    nothing = [np.zeros(size) for size in groups.sizes]
    columns = [one.values for one in limits], [one.limit for one in limits], [one.fixed for one in limits]
    cheapest = solve_constrained(nothing, *columns)
    if cheapest is None:
        raise together_impossible(budget)
    limited, found = LimitedSpace.of(nothing, *columns), list[Found]()
    table = _table_tag(latency, grid) if latency and grid and budget.latency_ms else ""
    path = _path(run, budget, table, seed)
    journal = run.file.path.with_name(f"search-{seed}.journal")
    with SubnetEvaluator(run, journal, {"what": "search"}, seed, device, on_note) as evaluator:
        score = _Scores(space, groups.choices, evaluator, settings, on_progress or silent)
        for scored in evolve(limited, score, settings, seed=seed, otherwise=cheapest):
            rows = groups.choices(np.array([one.choices for one in scored], dtype=np.intp)).tolist()
            found += [_found(space, row, one, grid) for one, row in zip(scored, rows, strict=True)]
            _write(path, run, found)
    first = next(iter(budget))
    front = front_of(np.array([one.costs[first] for one in found]), np.array([one.top1_pct for one in found]))
    return Searched(tuple(found), tuple(found[place] for place in front), path)


def plain_budget(limits: Mapping[str, Limit]) -> Budget:
    """Limits as they are; PonasError for a share of the most that helps, which an accuracy table tells."""
    for limit in limits.values():
        if limit.relative:
            raise PonasError(f"{limit.text}: a search has no table that tells it, ask for a time or a count.")
    return Budget(**{name: limit.value(0.0) for name, limit in limits.items()})


class _Scores:
    """Scores networks by their top-1, and reports how far the search is."""

    def __init__(
        self,
        space: Space,
        layers: Callable[[Indices], Indices],
        evaluator: SubnetEvaluator,
        settings: EvolutionSettings,
        on_progress: OnProgress,
    ) -> None:
        self._space, self._layers, self._evaluator = space, layers, evaluator
        self._settings, self._on_progress = settings, on_progress
        self._generation, self._done, self._best = 0, 0, 0.0
        self._new = False

    def __call__(self, networks: Indices) -> Floats:
        """Groups (n, G) of one generation -> top-1 in percent (n,)."""
        self._generation += 1
        before, self._new = self._done, False
        choices = [_labels(self._space, row) for row in self._layers(networks).tolist()]
        entries = self._evaluator.entries(choices, self._images)
        scores = np.array([float(entry["top1_pct"]) for entry in entries])
        self._done, self._best = before + len(scores), max(self._best, float(scores.max()))
        if self._new or self._generation == self._settings.generations:
            self._report(self._done, milestone=True)
        return scores

    def _images(self, networks: int, seen: int, images: int) -> None:
        """So many networks have seen so many of their images; those that were known have not."""
        self._new = True
        self._report(self._done + networks * seen / images)
        if seen == images:
            self._done += networks

    def _report(self, done: float, *, milestone: bool = False) -> None:
        from train.progress import TrainingProgress

        total = self._settings.evaluations
        text = f"generation {self._generation} of {self._settings.generations}"
        best = (("best_top1_pct", self._best),) if self._best else ()
        done = min(int(done), total)
        self._on_progress(TrainingProgress("search", done, total, text, best, milestone=milestone))


def _labels(space: Space, row: Sequence[int]) -> tuple[str, ...]:
    return tuple(labels[index] for labels, index in zip(space.labels, row, strict=True))


def _latency_grid(latency: LatencyTable | None, space: Space) -> Grid | None:
    """Predicted latencies in the order of the space; TableMismatchError for a table of other networks."""
    if latency is None:
        return None
    key = SpaceKey.of(space)
    if latency.space and latency.space != key:
        made = latency.space
        raise TableMismatchError(
            f"the latency table is of space '{made.name}' at {made.resolution} px"
            f" with {made.classes} classes, the supernet of '{key.name}' at {key.resolution} px with"
            f" {key.classes}: `ponas profile {key.options}` makes one that fits."
        )
    order = Grid.over(space, [[0.0] * len(labels) for labels in space.labels])
    return latency.grid.aligned_to(order, "the latency table", f"space '{space.name}'")


def _cells(column: CostColumn, space: Space, latency: Grid | None) -> Grid:
    """What each candidate costs, in the order of the space."""
    cells = column.source.counted(space) or latency
    if cells is None:
        raise PonasError("a limit on the latency needs a latency table: name one, or a device that has one.")
    return cells


def _found(space: Space, row: Sequence[int], scored: Scored, latency: Grid | None) -> Found:
    architecture = Architecture(space, _labels(space, row))
    predicted = {LATENCY.name: latency.total(architecture.choices)} if latency else {}
    return Found(architecture, scored.score, {**predicted, **network_costs(architecture)}, scored.generation)


def _path(run: Run, budget: Budget, table: str, seed: int) -> Path:
    """The file of a search: each budget, latency table (by its tag) and seed has its own.

    All searches of a seed share what is evaluated.
    """
    limits = [f"{name}-{limit:.15g}" for name, limit in budget.items()]
    parts = [*limits, table, str(seed)] if table else [*limits, str(seed)]
    return run.file.path.with_name(f"search-{'-'.join(parts)}.csv")


def _table_tag(latency: LatencyTable, grid: Grid) -> str:
    """A latency table in a file's name: its device where it says one, and a digest of its latencies."""
    digest = sha256(repr((grid.values, grid.fixed)).encode()).hexdigest()[:_DIGITS]
    return f"{slug(latency.conditions.device)}-{digest}" if latency.conditions else digest


def _write(path: Path, run: Run, found: Sequence[Found]) -> None:
    """Keep what was evaluated, as networks with their top-1."""
    choices = tuple(one.architecture.choices for one in found)
    lines = tuple(range(2, len(found) + 2))
    write_networks(
        Networks(path, run.layers, choices, tuple(one.top1_pct for one in found), "accuracy", lines)
    )
