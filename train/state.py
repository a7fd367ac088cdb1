"""The state of a stage that trains one network by SGD: weights, momentum and how many epochs are done."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ponas_deploy.errors import FileFormatError
from ponas_deploy.weights import read_weights, write_weights
from train.compute import Compute
from train.weights import load_arrays, to_arrays

_MOMENTUM = "momentum/"


def save_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, epochs_done: int) -> None:
    """Write the state after an epoch, over the one before."""
    tensors: dict[str, Tensor] = dict(network.state_dict())
    for name, parameter in network.named_parameters():
        tensors[_MOMENTUM + name] = optimizer.state[parameter]["momentum_buffer"]
    write_weights(path, to_arrays(tensors), {"layout": "training state", "epochs_done": str(epochs_done)})


def load_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, compute: Compute) -> int:
    """Put a saved state into a network and its optimizer; the epochs it had done.

    Raises FileFormatError when the file is not the state of such a network.
    """
    file = read_weights(path)
    weights = {name: array for name, array in file.tensors.items() if not name.startswith(_MOMENTUM)}
    try:
        load_arrays(network, weights)
        for name, parameter in network.named_parameters():
            momentum = torch.from_numpy(file.tensors[_MOMENTUM + name]).clone()
            optimizer.state[parameter]["momentum_buffer"] = compute.put(momentum)
        return int(file.metadata["epochs_done"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise FileFormatError(path, "", f"is not the state of this run ({error}).") from error
