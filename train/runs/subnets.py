"""Random networks of a finished supernet, evaluated and kept, to fit or certify tables with.

What was evaluated lies beside the weights: `subnets-SIDE-SEED.csv`, anyone's to use with `ponas table
fit`, and the journal it is made from, with which a killed command goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice, pairwise
from math import ceil
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from ponas_deploy.errors import FileFormatError, WeightsError
from ponas_deploy.files.journal import Journal
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.records import sha256
from ponas_deploy.files.weights import WeightsFile
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.networks_csv import Networks, write_networks
from searchspace import Space, build_space
from train.runs.images import load_images

if TYPE_CHECKING:
    from train.data import Splits
    from train.progress import OnProgress, TrainingProgress
    from train.stages import Choices, Side, Supernet

_TOGETHER, _IN_A_LANE = 8, 6
"""Networks that see a batch of images before the next one is decoded: so many, or so many for each thread
that computes. A kill loses no more than these."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished supernet, and the images it was trained on and is evaluated on."""

    file: WeightsFile
    space: Space
    splits: Splits

    @property
    def calibration_images(self) -> int:
        """How many training images measure batch norm statistics, where there are as many."""
        from train.stages import Statistics

        return Statistics.most(self.file.elastic)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the searchable layers."""
        return tuple(layer.name for layer in self.space.layers)

    @property
    def made_on(self) -> str:
        """The images in one line, for people."""
        images = len(self.splits.validation.labels)
        return f"{self.splits.name} at {self.splits.resolution} px, {images} validation images"


@dataclass(frozen=True, slots=True)
class EvaluatedSubnets:
    """Networks and their top-1 in percent, also on each half of the images; `networks.path` holds them."""

    networks: Networks
    halves_pct: tuple[tuple[float, float], ...]


FitTable: TypeAlias = Callable[[Run, EvaluatedSubnets], AccuracyTable]
"""Makes the accuracy table of evaluated networks (`ponas_deploy.fitting`, which no room here knows)."""


@dataclass(frozen=True, slots=True)
class SubnetsWanted:
    """How many networks of which side: so many, or as many as `seconds` allow but `least`."""

    side: Side
    networks: int | None
    seconds: float | None
    least: int
    seed: int
    device: str

    def beside(self, weights: Path) -> Path:
        """The file of the networks, beside the weights."""
        return weights.with_name(f"subnets-{self.side}-{self.seed}.csv")


def open_run(file: WeightsFile, data: str | None, on_progress: OnProgress) -> Run:
    """A supernet with the images of `data` or those it names; nobody knows which ones another's has seen.

    WeightsError when the file holds one network only, or belongs to another space or number of classes.
    """
    if not file.supernet:
        raise WeightsError(f"{file.path} holds one network: others need the weights of a supernet.")
    splits = load_images((file,), data=data, resolution=None, seed=0, on_progress=on_progress)
    space = build_space(file.metadata.get("space", ""), splits.resolution, splits.classes)
    if file.metadata.get("fingerprint") != space.fingerprint:
        raise WeightsError(f"{file.path} belongs to another version of space '{space.name}': train again.")
    if file.number("seed") is None:
        on_progress(_not_held_out(file.path))
    return Run(file, space, splits)


def _not_held_out(weights: Path) -> TrainingProgress:
    from train.progress import TrainingProgress

    text = (
        f"{weights} does not say which images its training held out: it may have seen those that networks are"
        " evaluated on here, and whether it has is not known"
    )
    return TrainingProgress("data", 1, 1, text, note=True)


def evaluated_subnets(
    run: Run, wanted: SubnetsWanted, on_progress: OnProgress, on_note: OnNote = no_note
) -> EvaluatedSubnets:
    """Evaluate random networks of a run, or read what was evaluated before; see `train.stages.subnets`."""
    path, reports = wanted.beside(run.file.path), _Reports(wanted, on_progress)
    found = EvaluatedSubnets(Networks(path, run.layers, (), (), "accuracy", ()), ())
    header = {"what": "subnets", "side": wanted.side}
    journal = path.with_suffix(".journal")
    with SubnetEvaluator(run, journal, header, wanted.seed, wanted.device, on_note) as evaluator:
        for rows in _groups(evaluator, wanted, reports):
            found = _grown(found, rows)
            write_networks(found.networks)
            reports.networks(len(found.networks))
            if reports.out_of_time and len(found.networks) >= wanted.least:
                break
    return found


class _Reports:
    """How far an evaluation is: by networks where so many are wanted, else by time."""

    def __init__(self, wanted: SubnetsWanted, on_progress: OnProgress) -> None:
        self._wanted, self._on_progress = wanted, on_progress
        self._started, self._done = monotonic(), 0

    @property
    def out_of_time(self) -> bool:
        seconds = self._wanted.seconds
        return seconds is not None and self._spent_s >= seconds

    def networks(self, done: int) -> None:
        """So many networks are evaluated."""
        self._done = done
        self._report(done)

    def images(self, networks: int, seen: int, images: int) -> None:
        """More networks have seen so many of their images."""
        self._report(self._done + networks * seen / images)

    @property
    def _spent_s(self) -> float:
        return monotonic() - self._started

    def _report(self, networks: float) -> None:
        from train.progress import TrainingProgress

        count = self._wanted.networks
        done, total = (networks, count) if count else (self._spent_s, self._wanted.seconds or 0)
        total = max(int(total), 1)
        self._on_progress(TrainingProgress("subnets", min(int(done), total), total, f"{self._done} networks"))


def _header(run: Run, seed: int) -> dict[str, Any]:
    """What decides the accuracy of a network; a journal of anything else is set aside."""
    return {
        "seed": seed,
        "weights": sha256(run.file.stored),
        "data": run.splits.name,
        "images": len(run.splits.validation.labels),
        "calibration_images": run.calibration_images,
    }


def _groups(
    evaluator: SubnetEvaluator, wanted: SubnetsWanted, reports: _Reports
) -> Iterator[list[dict[str, Any]]]:
    """The entries of the networks to evaluate, group by group."""
    from train.stages import sample

    drawn = islice(sample(evaluator.run.space, wanted.side, wanted.seed), wanted.networks)
    while group := list(islice(drawn, evaluator.together)):
        yield evaluator.entries(group, reports.images)


class SubnetEvaluator:
    """Evaluates networks of a finished supernet, each once: what is found is kept in a journal at `path`.

    A context manager. `header` is everything besides the weights and images that decides what the journal
    holds.
    """

    def __init__(
        self,
        run: Run,
        path: Path,
        header: Mapping[str, Any],
        seed: int,
        device: str,
        on_note: OnNote = no_note,
    ) -> None:
        from train.compute import Compute

        self.run, self._seed, self._compute = run, seed, Compute.on(device, lanes=0)
        self._journal = Journal(path, {**header, **_header(run, seed)})
        self._known = _by_choices(self._journal)
        self._supernet: Supernet | None = None
        if self._journal.note:
            on_note(self._journal.note)

    @property
    def together(self) -> int:
        """How many networks are evaluated at a time."""
        return max(_TOGETHER, _IN_A_LANE * self._compute.lanes)

    def entries(
        self, networks: Sequence[Choices], on_images: Callable[[int, int, int], None] | None = None
    ) -> list[dict[str, Any]]:
        """The entries of networks (`choices`, `top1_pct`, ...), in their order; unknown ones are evaluated.

        `on_images` is called with how many networks are being evaluated, how many images those have seen, and
        how many they will.
        """
        fresh = sorted({choices for choices in networks if choices not in self._known})
        count = ceil(len(fresh) / self.together)
        ends = [place * len(fresh) // count for place in range(count + 1)] if count else []
        for start, end in pairwise(ends):  # neighbours in sorted order have most in common
            self._evaluate(fresh[start:end], on_images)
        return [self._known[choices] for choices in networks]

    def _evaluate(
        self, networks: Sequence[Choices], on_images: Callable[[int, int, int], None] | None
    ) -> None:
        from train.stages import Supernet, evaluate_subnets

        compute, file = self._compute, self.run.file
        if self._supernet is None:
            self._supernet = Supernet(self.run.space, file.tensors, compute, elastic=file.elastic)
        report = partial(on_images, len(networks)) if on_images else None
        found = evaluate_subnets(self._supernet, networks, self.run.splits, compute, self._seed, report)
        for subnet in found:
            entry = {"choices": subnet.choices, **asdict(subnet.evaluation), "halves_pct": subnet.halves_pct}
            self._journal.append(entry)
            self._known[subnet.choices] = entry

    def __enter__(self) -> SubnetEvaluator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What every line of the journal says of a network."""

    choices: tuple[str, ...]
    top1_pct: float
    halves_pct: tuple[float, float]


def _by_choices(journal: Journal) -> dict[Choices, dict[str, Any]]:
    """What a journal held, by network; it is closed before the FileFormatError of a line without one."""
    try:
        return {line.read(_Entry).choices: line.data for line in journal.lines}
    except FileFormatError:
        journal.close()
        raise


def _grown(found: EvaluatedSubnets, rows: Sequence[dict[str, Any]]) -> EvaluatedSubnets:
    networks = found.networks
    choices = (*networks.choices, *(tuple(row["choices"]) for row in rows))
    values = (*networks.values, *(float(row["top1_pct"]) for row in rows))
    halves = (*found.halves_pct, *((row["halves_pct"][0], row["halves_pct"][1]) for row in rows))
    lines = tuple(range(2, len(choices) + 2))
    return EvaluatedSubnets(replace(networks, choices=choices, values=values, lines=lines), halves)
