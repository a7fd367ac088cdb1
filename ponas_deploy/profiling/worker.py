"""The process that profiles, and what it sends to the one that waits for it (`supervise`).

A runtime that crashes, hangs or takes all memory brings down this process and nothing else. How far it is
goes over its standard output, one line of JSON a step, and it waits for a line back: the other process
draws its bar while nothing is timed. What is about to be built or run stands in a small file that is mapped
into memory, so that writing it costs the measurement nothing and it outlives this process, however it ends.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ponas_deploy.backends import RunSettings
from ponas_deploy.errors import TableMismatchError
from ponas_deploy.machines import processes
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.build_time import BuildTimes
from ponas_deploy.profiling.making import power_mode_at
from ponas_deploy.profiling.prior import NETWORKS, Prior, load_prior, with_stored
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.progress import OnProgress, OnStep
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.latency_file import write_latency_table
from searchspace.space import Space
from searchspace.spaces import build_space

STEP_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be profiled, and where table and journal go.

    With `further` rounds are added to the table that is there. `seconds` are what is left of the time,
    `asked_s` what was asked for. `accuracy` and `prior` are tables, `networks` are timed to fit the prior on.
    `built_before` is what models took to build in an earlier profile. `failures` are what ended the processes
    that tried before, in words, for the table's protocol.
    """

    conditions: Conditions
    space: SpaceKey
    table: Path
    journal: Path
    seconds: float
    seed: int = 0
    plan: Plan = Plan()  # noqa: RUF009 (frozen)
    overwrite: bool = False
    further: bool = False
    accuracy: Path | None = None
    prior: Path | None = None
    networks: int = NETWORKS
    built_before: BuildTimes | None = None
    failures: tuple[str, ...] = ()
    asked_s: float | None = None

    def text(self) -> str:
        """The request as JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_text(cls, text: str) -> Request:
        """Read what `text` wrote."""
        values = json.loads(text)
        return cls(
            **{
                **values,
                "conditions": Conditions(**values["conditions"]),
                "space": SpaceKey(**values["space"]),
                "table": Path(values["table"]),
                "journal": Path(values["journal"]),
                "accuracy": values["accuracy"] and Path(values["accuracy"]),
                "prior": values["prior"] and Path(values["prior"]),
                "plan": Plan(**values["plan"]),
                "built_before": values["built_before"] and BuildTimes(**values["built_before"]),
                "failures": tuple(values["failures"]),
            }
        )


class Step:
    """What this process is about to do, in a file of STEP_BYTES that others can read at any time."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), STEP_BYTES)

    def __call__(self, text: str) -> None:
        """Note a step."""
        self._memory[:] = text.encode()[:STEP_BYTES].ljust(STEP_BYTES, b"\0")

    @staticmethod
    def read(path: Path) -> str:
        """The step that was noted last; empty before the first."""
        return path.read_bytes().rstrip(b"\0").decode(errors="ignore")


def main(arguments: Sequence[str]) -> None:
    """Profile what the first argument asks for, noting each step in the file that the second one names."""
    request, step = Request.from_text(arguments[0]), Step(Path(arguments[1]))
    processes.serve(lambda send: make(request, step, lambda progress: send({"progress": asdict(progress)})))


def make(request: Request, on_step: OnStep, on_progress: OnProgress, place: BoardPlace | None = None) -> None:
    """Profile what is asked for, here or on a board, and write the table."""
    conditions, key = request.conditions, request.space
    space = build_space(key.name, key.resolution, key.classes)
    if SpaceKey.of(space) != key:
        raise TableMismatchError(f"space '{key.name}' is another one here than the one that was asked for.")
    table = profile(
        space,
        conditions.backend,
        RunSettings(conditions.precision, conditions.threads, conditions.streams),
        conditions.batch,
        device=conditions.device,
        time_budget_s=request.seconds,
        asked_s=request.asked_s,
        journal=request.journal,
        further=load_latency_table(request.table) if request.further else None,
        accuracy=load_accuracy_table(request.accuracy) if request.accuracy else None,
        prior=_prior(request, space, place or HERE),
        built_before=request.built_before,
        one_at_a_time=bool(request.failures),
        memory_failures=sum(map(processes.lacks_memory, request.failures)),
        on_progress=on_progress,
        on_step=on_step,
        seed=request.seed,
        plan=request.plan,
        place=place,
    )
    if request.failures:
        because = "; ".join(request.failures)
        table = replace(table, protocol=replace(table.protocol, restarted_because=because))
    write_latency_table(table, request.table, overwrite=request.overwrite or request.further)


def _prior(request: Request, space: Space, place: Place) -> Prior | None:
    """The table that was named, and those of the store that it may be mixed with."""
    if not request.prior:
        return None
    prior = load_prior(request.prior, request.networks)
    return with_stored(prior, request.conditions, space, power_mode_at(place))
