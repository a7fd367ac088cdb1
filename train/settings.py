"""What a training run is asked to do: plain values, readable without torch.

The defaults are the paper's recipe (arXiv 2003.05112, section 4.1); presets change what the time
allows. Learning rates are per step, weight decay is L2 on every trainable tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from searchspace import PonasError, UnknownNameError

Scope = Literal["candidates", "path"]


@dataclass(frozen=True, slots=True)
class MetaSettings:
    """Training the meta network, the largest block in every layer.

    SGD; the learning rate falls tenfold at each fraction of the epochs in `decay_at` (the paper:
    epochs 20 and 40 of 50). `augment` turns on the data set's own augmentation. `threads` are the CPU
    threads that share each operation, 0: torch's own number; one thread is steady on busy cores and
    gives the same numbers on machines with any number of cores.
    """

    epochs: int = 50
    batch: int = 256
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 4e-5
    decay_at: tuple[float, ...] = (0.4, 0.8)
    augment: bool = True
    threads: int = 0

    def __post_init__(self) -> None:
        _check("meta training", self.epochs, self.batch, self.lr)


@dataclass(frozen=True, slots=True)
class FineTuneSettings:
    """Progressive fine-tuning of one layer after the other, without decay of the learning rate.

    `scope`: "candidates" trains the layer's candidates alone, so that everything before them is
    computed once; "path" trains the shared parts of the network too, which get the sum of the
    candidates' gradients as in FairNAS (arXiv 1907.01845).
    `cache_mib`: the most memory that the input features of a layer's training images may take. Above
    it they are computed again for every batch, and the data set's own augmentation is used.
    `pass_images`: how many images go through the frozen rest at once, counted over the candidates.
    On a CPU such passes run at the same time, one a worker.
    """

    epochs: int = 3
    batch: int = 256
    lr: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 4e-5
    scope: Scope = "candidates"
    cache_mib: int = 2048
    pass_images: int = 512

    def __post_init__(self) -> None:
        _check("fine-tuning", self.epochs, self.batch, self.lr)
        if self.scope not in get_args(Scope):
            raise UnknownNameError("scope of fine-tuning", self.scope, get_args(Scope))


def _check(stage: str, epochs: int, batch: int, lr: float) -> None:
    """Raise PonasError where training could not even start."""
    if epochs < 1:
        raise PonasError(f"{epochs} epochs of {stage}: at least 1 is needed.")
    if batch < 2:
        raise PonasError(f"a batch of {batch} in {stage}: batch norm needs at least 2 images.")
    if not lr > 0:
        raise PonasError(f"a learning rate of {lr:g} in {stage}: it must be above 0.")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """A whole run: data -> meta network -> progressive fine-tuning -> accuracy table and weights.

    `data` names a data set (`train.data.SOURCES`), whose classes the network takes over.
    `resolution` in pixels; None is the data set's own. `device`: "auto", "cpu" or "cuda"; auto takes
    CUDA where there is one. `workers`: how many candidates train at the same time on a CPU, and how
    many processes decode images; 0: as many as torch has threads. `device` and `workers` do not change
    what is trained, so a run may be resumed with others.
    """

    data: str = "digits"
    space: str = "ponas"
    resolution: int | None = None
    seed: int = 0
    device: str = "auto"
    workers: int = 0
    meta: MetaSettings = field(default_factory=MetaSettings)
    fine_tune: FineTuneSettings = field(default_factory=FineTuneSettings)


# Quick is made for a thousand small images. On the digits (one seed, layers 1, 3, 7 and 11) 3 epochs at
# the paper's 0.001 leave candidates up to 14 points apart, mostly where cropping put them; 0.02 leaves
# 5, and 0.1 as many, with less order among them. Chosen on the validation images.
PRESETS: dict[str, TrainSettings] = {
    "paper": TrainSettings(),
    "quick": TrainSettings(
        meta=MetaSettings(epochs=16, batch=64, lr=0.05, threads=1),
        fine_tune=FineTuneSettings(epochs=3, batch=64, lr=0.02, pass_images=192),
    ),
}


def preset(name: str, **changes: Any) -> TrainSettings:
    """The preset called `name` with some fields of TrainSettings changed; UnknownNameError lists them."""
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return replace(PRESETS[name], **changes)
