"""Protocols compared on the same raw rounds: how well each repeats, and how well it predicts.

Networks are divided into those to fit on and those to check with again and again, both spread over the range;
a protocol is compared by the means over these splits. What a protocol would have had time for is taken from
the raw rounds too: as many rounds in a row as its time allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol_data import CHAIN, CONTEXT, REBUILT, Raw, context_of
from ponas_deploy.errors import MeasurementError
from ponas_deploy.fitting.correction import KINDS, TimedNetwork, correct
from ponas_deploy.measuring import detrend as detrend
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.measurement import STATISTICS, Measurement
from ponas_deploy.tables.statistics import kendall_tau
from searchspace import build_space
from searchspace.space import Space

Floats = NDArray[np.float64]
CHECKS, SPLITS = 40, 10


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Errors in percent of what was measured, means over the splits; `tau` beside that of two halves."""

    mean_pct: float
    worst_pct: float
    tau: float


@dataclass(frozen=True)
class Trial:
    """Some rounds of a data set under one statistic, with levels of the machine taken out or not."""

    raw: Raw
    space: Space
    statistic: str
    levelled: bool = True
    left_out: frozenset[str] = frozenset()
    """Networks that are neither for fitting nor for checking."""

    @cached_property
    def measured(self) -> dict[str, Measurement]:
        """By key; the levels are found in each process apart, as a profile has but one."""
        levels = np.ones_like(self.raw.rounds_ns)
        for process in set(self.raw.process) if self.levelled else ():
            own = self.raw.process == process
            levels[:, own] = _levels(self.raw.rounds_ns[:, own], self.raw.at_s[:, own])
        return {
            key: Measurement(1, tuple(rounds), tuple(level))
            for key, rounds, level in zip(self.raw.keys, self.raw.rounds_ns, levels, strict=True)
        }

    def values_ms(self, keys: Sequence[str]) -> Floats:
        """The statistic of each key."""
        return np.array([self.measured[key].value_ms(self.statistic) for key in keys])

    @cached_property
    def networks(self) -> tuple[TimedNetwork, ...]:
        """The whole networks, the fastest first."""
        texts = [text for text in self.raw.networks() if text not in self.left_out]
        found = [TimedNetwork(tuple(text.split(",")), self.measured[text]) for text in texts]
        return tuple(sorted(found, key=lambda net: net.measurement.value_ms(self.statistic)))

    @cached_property
    def times_ms(self) -> Floats:
        """What those networks take."""
        return np.array([net.measurement.value_ms(self.statistic) for net in self.networks])

    def isolated(self) -> Grid:
        """The cells as they take alone."""
        return self._grid({cell.key: self._ms(cell.key) for row in self.space.cells() for cell in row})

    def in_chain(self) -> Grid:
        """The cells as they take after another block: the difference that they make."""
        contexts = context_of(self.space)
        differences = {key: self._ms(CHAIN + key) - self._ms(name) for key, name in contexts.items()}
        return self._grid({key: max(value, 1e-6) for key, value in differences.items()})

    def swapped(self, reference: str) -> Grid:
        """The cells as the difference that each makes in a reference network; there the rest is constant."""
        alone, labels, base = self.isolated(), reference.split(","), self._ms(reference)
        found: dict[str, float] = {}
        for layer, row in enumerate(self.space.cells()):
            # A difference to the reference's own block: what that takes alone makes it positive.
            own = alone.values[layer][self.space.labels[layer].index(labels[layer])]
            for cell, label in zip(row, self.space.labels[layer], strict=True):
                text = ",".join([*labels[:layer], label, *labels[layer + 1 :]])
                if cell.key not in found:
                    found[cell.key] = max(own + self._ms(text) - base, 1e-6)
        return self._grid(found)

    def _ms(self, key: str) -> float:
        return self.measured[key].value_ms(self.statistic)

    def _grid(self, cells: dict[str, float]) -> Grid:
        rows = tuple(tuple(cells[cell.key] for cell in row) for row in self.space.cells())
        names = tuple(layer.name for layer in self.space.layers)
        return Grid(names, self.space.labels, rows, self._ms("stem") + self._ms("head"))


def _levels(rounds_ns: Floats, at_s: Floats) -> Floats:
    order = np.argsort(at_s, axis=None, kind="stable")
    keys = np.repeat(np.arange(len(rounds_ns)), rounds_ns.shape[1])
    found = np.empty(rounds_ns.size)
    found[order] = detrend.levels(keys[order], rounds_ns.ravel()[order])
    return found.reshape(rounds_ns.shape)


def part(raw: Raw, rounds: NDArray[np.intp]) -> Raw:
    """Some rounds of a data set, as if there had been no others."""
    names = ("rounds_ns", "at_s", "process", "stolen_pct", "others_pct")
    return replace(raw, **{name: getattr(raw, name)[..., rounds] for name in names})


def of_process(raw: Raw, number: int) -> Raw:
    """The rounds of one process."""
    return part(raw, np.flatnonzero(raw.process == number))


