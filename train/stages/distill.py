"""A teacher: a trained network whose answers another one learns from (arXiv 1503.02531)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ponas_deploy.errors import WeightsError
from ponas_deploy.files.weights import WeightsFile
from searchspace import Architecture, build_space
from train.compute import Compute
from train.data import Splits
from train.networks import Network, frozen, load_arrays, refuse_other_images
from train.settings import Distillation
from train.stages.loop import Loss, cross_entropy


def load_teacher(file: WeightsFile, splits: Splits, compute: Compute) -> nn.Module:
    """The network of a file, for inference only: images (N, 3, H, W) -> logits (N, classes).

    WeightsError when the file is not a whole network's, or is for other classes or another resolution.
    """
    refuse_other_images(file, splits)
    name, choices = file.metadata.get("space"), file.metadata.get("choices")
    if file.supernet or name is None or choices is None:
        raise WeightsError(
            f"{file.path} is not the file of one trained network, which a teacher must be: name one, such"
            f" as the meta.safetensors of a run."
        )
    space = build_space(name, splits.resolution, splits.classes)
    network = Network(Architecture.from_text(space, choices))
    load_arrays(network, file.inherited(network.architecture))
    return frozen(compute.place(network).parts())


def taught(teacher: nn.Module, settings: Distillation, from_labels: Loss = cross_entropy) -> Loss:
    """The loss of learning from labels and from `teacher`, which sees the very same images.

    `from_labels` is the loss of the labels, CE.
    (1 - w) CE(labels, student) + w T^2 KL(teacher / T || student / T); T^2 keeps the size of the soft
    gradients independent of the temperature (arXiv 1503.02531, section 2).
    """
    softness, weight = settings.temperature, settings.weight
    last: list[Tensor] = []  # a batch and the answers to it: several students of a step learn from them

    def loss(logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        if not last or last[0] is not images:
            with torch.no_grad():
                last[:] = images, F.log_softmax(teacher(images).float() / softness, dim=1)
        answers = last[1]
        student = F.log_softmax(logits.float() / softness, dim=1)
        soft = F.kl_div(student, answers, reduction="batchmean", log_target=True)
        return (1 - weight) * from_labels(logits, labels, images) + weight * softness**2 * soft

    return loss
