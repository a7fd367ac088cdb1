"""The recipe of single path one-shot training (SPOS, arXiv 1904.00420): plain values, readable without torch.

The defaults are MMRazor's for ImageNet: SGD with momentum, the learning rate falls in a line to 0, weight
decay on convolutions and linear layers alone, label smoothing. Not as theirs: no colour jitter; the rate
falls epoch by epoch; depthwise convolutions decay too, as in MMRazor 0.x, but not in 1.x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ponas_deploy.files.bounds import Count, Epochs, Threads
from searchspace import PonasError, UnknownNameError
from train.settings.checks import check_smoothing, check_start, not_above, not_below
from train.settings.shrinking import LEAST_NETWORKS

Sampling = Literal["uniform", "strict-fairness", "fairnas"]


@dataclass(frozen=True, slots=True)
class SinglePathSettings:
    """Training a supernet whose candidates share no weights, one path a time.

    `sampling` says which paths: "uniform" draws one independent candidate a layer and step; "strict-fairness"
    takes every candidate of a layer once in as many steps, in a random order, and begins again with each
    epoch: where an epoch's steps are no multiple of the candidates, some train once less than others in it;
    "fairnas" takes them all in one step, whose gradients add up (arXiv 1907.01845). `networks` are evaluated
    in the end, and the accuracy table is fitted to them. `threads` and `augment` as in MetaSettings.

    Before that the candidates may get a common start (`train.stages.imitation`): the network of each layer's
    first candidate trains alone for `first_epochs`, with the same batch and rates, then the others learn to
    imitate its layers for `imitation_epochs`. Both are 0, or neither.
    """

    epochs: int = 300
    first_epochs: int = 0
    imitation_epochs: int = 0
    lr: float = 0.5
    batch: int = 1024
    momentum: float = 0.9
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    sampling: Sampling = "uniform"
    augment: bool = True
    threads: int = 0
    networks: int = 400

    def __post_init__(self) -> None:
        check_start("training the supernet", self.epochs, self.batch, self.lr)
        not_below(0, momentum=self.momentum, weight_decay=self.weight_decay, threads=self.threads)
        not_above(Threads, threads=self.threads)
        not_below(0, first_epochs=self.first_epochs, imitation_epochs=self.imitation_epochs)
        not_above(Epochs, first_epochs=self.first_epochs, imitation_epochs=self.imitation_epochs)
        if bool(self.first_epochs) != bool(self.imitation_epochs):
            raise PonasError(
                f"first_epochs is {self.first_epochs} and imitation_epochs is {self.imitation_epochs}: the"
                " candidates imitate the first network, so give epochs to both, or to neither."
            )
        not_below(LEAST_NETWORKS, networks=self.networks)
        not_above(Count, networks=self.networks)
        check_smoothing(self.label_smoothing)
        if self.sampling not in get_args(Sampling):
            raise UnknownNameError("sampling of paths", self.sampling, get_args(Sampling))
