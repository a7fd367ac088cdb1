"""Progressive shrinking: the largest network, then elastic kernel sizes, depths and widths.

Once-for-all, arXiv 1908.09791, section 3.3. Each step of the recipe opens one more size of a dimension; what
was open before stays open. A training step draws subnets at random of what is open; they see the same batch,
learn from its labels and from the largest network, and their gradients are added up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from searchspace import Space
from searchspace.elastic import largest_network
from train.compute import Compute, generator
from train.data import Splits
from train.networks import ElasticNetwork, Network, frozen, initialise, sort_channels
from train.progress import Evaluation, OnProgress, StageName, silent
from train.settings import ShrinkSettings, SpecializedSettings
from train.stages.distill import taught
from train.stages.drawn import Drawn, recalibrated
from train.stages.epochs import Measured, TrainingStage, train_epochs
from train.stages.loop import evaluate, sgd
from train.stages.opening import Opening, smallest
from train.stages.specialized import cosine
from train.stages.statistics import Statistics

_DIMENSIONS: tuple[tuple[StageName, str], ...] = (
    ("kernel", "kernels"),
    ("depth", "depths"),
    ("width", "widths"),
)


@dataclass(frozen=True, slots=True)
class ShrinkStep:
    """A step of the recipe: what is open, and how long and fast it trains.

    `earlier` and `later` are the epochs of the other steps of its dimension.
    """

    dimension: StageName
    opening: Opening
    epochs: int
    lr: float
    subnets: int
    earlier: int = 0
    later: int = 0

    @property
    def name(self) -> str:
        """Of its files and random orders: `kernel-2`."""
        return f"{self.dimension}-{getattr(self.opening, dict(_DIMENSIONS)[self.dimension])}"


def shrink_steps(space: Space, settings: ShrinkSettings) -> tuple[ShrinkStep, ...]:
    """The steps after the largest network; a dimension of one size has none."""
    whole, opening, found = Opening.whole(space), Opening(), list[ShrinkStep]()
    for dimension, field in _DIMENSIONS:
        chosen, total = getattr(settings, dimension), getattr(whole, field)
        steps = []
        for count in range(2, total + 1):
            opening = replace(opening, **{field: count})
            epochs, lr = (
                (chosen.epochs, chosen.lr) if count == total else (chosen.epochs_between, chosen.lr_between)
            )
            if epochs:
                steps.append(ShrinkStep(dimension, opening, epochs, lr, chosen.subnets))
        all_epochs, earlier = sum(step.epochs for step in steps), 0
        for step in steps:
            found.append(replace(step, earlier=earlier, later=all_epochs - earlier - step.epochs))
            earlier += step.epochs
    return tuple(found)


def train_largest(
    space: Space,
    splits: Splits,
    settings: ShrinkSettings,
    *,
    seed: int,
    compute: Compute,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> Network:
    """Train the largest network; see `train.stages.epochs.train_epochs` for `state` and what is raised."""
    network = Network(largest_network(space))
    initialise(network, generator(seed, "weights"))
    compute.place(network)
    plain = _plain(settings, settings.epochs, settings.lr)
    stage = TrainingStage(
        "the largest network", "largest", "largest", plain, partial(cosine, plain), remedy="shrink.batch ="
    )
    _train(network, splits, stage, seed=seed, compute=compute, state=state, on_progress=on_progress)
    return network


def elastic_of(largest: Network, compute: Compute) -> ElasticNetwork:
    """The supernet that begins with the weights of its largest network; smaller kernels are its centres."""
    network = ElasticNetwork(largest.architecture.space)
    network.load_state_dict({**network.state_dict(), **largest.state_dict()})
    return compute.place(network)


def train_step(
    network: ElasticNetwork,
    teacher: Network,
    splits: Splits,
    step: ShrinkStep,
    settings: ShrinkSettings,
    *,
    seed: int,
    compute: Compute,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Train the supernet, which lies on the device, through one step of the recipe.

    Before the first step with elastic widths the channels are sorted by importance. See `train_epochs` for
    `state` and what is raised.
    """
    if step.dimension == "width" and not step.earlier:
        sort_channels(network)
    plain = _plain(settings, step.epochs, step.lr)
    stage = TrainingStage(
        f"elastic {step.dimension}",
        step.dimension,
        step.name,
        plain,
        partial(cosine, plain),
        taught(frozen(teacher.parts()), settings.distillation),
        remedy="shrink.batch =",
        passes=step.subnets,
        measure=partial(_ends, network, step.opening, splits, seed, compute),
        earlier=step.earlier,
        later=step.later,
    )
    drawn = Drawn(network, step.opening)
    _train(drawn, splits, stage, seed=seed, compute=compute, state=state, on_progress=on_progress)


def finished_supernet(network: ElasticNetwork, splits: Splits, seed: int, compute: Compute) -> None:
    """Leave the largest subnet's batch norm statistics, measured on training images, in the supernet."""
    statistics = Statistics.of_subnets(splits, seed, elastic=True)
    largest = recalibrated(network, [largest_network(network.space)], statistics, compute)[0]
    kept = {name: tensor for name, tensor in largest.state_dict().items() if ".running_" in name}
    network.load_state_dict({**network.state_dict(), **kept})


def _plain(settings: ShrinkSettings, epochs: int, lr: float) -> SpecializedSettings:
    return SpecializedSettings(
        epochs,
        settings.batch,
        lr,
        settings.momentum,
        settings.weight_decay,
        settings.augment,
        settings.threads,
    )


def _train(
    network: nn.Module,
    splits: Splits,
    stage: TrainingStage,
    *,
    seed: int,
    compute: Compute,
    state: Path | None,
    on_progress: OnProgress,
) -> Evaluation:
    settings = stage.settings
    optimizer = sgd(
        network.parameters(), settings.lr, settings.momentum, settings.weight_decay, nesterov=True
    )
    return train_epochs(
        network, optimizer, splits, stage, seed=seed, compute=compute, state=state, on_progress=on_progress
    )


def _ends(network: ElasticNetwork, opening: Opening, splits: Splits, seed: int, compute: Compute) -> Measured:
    """The accuracy of the largest subnet, and the top-1 of the smallest that is open."""
    ends = [largest_network(network.space), smallest(network.space, opening)]
    statistics = Statistics.of_subnets(splits, seed, elastic=False)  # fewer images, after every epoch
    measured = recalibrated(network, ends, statistics, compute)
    large, small = (evaluate(one, splits.validation, compute) for one in measured)
    return Measured(large, (("smallest_top1_pct", small.top1_pct),))
