"""Random whole networks, measured into a CSV that `ponas table fit` reads: cells in context, never alone.

A block alone is not what a runtime makes of it inside a network. Whole networks are, and where a model takes
seconds to build, few of them cost less than every block. How many a fit needs is said by the fit; here every
candidate of a layer is drawn equally often, group after group, and the same seed goes on with the same
networks. Each network stands in the file twice, once for every other half of its rounds, so that a fit knows
the noise. The first three networks are measured again with every group: what they take then over what they
took at first is how much slower the machine has become, and is divided out. When most rounds of a group were
disturbed, they are taken again in the gaps, for up to half of the time that the group took (`gaps`). Beside
the file lies how it was measured: other networks are not added to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from functools import partial
from math import ceil
from pathlib import Path
from statistics import fmean, median

import numpy as np

from ponas_deploy.backends import Backend, RunSettings
from ponas_deploy.errors import FileFormatError, MeasurementError, TableMismatchError
from ponas_deploy.files.documents import Format, read_document, write_document
from ponas_deploy.files.journal import difference
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.opening import place_of, refuse_file
from ponas_deploy.machines.advice import doctor_command
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.plans import plan_for
from ponas_deploy.measuring.protocol import Plan, Samples, measure
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.profiling.bench import Bench
from ponas_deploy.profiling.board_bench import BoardBench
from ponas_deploy.profiling.gaps import Measured, in_gaps
from ponas_deploy.profiling.places import conditions_at, reached
from ponas_deploy.profiling.progress import (
    DONE,
    OnProgress,
    ProfilingProgress,
    at_stage,
    of_runtime,
    with_notes,
)
from ponas_deploy.profiling.resume import CLOCKS, WHERE_SAID, header
from ponas_deploy.profiling.target import Target
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.tables import store
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.networks_csv import Networks, read_networks, write_networks
from searchspace.architecture import Architecture
from searchspace.space import Space


@dataclass(frozen=True, slots=True)
class MeasuredAs:
    """How a file of networks was measured: what must be the same to go on with it."""

    space: SpaceKey
    conditions: Conditions
    environment: Mapping[str, str]
    protocol: Mapping[str, str]
    clocks: Mapping[str, str] = field(default_factory=dict)


FORMAT = Format("ponas.whole-networks", 1, MeasuredAs)
GROUP = 24
"""Networks that are built and measured together, in rounds."""
_STATISTIC = "fastest_quarter"
_HALVES = (0, 1)
_ANCHORS = 3
_MAY_BE_OFF = (
    "the latencies of these {count} networks may be off. {doctor} says what disturbs; --force measures them"
    " again."
)
_REPEATED = 1000
"""So many known networks one after another: a space has no others worth waiting for."""


def draws(space: Space, seed: int) -> Iterator[Architecture]:
    """Random networks, none twice, until there are hardly others.

    A layer's candidates stand there equally often, and where layers are absent together their combinations.
    """
    groups = space.groups
    columns = [_column(size, (seed, number)) for number, size in enumerate(groups.sizes)]
    seen, repeated = set[str](), 0
    while repeated < _REPEATED:
        picked = np.array([next(column) for column in columns], dtype=np.intp)
        found = Architecture.from_indices(space, groups.choices(picked).tolist())
        repeated = repeated + 1 if found.text in seen else 0
        if not repeated:
            seen.add(found.text)
            yield found


def _column(candidates: int, seed: tuple[int, int]) -> Iterator[int]:
    """One permutation of the candidates after another."""
    rng = np.random.default_rng(seed)
    while True:
        yield from map(int, rng.permutation(candidates))


@dataclass(frozen=True, slots=True)
class RandomNetworks:
    """Random networks that were measured into a file, and what they ran in."""

    conditions: Conditions
    networks: Networks


@dataclass(slots=True)
class _Job:
    """One file of networks: what is asked for, and how long its parts took."""

    bench: Bench
    path: Path
    seed: int
    on_progress: OnProgress
    wanted: int
    clock: Callable[[], float]
    done: int = 0
    anchors_ms: dict[str, float] = field(default_factory=dict)
    """What the networks of every group took in the first."""
    took_s: list[float] = field(default_factory=list)

    @property
    def note(self) -> Path:
        """How the file was measured: beside it, not beside a link to it."""
        return place_of(self.path).with_suffix(".measured.json")

    def measured_as(self) -> MeasuredAs:
        """What a file must have been measured as to be gone on with."""
        bench = self.bench
        key = SpaceKey.of(bench.space)
        of = key, bench.conditions, bench.environment(), bench.plan, self.seed
        said = header(*of, at_start=dict(bench.machine_now()))
        return MeasuredAs(key, bench.conditions, said["environment"], said["protocol"], said[CLOCKS])

    def known(self, now: MeasuredAs) -> Networks | None:
        """The networks measured before; TableMismatchError where that was not as `now`."""
        if not self.path.exists():
            return None
        try:
            was = read_document(self.note, FORMAT)
        except FileFormatError as error:
            raise TableMismatchError(
                f"{self.path} is there, and nothing beside it says how it was measured: --force measures it"
                " again."
            ) from error
        names = [one.name for one in fields(now)]
        then, here = ({name: getattr(one, name) for name in names} for one in (was, now))
        differing = [name for name in names if difference({name: then[name]}, {name: here[name]}, WHERE_SAID)]
        if differing:
            raise TableMismatchError(
                f"{self.path} was measured otherwise ({', '.join(differing)} differ): --force measures it"
                " again."
            )
        return read_networks(self.path)

    def group(self, texts: list[str]) -> list[tuple[tuple[str, ...], float]]:
        """Build and measure some networks: rows of choices and milliseconds, each network's halves apart."""
        bench, samples, begun_s = self.bench, Samples(), self.clock()
        interference = bench.interference()
        with ExitStack() as stack:
            sessions = bench.networks(stack, list(dict.fromkeys((*self.anchors_ms, *texts))))
            sentinel = texts[len(texts) // 2]
            outcome = measure(
                sessions,
                bench.runs,
                samples,
                bench.plan,
                seed=self.seed,
                sentinel=sentinel,
                deadline=bench.deadline,
                on_visit=bench.running,
                interference=interference,
                probe=bench.probe,
                taker=bench.taker(samples, sentinel),
            )
            numbers = range(outcome.rounds)
            measured = Measured(sessions, samples, interference, numbers, outcome.round_s, self.seed)
            in_gaps(bench, measured, RETRIES.extra_time_share * (self.clock() - begun_s), waves=1)
        if interference.disturbed.most:
            may_be_off = _MAY_BE_OFF.format(count=len(texts), doctor=doctor_command(bench.board))
            self.report(note=f"{interference.disturbed.text}: {may_be_off}")
        taken_ms = {text: samples.measurement(text).value_ms(_STATISTIC) for text in sessions}
        slower = median([taken_ms[text] / first_ms for text, first_ms in self.anchors_ms.items()] or [1.0])
        if not self.anchors_ms:
            self.anchors_ms = {text: taken_ms[text] for text in texts[:_ANCHORS]}
        return [
            (tuple(text.split(",")), samples.measurement(text).half(half).value_ms(_STATISTIC) / slower)
            for half in _HALVES
            for text in texts
        ]

    def report(self, inside: ProfilingProgress | None = None, note: str = "") -> None:
        """Report how far it is; the time left is what groups took before, or what building will.

        `inside` is how far the group is, `note` a sentence that is said once.
        """
        done, wanted = self.done, self.wanted
        left_s = max(ceil((wanted - done) / GROUP) * fmean(self.took_s or [0.0]), self.bench.builds.left_s)
        text = f"{done} of {wanted} networks{f', {inside.text}' if inside else ''}"
        stage, said = (inside.stage, inside.note) if inside else ("measure", note)
        self.on_progress(ProfilingProgress(stage, done, wanted, left_s, text, said))


def profile_networks(
    target: Target,
    space: Space,
    count: int,
    path: Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
) -> RandomNetworks:
    """Measure `count` random networks in the first runtime and precision that a target leaves open.

    The target is this machine or a board. Raises PonasError for a device that cannot be reached,
    MeasurementError while somebody else measures, and what `measure_networks` does.
    """
    with ExitStack() as stack:
        place = stack.enter_context(reached(target, f"networks of {space.name}", on_note))
        conditions = conditions_at(place, target)[0]
        on_note(f"measuring {count} networks: {conditions.text}, at {space.resolution} px")
        stack.enter_context(place.to_oneself(store.lock_path(), conditions.text))
        report = of_runtime(conditions, space.resolution, on_progress)
        found = measure_networks(
            space,
            place.backend(conditions.backend),
            RunSettings(conditions.precision, conditions.threads, conditions.streams),
            conditions.batch,
            count,
            path,
            device=conditions.device,
            plan=quick(plan_for(conditions.backend)),
            seed=seed,
            overwrite=overwrite,
            on_progress=with_notes(on_note, report),
            place=place,
        )
        report(at_stage(DONE, f"{count} networks"))
    return RandomNetworks(conditions, found)


def measure_networks(
    space: Space,
    backend: Backend,
    settings: RunSettings,
    batch: int,
    count: int,
    path: Path,
    *,
    device: str,
    plan: Plan,
    seed: int = 0,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    clock: Callable[[], float] = time.monotonic,
    place: Place = HERE,
) -> Networks:
    """Measure `count` random networks of a space into the CSV at `path`, which is safe after each group.

    `backend` is of `place`. A file of the same measurement is gone on with. Raises TableMismatchError where
    `path` holds another one and `overwrite` does not allow to replace it, BackendError where the runtime
    refuses a network, MeasurementError for a space without so many networks, PonasError where `path` is no
    file.
    """
    refuse_file(path, overwrite=True)
    make = partial(BoardBench, place=place) if isinstance(place, BoardPlace) else Bench
    bench = make(
        space=space,
        backend=backend,
        settings=settings,
        batch=batch,
        device=device,
        plan=plan,
        deadline=float("inf"),
        on_progress=lambda progress: None,
        on_step=lambda step: None,
    )
    job = _Job(bench, path, seed, on_progress or (lambda progress: None), count, clock)
    bench.on_progress = job.report
    now = job.measured_as()
    known = None if overwrite else job.known(now)
    layers = tuple(layer.name for layer in space.layers)
    rows = list(zip(known.choices, known.values, strict=True)) if known else []
    have = {",".join(choices) for choices, _ in rows}
    left = [text for text in _first(space, seed, count) if text not in have]
    job.anchors_ms = {
        ",".join(choices): fmean(value for other, value in rows if other == choices)
        for choices, _ in rows[:_ANCHORS]
    }
    job.done = count - len(left)
    groups = ceil(len(left) / GROUP)
    bench.builds.networks_left = len(left) + _ANCHORS * (groups if rows else max(0, groups - 1))
    job.report()
    for start in range(0, len(left), GROUP):
        begun, texts = clock(), left[start : start + GROUP]
        rows += job.group(texts)
        write_document(job.note, FORMAT, now, overwrite=True)
        choices, values = zip(*rows, strict=True)
        write_networks(Networks(path, layers, choices, values, "latency", tuple(range(2, len(rows) + 2))))
        job.took_s.append(clock() - begun)
        job.done += len(texts)
        job.report()
    return read_networks(path)


def _first(space: Space, seed: int, count: int) -> list[str]:
    found = [architecture.text for architecture, _ in zip(draws(space, seed), range(count), strict=False)]
    if len(found) < count:
        raise MeasurementError(
            f"{count} networks were asked for, and {len(found)} different ones of space '{space.name}' were"
            " found: ask for fewer."
        )
    return found


def quick(plan: Plan) -> Plan:
    """The plan for whole networks: as many rounds as two halves need; more networks say more than rounds."""
    return replace(plan, min_rounds=8, floor_rounds=8, max_rounds=16)
