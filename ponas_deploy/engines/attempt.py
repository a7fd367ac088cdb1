"""One network that was built and timed, or is about to be."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, sqrt
from statistics import NormalDist

from ponas_deploy.engines.checked import CheckedCost
from ponas_deploy.engines.decision import Estimate
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.engines.verdict import Verdict, judge
from ponas_deploy.errors import PonasError
from ponas_deploy.measuring.interference import usual_core_ns
from ponas_deploy.search.costs import BYTES, ENERGY, MEMORY
from ponas_deploy.search.specialize import Specialization
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.margin import Margin
from ponas_deploy.tables.store import StoredTable

_PAIR = sqrt(2) * NormalDist().inv_cdf(0.975)
"""Two moments lie within so many standard deviations of each other in 95 of 100 cases."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One network that was built and timed, or is about to be (`timing` None).

    `choice.predicted_ms` is what the table says by itself, `expected_ms` what is likely after its
    certificate and the attempts before. `margin` is the certificate's, None without one. The budget is on
    the `percentile` of single inferences. `validation_top1_pct` is there where a shortlist was evaluated.
    `reproducibility_pct` is how far the machine's speed varied while the table was measured. `file_bytes` is
    what the files of the engine take together, `foreseen` what the search said of checked costs, by name.
    `precision_pp` is what its precision loses: the choice's loss holds it, the top-1 on images does not.
    """

    number: int
    stored: StoredTable
    choice: Specialization
    expected_ms: float
    engine_file: str = ""
    timing: EngineTiming | None = None
    validation_top1_pct: float | None = None
    percentile: int = 50
    margin: Margin | None = None
    reproducibility_pct: float = 0.0
    file_bytes: int = 0
    foreseen: tuple[tuple[str, float], ...] = ()
    precision_pp: float = 0.0

    @property
    def checked(self) -> tuple[CheckedCost, ...]:
        """The limited costs of the engine that were measured: what was foreseen, and the limits."""
        budget, timing = self.choice.budget, self.timing
        memory, energy = (timing.most_memory, timing.middle_energy) if timing else (None, None)
        found = {BYTES.name: self.file_bytes, MEMORY.name: memory.engine_bytes if memory else 0}
        checked = [
            CheckedCost(name, foreseen, found[name], budget.get(name))
            for name, foreseen in self.foreseen
            if found[name]
        ]
        if timing and energy and ENERGY.name in budget:
            at_one_watt = timing.percentile_ms(50)
            checked.append(CheckedCost(ENERGY.name, at_one_watt, energy.mj, budget[ENERGY.name]))
        return tuple(checked)

    @property
    def over(self) -> tuple[CheckedCost, ...]:
        """The checked costs that are over their limits."""
        return tuple(one for one in self.checked if one.is_over)

    @property
    def objective(self) -> tuple[float, float]:
        """The less the better: the top-1 on images, where it was evaluated, before the loss by the table."""
        evaluated = self.validation_top1_pct
        return self.precision_pp - evaluated if evaluated else 0.0, self.choice.compared_pp

    @property
    def lost_pp(self) -> float:
        """The objective in percentage points: of top-1 below 0, where it was evaluated or is predicted."""
        measured, by_table = self.objective
        return measured or by_table

    @property
    def resolution(self) -> int | None:
        """The side of the network's input in pixels; None where the table does not say it."""
        return self.stored.table.space.resolution if self.stored.table.space else None

    @property
    def where(self) -> str:
        """` at 192 px`, for people; empty where the resolution is not known."""
        return f" at {self.resolution} px" if self.resolution else ""

    @property
    def conditions(self) -> Conditions:
        """Runtime, precision, threads and batch of the attempt."""
        return self.stored.conditions

    @property
    def core_ns(self) -> float:
        """What the core's arithmetic took when the table was measured; 0 where it was not probed."""
        return usual_core_ns(self.stored.table.rounds)

    @property
    def measured_ms(self) -> float:
        """The measured percentile in milliseconds."""
        return self._timed.percentile_ms(self.percentile)

    @property
    def residual(self) -> float:
        """Measured over predicted, by the table's own prediction."""
        return self.measured_ms / self.choice.predicted_ms

    @property
    def noise_pct(self) -> float:
        """How far two timings of the percentile lie apart: its processes, or the machine's speed."""
        return self._timed.noise_pct(self.percentile)

    @property
    def last_s(self) -> float:
        """When it was timed last."""
        return self._timed.last_s

    @property
    def meets(self) -> bool:
        """Whether the measured percentile is at or under the latency budget, and nothing over its limit."""
        return self.is_in_time and not self.over

    @property
    def is_in_time(self) -> bool:
        """Whether the measured percentile is at or under the latency budget."""
        limit = self.choice.budget.latency_ms
        return limit is None or self.measured_ms <= limit

    @property
    def verdict(self) -> Verdict | None:
        """Whether its budget is met, as far as the noise lets anybody tell; None without a budget."""
        return judge(self.measured_ms, self.choice.budget.latency_ms, self.noise_pct)

    @property
    def used_pct(self) -> float:
        """How much of the latency budget is used, in percent; all of it where none was given."""
        limit = self.choice.budget.latency_ms
        return 100.0 if limit is None else 100 * self.measured_ms / limit

    @property
    def moments(self) -> float:
        """How far the machine's speed at a moment lies from its usual: the logarithm's standard deviation."""
        return self.reproducibility_pct / 100 / _PAIR

    @property
    def deviation(self) -> float:
        """How far its measurement lies from the machine's usual: a standard deviation of the logarithm.

        Of moments, of which there were as many as timings, and of processes within a moment.
        """
        return hypot(self.moments / sqrt(self._timed.timings), self._timed.deviation(self.percentile))

    @property
    def beside_reference(self) -> Estimate | None:
        """The measured percentile over what the reference network took in the same processes."""
        return self._timed.beside_reference(self.percentile)

    @property
    def reference_ns(self) -> tuple[float, ...]:
        """What the reference network took in each process; empty where it was not timed."""
        return self._timed.reference.processes_ns if self._timed.reference else ()

    @property
    def timings(self) -> float:
        """How many measurements this is, at moments of their own."""
        return self._timed.timings

    @property
    def _timed(self) -> EngineTiming:
        if self.timing is None:
            raise PonasError("this attempt was not measured yet.")
        return self.timing
