"""Networks in the PONAS authors' layout, written in torch for the tests alone, from facts/ponas.md."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

# facts/ponas.md: expansion, kernel, s = squeeze-and-excite; then output channels and stride of each layer.
PUBLISHED = {
    "PONAS-A": "6,5 3,5 3,7s 3,5s 3,5 3,7 6,7s 3,5s 3,5s 3,5s 3,5 3,7 3,7 3,7s 6,7s 3,7s 3,5 3,7s 6,5s",
    "PONAS-B": "6,3s 3,7s 6,5 3,5s 3,5 3,5 6,7 3,5s 3,5s 3,5s 6,5s 3,7 3,7 3,7s 6,7s 3,7s 3,5 3,7 6,5s",
    "PONAS-C": "6,5 3,7s 6,5s 3,5s 3,5 3,7 6,7 3,5s 3,7s 6,5s 6,5s 3,7 3,7 6,5s 6,7s 3,7s 3,5 3,7s 6,5s",
}
TENSORS = {"PONAS-A": 412, "PONAS-B": 412, "PONAS-C": 416}
WIDTHS = "32/2 32/1 40/2 40/1 40/1 40/1 80/2 80/1 80/1 80/1 96/1 96/1 96/1 96/1 192/2 192/1 192/1 192/1 320/1"


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int, groups: int, act: bool) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    steps = [("conv", conv), ("bn", nn.BatchNorm2d(outputs))]
    return nn.Sequential(OrderedDict([*steps, ("act", nn.ReLU6())] if act else steps))


class Gate(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(width // 4, 8)
        self.operation = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, narrow, 1),
            nn.ReLU(),
            nn.Conv2d(narrow, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.operation(x) * x


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, se: bool) -> None:
        super().__init__()
        width = inputs * expansion
        self.point_wise = nn.Identity() if expansion == 1 else conv_bn(inputs, width, 1, 1, 1, True)
        self.depthwise = conv_bn(width, width, kernel, stride, width, True)
        self.se = Gate(width) if se else nn.Identity()
        self.point_wise_1 = conv_bn(width, outputs, 1, 1, 1, False)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.point_wise_1(self.se(self.depthwise(self.point_wise(x))))
        return x + y if self.adds else y


class Theirs(nn.Module):
    """A network whose state_dict has the authors' keys."""

    def __init__(self, blocks: str, classes: int = 1000) -> None:
        super().__init__()

        def stage(*shape: Any) -> nn.Module:
            return nn.ModuleDict({"block": Bottleneck(*shape)})

        self.first = conv_bn(3, 32, 3, 2, 1, True)
        self.stages = nn.ModuleDict({"0": stage(32, 16, 1, 3, 1, False)})
        inputs = 16
        for number, (block, width) in enumerate(zip(blocks.split(), WIDTHS.split(), strict=True), start=1):
            outputs, stride = map(int, width.split("/"))
            expansion, kernel = map(int, block.rstrip("s").split(","))
            self.stages[str(number)] = stage(inputs, outputs, expansion, kernel, stride, block[-1] == "s")
            inputs = outputs
        self.stages["last"] = nn.Sequential(
            nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for name, part in self.stages.items():
            x = part(x) if name == "last" else part["block"](x)
        return self.classifier(x.mean(3).mean(2))


def theirs(name: str, classes: int = 1000) -> Theirs:
    """One of their networks with random weights and batch norm statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(len(name) + classes)
        network = Theirs(PUBLISHED.get(name, name), classes)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.8, 1.2)
                nn.init.normal_(module.bias, 0, 0.1)
                nn.init.normal_(module.running_mean, 0, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                module.num_batches_tracked.fill_(7)
    return network.eval()