def splits(count: int, fit: int, seed: int = 0) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Places to fit on and to check with, of `count` in order of latency; the ends are for fitting."""
    rng = np.random.default_rng(seed)
    checks = min(CHECKS, count - fit)
    for _ in range(SPLITS):
        check = np.array([rng.choice(some) for some in np.array_split(np.arange(1, count - 1), checks)])
        rest = np.setdiff1d(np.arange(count), check)
        chosen = np.array([rng.choice(some) for some in np.array_split(rest, fit)])
        chosen[[0, -1]] = rest[[0, -1]]
        yield chosen, check


Predict = Callable[[Trial, NDArray[np.intp]], Grid]


def evaluated(trial: Trial, fit: int, predict: Predict, truth_ms: Floats | None = None) -> Evaluation:
    """Mean, worst and tau of a way to predict, against what the trial measured or a better `truth_ms`."""
    found = []
    for chosen, check in splits(len(trial.networks), fit):
        try:
            grid = predict(trial, chosen)
        except MeasurementError:
            return Evaluation(float("nan"), float("nan"), float("nan"))
        predicted = np.array([grid.total(trial.networks[place].choices) for place in check])
        true = (trial.times_ms if truth_ms is None else truth_ms)[check]
        errors = 100 * np.abs(predicted / true - 1)
        found.append((errors.mean(), errors.max(), kendall_tau(predicted, true)))
    return Evaluation(*map(float, np.mean(found, axis=0)))


def by(grid: Callable[[Trial], Grid], kinds: Sequence[str] = KINDS) -> Predict:
    """A prediction by the house's correction of some cells' values."""

    def predict(trial: Trial, chosen: NDArray[np.intp]) -> Grid:
        networks = [trial.networks[place] for place in chosen]
        return correct(grid(trial), trial.space.cells(), networks, trial.statistic, kinds)[0]

    return predict


def plain(trial: Trial, chosen: NDArray[np.intp]) -> Grid:
    """The sum of isolated cells, stem and head, as others have it."""
    return trial.isolated()


def squared(trial: Trial, chosen: NDArray[np.intp]) -> Grid:
    """A straight line by least squares on relative errors, instead of the robust loss."""
    grid = trial.isolated()
    sums = np.array([grid.total(trial.networks[place].choices) - grid.fixed for place in chosen])
    times = trial.times_ms[chosen]
    columns = np.stack([np.ones(len(times)), sums], axis=1) / times[:, None]
    (constant, slope), *_ = np.linalg.lstsq(columns, np.ones(len(times)), rcond=None)
    rows = tuple(tuple(float(slope) * value for value in row) for row in grid.values)
    return replace(grid, values=rows, fixed=float(constant))


@dataclass(frozen=True, slots=True)
class Repeat:
    """How far two measurements of the same things lie apart, in percent, their common level left out.

    `halves` are odd and even rounds of one process, each with its own levels; `processes` are all rounds of
    two; `rebuilt` the same network built twice in one process. `level_pct` is what all have in common.
    """

    halves_pct: float
    halves_tau: float
    processes_pct: float
    level_pct: float
    rebuilt_pct: float


def repeats(raw: Raw, space: Space, statistic: str, levelled: bool, keys: Sequence[str]) -> Repeat:
    """How well one protocol repeats on `keys`."""
    apart, taus, rebuilt = [], [], []
    full = []
    for process in sorted(set(raw.process)):
        own = np.flatnonzero(raw.process == process)
        odd, even = (Trial(part(raw, own[start::2]), space, statistic, levelled) for start in (0, 1))
        first, second = odd.values_ms(keys), even.values_ms(keys)
        apart.append(_apart(first, second)[0])
        taus.append(kendall_tau(first, second))
        full.append(Trial(part(raw, own), space, statistic, levelled))
        built = [key for key in raw.keys if key.startswith(REBUILT)]
        if built:
            again = full[-1].values_ms(built)
            rebuilt.append(_apart(again, full[-1].values_ms([key[len(REBUILT) :] for key in built]))[0])
    between = _apart(*(one.values_ms(keys) for one in full[:2])) if len(full) > 1 else (np.nan, np.nan)
    mean = float(np.mean(rebuilt)) if rebuilt else float("nan")
    return Repeat(float(np.mean(apart)), float(np.mean(taus)), *between, mean)


def _apart(first: Floats, second: Floats) -> tuple[float, float]:
    logs = 100 * np.log(first / second)
    return float(np.abs(logs - np.median(logs)).mean()), float(np.median(logs))


def statistics() -> Iterator[tuple[str, bool]]:
    """Every statistic, with the machine's level left in and taken out."""
    for levelled in (False, True):
        for statistic in STATISTICS:
            yield statistic, levelled


def rounds_in(raw: Raw, seconds: float, fit: int, checks: int = CHECKS) -> int:
    """How many rounds a profile of `seconds` has, with so many networks to build and to visit."""
    full = np.array(["," in key for key in raw.keys])
    cell = np.array(["," not in key and not key.startswith((CHAIN, CONTEXT)) for key in raw.keys])
    networks = fit + checks
    build_s = raw.build_s[cell].sum() + networks * raw.build_s[full].mean()
    round_s = raw.visit_s[cell].sum() + networks * raw.visit_s[full].mean()
    return int((seconds - _BESIDES_S - build_s) / (_SENTINELS * round_s))


_BESIDES_S, _SENTINELS = 4.5, 1.07
"""Start, a first network and the fit; sentinels and redone visits."""


def space_of(resolution: int) -> Space:
    """The paper's space."""
    return build_space("ponas", resolution)
