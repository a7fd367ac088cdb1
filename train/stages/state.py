"""The state of a stage that trains one network: weights, averages of the optimizer, epochs that are done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ponas_deploy.errors import FileFormatError, WeightsError
from ponas_deploy.files.bounds import AboveZero, Count, Positive
from ponas_deploy.files.documents import converted, parse
from ponas_deploy.files.weights import read_weights, write_weights
from train.compute import Compute, distributed
from train.networks import load_arrays, refuse_other_tensors, to_arrays

_AVERAGES = {
    torch.optim.SGD: {"momentum/": "momentum_buffer"},
    torch.optim.Adam: {name + "/": name for name in ("exp_avg", "exp_avg_sq", "step")},
}
"""What each optimizer keeps for a parameter, by its name in the file and in torch."""


@dataclass(frozen=True, slots=True)
class GradientScale:
    """The state of fp16's scale of gradients, by torch's own names."""

    scale: AboveZero
    growth_factor: AboveZero
    backoff_factor: AboveZero
    growth_interval: Positive
    _growth_tracker: Count


def save_state(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    epochs_done: int,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write the state after an epoch, over the one before; `scaler` is that of fp16."""
    tensors: dict[str, Tensor] = dict(network.state_dict())
    tensors |= {name: each for name, _, _, each in _averages(network, optimizer)}
    scale = json.dumps(scaler.state_dict() if scaler else {})
    header = {"layout": "training state", "epochs_done": str(epochs_done), "gradient_scale": scale}
    write_weights(path, to_arrays(tensors), header)


def load_state(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    compute: Compute,
    scaler: torch.amp.GradScaler | None = None,
) -> int:
    """Put a saved state into a network, its optimizer and `scaler`; the epochs it had done.

    The first process reads it for all. Raises FileFormatError when the file is not the state of such a
    network, naming what is missing or too much.
    """
    file = distributed.first(partial(read_weights, path))
    weights = network.state_dict()
    try:
        averages = list(_averages(network, optimizer))
        refuse_other_tensors({**weights, **{name: each for name, _, _, each in averages}}, file.tensors)
        load_arrays(network, {name: file.tensors[name] for name in weights})
        for name, parameter, kept, _ in averages:
            average = torch.from_numpy(file.tensors[name]).clone()
            optimizer.state[parameter][kept] = compute.put(average) if average.dim() else average
        if scaler and scaler.is_enabled():
            scale = parse(file.metadata["gradient_scale"], path, "gradient_scale")
            scaler.load_state_dict(asdict(converted(scale, GradientScale, path, "gradient_scale")))
        return converted(parse(file.metadata["epochs_done"], path, "epochs_done"), int, path, "epochs_done")
    except (WeightsError, KeyError) as error:
        raise FileFormatError(path, "", f"is not the state of this run: {error}") from error


def _averages(
    network: nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[tuple[str, nn.Parameter, str, Tensor]]:
    """Each one's name in the file, its parameter, its name in torch, its value: 0 before the first step."""
    for prefix, kept in _AVERAGES[type(optimizer)].items():
        for name, parameter in network.named_parameters():
            none = torch.zeros(()) if kept == "step" else torch.zeros_like(parameter)
            yield prefix + name, parameter, kept, optimizer.state[parameter].get(kept, none)
