"""What a long function reports to its caller while it runs; nothing here prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ponas_deploy.files.bounds import AtLeastZero, Count, Percent
from ponas_deploy.files.notes import OnNote

StageName = Literal[
    "data",
    "meta",
    "head",
    "fine-tune",
    "largest",
    "kernel",
    "depth",
    "width",
    "first",
    "imitation",
    "supernet",
    "weights",
    "subnets",
    "search",
]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Top-1 and top-5 in percent and mean cross entropy (nats) over `images` images.

    With fewer than five classes top-5 counts all of them.
    """

    top1_pct: Percent
    top5_pct: Percent
    cross_entropy: AtLeastZero
    images: Count


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A finished row of the accuracy table: top-1 in percent and loss, candidate by candidate.

    `cross_entropy` (nats) breaks ties for `chosen`, the candidate that stays in the network.
    """

    layer: str
    labels: tuple[str, ...]
    top1_pct: tuple[Percent, ...]
    cross_entropy: tuple[AtLeastZero, ...]
    chosen: str

    def __post_init__(self) -> None:
        if not len(self.labels) == len(self.top1_pct) == len(self.cross_entropy):
            raise ValueError(f"layer {self.layer} has another number of values than of candidates.")
        if self.chosen not in self.labels:
            raise ValueError(f"'{self.chosen}' is no candidate of layer {self.layer}.")


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a stage is.

    `done` of `total` are units of about equal time within a stage, so that they give the time left.
    `text` is one line for people, with `note` one to keep: what was found, what is wrong. `metrics` are named
    numbers with their unit in the name, `row` is set once for each row of the table, when its layer is
    finished (or was found finished on resuming). `images` were trained on since the report before.
    `milestone`: an epoch or a layer ends here.
    """

    stage: StageName
    done: int
    total: int
    text: str = ""
    metrics: tuple[tuple[str, float], ...] = ()
    row: LayerRow | None = None
    images: int = 0
    milestone: bool = False
    note: bool = False


OnProgress = Callable[[TrainingProgress], None]


def both(one: OnProgress, other: OnProgress) -> OnProgress:
    """An `on_progress` that calls two."""

    def on_progress(progress: TrainingProgress) -> None:
        one(progress)
        other(progress)

    return on_progress


def notes(on_note: OnNote) -> OnProgress:
    """An `on_progress` that hands on the lines to keep, and nothing else."""

    def on_progress(progress: TrainingProgress) -> None:
        if progress.note:
            on_note(progress.text)

    return on_progress


def silent(progress: TrainingProgress) -> None:
    """An `on_progress` that does nothing."""
