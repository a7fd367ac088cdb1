"""Once-for-all's supernet and its networks, written in torch for the tests alone, from facts/ofa.md."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

State = dict[str, torch.Tensor]

STRIDES, SQUEEZED, HSWISH = (2, 2, 2, 1, 2), (0, 1, 0, 1, 1), (0, 0, 1, 1, 1)
WIDTHS = {1.0: (16, 24, 40, 80, 112, 160, 960, 1280), 1.2: (24, 32, 48, 96, 136, 192, 1152, 1536)}
OLD, NEW = "mobile_inverted_conv", "conv"


def make8(value: float) -> int:
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def supernet(classes: int, module: str = OLD, width: float = 1.0) -> State:
    """Random weights and statistics under the names of a published file."""
    random = torch.Generator().manual_seed(classes)
    state: State = {}

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels, generator=random) * 0.4 + 0.8
        state[f"{name}.bias"] = torch.randn(channels, generator=random) * 0.1
        state[f"{name}.running_mean"] = torch.randn(channels, generator=random) * 0.1
        state[f"{name}.running_var"] = torch.rand(channels, generator=random) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def weight(name: str, *shape: int) -> None:
        fan_in = torch.Size(shape[1:]).numel()
        state[f"{name}.weight"] = torch.randn(*shape, generator=random) * (2 / fan_in) ** 0.5

    stem, *stages, last, features = WIDTHS[width]
    weight("first_conv.conv", stem, 3, 3, 3)
    norm("first_conv.bn", stem)
    block = f"blocks.0.{module}"
    weight(f"{block}.depth_conv.conv", stem, 1, 3, 3)
    norm(f"{block}.depth_conv.bn", stem)
    weight(f"{block}.point_linear.conv", stem, stem, 1, 1)
    norm(f"{block}.point_linear.bn", stem)
    inputs, number = stem, 1
    for stage, outputs in enumerate(stages):
        for _ in range(4):
            block, mid = f"blocks.{number}.{module}", make8(inputs * 6)
            weight(f"{block}.inverted_bottleneck.conv.conv", mid, inputs, 1, 1)
            norm(f"{block}.inverted_bottleneck.bn.bn", mid)
            weight(f"{block}.depth_conv.conv.conv", mid, 1, 7, 7)
            for name, size in (("7to5_matrix", 25), ("5to3_matrix", 9)):
                noise = torch.randn(size, size, generator=random) * 0.1
                state[f"{block}.depth_conv.conv.{name}"] = torch.eye(size) + noise
            norm(f"{block}.depth_conv.bn.bn", mid)
            if SQUEEZED[stage]:
                weight(f"{block}.depth_conv.se.fc.reduce", make8(mid // 4), mid, 1, 1)
                state[f"{block}.depth_conv.se.fc.reduce.bias"] = torch.zeros(make8(mid // 4)) + 0.1
                weight(f"{block}.depth_conv.se.fc.expand", mid, make8(mid // 4), 1, 1)
                state[f"{block}.depth_conv.se.fc.expand.bias"] = torch.randn(mid, generator=random)
            weight(f"{block}.point_linear.conv.conv", outputs, mid, 1, 1)
            norm(f"{block}.point_linear.bn.bn", outputs)
            inputs, number = outputs, number + 1
    weight("final_expand_layer.conv", last, inputs, 1, 1)
    norm("final_expand_layer.bn", last)
    weight("feature_mix_layer.conv", features, last, 1, 1)
    weight("classifier.linear", classes, features)
    state["classifier.linear.bias"] = torch.randn(classes, generator=random)
    return state


Layer = tuple[int, int] | None
"""Kernel size and expansion ratio of one of the 20 layers; None where it is left out."""


def layers_of(labels: str) -> tuple[Layer, ...]:
    """From our text form: k5e4,k3e6,absent,..."""
    texts = labels.split(",")
    return tuple(None if text == "absent" else (int(text[1]), int(text[3])) for text in texts)


class Subnet:
    """A network cut out of a supernet as their code does it, layer by layer, at each forward pass.

    With `statistics` batch norm takes those in place of the file's; while `measuring` it takes the batch's,
    and keeps them there, one entry a batch.
    """

    def __init__(self, state: State, layers: tuple[Layer, ...], module: str = OLD) -> None:
        self.state, self.layers, self.module = state, layers, module
        self.statistics: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self.measuring = False

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        channels = x.shape[1]
        mean, var, scale, shift = (
            self.state[f"{name}.{part}"][:channels]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        if self.measuring:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            self.statistics.setdefault(name, []).append((mean, var))
        elif name in self.statistics:
            means, variances = zip(*self.statistics[name], strict=True)
            mean, var = torch.stack(means).mean(0), torch.stack(variances).mean(0)
        x = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
        return x * scale[:, None, None] + shift[:, None, None]

    def kernel(self, block: str, mid: int, kernel: int) -> torch.Tensor:
        weight = self.state[f"{block}.depth_conv.conv.conv.weight"][:mid]
        for size, name in ((5, "7to5_matrix"), (3, "5to3_matrix")):
            if kernel <= size:
                centre = weight[:, :, 1:-1, 1:-1].reshape(mid, 1, -1)
                matrix = self.state[f"{block}.depth_conv.conv.{name}"]
                weight = torch.stack([matrix @ row[0] for row in centre]).reshape(mid, 1, size, size)
        return weight

    def block(self, x: torch.Tensor, number: int, kernel: int, expansion: int) -> torch.Tensor:
        stage, place = divmod(number - 1, 4)
        block, inputs = f"blocks.{number}.{self.module}", x.shape[1]
        act: Any = F.hardswish if HSWISH[stage] else F.relu
        mid = make8(inputs * expansion)
        y = F.conv2d(x, self.state[f"{block}.inverted_bottleneck.conv.conv.weight"][:mid])
        y = act(self.norm(y, f"{block}.inverted_bottleneck.bn.bn"))
        stride = STRIDES[stage] if place == 0 else 1
        y = F.conv2d(y, self.kernel(block, mid, kernel), None, stride, kernel // 2, groups=mid)
        y = act(self.norm(y, f"{block}.depth_conv.bn.bn"))
        if SQUEEZED[stage]:
            fc, narrow = f"{block}.depth_conv.se.fc", make8(mid // 4)
            reduce, expand = (self.state[f"{fc}.{part}.weight"] for part in ("reduce", "expand"))
            small, wide = (self.state[f"{fc}.{part}.bias"] for part in ("reduce", "expand"))
            gate = F.relu(F.conv2d(y.mean((2, 3), keepdim=True), reduce[:narrow, :mid], small[:narrow]))
            y = y * F.hardsigmoid(F.conv2d(gate, expand[:mid, :narrow], wide[:mid]))
        y = F.conv2d(y, self.state[f"{block}.point_linear.conv.conv.weight"][:, :mid])
        y = self.norm(y, f"{block}.point_linear.bn.bn")
        return x + y if place else y

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        state, block = self.state, f"blocks.0.{self.module}"
        x = F.conv2d(x, state["first_conv.conv.weight"], None, 2, 1)
        x = F.hardswish(self.norm(x, "first_conv.bn"))
        y = F.conv2d(x, state[f"{block}.depth_conv.conv.weight"], None, 1, 1, groups=x.shape[1])
        y = F.relu(self.norm(y, f"{block}.depth_conv.bn"))
        x = x + self.norm(F.conv2d(y, state[f"{block}.point_linear.conv.weight"]), f"{block}.point_linear.bn")
        for number, layer in enumerate(self.layers, start=1):
            x = self.block(x, number, *layer) if layer else x
        x = F.hardswish(
            self.norm(F.conv2d(x, state["final_expand_layer.conv.weight"]), "final_expand_layer.bn")
        )
        x = F.hardswish(F.conv2d(x.mean((2, 3), keepdim=True), state["feature_mix_layer.conv.weight"]))
        return F.linear(x.flatten(1), state["classifier.linear.weight"], state["classifier.linear.bias"])

    def specialised(self) -> State:
        """The same network under the names of a specialised `init`: blocks numbered through, none doubled."""
        kept = [number for number, layer in enumerate(self.layers, start=1) if layer]
        found: State = {}
        for name, tensor in self.state.items():
            _, number, *_ = name.split(".")
            if not name.startswith("blocks.") or number == "0":
                found[name] = tensor
            elif int(number) in kept and not name.endswith("_matrix"):
                place = kept.index(int(number)) + 1
                plain = name.replace(".conv.conv.", ".conv.").replace(".bn.bn.", ".bn.")
                plain = plain.replace(f"blocks.{number}.", f"blocks.{place}.", 1)
                found[plain] = self._cut(name, tensor, int(number))
        return found

    def _cut(self, name: str, tensor: torch.Tensor, number: int) -> torch.Tensor:
        kernel, expansion = self.layers[number - 1] or (0, 0)
        block = f"blocks.{number}.{self.module}"
        mid = make8(self.state[f"{block}.inverted_bottleneck.conv.conv.weight"].shape[1] * expansion)
        if name.endswith("num_batches_tracked"):
            return tensor
        if "depth_conv.conv.conv" in name:
            return self.kernel(block, mid, kernel)
        if "point_linear" in name:
            return tensor[:, :mid].clone() if "conv" in name.rsplit(".", 2)[1] else tensor
        if ".se." in name:
            narrow = make8(mid // 4)
            rows, columns = (narrow, mid) if "reduce" in name else (mid, narrow)
            return tensor[:rows, :columns].clone() if tensor.ndim > 1 else tensor[:rows].clone()
        return tensor[:mid].clone()
