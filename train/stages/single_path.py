"""Training a supernet path by path: uniform sampling, or one of the fair rules.

Single path one-shot, arXiv 1904.00420, section 3.2: of each step's gradients those of one path alone.
Networks inherit from it, with their batch norm measured again (section 3.4).
"""

from __future__ import annotations

from functools import partial
from itertools import chain, islice
from pathlib import Path
from statistics import fmean

from torch import Tensor
from torch.nn import functional as F

from searchspace import Space
from train.compute import Compute, derive, generator
from train.data import Splits
from train.networks import initialise
from train.networks.paths import PathSupernet
from train.progress import OnProgress, silent
from train.settings import SinglePathSettings
from train.stages.epochs import Measured, TrainingStage, train_epochs
from train.stages.loop import Loss, decay_groups, sgd
from train.stages.paths import RULES
from train.stages.sampling import sample
from train.stages.subnets import Supernet, evaluate_subnets

_WATCHED = 4
"""Random networks whose mean accuracy is told after every epoch, the same ones."""


def path_supernet(space: Space, settings: SinglePathSettings, *, seed: int, compute: Compute) -> PathSupernet:
    """A supernet with random weights on the device; the rules of `train.stages.paths` refuse spaces."""
    supernet = PathSupernet(space, RULES[settings.sampling](space))
    initialise(supernet, generator(seed, "weights"))
    compute.place(supernet)
    return supernet


def train_single_path(
    supernet: PathSupernet,
    splits: Splits,
    settings: SinglePathSettings,
    *,
    seed: int,
    compute: Compute,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Train a supernet that lies on the device.

    See `epochs.train_epochs` for `state` and what is raised.
    """
    stage = TrainingStage(
        "the supernet",
        "supernet",
        "single path",
        settings,
        partial(linear, settings),
        smoothed(settings.label_smoothing),
        remedy="single_path.batch =",
        measure=partial(watched, supernet, splits, seed, compute),
    )
    train_epochs(
        supernet,
        sgd(decay_groups(supernet, settings.weight_decay), settings.lr, settings.momentum, 0.0),
        splits,
        stage,
        seed=seed,
        compute=compute,
        state=state,
        on_progress=on_progress,
    )


def linear(settings: SinglePathSettings, epoch: int) -> float:
    """The learning rate of an epoch (from 0): in a line to 0 (MMRazor's polynomial decay of power 1)."""
    return settings.lr * (1 - epoch / settings.epochs)


def smoothed(label_smoothing: float) -> Loss:
    """The sum of the paths' cross entropies; (paths, N, classes) and (N,) -> a scalar."""

    def loss(logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        paths = len(logits)
        each = F.cross_entropy(logits.flatten(0, 1), labels.repeat(paths), label_smoothing=label_smoothing)
        return paths * each

    return loss


def watched(supernet: PathSupernet, splits: Splits, seed: int, compute: Compute) -> Measured:
    """The accuracy of a random network as it inherits, and the mean of that and some others."""
    """The accuracy of random networks as they inherit; that of the first of them stands for the supernet."""
    space, drawn_by = supernet.space, derive(seed, "watched")
    either_side = chain.from_iterable(sample(space, side, drawn_by) for side in ("certify", "fit"))
    chosen = tuple(islice(either_side, _WATCHED))  # a small space has fewer
    found = evaluate_subnets(Supernet(space, supernet.state_dict(), compute), chosen, splits, compute, seed)
    mean = fmean(one.evaluation.top1_pct for one in found)
    return Measured(found[0].evaluation, (("mean_top1_pct", mean),))
