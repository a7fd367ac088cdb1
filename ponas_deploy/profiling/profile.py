"""Profile a device: time every building block of a space and whole networks, make a certified table.

The distinct cells, the stem and the head are timed alone; whole networks in the same rounds say what
the cells are worth inside a network (`calibrate`) and, others of them, how well that predicts. The
time budget covers everything, building too: a slow machine gets fewer rounds and fewer networks, but
never fewer than a certificate needs. When it is too short for all rounds, what decides which network is
chosen is visited most (`priority`). From another device's table as a prior, whole networks alone are
timed (`prior`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ponas_deploy.backends import Backend, RunSettings, Session, get_backend
from ponas_deploy.errors import BackendError, MeasurementError
from ponas_deploy.files.documents import compact
from ponas_deploy.files.journal import Journal
from ponas_deploy.files.records import write_bytes
from ponas_deploy.fitting.correction import LEAST_CHECK, LEAST_FIT
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.affordable import NetworkTrial, affordable, round_s, smaller_after
from ponas_deploy.measuring.interference import Interference, usual_core_ns
from ponas_deploy.measuring.launches import launch_summary, not_captured
from ponas_deploy.measuring.protocol import Outcome, Plan, Samples, measure
from ponas_deploy.profiling.assemble import NetworkSplit, Texts, assemble
from ponas_deploy.profiling.bench import Bench
from ponas_deploy.profiling.board_bench import BoardBench
from ponas_deploy.profiling.build_time import BuildTimes
from ponas_deploy.profiling.gaps import Measured, in_gaps
from ponas_deploy.profiling.models import WEIGHTS
from ponas_deploy.profiling.prior import MOST_CHECKS, Prior, assemble_from
from ponas_deploy.profiling.priority import Floats, Priority, losses
from ponas_deploy.profiling.progress import OnProgress, OnStep
from ponas_deploy.profiling.resume import WHERE_SAID, Previous, entries_of, header, previous_of
from ponas_deploy.profiling.sampling import MOST_CHECK, MOST_FIT, choose, grown
from ponas_deploy.profiling.spread import spread_networks
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.measured_how import MeasurementProtocol
from searchspace.architecture import only_network
from searchspace.space import Space, is_network

TIME_BUDGET_S = 75.0
_FIT_S = 1.5
"""Kept free at the end, to fit the table."""
_ROUNDS_A_WAVE = 10_000


def profile(
    space: Space,
    backend: str | Backend,
    settings: RunSettings | None = None,
    batch: int = 1,
    *,
    device: str = "",
    time_budget_s: float = TIME_BUDGET_S,
    asked_s: float | None = None,
    journal: Path | None = None,
    further: LatencyTable | None = None,
    accuracy: AccuracyTable | None = None,
    prior: Prior | None = None,
    built_before: BuildTimes | None = None,
    one_at_a_time: bool = False,
    memory_failures: int = 0,
    on_progress: OnProgress | None = None,
    on_step: OnStep | None = None,
    seed: int = 0,
    plan: Plan | None = None,
    place: BoardPlace | None = None,
) -> LatencyTable:
    """Measure a space on a machine: corrected grid, isolated cells, certificate, raw rounds.

    The machine is this one, or the board of `place`; `device` names it in the table. `asked_s` is the time
    that was asked for, where `time_budget_s` is what is left of it. When most
    rounds were disturbed, the profile goes on for up to half of that time,
    to take them again (`measuring.disturbed`). With `journal` an interrupted profile goes on where it was
    stopped; the file stays until the caller has the table safe. Rounds are added to those of a table
    `further`, by way of the journal, and networks where the time is enough for more of them. When the time is
    short, the cells that the Pareto front with `accuracy` can contain are visited most; without that table
    more parameters are taken for less loss. With `prior` no cell is timed: that table is fitted on networks.
    `built_before` is what models took to build in an earlier profile, for an estimate before there is one;
    `one_at_a_time` builds no two models at once, to know which one brings the process down; for each of
    `memory_failures`, processes that got no memory, half as many networks are held at once. `on_step` is
    called with what is about to be built or run. Raises BackendError when the runtime is missing or refuses a
    block, UnknownNameError for an unknown backend or precision, TableMismatchError when `further` was
    measured otherwise or `accuracy` or `prior` is of another space, MeasurementError when nothing trustworthy
    came out or the journal cannot be written.
    """
    if batch < 1:
        raise MeasurementError(f"batch {batch} was asked for: ask for 1 or more.")
    make = partial(BoardBench, place=place) if place else Bench
    bench = make(
        space=space,
        backend=_backend(backend, place),
        settings=settings or RunSettings(),
        batch=batch,
        device=device or (place.name if place else this_machine().name),
        plan=plan or Plan(),
        deadline=time.monotonic() + time_budget_s,
        on_progress=on_progress or (lambda progress: None),
        on_step=on_step or (lambda step: None),
        built_before=built_before,
        one_at_a_time=one_at_a_time,
        memory_failures=memory_failures,
        asked_s=asked_s or time_budget_s,
    )
    if prior:
        prior.refuse_one_network(space)
        prior.refuse_same(bench.conditions, space, dict(bench.environment()).get("power_mode", ""))
    costs = prior.grid(space).arrays() if prior else []
    job = _Job(bench, bench.machine_now(), seed, losses(space, accuracy), prior, costs)
    wanted = job.header()
    if further and not journal:
        raise MeasurementError("rounds are added to a table by way of a journal: name a file for it.")
    if further and journal and not journal.exists():
        entries = entries_of(further, wanted)
        write_bytes(journal, Journal.text(wanted, entries).encode())
    with ExitStack() as stack:
        book = stack.enter_context(Journal(journal, wanted, WHERE_SAID)) if journal else None
        return job.table(stack, book)


def _backend(backend: str | Backend, place: BoardPlace | None) -> Backend:
    if not isinstance(backend, str):
        return backend
    return place.backend(backend) if place else get_backend(backend)


@dataclass(frozen=True, slots=True)
class _Job:
    """One profile: what is asked for, and the steps to it. `prior_costs` are the prior's, layer by layer.

    `start` is what the machine works under at the start, as (name, value).
    """

    bench: Bench
    start: Texts
    seed: int
    loss: Sequence[Floats]
    prior: Prior | None
    prior_costs: list[Floats]

    def header(self) -> dict[str, Any]:
        """What a journal must have been written for to be continued."""
        bench = self.bench
        prior = self.prior.document() if self.prior else None
        key = SpaceKey.of(bench.space)
        of = key, bench.conditions, bench.environment(), bench.plan, self.seed, prior
        return header(*of, at_start=dict(self.start))

    def table(self, stack: ExitStack, book: Journal | None) -> LatencyTable:
        """Build everything and time it, in waves where the memory does not hold all networks at once."""
        bench = self.bench
        note = book.note if book else ""
        known = previous_of(book.lines if book else ())
        bench.probe_core(usual_core_ns(known.rounds))
        interference = self._journaled(known, book)
        bench.builds.networks_left = 1 + self._least_networks(known.networks)
        blocks = {} if self.prior else bench.blocks(stack, note)
        costs = self._costs()
        groups = bench.space.groups
        middle = np.array(spread_networks(groups.joined(costs), 1, self.seed)[0], dtype=np.intp)
        trial = bench.trial(groups.choices(middle).tolist())
        networks = self._networks(trial, costs, known.networks)
        if book and networks != known.networks:
            book.append({"fit": networks.fit, "check": networks.check})
        bench.keep_time(self._least_s(trial, networks, known.samples))
        waves = networks.waves(bench.wave_size(trial))
        bench.builds.networks_left = sum(map(len, waves))
        outcomes = list[Outcome]()
        while len(outcomes) < len(waves):
            number = len(outcomes)
            try:
                outcomes.append(self._wave(number, waves, blocks, known.samples, interference, book))
            except BackendError as error:
                waves = smaller_after(error, waves, number)
                bench.report(
                    "build", 0, 1, f"no memory for so many networks: now {len(waves[number])} at once"
                )
        end = bench.machine_now()
        bench.report("fit", 0, 1, "fitting the table")
        bench.on_step("fitting the table")
        protocol = replace(
            self._protocol(outcomes),
            launches=launch_summary(blocks, bench.rough_ns),
            at_start=dict(self.start),
            at_end=dict(end),
            interference=interference.summary(),
            journal=note,
        )
        table = self._assembled(known.samples, networks, protocol)
        table = replace(table, rounds=tuple(interference.rounds))
        bench.report("fit", 1, 1, "done", at_most_s=0.0)
        return table

    def _assembled(
        self, samples: Samples, networks: NetworkSplit, protocol: MeasurementProtocol
    ) -> LatencyTable:
        bench, of = self.bench, (self.bench.space, self.bench.conditions, samples, networks)
        environment = bench.environment()
        if self.prior:
            return assemble_from(self.prior, *of, environment=environment, protocol=protocol)
        return assemble(*of, bench.plan, environment=environment, protocol=protocol)

    def _journaled(self, known: Previous, book: Journal | None) -> Interference:
        """The interference of all rounds, those measured before too; from now on everything is journaled."""
        interference = self.bench.interference(known.rounds)
        if book:
            known.samples.on_sample = lambda key, number, runs, run_ns: book.append(
                {"key": key, "round": number, "runs": runs, "ns": run_ns}
            )
            interference.on_round = lambda one: book.append({"interference": compact(one)})
        return interference

    def _costs(self) -> list[Floats]:
        """What cells cost roughly, in any unit: by the prior, or by the first runs of each."""
        if self.prior:
            return self.prior_costs
        rough_ns = self.bench.rough_ns
        cells = self.bench.space.cells()
        return [np.array([rough_ns[cell.key] if cell.ops else 0.0 for cell in row]) for row in cells]

    def _least_networks(self, known: NetworkSplit | None) -> int:
        """How many networks are built at least, which is known before there is time for more."""
        if known:
            return len(known.fit) + len(known.check)
        if only_network(self.bench.space):
            return 1
        return (self.prior.networks if self.prior else LEAST_FIT) + LEAST_CHECK

    def _networks(self, trial: NetworkTrial, costs: list[Floats], known: NetworkSplit | None) -> NetworkSplit:
        """Those chosen before, more of them where there is time, or as many as the time allows."""
        bench, seed = self.bench, self.seed
        count = affordable(bench.left_s, round_s(bench.rough_ns.values(), bench.plan, bench.visit_s), trial)
        if self.prior:
            fit = self.prior.networks
            check = int(np.clip(count - fit, LEAST_CHECK, MOST_CHECKS))
            return known or choose(
                bench.space, costs, self.loss, fit + check, seed, least_fit=fit, least_check=check
            )
        count = int(np.clip(count, LEAST_FIT + LEAST_CHECK, MOST_FIT + MOST_CHECK))
        if known:
            return grown(known, bench.space, costs, self.loss, count, seed)
        return choose(bench.space, costs, self.loss, count, seed)

    def _least_s(self, trial: NetworkTrial, networks: NetworkSplit, samples: Samples) -> float:
        """Seconds that building the networks and the fewest rounds of everything take."""
        bench, count = self.bench, len(networks.fit) + len(networks.check)
        blocks = [key for key in bench.rough_ns if not is_network(key)]
        measured = min((len(samples.rounds.get(key, ())) for key in blocks), default=0)
        blocks_s = round_s((bench.rough_ns[key] for key in blocks), bench.plan, bench.visit_s)
        networks_s = count * max(bench.visit_s, trial.run_s)
        rounds = max(0, bench.plan.floor_rounds - measured)
        return count * trial.build_s + rounds * (blocks_s + networks_s) + _FIT_S

    def _wave(
        self,
        number: int,
        waves: tuple[tuple[str, ...], ...],
        blocks: Mapping[str, Session],
        samples: Samples,
        interference: Interference,
        book: Journal | None,
    ) -> Outcome:
        """Build a group of networks and measure it among all blocks, in its share of the time left."""
        wave, bench, first_round = waves[number], self.bench, number * _ROUNDS_A_WAVE
        with ExitStack() as stack:
            sessions = {**blocks, **bench.networks(stack, wave)}
            left_s = (bench.left_s - _FIT_S) / (len(waves) - number)
            deadline = time.monotonic() + left_s
            outcome = measure(
                sessions,
                {**bench.runs, **samples.runs},
                samples,
                bench.plan,
                seed=self.seed,
                deadline=deadline,
                first_round=first_round,
                on_round=lambda rounds, took_s: self._after_round(book, number, len(waves), rounds, took_s),
                on_visit=bench.running,
                interference=interference,
                probe=bench.probe,
                due=self._due(sessions, wave, samples, first_round, left_s),
                taker=bench.taker(samples),
            )
            numbers = range(first_round, first_round + outcome.rounds)
            measured = Measured(sessions, samples, interference, numbers, outcome.round_s, self.seed)
            spare_s = deadline - time.monotonic()
            return replace(outcome, extended_s=in_gaps(bench, measured, spare_s, len(waves)))

    def _due(
        self,
        sessions: Mapping[str, Session],
        networks: Sequence[str],
        samples: Samples,
        first_round: int,
        left_s: float,
    ) -> Callable[[str, int], bool]:
        """What is visited in which round: everything, unless the time is too short for all rounds of it."""
        bench = self.bench
        wave = range(first_round, first_round + _ROUNDS_A_WAVE)
        taken = (number for key in sessions for number in samples.rounds.get(key, ()) if number in wave)
        resumed_at = max(taken, default=first_round)
        rounds_left = bench.plan.max_rounds - (resumed_at - first_round)
        a_round_s = round_s((bench.rough_ns[key] for key in sessions), bench.plan, bench.visit_s)
        if self.prior or left_s > rounds_left * a_round_s:
            return lambda key, number: True
        return Priority(
            bench.space,
            self.loss,
            samples,
            bench.plan,
            always=frozenset(networks),
            first_round=first_round,
            resumed_at=resumed_at,
            new=frozenset(networks) - samples.rounds.keys(),
        ).due

    def _after_round(self, book: Journal | None, wave: int, waves: int, rounds: int, took_s: float) -> None:
        if book:
            book.sync()
        plan, most = self.bench.plan, self.bench.plan.max_rounds
        self.bench.keep_time(max(0, plan.floor_rounds - rounds) * took_s)
        done, total = wave * most + rounds, waves * most
        text = f"round {rounds} of {most} at most"
        at_most_s = (total - done) * took_s + self.bench.builds.left_s
        self.bench.report("measure", done, total, text, at_most_s=at_most_s)

    def _protocol(self, outcomes: Sequence[Outcome]) -> MeasurementProtocol:
        return MeasurementProtocol(
            plan=self.bench.plan.numbers(),
            seed=self.seed,
            weights=WEIGHTS,
            rounds=tuple(outcome.rounds for outcome in outcomes),
            stopped_by=outcomes[-1].reason,
            redone_visits=sum(outcome.redone_visits for outcome in outcomes),
            builds=self.bench.builds.summary(),
            not_captured=not_captured(self.bench.backend),
            extended_s=round(sum(outcome.extended_s for outcome in outcomes), 1),
        )
