"""A supernet with shared weights fitted to other images: a new classifier first, then everything.

Each step trains on random networks, so that all come along (Once-for-all, arXiv 1908.09791, section 3.3).
Batch norm takes the batch's statistics: those that a supernet is stored with are no single network's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from searchspace.elastic import largest_network
from searchspace.ops import Linear
from searchspace.space import HEAD
from train.compute import Compute, few_threads, generator
from train.data import Splits
from train.networks import ElasticNetwork
from train.progress import OnProgress, StageName, silent
from train.settings import SpecializedSettings, TransferSettings
from train.stages.drawn import Drawn, recalibrated
from train.stages.epochs import Measured, TrainingStage, train_epochs
from train.stages.loop import evaluate, sgd
from train.stages.opening import Opening
from train.stages.specialized import cosine
from train.stages.statistics import Statistics

_WATCH_IMAGES, _WATCH_BATCH = 128, 64
"""Training images that measure the largest network's batch norm after an epoch, to see how good it is."""


def new_classifier(network: ElasticNetwork, seed: int) -> None:
    """Weights to start from for the classes of `network`: N(0, 0.01), biases 0."""
    random = generator(seed, "classifier")
    for name, tensor in network.named_parameters():
        if _of_classifier(network, name):
            if name.endswith("bias"):
                tensor.data.zero_()
            else:
                tensor.data.normal_(0.0, 0.01, generator=random)


def classifier_names(network: ElasticNetwork) -> tuple[str, ...]:
    """The tensors of the last operation of the head: what depends on the classes."""
    return tuple(name for name in network.state_dict() if _of_classifier(network, name))


def _of_classifier(network: ElasticNetwork, name: str) -> bool:
    last = network.space.head[-1]
    return isinstance(last, Linear) and name.startswith(f"{HEAD}.{last.name}.")


def train_transfer(
    network: ElasticNetwork,
    splits: Splits,
    settings: TransferSettings,
    *,
    seed: int,
    compute: Compute,
    states: Mapping[StageName, Path] | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Train a supernet that lies on the device.

    `states` are a file for each stage, "head" and "fine-tune", that holds the state after each of its epochs;
    see `train_epochs` for them and for what is raised.
    """
    drawn = Drawn(network, Opening.whole(network.space))
    for stage in _stages(network, splits, settings, seed, compute):
        _freeze(network, all_but_classifier=stage.stage == "head")
        plain = stage.settings
        with few_threads(splits.resolution):
            train_epochs(
                drawn,
                sgd(drawn.parameters(), plain.lr, plain.momentum, plain.weight_decay, nesterov=True),
                splits,
                stage,
                seed=seed,
                compute=compute,
                state=states[stage.stage] if states else None,
                on_progress=on_progress,
            )


def _stages(
    network: ElasticNetwork, splits: Splits, settings: TransferSettings, seed: int, compute: Compute
) -> tuple[TrainingStage, TrainingStage]:
    """A step's gradient is the mean of those of its networks."""

    def stage(name: str, kind: StageName, epochs: int, lr: float) -> TrainingStage:
        plain = SpecializedSettings(
            epochs,
            settings.batch,
            lr,
            settings.momentum,
            settings.weight_decay,
            settings.augment,
            threads=0,
        )
        return TrainingStage(
            name,
            kind,
            kind,
            plain,
            partial(cosine, plain),
            passes=settings.subnets,
            share=1 / settings.subnets,
            measure=partial(_watched, network, splits, seed, compute),
        )

    return (
        stage("the classifier", "head", settings.head_epochs, settings.head_lr),
        stage("everything", "fine-tune", settings.epochs, settings.lr),
    )


def _freeze(network: ElasticNetwork, *, all_but_classifier: bool) -> None:
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not all_but_classifier or _of_classifier(network, name))


def _watched(network: ElasticNetwork, splits: Splits, seed: int, compute: Compute) -> Measured:
    """The accuracy of the largest network on the validation images."""
    statistics = Statistics.plain(splits, _WATCH_BATCH, _WATCH_IMAGES, seed)
    largest = recalibrated(network, [largest_network(network.space)], statistics, compute)[0]
    return Measured(evaluate(largest, splits.validation, compute))
