"""The recipe of progressive shrinking (Once-for-all, arXiv 1908.09791): plain values, readable without torch.

The defaults are those of the paper and of its authors' code (section 4.1 and figure 3;
github.com/mit-han-lab/once-for-all @f03b267, `train_ofa_net.py`), whose learning rates are for a batch of
2048 on 32 GPUs. Left out of theirs: warm-up, label smoothing, colour jitter, and a resolution drawn for each
batch. Otherwise than theirs: batch norm and biases decay too, the teacher is in evaluation mode, and the loss
is the mean of cross entropy and distillation, half of their sum.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ponas_deploy.files.bounds import Count, Epochs, Threads
from searchspace import PonasError
from train.settings.checks import check_start, not_above, not_below


@dataclass(frozen=True, slots=True)
class Distillation:
    """Learning from a teacher's answers besides the labels (arXiv 1503.02531, section 2).

    The loss is (1 - weight) x cross entropy + weight x temperature^2 x KL(teacher || student), where the
    divergence is between answers softened by `temperature`. Defaults: arXiv 1612.03928, section 4.
    """

    temperature: float = 4.0
    weight: float = 0.9

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise PonasError(f"a distillation temperature of {self.temperature:g}: it must be above 0.")
        if not 0 < self.weight <= 1:
            raise PonasError(f"a distillation weight of {self.weight:g}: it must be above 0 and at most 1.")


@dataclass(frozen=True, slots=True)
class ElasticSettings:
    """Making one dimension elastic: kernel size, depth or width.

    `epochs` at `lr` are those of its last step, in which all its sizes are open; each step before it opens
    one size less and has `epochs_between` at `lr_between`: with 0 epochs there are no such steps. In each
    training step `subnets` are drawn, and their gradients added up.
    """

    epochs: int = 120
    lr: float = 0.24
    epochs_between: int = 25
    lr_between: float = 0.08
    subnets: int = 2

    def __post_init__(self) -> None:
        check_start("an elastic dimension", self.epochs, 2, self.lr)
        if self.epochs_between:
            check_start("an elastic dimension", self.epochs_between, 2, self.lr_between)
        not_below(0, epochs_between=self.epochs_between)
        not_above(Epochs, epochs_between=self.epochs_between)
        not_below(1, subnets=self.subnets)
        not_above(Count, subnets=self.subnets)


@dataclass(frozen=True, slots=True)
class ShrinkSettings:
    """The largest network, then elastic kernel sizes, depths and widths; of a space with stages.

    SGD with Nesterov momentum; in each step of the recipe the learning rate falls along half a cosine.
    `epochs` and `lr` are those of the largest network, which then teaches the subnets by `distillation`.
    `networks` are evaluated in the end, and the accuracy table is fitted to them. `threads` and `augment` as
    in MetaSettings.
    """

    epochs: int = 180
    lr: float = 2.6
    batch: int = 2048
    momentum: float = 0.9
    weight_decay: float = 3e-5
    augment: bool = True
    threads: int = 0
    kernel: ElasticSettings = field(
        default_factory=lambda: ElasticSettings(lr=0.96, epochs_between=0, subnets=1)
    )
    depth: ElasticSettings = field(default_factory=ElasticSettings)
    width: ElasticSettings = field(default_factory=lambda: ElasticSettings(subnets=4))
    distillation: Distillation = field(default_factory=lambda: Distillation(temperature=1.0, weight=0.5))
    networks: int = 400

    def __post_init__(self) -> None:
        check_start("training the largest network", self.epochs, self.batch, self.lr)
        not_below(0, momentum=self.momentum, weight_decay=self.weight_decay, threads=self.threads)
        not_above(Threads, threads=self.threads)
        not_below(LEAST_NETWORKS, networks=self.networks)
        not_above(Count, networks=self.networks)


LEAST_NETWORKS = 20
"""With fewer an accuracy table is not fitted."""
