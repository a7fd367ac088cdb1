"""Models that are timed on a board: opened there all at once, then visited round by round, a step a round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from ponas_deploy.backends import RunSettings, registry
from ponas_deploy.boards.link import BoardError
from ponas_deploy.files.bounds import AboveZero, Count, Positive, Seconds
from ponas_deploy.measuring.interference import Snapshot
from ponas_deploy.measuring.protocol import Plan, Samples
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.remote.session import BoardSession

_NO_OUTPUT_S = 600.0
"""How long a worker may write nothing while it builds or measures."""
_MODELS_A_STEP = 32
"""They are made here and sent together: so much of the memory."""


def groups_of(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """The keys of models that are made, sent and opened together."""
    for begin in range(0, len(keys), _MODELS_A_STEP):
        yield keys[begin : begin + _MODELS_A_STEP]


@dataclass(frozen=True, slots=True)
class FirstRuns:
    """What the first runs of a model showed: runs of a sample, nanoseconds a run, and as of the protocols."""

    first: str
    runs: Positive
    ns: AboveZero
    visit_s: Seconds
    launch_ns: Count


@dataclass(frozen=True, slots=True)
class _Seen:
    before: Snapshot
    after: Snapshot
    redone: Count


@dataclass(slots=True)
class Models:
    """Models of one runtime on a board; `known_ns` is what is known of its cores (`ContentionProbe`)."""

    place: BoardPlace
    backend: str
    settings: RunSettings
    plan: Plan
    known_ns: float = 0.0
    open: dict[str, BoardSession] = field(default_factory=dict)

    def details(self, **more: Any) -> dict[str, Any]:
        """What every step about them is told."""
        settings = asdict(self.settings)
        return {"backend": self.backend, "settings": settings, "known_ns": self.known_ns, **more}

    def build(
        self,
        models: Mapping[str, Callable[[], bytes]],
        on_built: Callable[[str, float], None],
        on_now: Callable[[str], None],
        *,
        one_at_a_time: bool,
    ) -> dict[str, FirstRuns]:
        """Build models there and run each a few times: what that showed, by key.

        `on_built` is called with each key and the seconds it took, `on_now` with what is about to be built.
        """
        found: dict[str, FirstRuns] = {}
        for group in groups_of(list(models)):
            made = {key: models[key]() for key in group}
            shas = self.place.send(made, self.backend, self.settings)

            def on_line(line: Mapping[str, Any], wanted: Sequence[str] = group) -> None:
                if "now" in line:
                    on_now(str(line["now"]))
                elif "built" in line and line["built"] in wanted:
                    on_built(line["built"], self.place.value(line.get("s"), Seconds, "open"))
                elif "first" in line and line["first"] in wanted:
                    told = {name: value for name, value in line.items() if name != "step"}
                    found[line["first"]] = self.place.value(told, FirstRuns, "open")

            asked = self.details(
                models=list(shas.items()), plan=asdict(self.plan), one_at_a_time=one_at_a_time
            )
            self.place.job.do("open", on_line, no_output_s=self.no_output_s, **asked)
            for key in group:
                first = found.get(key)
                if first is None:
                    raise BoardError(self.place.name, f"tells nothing of {key}, which it built.")
                self.open[key] = BoardSession(
                    self.place, self.backend, key, self.settings, first.launch_ns, first.visit_s
                )
        return found

    def look(self) -> Snapshot:
        """The board between two rounds."""
        found = self.place.job.do("look", **self.details())
        return self.place.snapshot(self.place.value(found, Snapshot, "look"))

    def free_gpu_bytes(self) -> int | None:
        """What is free there of a GPU's memory; None where the runtime takes none, or nothing tells it."""
        told = self.place.job.do("gpu_memory", **self.details())
        found = self.place.value(told, tuple[Count, ...], "gpu_memory")
        return found[0] if found else None

    @property
    def no_output_s(self) -> float:
        """How long the worker may write nothing: as long as a build of this runtime may take."""
        return max(_NO_OUTPUT_S, registry.entry_of(self.backend).no_output_s)

    def close(self, keys: Sequence[str]) -> None:
        """Free some of them there."""
        gone = [key for key in keys if self.open.pop(key, None)]
        if gone:
            self.place.job.do("close", keys=gone)

    def drop(self, keys: Sequence[str]) -> None:
        """Free those of them that are open there, after not all could be opened."""
        for key in keys:
            self.open.pop(key, None)
        self.place.job.do("close", keys=list(keys))

    @contextmanager
    def closing(self, keys: Sequence[str]) -> Iterator[None]:
        """Free some of them there at the end; after an error the worker frees them when it ends."""
        yield
        self.close(keys)


@dataclass(slots=True)
class Rounds:
    """What takes rounds of models on a board; see `protocol.TakesRounds`, and `measure` for the sentinel."""

    models: Models
    runs: Mapping[str, int]
    samples: Samples
    sentinel: str | None = None
    redone: int = 0

    def round(
        self, order: Sequence[str], number: int, plan: Plan, allowed_redos: float, *, quiet: bool
    ) -> tuple[Snapshot, Snapshot] | None:
        """Take a round: what was measured counts as soon as it comes."""
        if not order:  # a profile that goes on: the round was taken before
            return None
        place, runs = self.models.place, {key: self.runs[key] for key in order}
        told = set[str]()

        def on_line(line: Mapping[str, Any]) -> None:
            taken = place.value(line.get("samples", ()), tuple[tuple[str, float], ...], "round")
            for key, run_ns in taken:
                if key not in runs or not (isfinite(run_ns) and run_ns > 0):
                    raise BoardError(place.name, "tells of a sample that it was not asked for.")
                self.samples.add(key, number, runs[key], run_ns)
                told.add(key)

        asked = self.models.details(
            runs=runs,
            number=number,
            plan=asdict(plan),
            allowed_redos=max(0.0, allowed_redos - self.redone),  # the board counts those of this round
            quiet=quiet,
            sentinel=self.sentinel,
        )
        found = place.job.do("round", on_line, no_output_s=self.models.no_output_s, **asked)
        seen = place.value(found, _Seen, "round")
        if lacking := sorted(runs.keys() - told):
            raise BoardError(place.name, f"tells nothing of {lacking[0]} in round {number}, which it took.")
        self.redone += seen.redone
        return place.snapshot(seen.before), place.snapshot(seen.after)
