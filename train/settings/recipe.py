"""What a training run is asked to do: plain values, readable without torch.

The defaults are the paper's recipe (arXiv 2003.05112, section 4.1); presets change what the time
allows. Learning rates are per step, weight decay is L2 on every trainable tensor.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from ponas_deploy.files.bounds import Count, Resolution, Seed, Smoothing, Threads
from searchspace import PonasError, UnknownNameError, build_space
from searchspace.nesting import foreign_part
from train.settings.checks import check_smoothing, check_start, not_above, not_below
from train.settings.shrinking import Distillation, ElasticSettings, ShrinkSettings
from train.settings.single_path import SinglePathSettings

TRAINED_SPACE = "ponas"
"""What a run trains where nobody says: the progressive table is made for it, and no weights are public."""

RECIPES: dict[str, tuple[str, ...]] = {
    "progressive": ("meta", "fine_tune"),
    "shrinking": ("shrink",),
    "single-path": ("single_path",),
}
"""The parts of `TrainSettings` that each recipe uses."""

Scope = Literal["candidates", "path"]
Decay = Literal["cosine", "linear"]
_MOST_DECAY = 1000.0


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
        check_start("meta training", self.epochs, self.batch, self.lr)
        not_below(0, momentum=self.momentum, weight_decay=self.weight_decay, threads=self.threads)
        not_above(Threads, threads=self.threads)
        if not all(0 <= fraction <= _MOST_DECAY for fraction in self.decay_at):
            raise PonasError(
                f"decay_at is {','.join(map(str, self.decay_at))}: fractions of the epochs are asked for."
            )


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
        check_start("fine-tuning", self.epochs, self.batch, self.lr)
        not_below(0, momentum=self.momentum, weight_decay=self.weight_decay, cache_mib=self.cache_mib)
        not_below(1, pass_images=self.pass_images)
        not_above(Count, cache_mib=self.cache_mib, pass_images=self.pass_images)
        if self.scope not in get_args(Scope):
            raise UnknownNameError("scope of fine-tuning", self.scope, get_args(Scope))


@dataclass(frozen=True, slots=True)
class SpecializedSettings:
    """Training one network, from scratch or from weights it inherits.

    SGD with Nesterov momentum; the learning rate falls along half a cosine, epoch by epoch (section 4.1;
    150 epochs in section 4.3). `augment` and `threads` as in MetaSettings. Other recipes
    (`train.settings.retraining`): `decay` "linear" lets the rate fall in a line to 0, `nesterov` off leaves
    plain momentum, `norm_decay` off keeps weight decay from biases and batch norms.
    """

    epochs: int = 150
    batch: int = 256
    lr: float = 0.045
    momentum: float = 0.9
    weight_decay: float = 4e-5
    augment: bool = True
    threads: int = 1
    distillation: Distillation | None = None
    label_smoothing: Smoothing = 0.0
    decay: Decay = "cosine"
    nesterov: bool = True
    norm_decay: bool = True

    def __post_init__(self) -> None:
        check_smoothing(self.label_smoothing)
        if self.decay not in get_args(Decay):
            raise UnknownNameError("decay of the learning rate", self.decay, get_args(Decay))
        check_start("training one network", self.epochs, self.batch, self.lr)
        not_below(0, momentum=self.momentum, weight_decay=self.weight_decay, threads=self.threads)
        not_above(Threads, threads=self.threads)


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """Fitting a supernet with shared weights (Once-for-all) to other images.

    First a new classifier alone, `head_epochs` at `head_lr`, then everything, `epochs` at `lr`; SGD with
    Nesterov momentum, either rate falls along half a cosine. Each step trains on `subnets` random networks,
    whose batch norm takes the batch's statistics. `augment` as in MetaSettings.
    """

    head_epochs: int = 10
    head_lr: float = 0.05
    epochs: int = 20
    lr: float = 0.01
    batch: int = 32
    subnets: int = 2
    momentum: float = 0.9
    weight_decay: float = 4e-5
    augment: bool = True

    def __post_init__(self) -> None:
        check_start("training the classifier", self.head_epochs, self.batch, self.head_lr)
        check_start("training everything", self.epochs, self.batch, self.lr)
        not_below(0, momentum=self.momentum, weight_decay=self.weight_decay)
        not_below(1, subnets=self.subnets)
        not_above(Count, subnets=self.subnets)


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """A whole run: data -> meta network -> progressive fine-tuning -> accuracy table and weights.

    `recipe` names the stages (`RECIPES`): "progressive" uses `meta` and `fine_tune`, "shrinking" uses
    `shrink`, "single-path" uses `single_path`; "auto" is the one of the space (`recipe_of`).

    `data` names a data set (`train.data.SOURCES`), whose classes the network takes over.
    `resolution` in pixels; None is the data set's own. `device`: "auto", "cpu" or "cuda"; auto takes
    CUDA where there is one. `precision`: "auto", "fp32", "bf16" or "fp16"; auto is fp32 on a CPU, bf16 on a
    GPU, fp16 on one that has no bf16. `workers`: how many candidates train at the same time on a CPU, and
    how many processes decode images; 0: as many as torch has threads. `device` and `workers` do not change
    what is trained, nor does `fine_tune.pass_images`, so a run may be resumed with others.
    """

    data: str = "digits"
    space: str = TRAINED_SPACE
    resolution: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    workers: int = 0
    recipe: str = "auto"
    meta: MetaSettings = field(default_factory=MetaSettings)
    fine_tune: FineTuneSettings = field(default_factory=FineTuneSettings)
    shrink: ShrinkSettings = field(default_factory=ShrinkSettings)
    single_path: SinglePathSettings = field(default_factory=SinglePathSettings)

    def __post_init__(self) -> None:
        if self.recipe not in ("auto", *RECIPES):
            raise UnknownNameError("recipe", self.recipe, ("auto", *RECIPES))
        not_below(0, workers=self.workers, seed=self.seed)
        not_above(Threads, workers=self.workers)
        not_above(Seed, seed=self.seed)
        if self.resolution is not None:
            not_below(1, resolution=self.resolution)
            not_above(Resolution, resolution=self.resolution)


# Quick is made for a thousand small images. On the digits (one seed, layers 1, 3, 7 and 11) 3 epochs at
# the paper's 0.001 leave candidates up to 14 points apart, mostly where cropping put them; 0.02 leaves
# 5, and 0.1 as many, with less order among them. Chosen on the validation images.
PRESETS: dict[str, TrainSettings] = {
    "paper": TrainSettings(),
    "quick": TrainSettings(
        meta=MetaSettings(epochs=16, batch=64, lr=0.05, threads=1),
        fine_tune=FineTuneSettings(epochs=3, batch=64, lr=0.02, pass_images=192),
        shrink=ShrinkSettings(
            epochs=16,
            lr=0.1,
            batch=64,
            weight_decay=4e-5,
            threads=1,
            kernel=ElasticSettings(epochs=3, lr=0.02, epochs_between=0, subnets=2),
            depth=ElasticSettings(epochs=3, lr=0.02, epochs_between=1, lr_between=0.02, subnets=2),
            width=ElasticSettings(epochs=4, lr=0.02, epochs_between=2, lr_between=0.02, subnets=2),
            networks=60,
        ),
        single_path=SinglePathSettings(
            epochs=30, first_epochs=16, imitation_epochs=20, lr=0.05, batch=64, threads=1, networks=60
        ),
    ),
}


def preset(name: str, **changes: Any) -> TrainSettings:
    """The preset called `name` with some fields of TrainSettings changed; UnknownNameError lists them."""
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return replace(PRESETS[name], **changes)


def recipe_of(settings: TrainSettings) -> str:
    """The recipe of a run: what it asks for, or that of its space.

    A space that leaves out layers from the end of a stage shrinks; one whose candidates are parts of each
    other is fine-tuned progressively; others train path by path.
    """
    return settings.recipe if settings.recipe != "auto" else recipes_for(settings.space)[0]


def recipes_for(name: str) -> tuple[str, ...]:
    """The recipes that the space called `name` can be trained by, its own first."""
    space = build_space(name)
    if space.stages:
        return ("shrinking",)
    return ("single-path",) if foreign_part(space) else tuple(RECIPES)


def deciding(settings: TrainSettings) -> dict[str, Any]:
    """The settings that decide a run, as plain values: those of other recipes go unused."""
    left = {*unused(settings), "recipe"}
    found = {name: value for name, value in asdict(settings).items() if name not in left}
    recipe = recipe_of(settings)
    return found if recipe == recipes_for(settings.space)[0] else {**found, "recipe": recipe}


def unused(settings: TrainSettings) -> tuple[str, ...]:
    """The parts of TrainSettings that a run does not use."""
    used = RECIPES[recipe_of(settings)]
    return tuple(name for parts in RECIPES.values() for name in parts if name not in used)
