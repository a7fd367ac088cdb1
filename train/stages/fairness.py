"""The whole supernet at once, with strict fairness: every candidate gets exactly one update a step.

FairNAS, arXiv 1907.01845, section 3.2 and algorithm 1: at each step the candidates of every layer are put
in a random order, path p goes through the p-th of each layer, all paths see the same batch, their gradients
add up, and one step is taken. From random weights this is what the paper of PONAS compares its two stages
with; from a meta network's weights it is how the second stage goes on there (arXiv 2003.05112, section
4.3).

Its `state_dict` is a supernet in the layout of `searchspace.weights`: networks inherit from it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import nn

from searchspace import Space
from train.compute import Compute, generator
from train.data import Splits
from train.networks import Network, initialise
from train.networks.paths import PathSupernet
from train.progress import Evaluation, OnProgress, silent
from train.settings import MetaSettings
from train.stages.candidates import cropped
from train.stages.epochs import TrainingStage, train_epochs
from train.stages.loop import sgd
from train.stages.meta import stepped
from train.stages.paths import FairNas
from train.stages.single_path import smoothed


def fair_supernet(space: Space) -> PathSupernet:
    """A supernet of which each step trains every candidate once, on as many paths.

    A step holds what all paths need for their gradients: several times as much as the meta network with that
    batch. Raises as `paths.FairNas`.
    """
    return PathSupernet(space, FairNas(space))


def crop_from(supernet: PathSupernet, meta: Network, compute: Compute) -> None:
    """Take over a meta network's stem and head, and cut every candidate out of its layer's block."""
    supernet.stem.load_state_dict(meta.stem.state_dict())
    supernet.head.load_state_dict(meta.head.state_dict())
    for layer in supernet.space.layers:
        blocks = cropped(layer, meta.layers[layer.name], compute)
        supernet.layers[layer.name] = nn.ModuleDict(dict(zip(layer.labels, blocks, strict=True)))


def train_fair(
    space: Space,
    splits: Splits,
    settings: MetaSettings,
    *,
    seed: int,
    compute: Compute,
    meta: Network | None = None,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> tuple[PathSupernet, Evaluation]:
    """Train a supernet, from random weights or from those of `meta`; it and its largest network's accuracy.

    See `epochs.train_epochs` for `state` and what is raised; `paths.FairNas` refuses spaces.
    """
    supernet = fair_supernet(space)
    if meta is None:
        initialise(supernet, generator(seed, "weights"))
    else:
        crop_from(supernet, meta, compute)
    compute.place(supernet)
    optimizer = sgd(supernet.parameters(), settings.lr, settings.momentum, settings.weight_decay)
    stage = TrainingStage(
        "the supernet", "fine-tune", "fair", settings, partial(stepped, settings), smoothed(0.0)
    )
    evaluation = train_epochs(
        supernet, optimizer, splits, stage, seed=seed, compute=compute, state=state, on_progress=on_progress
    )
    return supernet, evaluation
