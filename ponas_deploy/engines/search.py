"""The search on this machine: build and time what is next, until the budget is met and used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.boards.link import BoardError
from ponas_deploy.engines.attempt import Attempt
from ponas_deploy.engines.attempts import USED_PCT, best_of, missed, next_attempt, reconsider
from ponas_deploy.engines.building import run_settings
from ponas_deploy.engines.checked import foreseen
from ponas_deploy.engines.emit import build
from ponas_deploy.engines.manifest import MODEL
from ponas_deploy.engines.reranker import Reranker
from ponas_deploy.engines.task import Task
from ponas_deploy.engines.timing import EngineTiming, time_engine
from ponas_deploy.engines.verdict import CANNOT_BE_TOLD
from ponas_deploy.errors import BackendError, MeasurementError, PonasError
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.search.costs import ENERGY, MEMORY
from searchspace.architecture import Architecture
from searchspace.weights import Weights

OnAttempt = Callable[[Attempt], None]
OnNote = Callable[[str], None]

LEAST_TRIES = 8
"""A search whose timings are slow goes on beyond its seconds until so many networks were tried."""
PATIENCE = 4
"""So many times the tries and seconds are spent at most while the best engine uses little of the budget."""


@dataclass(slots=True)
class Search:
    """A search: networks are built and timed, each in a folder below `scratch`, and all are remembered.

    `place` is the machine that builds and times them.
    """

    task: Task
    reranker: Reranker | None
    scratch: Path
    report: OnAttempt
    note: OnNote
    on_build: OnBuildProgress | None
    place: Place = HERE
    attempts: list[Attempt] = field(default_factory=list)
    remeasured: set[int] = field(default_factory=set)
    """The numbers of those that were measured a second time."""
    waits: int = 0
    extended: bool = False
    """Whether it goes on beyond its tries or seconds, which is said once."""

    def engine(self, attempt: Attempt) -> Path:
        """The engine file of an attempt, in a folder of its own."""
        return self.scratch / str(attempt.number) / attempt.engine_file

    def run(self, tries: int, timeout_s: float) -> Attempt:
        """The best network that meets the budget in all measurements of it together.

        What is chosen is measured a second time, which counts like any other measurement: where it leaves
        room after all, the search goes on. With weights that are still to be finished it will be built and
        timed again anyway, and that takes its place. First measurements that a second one took back are no
        tries.
        """
        start, most_tries = monotonic(), tries + RETRIES.later_times
        while True:
            self._try(start, tries, timeout_s)
            best = best_of(self.attempts)
            if best is None:
                self._wait_and_remeasure()
                continue
            if self.task.weights.finish or best.number in self.remeasured:
                if best.verdict != CANNOT_BE_TOLD or self.waits == RETRIES.later_times:
                    return best
                self._wait_and_tell(best)
                continue
            if not self.remeasure(best).meets:
                tries = min(tries + 1, most_tries)

    def measured(self, attempt: Attempt, tensors: Callable[[Architecture], Weights] | None = None) -> Attempt:
        """Build a network and time it; `tensors` are other weights than the search's."""
        attempt = replace(attempt, number=len(self.attempts) + 1, timing=None)
        self.report(attempt)
        folder, conditions = self.scratch / str(attempt.number), attempt.conditions
        task = self.task.of(attempt.stored)
        shutil.rmtree(folder, ignore_errors=True)  # one that could not be measured
        folder.mkdir()
        architecture = Architecture(task.space, attempt.choice.choices)
        images = task.weights.scale_images(conditions.precision)
        weights = (tensors or task.weights.tensors)(architecture)
        metadata = task.weights.metadata(architecture)
        on_build, place = self.on_build, self.place
        engine = build(architecture, weights, conditions, folder, images, on_build, metadata, place)
        attempt = replace(
            attempt,
            engine_file=engine.name,
            file_bytes=sum(path.stat().st_size for path in folder.iterdir() if path.name != MODEL),
            foreseen=foreseen(attempt.choice, attempt.stored.table, task.space),
        )
        timing = replace(self._timed(attempt), reproducibility_pct=attempt.reproducibility_pct)
        if MEMORY.name in attempt.choice.budget and not timing.memory:
            raise MeasurementError(
                f"the memory of an engine of {conditions.backend} on {conditions.device} cannot be measured:"
                " that takes Linux, and a runtime in the process that times it. Search without --memory."
            )
        if ENERGY.name in attempt.choice.budget and not timing.energy:
            raise MeasurementError(
                f"the energy of an engine of {conditions.backend} on {conditions.device} cannot be measured:"
                f" {timing.no_energy} Search without --energy."
            )
        done = replace(attempt, timing=timing)
        self.report(done)
        self.attempts.append(done)
        return done

    def _timed(self, attempt: Attempt, *, energy: bool = False) -> EngineTiming:
        """Time the engine of an attempt in fresh processes.

        `energy` is read where it is limited, or the engine is likely emitted.
        """
        conditions = attempt.conditions
        settings = run_settings(conditions)
        engine, core_ns = self.engine(attempt), self._core_ns(attempt)
        return time_engine(
            engine,
            conditions.backend,
            settings,
            core_ns,
            place=self.place,
            back_to_back=self.task.throughput is not None,
            energy=energy or ENERGY.name in attempt.choice.budget,
        )

    def _try(self, start: float, tries: int, timeout_s: float) -> None:
        """Build and time networks until nothing is expected of another one, or patience is used up.

        Where nothing is expected of a new network, one that missed while the machine was slower is measured
        again.
        """
        while True:
            best = best_of(self.attempts)
            step = self._step_in_time(best, monotonic() - start, tries, timeout_s)
            if step is None:
                return
            try:
                step()
            except (BackendError, MeasurementError) as error:
                if best is None or isinstance(error, BoardError):
                    raise
                self.note(f"{error} The search ends with what was found.")
                return

    def _next_step(self, best: Attempt | None) -> Callable[[], Attempt] | None:
        """What is to be measured next; None where nothing is expected of it."""
        if attempt := next_attempt(self.task, self.attempts, self.reranker):
            return partial(self.measured, attempt)
        again = reconsider(self.attempts, best, self.remeasured) if best else None
        return partial(self.remeasure, again) if again else None

    def _step_in_time(
        self, best: Attempt | None, taken_s: float, tries: int, timeout_s: float
    ) -> Callable[[], Attempt] | None:
        """What is to be measured next; None where nothing is expected of it, or patience is used up.

        `tries` and, once one met the budget, `timeout_s` count, but for LEAST_TRIES; PATIENCE times as much
        while the best one uses little of the budget and another one may use more of it.
        """
        tried = len(self.attempts)
        few = tried < LEAST_TRIES and taken_s <= PATIENCE * timeout_s
        in_time = tried < tries and (best is None or few or taken_s <= timeout_s)
        if not in_time and not _is_worth_more(best, tried, taken_s, tries, timeout_s):
            return None
        step = self._next_step(best)
        if step and best and not (in_time or self.extended):
            self.extended = True
            self.note(
                f"the best engine uses {best.used_pct:.0f} % of the budget: the search goes on, up to"
                f" {PATIENCE * tries} tries or {PATIENCE * timeout_s:.0f} s"
            )
        return step

    def _wait_and_remeasure(self) -> None:
        """Wait, and time once more what missed the budget although its table says it fits.

        BudgetError where there is no such one, or the waits are used up.
        """
        hopeful = reconsider(self.attempts, None, self.remeasured)
        if hopeful is None or self.waits == RETRIES.later_times:
            raise missed(self.task.budget, self.attempts)
        self.waits += 1
        self.note(
            f"nothing met the budget, and by the tables some would: waiting {RETRIES.later_s:.0f} s ..."
        )
        sleep(RETRIES.later_s)
        self.remeasure(hopeful)

    def _wait_and_tell(self, best: Attempt) -> None:
        """Wait, and time once more what was timed while nothing could be told of it.

        Where something can be told then, that timing counts alone: the one before was not of the engine.
        """
        self.waits += 1
        self.note(
            f"two timings of the engine differ by {best.noise_pct:.0f} %: waiting {RETRIES.later_s:.0f} s ..."
        )
        sleep(RETRIES.later_s)
        later = replace(self._timed(best), reproducibility_pct=best.reproducibility_pct)
        alone = replace(best, timing=later)
        told = alone.verdict != CANNOT_BE_TOLD
        both = best.timing.with_later(later) if best.timing else later
        self.attempts[best.number - 1] = alone if told else replace(best, timing=both)

    def _core_ns(self, attempt: Attempt) -> float:
        """What the core's arithmetic is known to take while nobody shares it, by table and timings."""
        timed = [one.timing.core_ns for one in self.attempts if one.timing]
        return min(filter(None, (attempt.core_ns, *timed)), default=0.0)

    def remeasure(self, attempt: Attempt) -> Attempt:
        """Time an engine again, in fresh processes: what it took then and takes now count as one."""
        if attempt.timing is None:
            raise PonasError("this attempt was not measured yet.")
        self.note(f"timing the engine of try {attempt.number} once more ...")
        again = replace(attempt, timing=attempt.timing.with_later(self._timed(attempt, energy=True)))
        self.attempts[attempt.number - 1] = again
        self.remeasured.add(attempt.number)
        if not again.meets:
            what = ", ".join(one.text for one in again.over) or f"{again.measured_ms:.3f} ms"
            self.note(f"try {again.number}: {what} measured twice, over the budget")
        return again


def _is_worth_more(best: Attempt | None, tried: int, taken_s: float, tries: int, timeout_s: float) -> bool:
    """Whether a search may go on beyond its tries and seconds: its best engine uses little of the budget."""
    little = best is not None and best.used_pct < USED_PCT
    return little and tried < PATIENCE * tries and taken_s <= PATIENCE * timeout_s
