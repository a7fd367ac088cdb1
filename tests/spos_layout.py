"""SPOS networks and supernets in torch for the tests alone, with the names of MMRazor's files and of the
authors'.

Written from facts/spos.md, not from `searchspace`: what both agree on is the definition.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SHUFFLE_STAGES = ((64, 4), (160, 4), (320, 8), (640, 4))
MOBILE_STAGES = ((32, 4, 2), (56, 4, 2), (112, 4, 2), (128, 4, 1), (256, 4, 2), (432, 1, 1))
SHUFFLE_LABELS = ("shuffle_3x3", "shuffle_5x5", "shuffle_7x7", "shuffle_xception")
MOBILE_LABELS = (*(f"mb_k{kernel}e{ratio}" for kernel in (3, 5, 7) for ratio in (3, 6)), "identity")


class ConvNorm(nn.Module):
    """`conv`, `bn`, an activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.act is None else self.act(x)


class Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise_conv = ConvNorm(inputs, inputs, 3, stride, inputs)
        self.pointwise_conv = ConvNorm(inputs, outputs, act=nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


class ShuffleBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, label: str) -> None:
        super().__init__()
        half, xception = outputs // 2, label == "shuffle_xception"
        kernel = 3 if xception else int(label[-1])
        self.stride = stride
        if stride > 1:
            self.branch1 = nn.Sequential(
                ConvNorm(inputs, inputs, kernel, stride, inputs), ConvNorm(inputs, half, act=nn.ReLU())
            )
        first = inputs if stride > 1 else half
        if xception:
            self.branch2 = nn.Sequential(
                Separable(first, half, stride), Separable(half, half, 1), Separable(half, half, 1)
            )
        else:
            self.branch2 = nn.Sequential(
                ConvNorm(first, half, act=nn.ReLU()),
                ConvNorm(half, half, kernel, stride, half),
                ConvNorm(half, half, act=nn.ReLU()),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            out = torch.cat((self.branch1(x), self.branch2(x)), 1)
        else:
            left, right = x.chunk(2, 1)
            out = torch.cat((left, self.branch2(right)), 1)
        count, channels, height, width = out.shape
        return out.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(out.shape)


class MobileBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, label: str) -> None:
        super().__init__()
        kernel, ratio = int(label[4]), int(label[6])
        self.adds = stride == 1 and inputs == outputs
        wide = inputs * ratio
        if ratio > 1:
            self.expand_conv = ConvNorm(inputs, wide, act=nn.ReLU6())
        self.depthwise_conv = ConvNorm(wide, wide, kernel, stride, wide, nn.ReLU6())
        self.linear_conv = ConvNorm(wide, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out = self.expand_conv(x) if hasattr(self, "expand_conv") else x
        out = self.linear_conv(self.depthwise_conv(out))
        return x + out if self.adds else out


class Identity(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        if stride > 1 or inputs != outputs:
            self.downsample = ConvNorm(inputs, outputs, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(x) if hasattr(self, "downsample") else x


class Layer(nn.Module):
    """`_candidates`, of which the first one runs."""

    def __init__(self, candidates: dict[str, nn.Module]) -> None:
        super().__init__()
        self._candidates = nn.ModuleDict(candidates)

    def forward(self, x: Tensor) -> Tensor:
        return next(iter(self._candidates.values()))(x)


def candidate(inputs: int, outputs: int, stride: int, label: str) -> nn.Module:
    if label == "identity":
        return Identity(inputs, outputs, stride)
    return (ShuffleBlock if label.startswith("shuffle") else MobileBlock)(inputs, outputs, stride, label)


class Backbone(nn.Module):
    def __init__(self, choices: Sequence[Sequence[str]]) -> None:
        super().__init__()
        shuffle = choices[0][0].startswith("shuffle")
        wanted = iter(choices)
        inputs = 16 if shuffle else 40
        self.conv1 = ConvNorm(3, inputs, 3, 2, act=nn.ReLU() if shuffle else nn.ReLU6())
        self.stages: list[nn.Module] = []
        stages = [(wide, depth, 2) for wide, depth in SHUFFLE_STAGES] if shuffle else MOBILE_STAGES
        if not shuffle:
            self.layer1 = nn.Sequential(Layer({"mb_k3e1": MobileBlock(40, 24, 1, "mb_k3e1")}))
            self.stages.append(self.layer1)
            inputs = 24
        layers = nn.ModuleList()
        for number, (wide, depth, stride) in enumerate(stages):
            blocks = []
            for block in range(depth):
                step = 1 if block else stride
                blocks.append(Layer({label: candidate(inputs, wide, step, label) for label in next(wanted)}))
                inputs = wide
            stage = nn.Sequential(*blocks)
            self.stages.append(stage)
            if shuffle:
                layers.append(stage)
            else:
                self.add_module(f"layer{number + 2}", stage)
        if shuffle:
            layers.append(ConvNorm(inputs, 1024, act=nn.ReLU()))
            self.layers = layers
        else:
            self.conv2 = ConvNorm(inputs, 1728, act=nn.ReLU6())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for stage in self.stages:
            x = stage(x)
        return self.layers[-1](x) if hasattr(self, "layers") else self.conv2(x)


class Head(nn.Module):
    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(features, classes)


class MMRazorNetwork(nn.Module):
    """One label a layer, or a supernet with several (of which the first runs)."""

    def __init__(self, choices: Sequence[Sequence[str]], classes: int) -> None:
        super().__init__()
        self.backbone = Backbone(choices)
        self.head = Head(1024 if choices[0][0].startswith("shuffle") else 1728, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head.fc(self.backbone(x).mean((2, 3)))
        return out


def row(*parts: tuple[nn.Module, bool], affine: bool = True) -> nn.Sequential:
    """Convolutions, each with its batch norm and, where asked for, a ReLU."""
    found: list[nn.Module] = []
    for conv, active in parts:
        assert isinstance(conv, nn.Conv2d)
        found += [conv, nn.BatchNorm2d(conv.out_channels, affine=affine), *([nn.ReLU()] if active else [])]
    return nn.Sequential(*found)


def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class AuthorsBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, label: str, affine: bool) -> None:
        super().__init__()
        xception = label == "shuffle_xception"
        kernel, middle = 3 if xception else int(label[-1]), outputs // 2
        self.stride = stride
        given = inputs if stride == 2 else inputs // 2
        made = outputs - given
        if xception:
            self.branch_main = row(
                (conv(given, given, 3, stride, given), False),
                (conv(given, middle), True),
                (conv(middle, middle, 3, 1, middle), False),
                (conv(middle, middle), True),
                (conv(middle, middle, 3, 1, middle), False),
                (conv(middle, made), True),
                affine=affine,
            )
        else:
            self.branch_main = row(
                (conv(given, middle), True),
                (conv(middle, middle, kernel, stride, middle), False),
                (conv(middle, made), True),
                affine=affine,
            )
        if stride == 2:
            self.branch_proj = row(
                (conv(given, given, kernel, 2, given), False), (conv(given, given), True), affine=affine
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
        return torch.cat((x[:, 0::2], self.branch_main(x[:, 1::2])), 1)


class AuthorsNetwork(nn.Module):
    """One label a layer; with `supernet` all candidates, of which the first runs, and batch norm without
    weights."""

    def __init__(self, labels: Sequence[str], classes: int, *, supernet: bool = False) -> None:
        super().__init__()
        affine = not supernet
        self.first_conv = row((conv(3, 16, 3, 2), True), affine=affine)
        wanted, inputs = iter(labels), 16
        self.features = nn.ModuleList()
        for wide, depth in SHUFFLE_STAGES:
            for block in range(depth):
                kinds = SHUFFLE_LABELS if supernet else (next(wanted),)
                made = [AuthorsBlock(inputs, wide, 1 if block else 2, kind, affine) for kind in kinds]
                self.features.append(nn.ModuleList(made) if supernet else made[0])
                inputs = wide
        self.conv_last = row((conv(inputs, 1024), True), affine=affine)
        self.classifier = nn.Sequential(nn.Linear(1024, classes, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_conv(x)
        for block in self.features:
            x = block[0](x) if isinstance(block, nn.ModuleList) else block(x)
        out: Tensor = self.classifier(self.conv_last(x).mean((2, 3)))
        return out


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics and batch norms away from the identity, in evaluation mode."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=random)
            module.running_var.uniform_(0.75, 1.25, generator=random)
            if module.affine:
                nn.init.uniform_(module.weight, 0.75, 1.25, generator=random)
                nn.init.normal_(module.bias, 0, 0.1, generator=random)
    return network.eval()
