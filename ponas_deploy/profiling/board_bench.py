"""The bench of a profile that is a board: models are built and timed there, all else stays here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from ponas_deploy.backends import Session
from ponas_deploy.errors import BackendError
from ponas_deploy.measuring.affordable import NetworkTrial
from ponas_deploy.measuring.interference import Interference
from ponas_deploy.measuring.protocol import Samples, TakesRounds
from ponas_deploy.profiling.bench import Bench
from ponas_deploy.profiling.models import network_bytes, working_bytes
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.remote.rounds import Models, Rounds
from ponas_deploy.tables.rounds import Round
from searchspace.architecture import Architecture
from searchspace.space import is_network


@dataclass(slots=True, kw_only=True)
class BoardBench(Bench):
    """A bench on a board; see `Bench`."""

    place: BoardPlace
    models: Models = field(init=False)

    @property
    def board(self) -> str:
        """Its name in the device book."""
        return self.place.name

    def probe_core(self, known_ns: float = 0.0) -> None:
        """The board probes its core itself."""
        self.models = Models(self.place, self.backend.name, self.settings, self.plan, known_ns)

    def interference(self, rounds: Iterable[Round] = ()) -> Interference:
        """What notices the interference there."""
        return Interference(self.plan, self.models.look, rounds)

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Board and runtime."""
        return (*self.place.environment(), *self.backend.environment())

    def machine_now(self) -> tuple[tuple[str, str], ...]:
        """What the board works under now."""
        return self.place.conditions()

    def free_mib(self) -> int:
        """What is free of its memory."""
        return self.place.about().available_mib

    def free_gpu_bytes(self) -> int | None:
        """What is free of its GPU's memory."""
        return self.models.free_gpu_bytes()

    def taker(self, samples: Samples, sentinel: str | None = None) -> TakesRounds | None:
        """Rounds are taken there."""
        return Rounds(self.models, {**self.runs, **samples.runs}, samples, sentinel)

    def trial(self, indices: Sequence[int]) -> NetworkTrial:
        """Build and run one network there, by candidate index."""
        architecture = Architecture.from_indices(self.space, indices)
        self.building("building a network to see what they take")
        model, took = network_bytes(architecture, self.batch), list[float]()
        key, free = architecture.text, self.free_gpu_bytes()
        found = self.models.build(
            {key: partial(bytes, model)},
            lambda name, seconds: took.append(seconds),
            self.on_step,
            one_at_a_time=True,
        )[key]
        gpu_bytes = self.trial_took(free)
        self.models.close([key])
        self.builds.add(took[0], network=True)
        held = working_bytes(architecture, self.batch)
        return NetworkTrial(
            len(model), took[0], found.ns / 1e9, found.visit_s, held, gpu_bytes, self.settings.streams
        )

    def _ready(
        self, stack: ExitStack, models: Mapping[str, Callable[[], bytes]], text: Callable[[int, str], str]
    ) -> dict[str, Session]:
        """Sessions of models, each run a few times when all are built."""
        places = {key: number for number, key in enumerate(models, start=1)}
        self.building(text(1, next(iter(models))))

        def built(key: str, seconds: float) -> None:
            self.builds.add(seconds, network=is_network(key))
            self.building(text(places[key], key))

        try:
            found = self.models.build(models, built, self.on_step, one_at_a_time=self.one_at_a_time)
        except BackendError:
            self.models.drop(list(models))  # fewer may be tried
            raise
        stack.enter_context(self.models.closing(list(models)))
        for key, first in found.items():
            self.runs[key], self.rough_ns[key] = first.runs, first.ns
            self.visit_s = max(self.visit_s, first.visit_s)
        return {key: self.models.open[key] for key in models}
