"""One step of SGD: over the gradients of all processes, with scaled gradients where fp16 needs them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from train.compute import distributed


class Descent:
    """Steps of an optimizer. `backward` any number of times, then `step`."""

    def __init__(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
        self._optimizer, self._scaler = optimizer, scaler
        self._losses: list[Tensor] = []
        optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add up the gradient of a scalar, a mean over this process's share of the batch.

        None where nothing was trained for it: a candidate without operations alone.
        """
        part = loss / distributed.size()
        self._losses.append(part.detach().float())
        if part.requires_grad:
            torch.autograd.backward(self._scaler.scale(part))

    def step(self) -> float:
        """Take the step; the sum of the losses, each the mean over the whole batch.

        Where that is not a finite number, in whichever process, no process takes the step.
        """
        groups = self._optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"]]
        loss = distributed.add_gradients(parameters, torch.stack(self._losses).sum()).item()
        if math.isfinite(loss):
            self._scaler.step(self._optimizer)
            self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._losses.clear()
        return loss
